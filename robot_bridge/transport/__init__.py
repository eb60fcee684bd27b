"""Connections to ROS: the `Transport` protocol, and `RosbridgeTransport`."""

from robot_bridge.counters import Counters
from robot_bridge.transport.base import (
    Closable,
    Done,
    GoalHandle,
    GoalStatus,
    Message,
    Respond,
    Result,
    Transport,
    TransportError,
)
from robot_bridge.transport.rosbridge import RosbridgeTransport

__all__ = [
    "Closable",
    "Counters",
    "Done",
    "GoalHandle",
    "GoalStatus",
    "Message",
    "Respond",
    "Result",
    "RosbridgeTransport",
    "Transport",
    "TransportError",
]
