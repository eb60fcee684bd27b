"""Units of a topic: what it says of a joint, and the SI value that is meant.

Policies, limits and guards know SI units, the sign and the zero of the training data, and the policy's names. Topics
may say the same otherwise. It is converted once each way: where a message is read, and where one is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from robot_bridge.bounds import between
from robot_bridge.guards.limits import Array
from robot_bridge.guards.settings import STRICT


def _not_zero(scale: float) -> float:
    if scale == 0.0:
        raise PydanticCustomError("told", "0, expected another number")
    return scale


@dataclass(frozen=True, config=STRICT)
class Unit:
    """A topic says `scale` times the value, plus `offset`. A negative scale turns the sign."""

    scale: Annotated[float, between(-1e9, 1e9), AfterValidator(_not_zero)] = 1.0
    offset: Annotated[float, between(-1e9, 1e9)] = 0.0

    def said(self, value: float) -> float:
        """What the topic says for a value."""
        return self.scale * value + self.offset


QUANTITIES = ("position", "velocity", "effort")
Units = dict[str, Unit]
"""By joint: for its positions, without the offset for its velocities, and the sign alone for its efforts. By
`<joint>/<quantity>`: for these numbers, as it stands."""

SI = Unit()


def unit_of(name: str, *units: Units) -> Unit:
    """The unit of `<joint>/<quantity>` (position, velocity, effort): the first of several `units` that know it."""
    joint, _, quantity = name.rpartition("/")
    for known in units:
        if (unit := known.get(name)) is not None:
            return unit
        if (unit := known.get(joint)) is not None:
            factors = {"velocity": unit.scale, "effort": math.copysign(1.0, unit.scale)}
            return Unit(factors[quantity]) if quantity in factors else unit
    return SI


class Conversion:
    """Of k numbers that a topic says at once."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._scale = np.array([unit.scale for unit in units])
        self._offset = np.array([unit.offset for unit in units])

    def said(self, values: Array) -> Array:
        """What the topic says for values [..., k]."""
        return self._scale * values + self._offset

    def meant(self, said: Array) -> Array:
        """The values [..., k] that the topic means."""
        return (said - self._offset) / self._scale
