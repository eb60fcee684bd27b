"""The transforms of the last seconds, as messages; see `robot_bridge.frames`."""

from __future__ import annotations

import threading
import time as system_time
from typing import Any

import numpy as np

from robot_bridge.frames import Frames, Pose, TransformException
from robot_bridge.interfaces import get_interface
from robot_bridge.ros.duration import Duration
from robot_bridge.ros.node import Node
from robot_bridge.ros.tf2_geometry_msgs import do_transform
from robot_bridge.ros.time import Time


class Buffer:
    """Keeps the transforms of the last `cache_time` (default 10 s). All methods may be called from any thread."""

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._frames = Frames((cache_time or Duration(seconds=10)).nanoseconds)
        self._changed = threading.Condition()
        self._node = node

    def set_transform(self, transform: Any, authority: str) -> None:
        """Take a geometry_msgs/msg/TransformStamped.

        Raises:
            InvalidArgumentException: empty or equal names, numbers that are no rotation.
        """
        self._set(transform, static=False)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Take one that holds for ever."""
        self._set(transform, static=True)

    def _set(self, transform: Any, static: bool) -> None:
        shift, turn, header = transform.transform.translation, transform.transform.rotation, transform.header
        pose = np.array([shift.x, shift.y, shift.z]), np.array([turn.x, turn.y, turn.z, turn.w])
        stamp = Time.from_msg(header.stamp).nanoseconds
        with self._changed:
            self._frames.take(header.frame_id, transform.child_frame_id, stamp, pose, static=static)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._frames.clear()

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> Any:
        """What takes coordinates in `source_frame` to `target_frame`, at a time (0: the newest common one), as
        geometry_msgs/msg/TransformStamped. Waits for it at most `timeout`; somebody else must spin meanwhile.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException: not known.
        """
        end = system_time.monotonic() + timeout.nanoseconds / 1e9
        with self._changed:
            while True:
                try:
                    pose, stamp = self._frames.pose(target_frame, source_frame, _nanoseconds(time))
                    return _stamped(target_frame.lstrip("/"), source_frame.lstrip("/"), stamp, pose)
                except TransformException:
                    rest = end - system_time.monotonic()
                    if rest <= 0:
                        raise
                    self._changed.wait(rest)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether `lookup_transform` would succeed; with `return_debug_tuple` also why not."""
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException as error:
            return (False, str(error)) if return_debug_tuple else False
        return (True, "") if return_debug_tuple else True

    def transform(self, object_stamped: Any, target_frame: str, timeout: Duration = Duration()) -> Any:  # noqa: B008
        """A pose, point or vector with a stamp, in another frame."""
        header = object_stamped.header
        return do_transform(
            object_stamped, self.lookup_transform(target_frame, header.frame_id, Time.from_msg(header.stamp), timeout)
        )

    def all_frames_as_yaml(self) -> str:
        """The frames and their parents."""
        with self._changed:
            lines = [f"{name}: \n  parent: '{parent}'" for name, parent in sorted(self._frames.parents.items())]
        return "\n".join(lines) + "\n" if lines else "[]"


def _stamped(target: str, source: str, stamp: int, pose: Pose) -> Any:
    """A geometry_msgs/msg/TransformStamped."""
    result = get_interface("geometry_msgs/msg/TransformStamped")(child_frame_id=source)
    result.header.frame_id = target
    result.header.stamp = Time(nanoseconds=stamp).to_msg()
    moved, rotated = result.transform.translation, result.transform.rotation
    moved.x, moved.y, moved.z = map(float, pose[0])
    rotated.x, rotated.y, rotated.z, rotated.w = map(float, pose[1])
    return result


def _nanoseconds(time: Any) -> int:
    return time.nanoseconds if hasattr(time, "nanoseconds") else Time.from_msg(time).nanoseconds
