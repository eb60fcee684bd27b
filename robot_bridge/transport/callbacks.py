"""Calling the user's callbacks on the I/O thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from robot_bridge.counters import Counters

LOGGER = logging.getLogger(__name__)

SLOW = 0.02  # s


class Callbacks:
    """Calls them; what they raise, and that they were slow, is counted, and told once per kind."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told: set[str] = set()

    def call(self, what: str, callback: Callable[..., None], *args: Any) -> bool:
        """Call `callback(*args)`, named `what` in the log; whether it returned."""
        begin = time.perf_counter()
        try:
            callback(*args)
            return True
        except Exception:
            self._counters.add("callback_errors")
            self.warn(f"the callback of {what} raised; told once only", exc_info=True)
            return False
        finally:
            if time.perf_counter() - begin > SLOW:
                self._counters.add("slow_callbacks")
                self.warn(f"the callback of {what} held the I/O thread for more than {1000 * SLOW:g} ms")

    def warn(self, text: str, *, exc_info: bool = False) -> None:
        """Log a warning, once."""
        if text not in self._told and len(self._told) < 1000:
            self._told.add(text)
            LOGGER.warning(text, exc_info=exc_info)
