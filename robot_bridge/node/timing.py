"""How well a periodic loop keeps its time."""

from __future__ import annotations

import gc
import sys

import numpy as np


class Timing:
    """Of every tick: how late it began, how long it took, how old what it acted on was when its command left.

    Keeps the last 10 minutes at 100 Hz. A `period` that is infinite has no deadlines: a loop that waits for its input.
    """

    SIZE = 60_000

    def __init__(self, period: float) -> None:
        self.period = period
        self.ticks = self.misses = self.skipped = 0
        self.seconds = 0.0
        """From the first tick's time to the end of the last one's period."""
        self._late, self._work, self._latency = np.zeros((3, self.SIZE))

    def tick(self, late: float, work: float, latency: float = np.nan) -> int:
        """A tick began `late` and took `work` seconds; `latency`: from the receipt of its observation until its command
        was handed over, NaN where none was sent.

        It missed its deadline if it ended after the next one's time. Periods that went by before it began were left
        out, and missed theirs too; their number is returned.
        """
        i, left_out = self.ticks % self.SIZE, int(late / self.period)
        self._late[i], self._work[i], self._latency[i] = late, work, latency
        self.ticks += 1
        self.skipped += left_out
        self.misses += late - left_out * self.period + work > self.period
        return left_out

    @property
    def miss_rate(self) -> float:
        """Share of all periods in which no tick began and ended."""
        return (self.misses + self.skipped) / max(1, self.ticks + self.skipped)

    def summary(self, last: int = SIZE) -> dict[str, str]:
        """Of the last ticks, in milliseconds, as p50/p99/max; `jitter` is how late they began. All misses."""
        n = min(self.ticks, self.SIZE, last)
        if not n:
            return {}
        which = np.arange(self.ticks - n, self.ticks) % self.SIZE
        texts, values = {}, {"work": self._work[which]}
        if np.isfinite(self.period):
            periods = self.ticks + self.skipped
            texts["loop_rate_hz"] = f"{self.ticks / max(self.seconds, self.period):.3f} of {1.0 / self.period:g}"
            texts["deadline_misses"] = f"{self.misses + self.skipped} of {periods} ({self.miss_rate:.3%})"
            values |= {"jitter": self._late[which], "latency": self._latency[which]}
        for name, seconds in values.items():
            if len(known := seconds[np.isfinite(seconds)]):
                texts[f"{name}_ms"] = percentiles(known)
        return texts


def percentiles(seconds: np.ndarray) -> str:
    """Milliseconds as p50/p99/max."""
    return "/".join(f"{1000 * value:.2f}" for value in np.percentile(seconds, (50, 99, 100)))


def keep_time() -> None:
    """Prepare a process for a loop, once everything is loaded.

    A full garbage collection looks at all that was ever imported: 10 to 16 ms, at a moment of its own choosing. Frozen
    objects are left out. A thread that wants to run waits for another one's turn to end: 5 ms by default.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)
