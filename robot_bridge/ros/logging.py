"""Loggers in rclpy's manner: `[INFO] [1700000000.123456789] [node]: message` on stderr, and on /rosout for nodes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from robot_bridge.errors import UserError


class LoggingSeverity(IntEnum):
    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


_COLOURS = {LoggingSeverity.WARN: "\033[33m", LoggingSeverity.ERROR: "\033[31m", LoggingSeverity.FATAL: "\033[31m"}
_levels: dict[str, LoggingSeverity] = {"": LoggingSeverity.INFO}
_sinks: dict[str, Callable[[LoggingSeverity, str, str, Any], None]] = {}
_loggers: dict[str, RcutilsLogger] = {}
_lock = threading.Lock()


class _Site:
    """What one place in the code has logged so far."""

    def __init__(self, severity: LoggingSeverity, filters: tuple[Any, ...]) -> None:
        self.severity, self.filters = severity, filters
        self.skipped = self.logged = False
        self.last: int | None = None

    def passes(self, now: int, throttle_ns: float | None, skip_first: bool, once: bool) -> bool:
        """Ask the filters, in rclpy's order; each sees what the ones before let through."""
        if throttle_ns is not None:
            if self.last is not None and 0 <= now - self.last < throttle_ns:
                return False
            self.last = now
        if skip_first and not self.skipped:
            self.skipped = True
            return False
        first, self.logged = not self.logged, True
        return first or not once


class RcutilsLogger:
    """A logger by name; `a.b` inherits the level of `a`.

    The filters go by the place in the code that logs:

    Args of all methods:
        message: one text; there is no formatting of further arguments.
        once: log the first time only.
        skip_first: not the first time.
        throttle_duration_sec: at most once in so many seconds of `throttle_time_source_type`: a clock, None: steady.

    Each returns whether it logged. ValueError: severity or filters at one place change; TypeError: unknown keywords.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._sites: dict[tuple[str, int, int], _Site] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return get_logger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: int) -> None:
        _levels[self.name] = LoggingSeverity(level)

    def get_effective_level(self) -> LoggingSeverity:
        name = self.name
        while name:
            if _levels.get(name, LoggingSeverity.UNSET):
                return _levels[name]
            name = name.rpartition(".")[0]
        return _levels[""]

    def is_enabled_for(self, severity: int) -> bool:
        return severity >= self.get_effective_level()

    def log(self, message: str, severity: int, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity(severity), **kwargs)

    def debug(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.WARN, **kwargs)

    def warn(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.WARN, **kwargs)

    def error(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.FATAL, **kwargs)

    def _log(
        self,
        message: str,
        severity: LoggingSeverity,
        *,
        once: bool = False,
        skip_first: bool = False,
        throttle_duration_sec: float | None = None,
        throttle_time_source_type: Any = None,
    ) -> bool:
        if not isinstance(message, str):
            raise TypeError(f"message is {type(message).__name__}: expected str")
        if not self.is_enabled_for(severity):
            return False
        source = throttle_time_source_type
        if source is not None and throttle_duration_sec is None:
            raise TypeError("throttle_time_source_type needs throttle_duration_sec")
        now = time.monotonic_ns() if source is None else source.now().nanoseconds
        throttle_ns = None if throttle_duration_sec is None else throttle_duration_sec * 1e9
        frame = sys._getframe(2)
        filters = (throttle_ns, skip_first, once)
        with _lock:
            place = (frame.f_code.co_filename, frame.f_lasti, frame.f_lineno)
            site = self._sites.setdefault(place, _Site(severity, filters))
            if site.severity != severity:
                raise ValueError("Logger severity cannot be changed between calls.")
            if site.filters != filters:
                raise ValueError("Requested logging filters cannot be changed between calls.")
            if not site.passes(now, *filters):
                return False
        self._emit(severity, message, frame)
        return True

    def _emit(self, severity: LoggingSeverity, message: str, frame: Any) -> None:
        now = time.time_ns()
        line = f"[{severity.name}] [{now // 10**9}.{now % 10**9:09d}] [{self.name or 'root'}]: {message}"
        if sys.stderr.isatty() and severity in _COLOURS:
            line = f"{_COLOURS[severity]}{line}\033[0m"
        print(line, file=sys.stderr, flush=True)
        name = self.name
        while name:
            if sink := _sinks.get(name):
                sink(severity, self.name, message, frame)
                return
            name = name.rpartition(".")[0]


def get_logger(name: str) -> RcutilsLogger:
    with _lock:
        return _loggers.setdefault(name, RcutilsLogger(name))


def set_logger_level(name: str, level: int, detailed_error: bool = False) -> None:
    """The level of the logger `name`; '' is the root."""
    _levels[name] = LoggingSeverity(level)


def get_logger_effective_level(name: str) -> LoggingSeverity:
    return get_logger(name).get_effective_level()


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    try:
        return LoggingSeverity[log_severity.upper()]
    except KeyError:
        names = ", ".join(member.name.lower() for member in LoggingSeverity)
        raise UserError(f"log level is {log_severity}: expected {names}") from None


def set_sink(name: str, sink: Callable[[LoggingSeverity, str, str, Any], None] | None) -> None:
    """Also give what `name` and its children log to `sink(severity, logger, message, frame)`; None ends it."""
    if sink is None:
        _sinks.pop(name, None)
    else:
        _sinks[name] = sink
