"""Joint limits, and the one place that keeps a commanded motion within them.

A commanded motion is a sequence of positions q_k, one every `dt` seconds. Its velocity, acceleration and jerk are the
differences v_k = (q_k - q_{k-1}) / dt, a_k = (v_k - v_{k-1}) / dt, j_k = (a_k - a_{k-1}) / dt: what a controller sees.

`MotionLimiter` keeps one promise: after every step there is a way to stop, within the limits of position, velocity,
acceleration and jerk. It keeps it by induction. A step is taken only if braking right after it, simulated to the end,
breaks no limit; where no step is found, the braking that was simulated one step earlier goes on, and that was checked.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS_TRIED = np.array([0.9, 0.75, 0.5, 0.25, 0.1])[:, None]  # shares of the wanted change, if all of it is too much
STILL, STILL_ACCELERATION = 1e-6, 1e-3  # rad/s and rad/s² (or m) below which a joint stands


@dataclass(frozen=True)
class JointLimits:
    """Limits of n joints, arrays [n]: positions in rad (or m), the others per s, s² and s³, positive."""

    low: Array
    high: Array
    velocity: Array
    acceleration: Array
    jerk: Array

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), np.float64))

    def narrowed(self, margin: float, share: float) -> JointLimits:
        """Positions kept `margin` (rad, m) away from their limits, the rest reduced to `share` of them.

        The margin is at most a tenth of a joint's range, so that short joints (a gripper's fingers) keep most of it.
        """
        margins = np.minimum(margin, 0.1 * (self.high - self.low))
        return replace(
            self,
            low=self.low + margins,
            high=self.high - margins,
            velocity=share * self.velocity,
            acceleration=share * self.acceleration,
            jerk=share * self.jerk,
        )

    def far_beyond(self, position: Array) -> NDArray[np.bool_]:
        """Which joints are further out than a tenth of their range: from there nothing is to be moved at all."""
        slack = 0.1 * (self.high - self.low)
        return (position < self.low - slack) | (position > self.high + slack)

    @staticmethod
    def join(parts: list[JointLimits]) -> JointLimits:
        """The limits of several groups of joints, one after the other."""
        return JointLimits(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(JointLimits)})


# Franka's data sheets: Panda (now called FER) and Research 3.
_FER = JointLimits(
    low=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
    high=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
    velocity=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61]),
    acceleration=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]),
    jerk=np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0]),
)
_FR3 = replace(  # acceleration and jerk: the FER's, which the FR3 exceeds in no joint that is known to us
    _FER,
    low=np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159]),
    high=np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]),
    velocity=np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]),
)
PRESETS: dict[str, JointLimits] = {"panda": _FER, "fer": _FER, "fr3": _FR3}
"""Limits of arms by name, seven joints each."""


@dataclass(frozen=True)
class Motion:
    """Where a commanded motion is: position, velocity and acceleration, [n] each."""

    position: Array
    velocity: Array
    acceleration: Array

    @property
    def still(self) -> bool:
        """Whether it stands."""
        slow, steady = np.abs(self.velocity) < STILL, np.abs(self.acceleration) < STILL_ACCELERATION
        return bool((slow & steady).all())


class MotionLimiter:
    """A commanded motion of n joints that can always be stopped within its limits."""

    def __init__(self, limits: JointLimits, dt: float) -> None:
        self.limits, self.dt = limits, dt
        stop = limits.velocity / limits.acceleration + 2.0 * limits.acceleration / limits.jerk
        self._horizon = int(2.0 * float(stop.max()) / dt) + 20  # steps within which every joint can stop, and more
        self.low, self.high = limits.low, limits.high
        self.motion = Motion(*np.zeros((3, len(limits.low))))

    def reset(self, position: Array) -> None:
        """Begin at `position` [n], standing. Beyond a limit, that joint may stay or come back, but not go further."""
        position = np.array(position, np.float64)
        self.low, self.high = np.minimum(self.limits.low, position), np.maximum(self.limits.high, position)
        self.motion = Motion(position, *np.zeros((2, len(position))))

    def step(self, velocity: Array) -> Motion:
        """One step of `dt` towards a wanted velocity [n], as far as the limits allow; the new motion."""
        self.motion = self.preview(velocity)
        self.low = np.minimum(self.limits.low, np.maximum(self.low, self.motion.position))
        self.high = np.maximum(self.limits.high, np.minimum(self.high, self.motion.position))
        return self.motion

    def preview(self, velocity: Array) -> Motion:
        """What `step` would do."""
        wanted = np.clip(velocity, -self.limits.velocity, self.limits.velocity)
        braking = self._towards(np.zeros_like(wanted), self.motion)
        acceleration = self._towards(wanted, self.motion)
        if not (good := self._can_stop(acceleration)).all():
            tried = braking + STEPS_TRIED * (acceleration - braking)
            fine = self._can_stop(tried)
            first = tried[np.argmax(fine, axis=0), np.arange(len(wanted))]
            acceleration = np.where(good, acceleration, np.where(fine.any(axis=0), first, braking))
        return self._next(acceleration, self.motion)

    def follow(self, velocity: Array) -> Motion:
        """Take a step with that velocity whatever the limits say: for guards that only watch."""
        before = self.motion
        self.motion = Motion(before.position + velocity * self.dt, velocity, (velocity - before.velocity) / self.dt)
        return self.motion

    def correct(self, position: Array, share: float) -> None:
        """Move the position by a share of its distance to the measured one [n], where it can still be stopped there.

        For robots that take velocities: what they make of them drifts away from their sum.
        """
        before = self.motion
        self.motion = replace(before, position=before.position + share * (position - before.position))
        good = self._can_stop(self._towards(np.zeros_like(position), self.motion))
        self.motion = replace(before, position=np.where(good, self.motion.position, before.position))

    def stopping_point(self, motion: Motion) -> Array:
        """Where braking from `motion` ends, [n]."""
        for _ in range(self._horizon):
            if motion.still:
                break
            motion = self._next(self._towards(np.zeros_like(motion.velocity), motion), motion)
        return motion.position

    def _next(self, acceleration: Array, motion: Motion) -> Motion:
        velocity = motion.velocity + acceleration * self.dt
        return Motion(motion.position + velocity * self.dt, velocity, acceleration)

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

    def _can_stop(self, acceleration: Array) -> NDArray[np.bool_]:
        """Which joints can stop within their limits after a step with `acceleration` [..., n]."""
        motion = self._next(acceleration, self.motion)
        if (sure := self._surely_can_stop(motion)).all():
            return sure
        fine, fastest = np.ones(acceleration.shape, bool), self.limits.velocity
        zero = np.zeros(acceleration.shape)
        for _ in range(self._horizon):
            q, v = motion.position, motion.velocity
            fine &= (np.abs(v) <= fastest) & (q >= self.low) & (q <= self.high)
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
        return (peak <= limits.velocity) & (q - reach >= self.low) & (q + reach <= self.high)
