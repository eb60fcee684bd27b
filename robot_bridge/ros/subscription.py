"""Subscriptions."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from robot_bridge.interfaces import MessageError, from_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.context import Context
from robot_bridge.ros.entity import QueueEntity
from robot_bridge.ros.logging import get_logger
from robot_bridge.ros.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from robot_bridge.ros.rosapi import ask
from robot_bridge.ros.serialization import serialize_message

RENEWAL = 3.0  # s of silence
KEEP_ALL = 1000
"""What KEEP_ALL keeps: bounded, so that a callback that is too slow cannot fill the memory."""


class Subscription(QueueEntity):
    """Receives messages of one topic. The newest `depth` wait for the callback, older ones are dropped and counted.

    NaN and infinity cross rosbridge as null and arrive as NaN; fields that are missing get their defaults. A message
    that is not of the type is dropped, counted in `refused` and logged. The callback takes the message, or the message
    and a dict with `received_timestamp` (ns).
    """

    def __init__(
        self,
        context: Context,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        callback_group: CallbackGroup | None,
        qos_profile: QoSProfile,
        raw: bool,
    ) -> None:
        depth = KEEP_ALL if qos_profile.history == HistoryPolicy.KEEP_ALL else max(1, qos_profile.depth)
        super().__init__(callback_group, depth)
        self.msg_type, self.topic, self.qos_profile, self.raw = msg_type, topic, qos_profile, raw
        self.callback = callback
        self.refused = 0
        """Messages that were not of the type (not in rclpy)."""
        self._transport = context.transport
        # Who takes best effort expects a stream, and a renewal may cost a message.
        renewal = RENEWAL if qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT else None
        self._topic = self._transport.subscribe(
            topic, type_name(msg_type), self._receive, queue_length=depth, renew_after=renewal
        )

    @property
    def topic_name(self) -> str:
        return self.topic

    @property
    def callback(self) -> Callable[..., Any]:
        return self._callback

    @callback.setter
    def callback(self, value: Callable[..., Any]) -> None:
        self._callback = value
        self._with_info = _takes_two(value)

    def get_publisher_count(self) -> int:
        """How many nodes publish; asks rosapi, where all clients of rosbridge are one node."""
        return len(ask(self._transport, "publishers", {"topic": self.topic}).get("publishers", []))

    def _receive(self, values: dict[str, Any]) -> None:
        self._put((values, time.time_ns()))

    def _handle_item(self, values: dict[str, Any], received: int) -> Any:
        try:
            message: Any = from_dict(self.msg_type, values, allow_nan=True, partial=True)
        except MessageError as error:
            self.refused += 1
            get_logger("robot_bridge").warning(f"{self.topic}: refused: {error}", throttle_duration_sec=5.0)
            return None
        if self.raw:
            message = serialize_message(message)
        if self._with_info:
            return self._callback(message, {"source_timestamp": 0, "received_timestamp": received})
        return self._callback(message)

    def _handle(self, item: Any) -> Any:
        return self._handle_item(*item)

    def _destroy(self) -> None:
        self._topic.close()


def _takes_two(callback: Callable[..., Any]) -> bool:
    """Whether a callback wants the message's info too. One that takes either gets the message only.

    Raises:
        RuntimeError: it takes neither.
    """
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):
        return False
    for arguments in ((None,), (None, None)):
        try:
            signature.bind(*arguments)
            return len(arguments) == 2
        except TypeError:
            continue
    raise RuntimeError("Subscription callback does not have correct number of arguments: expected 1 or 2")
