"""Signals by which a program is asked to end: Ctrl-C, `kill`, a terminal that hangs up, Ctrl-\\."""

from __future__ import annotations

import signal
from collections.abc import Callable

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
"""Those that this platform has."""


def on_ending(handler: Callable[[], None]) -> None:
    """Call `handler` for each of them, in the main thread, in the midst of whatever it does."""
    for number in ENDING:
        signal.signal(number, lambda *_: handler())
