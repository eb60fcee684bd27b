"""Publishers."""

from __future__ import annotations

from typing import Any

from robot_bridge.interfaces import to_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.context import Context
from robot_bridge.ros.entity import Entity
from robot_bridge.ros.exceptions import RCLError
from robot_bridge.ros.qos import DurabilityPolicy, QoSProfile
from robot_bridge.ros.rosapi import ask


class Publisher(Entity):
    """Sends messages of one topic, at once or never: nothing is queued for later. With TRANSIENT_LOCAL durability, the
    server keeps the last message for subscribers that come later."""

    def __init__(
        self, context: Context, msg_type: Any, topic: str, qos_profile: QoSProfile, callback_group: CallbackGroup | None
    ) -> None:
        super().__init__(callback_group)
        self.msg_type, self.topic, self.qos_profile = msg_type, topic, qos_profile
        self._context = context
        self._transport = context.transport
        self.dropped = 0
        """Messages that could not be sent because there was no live connection (not in rclpy)."""
        latch = qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self._handle = self._transport.advertise(topic, type_name(msg_type), latch=latch)

    @property
    def topic_name(self) -> str:
        return self.topic

    def publish(self, msg: Any) -> None:
        """Send a message.

        Raises:
            TypeError: not of this publisher's class.
            MessageError: NaN or infinity in it, which rosbridge cannot carry; or a list with something wrong.
            RCLError: the context was shut down, as in rclpy.
            InvalidHandle: the publisher was destroyed.
        """
        if not isinstance(msg, self.msg_type):
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        self._check_alive()
        if not self._context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        if not self._transport.publish(self.topic, to_dict(msg)):
            self.dropped += 1

    def get_subscription_count(self) -> int:
        """How many nodes subscribe; asks rosapi, where all clients of rosbridge are one node."""
        return len(ask(self._transport, "subscribers", {"topic": self.topic}).get("subscribers", []))

    def assert_liveliness(self) -> None:
        """Nothing: rosbridge carries no liveliness."""

    def _destroy(self) -> None:
        self._handle.close()
