"""Timers on an absolute grid, and rates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.clock import Clock
from robot_bridge.ros.context import Context, get_default_context
from robot_bridge.ros.entity import Entity
from robot_bridge.ros.exceptions import ROSInterruptException


class Timer(Entity):
    """Calls back every `timer_period_ns`, at multiples of it from the start.

    A timer that could not run in time fires once and goes on with the next point of its grid. It goes by the monotonic
    clock, or by simulated time where the clock has that; setting the system's time moves no timer.
    """

    def __init__(
        self,
        callback: Callable[..., Any] | None,
        callback_group: CallbackGroup | None,
        timer_period_ns: int,
        clock: Clock,
        *,
        context: Context | None = None,
        autostart: bool = True,
    ) -> None:
        super().__init__(callback_group)
        if timer_period_ns < 0:
            raise ValueError(f"timer period is {timer_period_ns} ns: expected at least 0")
        self.callback = callback
        self._clock = clock
        self._context = context or get_default_context()
        self._period = int(timer_period_ns)
        self._state = threading.RLock()
        self._canceled = not autostart
        self._last = self._clock._timeline()[0]
        self._next = self._last + self._period
        clock._followers.add(self)

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        return self._period

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._period = int(value)
        self._wake()

    def is_ready(self) -> bool:
        return not self._canceled and self._clock._timeline()[0] >= self._next

    def is_canceled(self) -> bool:
        return self._canceled

    def cancel(self) -> None:
        self._canceled = True

    def reset(self) -> None:
        """Start anew: the first call a period from now. Also after `cancel`."""
        with self._state:
            self._last = self._clock._timeline()[0]
            self._next = self._last + self._period
            self._canceled = False
        self._wake()

    def time_since_last_call(self) -> int:
        """ns since the last call, or since the start."""
        return self._clock._timeline()[0] - self._last

    def time_until_next_call(self) -> int | None:
        """ns; negative if overdue, None if canceled."""
        return None if self._canceled else self._next - self._clock._timeline()[0]

    def _clock_changed(self, restart: bool) -> None:
        if restart and not self._canceled:
            with self._state:
                self._last = self._clock._timeline()[0]
                self._next = self._last + self._period
        self._wake()

    def _is_ready(self) -> bool:
        return self.is_ready()

    def _wait_until(self) -> float | None:
        if self._canceled or self._clock._timeline()[1]:
            return None
        return self._next / 1e9

    def _take(self) -> Callable[[], Any] | None:
        with self._state:
            now = self._clock._timeline()[0]
            if self._canceled or now < self._next:
                return None
            self._last = now
            missed = (now - self._next) // self._period if self._period else 0
            self._next = self._next + (missed + 1) * self._period if self._period else now
        return self.callback

    def _destroy(self) -> None:
        self._canceled = True
        self._clock._followers.discard(self)


class Rate:
    """Sleeps to the next tick of a timer. As in rclpy somebody else must spin the node meanwhile."""

    def __init__(self, timer: Timer, *, context: Context) -> None:
        self._timer, self._context = timer, context
        self._ticked = threading.Condition()
        self._ticks = 0
        self._destroyed = False
        timer.callback = self._tick

    def _tick(self) -> None:
        with self._ticked:
            self._ticks += 1
            self._ticked.notify_all()

    def sleep(self) -> None:
        """Wait for the next tick.

        Raises:
            ROSInterruptException: the context was shut down, or the rate destroyed.
        """
        with self._ticked, self._context._waking(self._ticked):
            start = self._ticks
            while self._ticks == start:
                if not self._context.ok() or self._destroyed or self._timer.is_canceled():
                    raise ROSInterruptException
                self._ticked.wait()

    def destroy(self) -> None:
        with self._ticked:
            self._destroyed = True
            self._ticked.notify_all()
