"""Filling a buffer from /tf and /tf_static."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.callback_groups import ReentrantCallbackGroup
from robot_bridge.ros.executors import ExternalShutdownException, SingleThreadedExecutor
from robot_bridge.ros.node import Node
from robot_bridge.ros.qos import DurabilityPolicy, QoSProfile
from robot_bridge.ros.tf2_ros.buffer import Buffer


class TransformListener:
    """Subscribes to transforms and puts them into `buffer`, while `node` is spun.

    `spin_thread`: spin the node here, in a thread of its own; for nodes that nobody else spins.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        self.buffer, self.node = buffer, node
        kind = get_interface("tf2_msgs/msg/TFMessage")
        self.group = ReentrantCallbackGroup()  # transforms come in while a callback waits for one
        static = static_qos or QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_sub = node.create_subscription(kind, "/tf", self._moving, qos or 100, callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            kind, "/tf_static", self._static, static, callback_group=self.group
        )
        self.executor = SingleThreadedExecutor(context=node.context)
        if spin_thread:
            self.executor.add_node(node)
            threading.Thread(target=self._spin, name="tf2 listener", daemon=True).start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def _moving(self, data: Any) -> None:
        for transform in data.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def _static(self, data: Any) -> None:
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, "default_authority")

    def unregister(self) -> None:
        """End the subscriptions."""
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)
