"""What can be set of the guards: the section `guards:` of a robot config, and `workspace:`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from robot_bridge.bounds import between

Mode = Literal["enforce", "monitor", "off"]
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class NoveltySettings:
    """Of the novelty guard.

    Attributes:
        slow_above, hold_above: novelty in units of the bundle's threshold.
        slow_to: share of the speed that is left.
        patience: s that it must last; a single odd reading does nothing.
    """

    slow_above: Annotated[float, between(0.0, 1000.0)] = 1.0
    hold_above: Annotated[float, between(0.0, 1000.0)] = 3.0
    slow_to: Annotated[float, between(0.0, 1.0)] = 0.3
    patience: Annotated[float, between(0.0, 5.0)] = 0.2


@dataclass(frozen=True, config=STRICT)
class GuardSettings:
    """Of all guards.

    Attributes:
        speed: share of the policy's speed.
        max_lead: rad (m) that the commanded position may lead the measured one; None: 0.1, or the limits' margin where
            that is more.
        hold_timeout: s until a hold becomes a fault.
        modes: by guard; "enforce" where nothing is said.
    """

    speed: Annotated[float, between(0.0, 1.0)] = 1.0
    max_lead: Annotated[float, between(1e-6, 10.0)] | None = None
    hold_timeout: Annotated[float, between(0.0, 10.0)] = 0.5
    novelty: NoveltySettings = field(default_factory=NoveltySettings)
    modes: dict[str, Mode] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Workspace:
    """A box that points of the arm stay in; `joints` are the model's names in the order of the robot's."""

    model: Path
    joints: tuple[str, ...]
    points: tuple[str, ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
