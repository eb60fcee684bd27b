"""Faults to imitate in tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Faults:
    """Misbehaviour that can be switched on and off while the server runs. See also `RosbridgeServer.freeze` & co.

    The last three together are how a rosbridge_server of ROS 2 behaves with its default parameters.
    """

    delay: float = 0.0
    """Seconds that everything sent is late."""
    blocking_calls: bool = False
    """A service call or a goal holds up all later messages of its client, cancel included, until it is answered."""
    silent_goals: bool = False
    """Goals that nobody takes are never answered."""
    silent_errors: bool = False
    """Clients are not told what is wrong with what they sent."""
