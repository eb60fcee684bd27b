"""Publishing transforms that never change."""

from __future__ import annotations

from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.node import Node
from robot_bridge.ros.qos import DurabilityPolicy, QoSProfile


class StaticTransformBroadcaster:
    """Publishes transforms on /tf_static; whoever comes later gets all of them."""

    def __init__(self, node: Node, qos: QoSProfile | None = None) -> None:
        kind = get_interface("tf2_msgs/msg/TFMessage")
        profile = qos or QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(kind, "/tf_static", profile)
        self._sent: dict[str, Any] = {}

    def sendTransform(self, transform: Any) -> None:  # noqa: N802
        """`transform`: a geometry_msgs/msg/TransformStamped, or a list of them; one replaces that of the same child."""
        for one in transform if isinstance(transform, list | tuple) else [transform]:
            self._sent[one.child_frame_id] = one
        self.pub_tf.publish(self.pub_tf.msg_type(transforms=list(self._sent.values())))
