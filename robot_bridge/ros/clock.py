"""Clocks: system, steady, and ROS time, which follows /clock where `use_sim_time` is set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol
from weakref import WeakSet

from robot_bridge.ros.context import Context, get_default_context
from robot_bridge.ros.duration import Duration
from robot_bridge.ros.exceptions import NotInitializedException
from robot_bridge.ros.time import ClockType, Time


class Follower(Protocol):
    """What goes by a clock: a timer."""

    def _clock_changed(self, restart: bool) -> None:
        """The clock has another time; `restart`: it was switched, or went back."""


class ClockChange(IntEnum):
    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """When to tell of a jump: `min_forward` positive and `min_backward` negative durations, None: never."""

    def __init__(
        self, *, min_forward: Duration | None, min_backward: Duration | None, on_clock_change: bool = True
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError("At least one jump threshold must be enabled")
        self.min_forward, self.min_backward, self.on_clock_change = min_forward, min_backward, on_clock_change


class TimeJump:
    """A jump: what changed, and by how much the time did."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        if not isinstance(clock_change, ClockChange):
            raise TypeError("clock_change must be an instance of rclpy.clock.ClockChange")
        self._clock_change, self._delta = clock_change, delta

    @property
    def clock_change(self) -> ClockChange:
        return self._clock_change

    @property
    def delta(self) -> Duration:
        return self._delta


class JumpHandle:
    """Keeps a jump callback; `unregister` ends it."""

    def __init__(
        self,
        *,
        clock: Clock,
        threshold: JumpThreshold,
        pre_callback: Callable[[], None] | None,
        post_callback: Callable[[TimeJump], None] | None,
    ) -> None:
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        self._clock, self._threshold = clock, threshold
        self._pre_callback, self._post_callback = pre_callback, post_callback
        clock._jump_handles.append(self)

    def unregister(self) -> None:
        if self in self._clock._jump_handles:
            self._clock._jump_handles.remove(self)

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.unregister()

    def _wants(self, jump: TimeJump) -> bool:
        limits, delta = self._threshold, jump.delta
        if jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return limits.on_clock_change
        forward = limits.min_forward is not None and delta >= limits.min_forward
        return forward or (limits.min_backward is not None and delta <= limits.min_backward)


class Clock:
    """A clock of one type; `Clock(clock_type=ClockType.ROS_TIME)` makes a `ROSClock`."""

    _clock_type: ClockType
    _jump_handles: list[JumpHandle]
    _followers: WeakSet[Follower]
    _changed: threading.Condition
    _override: int | None

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        self = super().__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)
        self._clock_type = clock_type
        self._jump_handles = []
        self._followers = WeakSet()
        self._changed = threading.Condition()
        self._override = None
        return self

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def __repr__(self) -> str:
        return f"Clock(clock_type={self._clock_type.name})"

    def now(self) -> Time:
        return Time(nanoseconds=self._now(), clock_type=self._clock_type)

    def _now(self) -> int:
        if self._override is not None:
            return self._override
        return time.monotonic_ns() if self._clock_type is ClockType.STEADY_TIME else time.time_ns()

    def _timeline(self) -> tuple[int, bool]:
        """The ns that timers go by, and whether they are simulated. Never the system's time, which may be set."""
        override = self._override
        return (time.monotonic_ns(), False) if override is None else (override, True)

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], None] | None = None,
        post_callback: Callable[[TimeJump], None] | None = None,
    ) -> JumpHandle:
        """Have callbacks called before and after jumps of ROS time, in the thread that spins the node."""
        return JumpHandle(clock=self, threshold=threshold, pre_callback=pre_callback, post_callback=post_callback)

    def sleep_until(self, until: Time, context: Context | None = None) -> bool:
        """Sleep until this clock shows `until`. Returns False if the context was shut down or ROS time switched."""
        context = context or get_default_context()
        if not context.ok():
            raise NotInitializedException
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        was_simulated = self._override is not None
        with self._changed, context._waking(self._changed):
            while context.ok() and (self._override is not None) == was_simulated:
                rest = until.nanoseconds - self._now()
                if rest <= 0:
                    return True
                self._changed.wait(None if was_simulated else rest / 1e9)
        return False

    def sleep_for(self, rel_time: Duration, context: Context | None = None) -> bool:
        """Sleep for a time on this clock; as `sleep_until`."""
        return self.sleep_until(self.now() + rel_time, context)


class ROSClock(Clock):
    """ROS time: the system's, or what `set_ros_time_override` says once it is active."""

    def __new__(cls) -> ROSClock:
        return super().__new__(cls, clock_type=ClockType.ROS_TIME)  # type: ignore[return-value]

    @property
    def ros_time_is_active(self) -> bool:
        return self._override is not None

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self.ros_time_is_active:
            return
        before = self._now()
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED
        self._change(0 if enabled else None, change, before)

    def set_ros_time_override(self, time: Time) -> None:
        """Set the simulated time. It takes effect while ROS time is active."""
        if not isinstance(time, Time):
            raise TypeError("Time must be specified as rclpy.time.Time")
        if self.ros_time_is_active:
            self._change(time.nanoseconds, ClockChange.ROS_TIME_NO_CHANGE, self._now())

    def _change(self, override: int | None, change: ClockChange, before: int) -> None:
        after = time.time_ns() if override is None else override
        jump = TimeJump(change, Duration(nanoseconds=after - before))
        wanted = [handle for handle in list(self._jump_handles) if handle._wants(jump)]
        for handle in wanted:
            if handle._pre_callback is not None:
                handle._pre_callback()
        with self._changed:
            self._override = override
            self._changed.notify_all()
        for follower in list(self._followers):
            follower._clock_changed(restart=change is not ClockChange.ROS_TIME_NO_CHANGE or after < before)
        for handle in wanted:
            if handle._post_callback is not None:
                handle._post_callback(jump)


__all__ = ["Clock", "ClockChange", "ClockType", "JumpHandle", "JumpThreshold", "ROSClock", "TimeJump"]
