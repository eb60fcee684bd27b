"""Messages as CDR bytes, as ROS 2 stores and sends them."""

from __future__ import annotations

from typing import Any

from robot_bridge.interfaces import from_rosbags, to_rosbags, type_name, typestore


def serialize_message(message: Any) -> bytes:
    """The message in little-endian CDR with its header."""
    return bytes(typestore().serialize_cdr(to_rosbags(message), type_name(type(message))))


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    """The message of CDR bytes."""
    return from_rosbags(typestore().deserialize_cdr(serialized_message, type_name(message_type)))
