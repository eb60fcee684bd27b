"""Connections to ROS: the `Transport` protocol."""

from robot_bridge.transport.base import (
    Closable,
    Counters,
    Done,
    GoalHandle,
    GoalStatus,
    Message,
    Respond,
    Result,
    Transport,
    TransportError,
)

__all__ = [
    "Closable",
    "Counters",
    "Done",
    "GoalHandle",
    "GoalStatus",
    "Message",
    "Respond",
    "Result",
    "Transport",
    "TransportError",
]
