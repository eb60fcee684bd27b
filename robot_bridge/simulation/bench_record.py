"""What the arm on the bench was told, and whether a real one should have been told so."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.paths import number_at
from robot_bridge.robot.cartesian import PATHS
from robot_bridge.robot.robot import GRIPPERS, OutputKind
from robot_bridge.simulation.bench_arm import EFFORT, LIMITS, RATE, joints
from robot_bridge.simulation.joints import seconds_of
from robot_bridge.transport import Message


@dataclass(frozen=True)
class Told:
    """A command: when it came, its age by its stamp (0 without one), whether it is to move, whether it is wrong."""

    time: float
    age: float
    moving: bool
    outside: bool


class Record:
    """What the arm was told."""

    def __init__(self, kind: OutputKind) -> None:
        self.kind = kind
        self.commands: list[Told] = []
        self._last: tuple[float, Array] | None = None  # of the command before: when, and its velocity or position

    def told(self, message: Message, position: Array, clock: float) -> None:
        """A message came; the arm is at `position` and its clock says `clock` s."""
        now, age = time.monotonic(), 0.0
        message = message.get("trajectory", message)
        stamp = seconds_of(message.get("header", {}).get("stamp", {}))
        if stamp:
            age = clock - stamp
        if self.kind in ("trajectory", "follow"):
            points = np.array([point["positions"] for point in message["points"]])
            moving = np.ptp(np.concatenate([points, position[None]]), axis=0).max() > 0.01
            outside = self.trajectory_outside(points, stamp)
        elif self.kind in GRIPPERS:
            goal = np.array([message.get("width", message.get("command", {}).get("position"))])
            moving, outside = abs(goal[0] - position.mean()) > 0.01, self.goal_outside(goal)
        else:
            values = self.values(message)
            moving = np.abs(values - position if self.placed else values).max() > 0.01
            outside = self.array_outside(values, stamp or now)
        self.commands.append(Told(now, age, bool(moving), outside))

    @property
    def placed(self) -> bool:
        """Whether an array, or a message that stands for one, says places."""
        return self.kind in ("position", "pose")

    def values(self, message: Message) -> Array:
        """An array, or what a Cartesian message says of each axis."""
        if self.kind not in PATHS:
            return np.array(message["data"])
        return np.array([number_at(message, PATHS[self.kind][axis]) for axis in joints(self.kind).values()])

    def goal_outside(self, goal: Array) -> bool:
        """Whether a goal of a gripper breaks a limit."""
        return bool(((goal < LIMITS.low[0] - 1e-6) | (goal > LIMITS.high[0] + 1e-6)).any())

    def array_outside(self, values: Array, now: float) -> bool:
        """Whether an array breaks a limit, in itself or against the one before. A stand (zeros) is always right."""
        if self.kind == "effort":
            return bool((np.abs(values) > EFFORT + 1e-6).any())
        before, self._last = self._last, (now, values)
        if not self.placed:
            wrong, most = (np.abs(values) > LIMITS.velocity[0] + 1e-6).any(), LIMITS.acceleration[0]
            if not values.any():
                return False
        else:
            wrong = ((values < LIMITS.low[0] - 1e-6) | (values > LIMITS.high[0] + 1e-6)).any()
            most = LIMITS.velocity[0]
        if before is not None and now - before[0] < 0.1:
            ticks = max(1, math.ceil((now - before[0]) * RATE))
            # They carry no stamp: one may have come two ticks later than the next.
            wrong = wrong or (np.abs(values - before[1]) > most * (ticks + 2) / RATE + 1e-3).any()
        return bool(wrong)

    def trajectory_outside(self, points: Array, stamp: float) -> bool:
        """Whether a trajectory breaks a limit, in itself or against the one before."""
        speeds = np.diff(points, axis=0) * RATE
        bad = (points < LIMITS.low - 1e-6) | (points > LIMITS.high + 1e-6)
        wrong = bad.any() or (np.abs(speeds) > LIMITS.velocity + 1e-6).any()
        wrong = wrong or (np.abs(np.diff(speeds, axis=0)) * RATE > LIMITS.acceleration + 1e-3).any()
        before, self._last = self._last, (stamp, speeds[0] if len(speeds) else np.zeros(2))
        if before is not None and 0.0 < stamp - before[0] < 0.1:
            ticks = max(1, round((stamp - before[0]) * RATE))
            allowed = LIMITS.acceleration * (ticks + 1) / RATE + 1e-3  # the stamps are rounded to a tick
            wrong = wrong or (np.abs(self._last[1] - before[1]) > allowed).any()
        return bool(wrong)
