"""How well a periodic loop keeps its time."""

from __future__ import annotations

import numpy as np


class Timing:
    """Of every tick: how late it began, and how long it took. Keeps the last 10 minutes at 100 Hz."""

    SIZE = 60_000

    def __init__(self, period: float) -> None:
        self.period = period
        self.ticks = self.misses = self.skipped = 0
        self._late, self._work = np.zeros(self.SIZE), np.zeros(self.SIZE)

    def tick(self, late: float, work: float) -> None:
        """A tick began `late` and took `work` seconds. It missed its deadline if it ended after the next one's time."""
        i = self.ticks % self.SIZE
        self._late[i], self._work[i] = late, work
        self.ticks += 1
        self.misses += late + work > self.period

    def missed(self, ticks: int) -> None:
        """Whole ticks that were left out."""
        self.skipped += ticks

    @property
    def miss_rate(self) -> float:
        """Share of all ticks that were late by a period, or left out."""
        return (self.misses + self.skipped) / max(1, self.ticks + self.skipped)

    def summary(self) -> dict[str, str]:
        """Milliseconds, as p50/p99/max; `jitter` is how late ticks begin."""
        n = min(self.ticks, self.SIZE)
        if not n:
            return {}

        def text(values: np.ndarray) -> str:
            return "/".join(f"{1000 * v:.2f}" for v in np.percentile(values[:n], (50, 99, 100)))

        return {
            "deadline_misses": f"{self.misses + self.skipped} of {self.ticks + self.skipped} ({self.miss_rate:.3%})",
            "jitter_ms": text(self._late),
            "work_ms": text(self._work),
        }
