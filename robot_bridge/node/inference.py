"""When a policy is asked, and what it wants of each joint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import Motion
from robot_bridge.node.observation import Snapshot
from robot_bridge.node.plan import Plan
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import Robot


@dataclass(frozen=True)
class Wish:
    """What a policy wants in its present step.

    Attributes:
        values: per joint, SI units, in the robot's order, [n].
        action: raw, in the policy's order, [act].
        novelty: the largest score, in units of its threshold.
        outside: names of numbers that were out of the data's range.
        asked: when the step began, s, on the grid of the policy's rate.
    """

    values: Array
    action: Array
    novelty: float = 0.0
    outside: list[str] = field(default_factory=list)
    asked: float = 0.0


class Inference:
    """Takes a policy's steps at its own rate, which the loop's may be a multiple of. What it sees and plans: `Plan`."""

    def __init__(self, policy: Policy, robot: Robot, clock: Callable[[], float] = time.monotonic) -> None:
        actions = policy.description.actions
        order = [a.joint for a in actions]
        self.policy = policy
        self.order = np.array([order.index(name) if name in order else -1 for name in robot.joints])
        """The policy's number of each of the robot's joints, [n]; -1 of those that are held."""
        self.plan = Plan(policy, clock)
        self._scale = np.array([a.scale for a in actions])
        self._positions = np.array([*(a.quantity == "position" for a in actions), False])[self.order]
        self._period = 1.0 / policy.description.control_rate
        self._slack = 0.25 / robot.rate
        self._next = -np.inf
        self._anew = True
        self._steps = 0  # since it was last asked
        self.wish = Wish(np.zeros(len(self.order)), np.zeros(len(order)))

    @property
    def waits(self) -> str:
        """Why there is nothing to execute; empty if there is."""
        return "the policy is to be asked anew" if self._anew or self.plan.action is None else ""

    def restart(self) -> None:
        """Forget all that was seen and planned, and ask at the next occasion. Any thread may call it."""
        self._anew = True

    def advance(self) -> None:
        """The next occasion is a step, whatever the time: a simulation waits, also while the policy is asked."""
        self._next, self.plan.timed = -np.inf, False

    def due(self, now: float) -> bool:
        """Whether it is time for a step."""
        return now >= self._next - self._slack

    def step(self, snapshot: Snapshot, now: float, *, interrupted: bool = False) -> bool:
        """Take a step if it is time, asking if nothing is planned for it; whether there is a new wish.

        Raises whatever a policy may.

        Args:
            snapshot: what is known.
            now: s.
            interrupted: the robot was kept from doing what was planned, so that it is out of date. Until this ends, the
                policy is asked no more often than otherwise.
        """
        if self._anew:
            self._anew, self._next, self._steps = False, -np.inf, self.plan.horizon
            self.plan.drop()
        elif interrupted:
            self.plan.drop()
        elif self.plan.action is None:
            self._next = -np.inf
        if not self.due(now):
            return False
        left_out = 0 if np.isinf(self._next) else int((now - self._next + self._slack) / self._period)
        asked = now if np.isinf(self._next) else self._next + left_out * self._period
        self._next = asked + self._period
        self._steps += 1 + left_out
        if not np.isfinite(snapshot.observation).all():
            return False  # the guards see it, too
        self.plan.see(snapshot.observation, 1 + left_out)
        if self.plan.spent and not (interrupted and self._steps < self.plan.horizon):
            self._steps = 0
            self._next += self.plan.ask() * self._period
        action = self.plan.action
        scored = self.wish.action if action is None else action
        novelty = float(np.max(self.policy.novelty(snapshot.observation, scored)))
        outside = self.policy.outside(snapshot.observation)
        if action is None:
            self.wish = replace(self.wish, novelty=novelty, outside=outside)
            return False
        values = np.append(action * self._scale, 0.0)[self.order].astype(np.float64)
        self.wish = Wish(values, action, novelty, outside, asked)
        return True

    def command(self, motion: Motion | None) -> Array:
        """The wish as the guards take it, [n]: velocities, or efforts where there is no motion; zero while it `waits`.

        A wished position becomes the velocity that leads to it in one period of the policy's.
        """
        if self.waits:
            return np.zeros(len(self.order))
        if motion is None:
            return self.wish.values
        return np.where(self._positions, (self.wish.values - motion.position) / self._period, self.wish.values)
