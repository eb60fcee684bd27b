"""Poses, points and vectors in another frame, in the shape of ROS 2's `tf2_geometry_msgs`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np


def do_transform_point(point: Any, transform: Any) -> Any:
    """A geometry_msgs/msg/PointStamped, moved by a TransformStamped."""
    result = _stamped(point, transform)
    _move(result.point, transform.transform)
    return result


def do_transform_vector3(vector3: Any, transform: Any) -> Any:
    """A geometry_msgs/msg/Vector3Stamped: turned, not moved."""
    result = _stamped(vector3, transform)
    _turn(result.vector, transform.transform.rotation)
    return result


def do_transform_pose(pose: Any, transform: Any) -> Any:
    """A geometry_msgs/msg/Pose."""
    result = copy.deepcopy(pose)
    _move(result.position, transform.transform)
    a, b = transform.transform.rotation, pose.orientation
    turned = result.orientation
    turned.x = a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y
    turned.y = a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x
    turned.z = a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w
    turned.w = a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z
    return result


def do_transform_pose_stamped(pose: Any, transform: Any) -> Any:
    """A geometry_msgs/msg/PoseStamped."""
    result = _stamped(pose, transform)
    result.pose = do_transform_pose(pose.pose, transform)
    return result


_KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "geometry_msgs/msg/PointStamped": do_transform_point,
    "geometry_msgs/msg/Vector3Stamped": do_transform_vector3,
    "geometry_msgs/msg/PoseStamped": do_transform_pose_stamped,
}


def do_transform(stamped: Any, transform: Any) -> Any:
    """Whichever of the above fits (not in tf2_geometry_msgs).

    Raises:
        TypeError: none does.
    """
    name = getattr(type(stamped), "__msgtype__", type(stamped).__name__)
    if name not in _KINDS:
        raise TypeError(f"{name} cannot be transformed: expected {', '.join(_KINDS)}")
    return _KINDS[name](stamped, transform)


def _stamped(message: Any, transform: Any) -> Any:
    result = copy.deepcopy(message)
    result.header = copy.deepcopy(transform.header)
    return result


def _turn(vector: Any, rotation: Any) -> None:
    axis, given = np.array([rotation.x, rotation.y, rotation.z]), np.array([vector.x, vector.y, vector.z])
    twice = 2.0 * np.cross(axis, given)
    vector.x, vector.y, vector.z = map(float, given + rotation.w * twice + np.cross(axis, twice))


def _move(point: Any, transform: Any) -> None:
    _turn(point, transform.rotation)
    shift = transform.translation
    point.x, point.y, point.z = point.x + shift.x, point.y + shift.y, point.z + shift.z
