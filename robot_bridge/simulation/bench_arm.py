"""The arm on the bench: two joints, or two axes of a frame, as a config would describe it for each kind of output."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np

from robot_bridge.guards.limits import Array, JointLimits
from robot_bridge.guards.settings import GuardSettings
from robot_bridge.paths import with_numbers
from robot_bridge.robot.cartesian import AXES, CARTESIAN, POSE
from robot_bridge.robot.interlocks import ControllerCheck, DeadMan, Interlock
from robot_bridge.robot.robot import Input, Output, OutputKind, Robot
from robot_bridge.simulation.controller import Reference
from robot_bridge.simulation.world import Step
from robot_bridge.transport import Message

RATE = 50.0
STATES, COMMANDS, SWITCH, POSES = "/joint_states", "/arm/commands", "/dead_man", "/hand/pose"
EXTERNAL, CONTROLLER = "/external_stop", "arm_controller"
FRAME = "base"
MOVED = ("a", "b")
"""What the policy moves."""
EFFORT = 2.0  # N m, of the policy at most
FASTEST = 2.0  # rad/s (m/s): twice what the limits allow


def joints(kind: OutputKind) -> dict[str, str]:
    """The robot's joints, the moved ones first; of a Cartesian output its axes, of a pose with those that are held."""
    if kind not in CARTESIAN:
        return {joint: joint for joint in MOVED}
    moved = {"a": "x", "b": "yaw" if kind == "pose" else "y"}
    held = [axis for axis in AXES if axis not in moved.values()] if kind == "pose" else []
    return moved | {axis: axis for axis in held}


def limits(n: int) -> JointLimits:
    """Of n joints: 1 rad (m) to either side, 1 rad/s, 5 rad/s²."""
    return JointLimits(*(np.full(n, x) for x in (-1.0, 1.0, 1.0, 5.0, 500.0)))


LIMITS = limits(2)


def robot(kind: OutputKind) -> Robot:
    """The arm, for this kind of output."""
    named = joints(kind)
    if kind in CARTESIAN:
        fields = {f"{joint}/position": POSE[axis] for joint, axis in named.items()}
        source = Input(POSES, "geometry_msgs/msg/PoseStamped", 0.15, fields, frame=FRAME)
    else:
        source = Input(STATES, max_age=0.15)
    return Robot(
        "arm",
        named,
        RATE,
        (source,),
        (Output(kind, COMMANDS, tuple(named), 0.1, frame=FRAME if kind in CARTESIAN else ""),),
        None if kind == "effort" else limits(len(named)),
        guards=GuardSettings(max_lead=0.3),
        dead_man=DeadMan(SWITCH),
        interlocks=(Interlock(EXTERNAL, max_age=0.2),),
        controllers=ControllerCheck((CONTROLLER,), every=0.2, max_age=0.5),
        held=tuple(named)[2:],
    )


class IdealArm:
    """A world of joints that do what they are asked, at `FASTEST` at most; efforts meet inertia and friction."""

    name, max_steps = "arm", math.inf
    dt = step_dt = ahead = 0.01

    def __init__(self, described: Robot) -> None:
        self._joints = described.joints
        self.position, self._velocity = np.zeros((2, len(described.joints)))
        self.path: list[tuple[float, Array]] = []
        """Where it was when: s by this computer's clock, rad."""

    def reset(self, seed: int) -> None:
        """It stays where it is."""

    def step(self, reference: Reference) -> Step:
        pushed = self._velocity + self.dt * (5.0 * reference.effort - 10.0 * self._velocity)
        led = np.clip((reference.position - self.position) / self.dt, -FASTEST, FASTEST)
        choices = [~np.isnan(reference.effort), ~np.isnan(led), ~np.isnan(reference.velocity)]
        self._velocity = np.select(choices, [pushed, led, reference.velocity], 0.0)
        self.position = self.position + self.dt * self._velocity
        self.path.append((time.monotonic(), self.position))
        return Step()

    def last_moved(self, since: float, until: float) -> float | None:
        """When it last moved faster than 0.01 rad/s between two times."""
        part = [(t, q) for t, q in self.path if since <= t <= until]
        moved = [b[0] for a, b in itertools.pairwise(part) if np.abs(b[1] - a[1]).max() > 0.01 * (b[0] - a[0])]
        return moved[-1] if moved else None

    def numbers(self) -> dict[str, float]:
        return {f"{name}/position": float(q) for name, q in zip(self._joints.values(), self.position, strict=True)}

    def message(self, source: Input) -> Message | None:
        told = {f"{name}/position": float(q) for name, q in zip(self._joints, self.position, strict=True)}
        return with_numbers({}, {path: told[name] for name, path in source.fields.items()})

    def truth(self) -> tuple[Array, Array] | None:
        return self.position, self._velocity

    def score(self, total: float) -> float:
        return total

    @property
    def scene(self) -> Any:
        return None

    def frame(self, *, now: bool) -> Array:
        return self.position

    def draw(self, frame: Array) -> Array:
        return frame

    def close(self) -> None:
        """Nothing is held."""
