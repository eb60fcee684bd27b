"""Named counts of what was dropped, refused and lived through."""

from __future__ import annotations

import threading


class Counters:
    """Named counts. Every thread may read and add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, name: str, n: int = 1) -> int:
        """Add `n` to the count `name`; returns the new count."""
        with self._lock:
            count = self._counts[name] = self._counts.get(name, 0) + n
        return count

    def __getitem__(self, name: str) -> int:
        """The count `name`, or the sum of all counts under it: `counters["dropped"]` includes `dropped.backlog`."""
        with self._lock:
            return sum(n for key, n in self._counts.items() if key == name or key.startswith(name + "."))

    def snapshot(self) -> dict[str, int]:
        """All counts, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def __repr__(self) -> str:
        return f"Counters({self.snapshot()})"
