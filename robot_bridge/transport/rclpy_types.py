"""Messages of an installed rclpy, to and from plain values."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from robot_bridge.interfaces import from_dict, get_interface, to_dict
from robot_bridge.transport.base import Message

_ELEMENT = re.compile(r"(?:sequence<)?([\w/]+)")


def convert(message: Any, find: Callable[[str], Any], cls: Any) -> Any:
    """`message` as an instance of `cls`: the same type in another set of classes, which `find` gives by name.

    Raises:
        AttributeError: their fields differ: another distribution's definition.
    """
    if type(message) is cls:
        return message
    result = cls()
    for name, text in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        element = _ELEMENT.match(text)
        if element is not None and "/" in element[1]:
            nested = find(element[1].replace("/", "/msg/"))
            many = text != element[1]
            value = [convert(v, find, nested) for v in value] if many else convert(value, find, nested)
        setattr(result, name, value)
    return result


class Types:
    """The classes of one rclpy; `root` is its package: rclpy, or robot_bridge.ros."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find(self, name: str) -> Any:
        """The class of a type for this rclpy."""
        if self._root != "rclpy":
            return get_interface(name)
        package, folder, short = name.split("/")
        return getattr(import_module(f"{package}.{folder}"), short)

    def outward(self, values: Message, ours: Any, theirs: Any) -> Any:
        """A message for rclpy from JSON values, None being NaN; missing fields get defaults, as in rosbridge_server."""
        return convert(from_dict(ours, values, partial=True, allow_nan=True), self.find, theirs)

    def inward(self, message: Any, ours: Any) -> Message:
        """JSON values of a message from rclpy; NaN and infinity become None."""
        return to_dict(convert(message, get_interface, ours), allow_nan=True)
