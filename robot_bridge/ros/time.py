"""Points in time, each of one clock, as rclpy's."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.duration import LIMIT, S_TO_NS, Duration


class ClockType(IntEnum):
    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3


class Time:
    """A point in time of one type of clock. Times of different clocks neither subtract nor compare: TypeError.

    Raises:
        ValueError: negative seconds or nanoseconds.
        OverflowError: beyond 64 bits.
    """

    def __init__(
        self, *, seconds: float = 0, nanoseconds: int = 0, clock_type: ClockType = ClockType.SYSTEM_TIME
    ) -> None:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        if seconds < 0:
            raise ValueError("Seconds value must not be negative")
        if nanoseconds < 0:
            raise ValueError("Nanoseconds value must not be negative")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= LIMIT:
            raise OverflowError("Total nanoseconds value is too large to store in C time point.")
        self._nanoseconds, self._clock_type = total, clock_type

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    def seconds_nanoseconds(self) -> tuple[int, int]:
        return divmod(self._nanoseconds, S_TO_NS)

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __add__(self, other: Any) -> Time:
        if not isinstance(other, Duration):
            return NotImplemented
        try:
            return Time(nanoseconds=self._nanoseconds + other.nanoseconds, clock_type=self._clock_type)
        except OverflowError:
            raise OverflowError("Addition leads to overflow in C storage.") from None

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Time):
            self._same_clock(other, "subtract")
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            try:
                return Time(nanoseconds=self._nanoseconds - other.nanoseconds, clock_type=self._clock_type)
            except ValueError:
                raise ValueError("Subtraction leads to negative time") from None
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._same_clock(other, "compare")
        return self._nanoseconds == other._nanoseconds

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._same_clock(other, "compare")
        return self._nanoseconds < other._nanoseconds

    def __le__(self, other: Any) -> bool:
        return not other < self if isinstance(other, Time) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return other < self if isinstance(other, Time) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return not self < other if isinstance(other, Time) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._nanoseconds, self._clock_type))

    def _same_clock(self, other: Time, what: str) -> None:
        if self._clock_type != other._clock_type:
            raise TypeError(f"Can't {what} times with different clock types")

    def to_msg(self) -> Any:
        """As builtin_interfaces/msg/Time."""
        sec, nanosec = self.seconds_nanoseconds()
        return get_interface("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        if not isinstance(msg, get_interface("builtin_interfaces/msg/Time")):
            raise TypeError("Must pass a builtin_interfaces.msg.Time object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)
