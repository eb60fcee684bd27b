"""Where the training data begin, and the way there.

A policy knows what to do from where its episodes began. `StartPose` says how far a robot is from there; `Approach`
leads it there: all joints at once and slowly, as a wish that passes the guards and outputs like a policy's. It knows of
no obstacles.
"""

from __future__ import annotations

import numpy as np

from robot_bridge.guards.limits import Array, JointLimits
from robot_bridge.guards.motion import Motion
from robot_bridge.robot.description import Description
from robot_bridge.robot.robot import LEADING, Robot

ARRIVED = 0.002  # rad (m) from the start pose at which the commanded motion is there
GENTLE = 0.2  # s, at least, in which the last of the way is faded out
OVERTIME = 10.0  # s that a way may take longer than twice its time
LARGEST_SHARE = 0.1  # of a joint's range that counts as near, at most


class StartPose:
    """Of a policy's training data, for the joints of a robot."""

    def __init__(self, policy: Description, robot: Robot) -> None:
        bounded = [True] * len(robot.joints) if robot.limits is None else robot.limits.bounded
        known = {entry.joint: entry for entry in policy.start}
        self._robot = robot
        self._joints = list(robot.joints)
        self.known = bool(policy.start)
        """Whether the bundle says it."""
        entries = [  # those of arrays are known by the robot's name alone: arrays name no joints
            known.get(name) or known.get(said) if measured else None
            for (name, said), measured in zip(robot.joints.items(), bounded, strict=True)
        ]
        self._unknown = [name for name, entry in zip(self._joints, entries, strict=True) if entry is None]
        self._pose, self._low, self._high = np.array(
            [(e.pose, e.low, e.high) if e else (np.nan,) * 3 for e in entries], np.float64
        ).T
        within = np.full(len(entries), robot.start.within)
        if robot.limits is not None:
            within = np.minimum(within, LARGEST_SHARE * (robot.limits.high - robot.limits.low))
        self._within = within

    def far(self, position: Array) -> str:
        """Which joint at `position` [n] is far from all starts, and how far; empty if none, or none is known."""
        beyond = np.maximum(self._low - position, position - self._high) - self._within
        beyond = np.nan_to_num(beyond, nan=-np.inf)
        i = int(np.argmax(beyond))
        if not beyond[i] > 0.0:
            return ""
        return (
            f"joint {self._joints[i]} is at {position[i]:.3f}, where training episodes began at {self._low[i]:.3f} to "
            f"{self._high[i]:.3f}"
        )

    def obstacle(self) -> str:
        """Why nothing can lead there; empty if it can."""
        limits, robot = self._robot.limits, self._robot
        if kinds := sorted({output.kind for output in robot.outputs} - set(LEADING)):
            return f"outputs of kind {', '.join(kinds)} lead no joint to a place"
        if not self.known:
            return "the bundle does not say where its training episodes began: export it again"
        if self._unknown:
            return f"the bundle does not say where joint {self._unknown[0]} began: move the robot by hand"
        if limits is None:
            return "the robot has no limits within which to move"
        beyond = np.maximum(limits.low - self._pose, self._pose - limits.high)
        i = int(np.argmax(beyond - self._within))
        if beyond[i] > self._within[i]:
            return f"joint {self._joints[i]} began at {self._pose[i]:.3f}, out of its limits"
        return ""

    def approach(self, position: Array, now: float) -> Approach:
        """The way there from `position` [n]; only where nothing stands in the way."""
        limits = self._robot.limits
        assert limits is not None
        target = np.clip(self._pose, limits.low, limits.high)
        return Approach(target, limits, self._robot.start.speed, 1.0 / self._robot.rate, position, now)


class Approach:
    """A straight way in the space of the joints to a target [n], all of them in step."""

    def __init__(
        self, target: Array, limits: JointLimits, speed: float, dt: float, position: Array, now: float
    ) -> None:
        """`speed`: share of the limits' speeds. `dt`: s, of the loop. `position`: where it begins, at time `now`."""
        self.target = target
        self._most = speed * limits.velocity
        self._fade = max(GENTLE, 3.0 * dt, 2.0 * float(np.max(self._most / limits.acceleration)))
        self._until = now + 2.0 * self._duration(target - position) + OVERTIME

    def _duration(self, way: Array) -> float:
        return float(np.max(np.abs(way) / self._most))

    def command(self, motion: Motion) -> Array:
        """The wished velocity [n] of a motion that is under way."""
        way = self.target - motion.position
        return way / max(self._fade, self._duration(way))

    def arrived(self, motion: Motion) -> bool:
        """Whether the commanded motion is there."""
        return bool((np.abs(self.target - motion.position) < ARRIVED).all())

    def late(self, now: float) -> bool:
        """Whether it takes much longer than it should: something keeps it from going on."""
        return now > self._until
