"""Limits of joints, and those of arms that many have."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointLimits:
    """Limits of n joints, arrays [n]: positions in rad (or m), the others per s, s² and s³, positive.

    Positions of a joint whose limits are infinite are neither measured nor bounded: an axis of a mobile base.
    """

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

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """Which joints have limits of position."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    @property
    def stopping_time(self) -> Array:
        """Longest time [n] in which each joint comes to a stand from its full speed, s."""
        return self.velocity / self.acceleration + 2.0 * self.acceleration / self.jerk

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
