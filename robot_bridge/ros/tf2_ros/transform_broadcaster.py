"""Publishing moving transforms."""

from __future__ import annotations

from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.node import Node
from robot_bridge.ros.qos import QoSProfile


class TransformBroadcaster:
    """Publishes transforms on /tf."""

    def __init__(self, node: Node, qos: QoSProfile | int = 100) -> None:
        self.pub_tf = node.create_publisher(get_interface("tf2_msgs/msg/TFMessage"), "/tf", qos)

    def sendTransform(self, transform: Any) -> None:  # noqa: N802
        """`transform`: a geometry_msgs/msg/TransformStamped, or a list of them."""
        transforms = list(transform) if isinstance(transform, list | tuple) else [transform]
        self.pub_tf.publish(self.pub_tf.msg_type(transforms=transforms))
