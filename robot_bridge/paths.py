"""Numbers at paths in messages: `pose.position.x`, `data.3`, and the angles of a rotation, `pose.orientation.yaw`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robot_bridge.guards.limits import Array

ANGLES = ("roll", "pitch", "yaw")
"""Of a quaternion, rad, about the fixed axes x, y and z, one after the other: ROS's convention (REP 103)."""

POSES = {
    "geometry_msgs/msg/PoseStamped": "pose",
    "geometry_msgs/msg/Pose": "",
    "geometry_msgs/msg/PoseWithCovarianceStamped": "pose.pose",
    "nav_msgs/msg/Odometry": "pose.pose",
}
"""Messages that tell a pose, and its path in them."""

FRAMED = tuple(kind for kind in POSES if kind != "geometry_msgs/msg/Pose")
"""Those that name the frame of their pose, in their header."""


def number_at(message: Any, path: str) -> float:
    """The number at a path; NaN where it is None, which is rosbridge's NaN.

    Raises:
        ValueError: there is none.
    """
    return as_number(value_at(message, path), path)


def value_at(message: Any, path: str) -> Any:
    """What is at a path.

    Raises:
        ValueError: nothing is.
    """
    for part in path.split("."):
        try:
            if part in ANGLES and isinstance(message, dict) and "w" in message:
                return float(angles([as_number(message[key], path) for key in "xyzw"])[ANGLES.index(part)])
            message = message[int(part)] if isinstance(message, list) else message[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"there is no '{part}' of {path}") from None
    return message


def as_number(value: Any, what: str) -> float:
    """A number; None is rosbridge's NaN. A text is none, even if it looks like one.

    Raises:
        ValueError: it is none; `what` names its place.
    """
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise ValueError(f"{what} holds {str(value)[:40]!r}, expected numbers")
    return float(value)


def with_value(message: Any, path: str, value: Any) -> Any:
    """A message with a value at a path; what is missing on the way is made."""
    key, _, rest = path.partition(".")
    if key.isdigit():
        entries = list(message or [])
        entries += [0.0] * (int(key) + 1 - len(entries))
        entries[int(key)] = with_value(entries[int(key)], rest, value) if rest else value
        return entries
    message = message or {}
    if key in ANGLES and not rest:
        turned = angles([message.get(name, float(name == "w")) for name in "xyzw"])
        turned[ANGLES.index(key)] = value
        return message | dict(zip("xyzw", quaternion(turned), strict=True))
    return message | {key: with_value(message.get(key), rest, value) if rest else value}


def with_numbers(message: Any, numbers: dict[str, float]) -> Any:
    """A message with numbers at paths."""
    for path in sorted(numbers, key=lambda path: path.endswith("pitch")):  # the last, for it may hide the others
        message = with_value(message, path, numbers[path])
    return message


def angles(rotation: Any) -> Array:
    """Roll, pitch and yaw [3], rad, of a quaternion x, y, z, w; NaN where it is no rotation."""
    x, y, z, w = rotation
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(length - 1.0) < 1e-2:
        return np.full(3, math.nan)
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
            math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x)))),
            math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)),
        ]
    )


def quaternion(turned: Any) -> list[float]:
    """The quaternion x, y, z, w of roll, pitch and yaw, rad."""
    (sr, sp, sy), (cr, cp, cy) = ([f(0.5 * angle) for angle in turned] for f in (math.sin, math.cos))
    return [
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    ]
