"""Ctrl-C and SIGTERM: shut the contexts down, so that `spin` ends."""

from __future__ import annotations

import signal
import threading
from enum import IntFlag
from typing import Any
from weakref import WeakSet

from robot_bridge.ros.context import Context


class SignalHandlerOptions(IntFlag):
    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_SIGNALS = {SignalHandlerOptions.SIGINT: signal.SIGINT, SignalHandlerOptions.SIGTERM: signal.SIGTERM}
_contexts: WeakSet[Context] = WeakSet()
_previous: dict[int, Any] = {}


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Have Ctrl-C and SIGTERM shut down all contexts that were initialised since. Then the handler that was there
    before is called: Python's own raises KeyboardInterrupt. Only the main thread can do this; others leave it."""
    if threading.current_thread() is not threading.main_thread():
        return
    for option, number in _SIGNALS.items():
        if option in options and number not in _previous:
            _previous[number] = signal.signal(number, _handle)


def uninstall_signal_handlers() -> None:
    """Put the former handlers back."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in list(_previous.items()):
        if signal.getsignal(number) is _handle:
            signal.signal(number, handler)
        del _previous[number]


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    installed = SignalHandlerOptions.NO
    for option, number in _SIGNALS.items():
        if number in _previous:
            installed |= option
    return installed


def watch(context: Context) -> None:
    """Shut `context` down on a signal."""
    _contexts.add(context)


def _handle(number: int, frame: Any) -> None:
    for context in list(_contexts):
        context._stop()
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)
