"""When a policy is asked, and what it wants of each joint."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import Motion
from robot_bridge.node.observation import Snapshot
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import Robot


@dataclass(frozen=True)
class Wish:
    """What a policy wanted when it was last asked.

    Attributes:
        values: per joint, SI units, in the robot's order, [n].
        action: raw, in the policy's order, [act].
        novelty: the largest score, in units of its threshold.
        outside: names of numbers that were out of the data's range.
        asked: when, s, on the grid of the policy's rate.
    """

    values: Array
    action: Array
    novelty: float = 0.0
    outside: list[str] = field(default_factory=list)
    asked: float = 0.0


class Inference:
    """Asks a policy at its own rate, which the loop's may be a multiple of."""

    def __init__(self, policy: Policy, robot: Robot) -> None:
        actions = policy.description.actions
        order = [a.joint for a in actions]
        self.policy = policy
        self.order = np.array([order.index(name) for name in robot.joints])
        """The policy's number of each of the robot's joints, [n]."""
        self._scale = np.array([a.scale for a in actions])
        self._positions = np.array([a.quantity == "position" for a in actions])[self.order]
        self._period = 1.0 / policy.description.control_rate
        self._slack = 0.25 / robot.rate
        self._next = -np.inf
        self.wish = Wish(np.zeros(len(order)), np.zeros(len(order)))

    def restart(self) -> None:
        """Ask at the next occasion."""
        self._next = -np.inf

    def due(self, now: float) -> bool:
        """Whether it is time to ask."""
        return now >= self._next - self._slack

    def ask(self, snapshot: Snapshot, now: float) -> bool:
        """Ask if it is time and the observation is whole; whether that was so. Raises whatever a policy may."""
        if not self.due(now):
            return False
        asked = now if now - self._next > self._period else self._next
        self._next = asked + self._period
        if not np.isfinite(snapshot.observation).all():
            return False  # the guards see it, too
        action = self.policy.infer(snapshot.observation)
        novelty = float(np.max(self.policy.novelty(snapshot.observation, action)))
        values = (action * self._scale)[self.order].astype(np.float64)
        self.wish = Wish(values, action, novelty, self.policy.outside(snapshot.observation), asked)
        return True

    def command(self, motion: Motion | None) -> Array:
        """The wish as the guards take it, [n]: velocities, or efforts where there is no motion.

        A wished position becomes the velocity that leads to it in one period of the policy's.
        """
        if motion is None:
            return self.wish.values
        return np.where(self._positions, (self.wish.values - motion.position) / self._period, self.wish.values)
