"""One message of a topic, without a callback."""

from __future__ import annotations

import threading
import time
from typing import Any

from robot_bridge.interfaces import MessageError, from_dict, type_name
from robot_bridge.ros.logging import get_logger
from robot_bridge.ros.node import Node
from robot_bridge.ros.qos import QoSProfile, as_profile


def wait_for_message(
    msg_type: Any, node: Node, topic: str, *, qos_profile: QoSProfile | int = 1, time_to_wait: float = -1
) -> tuple[bool, Any]:
    """Wait for a message, `time_to_wait` seconds (negative: for ever), whether the node is spun or not.

    Returns:
        True and the message, or False and None after the time or a shutdown.
    """
    profile, name = as_profile(qos_profile), node.resolve_topic_name(topic)
    came = threading.Condition()
    messages: list[Any] = []

    def receive(values: dict[str, Any]) -> None:
        try:
            message = from_dict(msg_type, values, allow_nan=True, partial=True)
        except MessageError as error:
            get_logger("robot_bridge").warning(f"{name}: refused: {error}", throttle_duration_sec=5.0)
            return
        with came:
            messages.append(message)
            came.notify_all()

    end = None if time_to_wait < 0 else time.monotonic() + time_to_wait
    subscription = node.context.transport.subscribe(
        name, type_name(msg_type), receive, queue_length=max(1, profile.depth)
    )
    try:
        with came, node.context._waking(came):
            while not messages and node.context.ok():
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    break
                came.wait(rest)
    finally:
        subscription.close()
    return (True, messages[0]) if messages else (False, None)
