"""The decision of one moment: what a policy wants, what is known and what was decided before -> what is commanded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robot_bridge.guards.guard import Guard, Level, Memory, RobotState, Setup
from robot_bridge.guards.guards import GUARDS, MotionGuard, PlanGuard
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.guards.settings import Mode


@dataclass(frozen=True)
class Verdict:
    """What a guard says; `monitored` if it was not enforced."""

    guard: str
    level: Level
    reason: str = ""
    monitored: bool = False

    def __str__(self) -> str:
        return f"{self.guard}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """What is decided.

    Attributes:
        command: to be sent, [n]: velocities, or efforts.
        memory: for the next decision; with the motion that the command belongs to (None for efforts).
        level: the most severe of the verdicts that were enforced.
        verdicts: of all guards, in order; before them the halt that was asked for.
        fault: the verdict that makes an active robot stop until it is enabled again, or None.
    """

    command: Array
    memory: Memory
    level: Level
    verdicts: tuple[Verdict, ...]
    fault: Verdict | None = None

    @property
    def reason(self) -> str:
        """The most severe verdict in words."""
        worst = _worst(self.verdicts)
        return str(worst) if worst and worst.level > Level.OK else ""

    @property
    def interrupts(self) -> bool:
        """Whether something else than the lack of a plan keeps the robot from doing what is planned."""
        halts = (v for v in self.verdicts if v.level >= Level.HOLD and not v.monitored)
        return any(verdict.guard != PlanGuard.name for verdict in halts)


@dataclass(frozen=True)
class Chain:
    """All guards of a robot, in order.

    Attributes:
        limiter: that of the guards; None for efforts, which then are simply zero in a halt.
        modes: by guard: "enforce" (the default), "monitor" (it says what it would do, and does nothing) or "off".
        hold_timeout: s after which a HOLD becomes a fault.
    """

    guards: tuple[Guard, ...]
    limiter: MotionLimiter | None
    modes: dict[str, Mode]
    hold_timeout: float

    @staticmethod
    def of(setup: Setup) -> Chain:
        """The guards as the settings say.

        Raises:
            UserError: a workspace's model cannot be read.
        """
        modes, timeout = setup.settings.modes, setup.settings.hold_timeout
        wanted = [kind for name, kind in GUARDS.items() if modes.get(name) != "off"]
        made = [kind.of(setup) for kind in wanted]
        return Chain(tuple(guard for guard in made if guard is not None), setup.limiter, modes, timeout)

    def begin(self, position: Array) -> Memory:
        """The memory of a robot that stands at `position` [n]."""
        return Memory() if self.limiter is None else Memory(self.limiter.begin(position))


def decide(chain: Chain, wish: Array, state: RobotState, memory: Memory, halt: Verdict | None = None) -> Outcome:
    """What may be commanded now. A pure function.

    Args:
        chain: the guards.
        wish: what the policy wants, [n]: velocities in rad/s or m/s, or efforts.
        state: what is known now.
        memory: of the decision before, or `Chain.begin`.
        halt: why the robot is to come to a stand, or to stay at it, whatever the guards say.
    """
    verdicts = [] if halt is None else [halt]
    command = wish if halt is None else np.zeros_like(wish)
    for guard in chain.guards:
        if isinstance(guard, MotionGuard) and _level(verdicts) >= Level.HOLD:
            command = np.zeros_like(command)  # whatever the guards in between made of it
        judgement = guard.judge(command, state, memory)
        monitored = chain.modes.get(guard.name) == "monitor"
        verdicts.append(Verdict(guard.name, judgement.level, judgement.reason, monitored))
        command = command if monitored else judgement.command
        memory = memory if judgement.memory is None else judgement.memory
    level, worst = _level(verdicts), _worst(verdicts)
    fault = next((v for v in verdicts if v.level == Level.STOP and not v.monitored), None)
    if level < Level.HOLD:
        memory = replace(memory, held_since=None)
    elif level == Level.HOLD:
        since = state.time if memory.held_since is None else memory.held_since
        memory = replace(memory, held_since=since)
        if worst is not None and state.time - since >= chain.hold_timeout:
            fault = Verdict(worst.guard, Level.STOP, f"{worst.reason}, for {chain.hold_timeout:g} s")
    if chain.limiter is None and level >= Level.HOLD:
        command = np.zeros_like(command)
    return Outcome(command, memory, level, tuple(verdicts), fault)


def _level(verdicts: list[Verdict]) -> Level:
    return max((v.level for v in verdicts if not v.monitored), default=Level.OK)


def _worst(verdicts: list[Verdict] | tuple[Verdict, ...]) -> Verdict | None:
    return max((v for v in verdicts if not v.monitored), key=lambda v: v.level, default=None)
