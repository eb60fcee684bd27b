"""What a guard knows, what it is made of, and what it answers. `robot_bridge.guards.guards` has them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import Motion, MotionLimiter
from robot_bridge.guards.settings import GuardSettings, Workspace


class Level(IntEnum):
    """How severe a judgement is."""

    OK = 0
    LIMITED = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class RobotState:
    """What the guards know at one moment.

    Attributes:
        time: s, monotonic.
        position: measured, [n]; NaN where not measured.
        age, max_age: s since the most overdue input was received, infinite if it never was; and how old it may be.
        oldest: its name, and `why` it is old, where that is known.
        observation: what the policy saw, [obs].
        novelty: the largest novelty score, in units of its threshold; outside: names of numbers out of range.
        connected: whether commands can reach the robot.
        dead_man: None where there is none, else why it is not held; empty if it is.
        interlock: what an interlock objects to; empty if nothing.
        controller: what a controller objects to; empty if nothing.
        by_policy: whether the policy moves it, and not the way to its start pose.
        plan: why nothing is planned that might be executed; empty if something is.
    """

    time: float
    position: Array
    age: float = 0.0
    max_age: float = 0.1
    oldest: str = ""
    why: str = ""
    observation: Array = field(default_factory=lambda: np.zeros(0))
    novelty: float = 0.0
    outside: Sequence[str] = ()
    connected: bool = True
    dead_man: str | None = None
    interlock: str = ""
    controller: str = ""
    by_policy: bool = True
    plan: str = ""


@dataclass(frozen=True)
class Memory:
    """What one decision leaves to the next.

    Attributes:
        motion: the commanded motion; None for robots that take efforts.
        held_since, novel_since, alien_since: when a hold began, and novelty above its two thresholds; s.
    """

    motion: Motion | None = None
    held_since: float | None = None
    novel_since: float | None = None
    alien_since: float | None = None


@dataclass(frozen=True)
class Judgement:
    """A guard's: the command [n] as far as it may pass, and what is to be remembered (None: as before)."""

    command: Array
    level: Level = Level.OK
    reason: str = ""
    memory: Memory | None = None


@dataclass(frozen=True)
class Setup:
    """What guards are made of: the robot's joints, the limiter (None for efforts) and the settings."""

    joints: tuple[str, ...]
    limiter: MotionLimiter | None
    settings: GuardSettings
    workspace: Workspace | None = None


class Guard(ABC):
    """One guard. `sees` and `does` are told in the docs; `options` name what can be set of it in a robot config."""

    name: ClassVar[str]
    sees: ClassVar[str]
    does: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    always_on: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        GUARDS[cls.name] = cls

    @classmethod
    def of(cls, setup: Setup) -> Guard | None:
        """The guard of a robot; None where it has nothing to guard."""
        return cls()

    @abstractmethod
    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        """Judge a command [n]."""


GUARDS: dict[str, type[Guard]] = {}
"""All guards by name, in the order in which they judge."""
