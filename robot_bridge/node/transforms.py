"""Poses in the frame that is expected: those of other frames are refused, or moved by what /tf and /tf_static say."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np

from robot_bridge.frames import Frames, TransformException, product, rotate
from robot_bridge.node.sender_clock import seconds
from robot_bridge.paths import POSES
from robot_bridge.robot.robot import Input, Robot
from robot_bridge.transport import Closable, Message, Transport

TF, QUEUE = "tf2_msgs/msg/TFMessage", 100


class Transforms:
    """Listens to transforms, where an input wants them."""

    def __init__(self, robot: Robot) -> None:
        self._wanted = any(source.transform for source in robot.inputs)
        self._frames, self._lock = Frames(), threading.Lock()

    def open(self, transport: Transport) -> list[Closable]:
        """Listen."""
        if not self._wanted:
            return []
        moving = transport.subscribe("/tf", TF, lambda told: self.take(told, static=False), queue_length=QUEUE)
        static = transport.subscribe(
            "/tf_static", TF, lambda told: self.take(told, static=True), queue_length=QUEUE, latched=True
        )
        return [moving, static]

    def take(self, message: Message, *, static: bool) -> None:
        """A tf2_msgs/msg/TFMessage. Transforms that are none are left out."""
        for told in message.get("transforms", ()):
            with contextlib.suppress(TransformException, KeyError, TypeError, ValueError, AttributeError):
                header, moved = told["header"], told["transform"]
                pose = _numbers(moved["translation"], "xyz"), _numbers(moved["rotation"], "xyzw")
                stamp = round(1e9 * seconds(header["stamp"]))
                with self._lock:
                    self._frames.take(header["frame_id"], told["child_frame_id"], stamp, pose, static=static)

    def expected(self, message: Message, source: Input) -> Message:
        """A message of an input with its pose in the frame that the input expects.

        Raises:
            ValueError: it is in another, and there is no transform that is as new as the input may be old.
        """
        header = message.get("header", {})
        named = str(header.get("frame_id") or "").lstrip("/")
        if not source.frame or named == source.frame:
            return message
        wrong = f"in frame '{named}', expected '{source.frame}'" if named else f"names no frame, not '{source.frame}'"
        if not (named and source.transform):
            raise ValueError(wrong)
        try:
            with self._lock:
                (shift, turn), when = self._frames.pose(source.frame, named)
        except TransformException as error:
            raise ValueError(f"{wrong}; no transform: {error}") from None
        stamp = seconds(header.get("stamp", {}))
        if when and not stamp - 1e-9 * when <= source.max_age:
            raise ValueError(f"{wrong}; its transform is {stamp - 1e-9 * when:.2f} s older than the pose")
        if when and not stamp:
            raise ValueError(f"{wrong}; it has no stamp, and the frame moves")
        return _moved(message, [part for part in POSES[source.type].split(".") if part], (shift, turn))


def _moved(message: Message, path: list[str], by: tuple[np.ndarray, np.ndarray]) -> Message:
    if path:
        return message | {path[0]: _moved(message[path[0]], path[1:], by)}
    position = by[0] + rotate(by[1], _numbers(message["position"], "xyz"))
    orientation = product(by[1], _numbers(message["orientation"], "xyzw"))
    named = {"position": ("xyz", position), "orientation": ("xyzw", orientation)}
    return message | {name: dict(zip(keys, values.tolist(), strict=True)) for name, (keys, values) in named.items()}


def _numbers(values: dict[str, Any], keys: str) -> np.ndarray:
    return np.array([values[key] for key in keys], np.float64)
