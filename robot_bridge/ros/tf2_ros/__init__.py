"""Frames and the transforms between them, in the shape of ROS 2's `tf2_ros`: buffer, listener, broadcasters."""

from robot_bridge.frames import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from robot_bridge.ros.tf2_ros.buffer import Buffer
from robot_bridge.ros.tf2_ros.static_transform_broadcaster import StaticTransformBroadcaster
from robot_bridge.ros.tf2_ros.transform_broadcaster import TransformBroadcaster
from robot_bridge.ros.tf2_ros.transform_listener import TransformListener

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
