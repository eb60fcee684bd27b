"""The one place that keeps a commanded motion within the limits of its joints.

A commanded motion is a sequence of positions q_k, one every `dt` seconds. Its velocity, acceleration and jerk are the
differences v_k = (q_k - q_{k-1}) / dt, a_k = (v_k - v_{k-1}) / dt, j_k = (a_k - a_{k-1}) / dt: what a controller sees.

`MotionLimiter` keeps one promise: after every step there is a way to stop, within the limits of position, velocity,
acceleration and jerk. It keeps it by induction. A step is taken only if braking right after it, simulated to the end,
breaks no limit; where no step is found, the braking that was simulated one step earlier goes on, and that was checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robot_bridge.guards.limits import Array, JointLimits

STEPS_TRIED = np.array([0.9, 0.75, 0.5, 0.25, 0.1])[:, None]  # shares of the wanted change, if all of it is too much
STILL, STILL_ACCELERATION = 1e-6, 1e-3  # rad/s and rad/s² (or m) below which a joint stands


@dataclass(frozen=True)
class Motion:
    """Where a commanded motion is, [n] each.

    Attributes:
        position, velocity, acceleration: at its latest step.
        low, high: the position limits that hold for it. They are wider than the robot's where a joint began beyond
            them: it may stay there or come back, but not go further.
    """

    position: Array
    velocity: Array
    acceleration: Array
    low: Array
    high: Array

    @property
    def still(self) -> bool:
        """Whether it stands."""
        slow, steady = np.abs(self.velocity) < STILL, np.abs(self.acceleration) < STILL_ACCELERATION
        return bool((slow & steady).all())


class MotionLimiter:
    """How a commanded motion of n joints goes on, such that it can always be stopped within its limits."""

    def __init__(self, limits: JointLimits, dt: float) -> None:
        self.limits, self.dt = limits, dt
        self._horizon = int(2.0 * float(limits.stopping_time.max()) / dt) + 20  # steps in which every joint can stop

    def begin(self, position: Array) -> Motion:
        """A motion that stands at `position` [n]."""
        position = np.array(position, np.float64)
        low, high = np.minimum(self.limits.low, position), np.maximum(self.limits.high, position)
        return Motion(position, np.zeros_like(position), np.zeros_like(position), low, high)

    def step(self, motion: Motion, velocity: Array) -> Motion:
        """The motion one step of `dt` on, towards a wanted velocity [n] as far as the limits allow."""
        wanted = np.clip(velocity, -self.limits.velocity, self.limits.velocity)
        braking = self._towards(np.zeros_like(wanted), motion)
        acceleration = self._towards(wanted, motion)
        if not (good := self._can_stop(acceleration, motion)).all():
            tried = braking + STEPS_TRIED * (acceleration - braking)
            fine = self._can_stop(tried, motion)
            first = tried[np.argmax(fine, axis=0), np.arange(len(wanted))]
            acceleration = np.where(good, acceleration, np.where(fine.any(axis=0), first, braking))
        after = self._next(acceleration, motion)
        return replace(  # what has come back stays within
            after,
            low=np.minimum(self.limits.low, np.maximum(motion.low, after.position)),
            high=np.maximum(self.limits.high, np.minimum(motion.high, after.position)),
        )

    def follow(self, motion: Motion, velocity: Array) -> Motion:
        """The motion one step on with that velocity, whatever the limits say: where the guard only watches."""
        dt = self.dt
        return replace(
            motion,
            position=motion.position + velocity * dt,
            velocity=velocity,
            acceleration=(velocity - motion.velocity) / dt,
        )

    def shift(self, motion: Motion, by: Array) -> Motion:
        """The motion, each of its positions moved `by` so much [n] where it can still be stopped there.

        For robots that take velocities: what they make of them drifts away from their sum.
        """
        moved = replace(motion, position=motion.position + by)
        good = self._can_stop(self._towards(np.zeros_like(by), moved), moved)
        return replace(motion, position=np.where(good, moved.position, motion.position))

    def brake(self, motion: Motion) -> list[Motion]:
        """The steps from `motion` to a stand, as quick as the limits allow; none if it stands."""
        steps: list[Motion] = []
        while not motion.still and len(steps) < self._horizon:
            motion = self._next(self._towards(np.zeros_like(motion.velocity), motion), motion)
            steps.append(motion)
        return steps

    def _next(self, acceleration: Array, motion: Motion) -> Motion:
        velocity = motion.velocity + acceleration * self.dt
        return Motion(motion.position + velocity * self.dt, velocity, acceleration, motion.low, motion.high)

    def _towards(self, wanted: Array, motion: Motion) -> Array:
        """The next acceleration on the quickest way to a velocity, such that it can be faded out in time.

        An acceleration u that is then taken back by J dt a step changes the velocity by at most u dt + u² / 2J; the
        largest u for which that is the velocity still missing, e, is 2e / (dt + sqrt(dt² + 2e / J)).
        """
        error, limits, dt = wanted - motion.velocity, self.limits, self.dt
        size = np.abs(error)
        u = np.minimum(2.0 * size / (dt + np.sqrt(dt * dt + 2.0 * size / limits.jerk)), limits.acceleration)
        change = limits.jerk * dt
        return np.clip(np.copysign(u, error), motion.acceleration - change, motion.acceleration + change)

    def _can_stop(self, acceleration: Array, before: Motion) -> NDArray[np.bool_]:
        """Which joints can stop within their limits after a step from `before` with `acceleration` [..., n]."""
        motion = self._next(acceleration, before)
        if (sure := self._surely_can_stop(motion)).all():
            return sure
        fine, fastest = np.ones(acceleration.shape, bool), self.limits.velocity
        zero = np.zeros(acceleration.shape)
        for _ in range(self._horizon):
            q, v = motion.position, motion.velocity
            fine &= (np.abs(v) <= fastest) & (q >= motion.low) & (q <= motion.high)
            if motion.still:
                return fine
            motion = self._next(self._towards(zero, motion), motion)
        return fine & (np.abs(motion.velocity) < STILL) & (np.abs(motion.acceleration) < STILL_ACCELERATION)

    def _surely_can_stop(self, motion: Motion) -> NDArray[np.bool_]:
        """A sufficient condition, for the common case far from all limits: it saves simulating the braking.

        Until braking takes hold the speed grows to `peak` at most; from there it takes at most `duration` to stop: at
        full deceleration, plus building it up and fading it out, plus the rounding to whole steps.
        """
        limits, dt, size = self.limits, self.dt, np.abs(motion.acceleration)
        peak = np.abs(motion.velocity) + size * dt + size * size / (2.0 * limits.jerk)
        duration = peak / limits.acceleration + (3.0 * limits.acceleration + size) / limits.jerk + 10.0 * dt
        reach, q = peak * duration, motion.position
        return (peak <= limits.velocity) & (q - reach >= motion.low) & (q + reach <= motion.high)
