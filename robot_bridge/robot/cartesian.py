"""Outputs that move a frame, a hand's or a mobile base's, rather than joints: their axes, and where messages say them.

Each axis is a joint to everything else: it has a name of the policy's, limits, and a place among the robot's joints.
The robot's name of it, or the output's own, is that of the axis. `roll`, `pitch` and `yaw` of a pose are angles about
fixed axes (REP 103). Of a twist they are the rates about x, y and z: the change of those angles only while the frame is
turned about one axis alone.
"""

from __future__ import annotations

from robot_bridge.paths import ANGLES

AXES = ("x", "y", "z", *ANGLES)
TWIST = {
    "x": "linear.x",
    "y": "linear.y",
    "z": "linear.z",
    "roll": "angular.x",
    "pitch": "angular.y",
    "yaw": "angular.z",
}
POSE = {axis: f"pose.{'orientation' if axis in ANGLES else 'position'}.{axis}" for axis in AXES}
PATHS: dict[str, dict[str, str]] = {
    "twist": TWIST,
    "twist_stamped": {axis: f"twist.{path}" for axis, path in TWIST.items()},
    "pose": POSE,
}
"""By the kind of an output: the path of each axis in its messages."""

CARTESIAN = tuple(PATHS)
TWISTS = ("twist", "twist_stamped")
