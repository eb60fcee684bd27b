"""ROS 2's messages, services and actions as Python classes, without ROS.

    from robot_bridge.interfaces.sensor_msgs.msg import JointState
    from robot_bridge.interfaces.control_msgs.action import FollowJointTrajectory
    message = JointState(name=["joint1"], position=[0.5])
    to_dict(message)                   # plain JSON, as rosbridge carries it
    from_dict(JointState, values)      # checked: a wrong or missing field is one clear `MessageError`

The classes are generated from the definitions that `rosbags` carries (Humble, or Jazzy by `ROS_DISTRO` or
`use_distro`), and from the files in `definitions/`; `add_folder` adds a robot's own. They behave like rosidl's classes
for rclpy. What stands for NaN and infinity: nothing in JSON. `to_dict` refuses them unless `allow_nan`, which makes
them null as rosbridge does; `from_dict` refuses null in a float unless `allow_nan`, which makes it NaN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from rosbags.typesys.store import Typestore

from robot_bridge.interfaces.fields import Refused
from robot_bridge.interfaces.finder import install
from robot_bridge.interfaces.message import Action, FieldError, Message, MessageError, Service
from robot_bridge.interfaces.store import store, use_distro

M = TypeVar("M", bound=Message)

install(__name__)


def get_interface(name: str) -> Any:
    """The class of a message, service or action by its name on the wire: `sensor_msgs/msg/JointState`.

    Raises:
        UserError: unknown; the nearest known name is told.
    """
    return store().get(name)


def interface_names() -> list[str]:
    """The names of all interfaces."""
    return list(store().names())


def type_name(cls: type) -> str:
    """The name on the wire of a class of ours: `sensor_msgs/msg/JointState`.

    Raises:
        TypeError: no such class.
    """
    name = getattr(cls, "__msgtype__", "")
    if not name:
        raise TypeError(f"expected a message, service or action class of robot_bridge.interfaces, got {cls!r}")
    return name


def to_dict(message: Message, *, allow_nan: bool = False) -> dict[str, Any]:
    """The message as plain JSON values: what `from_dict` and rosbridge read.

    Raises:
        MessageError: NaN or infinity (unless `allow_nan`: null), or a list field was changed to something wrong.
    """
    try:
        return type(message).__dump__(message, allow_nan)
    except Refused as refused:
        raise MessageError(f"{message.__msgtype__}: {refused}") from None


def from_dict(cls: type[M], values: dict[str, Any], *, allow_nan: bool = False, partial: bool = False) -> M:
    """A message from plain JSON values. Integers do for floats; nothing else is converted.

    Args:
        allow_nan: null in a float field or array becomes NaN; NaN and infinity are let through.
        partial: read it as a rosbridge_server does: fields that are missing get their defaults, the stamp of a header
            is now, and `"now"` and ROS 1's {secs, nsecs} do for times. Unknown fields never pass.

    Raises:
        MessageError: with the path of the first field that is wrong, unknown or missing.
    """
    try:
        return cls.__load__(values, allow_nan, partial)  # type: ignore[return-value]
    except Refused as refused:
        raise MessageError(f"{cls.__msgtype__}: {refused}") from None


def to_rosbags(message: Message) -> Any:
    """The message as an instance of rosbags' own class, for `typestore().serialize_cdr` and bag writers."""
    try:
        return type(message).__to_bag__(message)
    except Refused as refused:
        raise MessageError(f"{message.__msgtype__}: {refused}") from None


def from_rosbags(value: Any) -> Message:
    """Our message from an instance of rosbags' class."""
    return get_interface(value.__msgtype__).__from_bag__(value)


def typestore() -> Typestore:
    """rosbags' type store with all types in it that were used so far; give it to bag readers and writers."""
    return store().typestore


def add_folder(folder: str | Path) -> None:
    """Add a robot's own definitions: `<folder>/<package>/<msg|srv|action>/<Name>.<msg|srv|action>`.

    The whole `share` folder of a ROS installation will do: what rosbags defines stays as it is.

    Raises:
        UserError: none found, or another definition of a type that is in use already.
    """
    store().add_folder(Path(folder))


__all__ = [
    "Action",
    "FieldError",
    "Message",
    "MessageError",
    "Service",
    "add_folder",
    "from_dict",
    "from_rosbags",
    "get_interface",
    "interface_names",
    "to_dict",
    "to_rosbags",
    "type_name",
    "typestore",
    "use_distro",
]
