"""The signals that end a training in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
"""What ends a training in order: Ctrl-C, and what schedulers send before they kill. Windows lacks the last two."""


@contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `handler` have `SIGNALS` for a while, but for those that are ignored, as SIGHUP is under nohup.

    Only the main thread may; in others a training cannot be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [n for n in SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
