"""Guards: what stands between a policy's wish and a robot. Pure NumPy; time comes in with the state.

A wish is a velocity per joint (rad/s, m/s), or an effort per joint for robots that take no other. Each guard sees it
after the ones before it: `apply(command, state) -> command, verdict`. What a verdict can say:

    OK         nothing to object
    LIMITED    the command was made smaller
    HOLD       come to a halt; goes on by itself if the reason goes away within `hold_timeout`
    STOP       come to a halt and stay: a fault, until somebody enables again

A halt is a deceleration within all limits, never a jump: guards only change the wished velocity, and the last one,
`MotionGuard`, makes of it a motion that can always be stopped (see `robot_bridge.node.limits`).

Each guard's `mode` is "enforce" (the default), "monitor" (it says what it would do, and does nothing) or "off".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

import numpy as np

from robot_bridge.node.limits import Array, Motion, MotionLimiter

Mode = Literal["enforce", "monitor", "off"]


class Level(IntEnum):
    """How severe a verdict is."""

    OK = 0
    LIMITED = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class Verdict:
    """What a guard says; `monitored` if it was not enforced."""

    guard: str
    level: Level
    reason: str = ""
    monitored: bool = False


@dataclass(frozen=True)
class RobotState:
    """What the guards know at one moment.

    Attributes:
        time: s, monotonic.
        position: measured, [n]; NaN where not measured.
        age, max_age: s since the most overdue input was received, infinite if it never was; and how old it may be.
        oldest: its name.
        observation: what the policy saw, [obs].
        novelty: the largest novelty score, in units of its threshold; outside: names of numbers out of range.
        connected: whether commands can reach the robot.
        dead_man: None where there is none, else whether it is held.
    """

    time: float
    position: Array
    age: float = 0.0
    max_age: float = 0.1
    oldest: str = ""
    observation: Array = field(default_factory=lambda: np.zeros(0))
    novelty: float = 0.0
    outside: Sequence[str] = ()
    connected: bool = True
    dead_man: bool | None = None


class Guard(Protocol):
    """One guard."""

    name: str

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        """The command [n] as far as this guard lets it pass, and why."""


class ConnectionGuard:
    """STOP when commands do not reach the robot: it stops by itself then, and must not go on by itself later."""

    name = "connection"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        if state.connected:
            return command, Verdict(self.name, Level.OK)
        return np.zeros_like(command), Verdict(self.name, Level.STOP, "connection lost")


class DeadManGuard:
    """STOP when the operator lets go of the dead-man switch."""

    name = "dead_man"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        if state.dead_man is not False:
            return command, Verdict(self.name, Level.OK)
        return np.zeros_like(command), Verdict(
            self.name, Level.STOP, "dead-man switch released, or its topic is silent"
        )


class StaleGuard:
    """HOLD when an input is older than it may be, or missing."""

    name = "stale"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        if state.age <= state.max_age:
            return command, Verdict(self.name, Level.OK)
        how = (
            "missing" if np.isinf(state.age) else f"{1000 * state.age:.0f} ms old (at most {1000 * state.max_age:.0f})"
        )
        return np.zeros_like(command), Verdict(self.name, Level.HOLD, f"{state.oldest or 'input'} is {how}")


class FiniteGuard:
    """HOLD on a NaN or an infinity, in what was measured or in the command; the command itself is refused."""

    name = "finite"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        for what, values in (("observation", state.observation), ("position", state.position), ("command", command)):
            if not np.isfinite(values).all():
                where = int(np.argmin(np.isfinite(values)))
                return np.zeros_like(command), Verdict(self.name, Level.HOLD, f"{what}[{where}] is {values[where]}")
        return command, Verdict(self.name, Level.OK)


@dataclass
class NoveltyGuard:
    """Slower where an observation is unlike the training data, HOLD where it is much more so.

    Attributes:
        slow_above, hold_above: novelty in units of the bundle's threshold.
        slow_to: share of the speed that is left.
        patience: s that it must last; a single odd reading does nothing.
    """

    slow_above: float = 1.0
    hold_above: float = 3.0
    slow_to: float = 0.3
    patience: float = 0.2
    name = "novelty"
    _since: dict[Level, float] = field(default_factory=dict, repr=False)

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        named = f" ({', '.join(state.outside[:3])} out of the data's range)" if state.outside else ""
        reason = f"novelty {state.novelty:.1f}{named}"
        if self._lasts(Level.HOLD, not state.novelty <= self.hold_above, state.time):  # so that NaN holds
            return np.zeros_like(command), Verdict(self.name, Level.HOLD, reason)
        if self._lasts(Level.LIMITED, not state.novelty <= self.slow_above or bool(state.outside), state.time):
            return command * self.slow_to, Verdict(self.name, Level.LIMITED, reason)
        return command, Verdict(self.name, Level.OK)

    def _lasts(self, level: Level, novel: bool, time: float) -> bool:
        if not novel:
            self._since.pop(level, None)
            return False
        return time - self._since.setdefault(level, time) >= self.patience


@dataclass
class SpeedGuard:
    """All speeds times `share`: low for a bring-up. Silent, because it is no event."""

    share: float = 1.0
    name = "speed"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        return command * self.share, Verdict(self.name, Level.OK)


@dataclass
class LeadGuard:
    """Keeps the commanded position near the measured one: a blocked arm must not be pulled at harder and harder.

    Per joint, no velocity that would lead by more than `max_lead` rad (m); STOP at `stop_at` times that.
    """

    limiter: MotionLimiter
    max_lead: Array | float = 0.1
    stop_at: float = 2.0
    name = "lead"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        lead = np.nan_to_num(self.limiter.motion.position - state.position)  # a NaN is the finite guard's business
        allowed = np.broadcast_to(np.asarray(self.max_lead, np.float64), lead.shape)
        worst = int(np.argmax(np.abs(lead) / allowed))
        if abs(lead[worst]) > self.stop_at * allowed[worst]:
            reason = f"joint {worst} is {lead[worst]:+.3f} from its command: it does not follow"
            return np.zeros_like(command), Verdict(self.name, Level.STOP, reason)
        clipped = np.clip(command, -self._speed(allowed + lead), self._speed(allowed - lead))
        if (clipped == command).all():
            return command, Verdict(self.name, Level.OK)
        return clipped, Verdict(self.name, Level.LIMITED, f"joint {worst} lags {abs(lead[worst]):.3f} behind")

    def _speed(self, room: Array) -> Array:
        """From which speed a joint can stop within `room`, with a tenth to spare."""
        room = np.maximum(0.0, room)
        return np.minimum(room / self.limiter.dt, 0.9 * np.sqrt(2.0 * self.limiter.limits.acceleration * room))


@dataclass
class WorkspaceGuard:
    """Keeps points of the arm within a box: neither the next position nor the place where it could stop lie outside.

    Where the arm is outside already, only motions that lead back are let through.

    Attributes:
        points: joint positions [n] -> points [k, 3], in metres (see `robot_bridge.robot.kinematics`).
        low, high: corners of the box, [3].
    """

    limiter: MotionLimiter
    points: Callable[[Array], Array]
    low: Array
    high: Array
    name = "workspace"

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        now = self._outside(self.limiter.motion.position)
        for share in (1.0, 0.5, 0.25, 0.0):
            motion = self.limiter.preview(share * command)
            end = self.limiter.stopping_point(motion)
            path = (motion.position, (motion.position + end) / 2.0, end)
            if max(map(self._outside, path)) <= now:
                if share == 1.0:
                    return command, Verdict(self.name, Level.OK)
                return share * command, Verdict(self.name, Level.LIMITED, "at the edge of the workspace")
        return np.zeros_like(command), Verdict(self.name, Level.LIMITED, "at the edge of the workspace")

    def _outside(self, position: Array) -> float:
        """How far the outermost point lies outside of the box, m; 0 inside."""
        points = self.points(position)
        return max(0.0, float(np.max([self.low - points, points - self.high])))


class MotionGuard:
    """Position, velocity, acceleration and jerk of every joint; the last guard. See `robot_bridge.node.limits`."""

    name = "motion"

    def __init__(self, limiter: MotionLimiter, names: Sequence[str], monitor: bool = False) -> None:
        self.limiter, self.names, self._monitor = limiter, names, monitor

    def apply(self, command: Array, state: RobotState) -> tuple[Array, Verdict]:
        motion = self.limiter.preview(command) if self._monitor else self.limiter.step(command)
        if self._monitor:
            self.limiter.follow(command)
        if len(changed := np.flatnonzero(np.abs(motion.velocity - command) > 1e-9)):
            names = ", ".join(self.names[i] for i in changed[:3])
            return motion.velocity, Verdict(self.name, Level.LIMITED, f"limits of {names}")
        return motion.velocity, Verdict(self.name, Level.OK)


@dataclass(frozen=True)
class Outcome:
    """What is to be sent: `command` [n], with the motion it belongs to (None for efforts), and all verdicts."""

    command: Array
    motion: Motion | None
    level: Level
    verdicts: tuple[Verdict, ...]

    @property
    def reason(self) -> str:
        """The most severe verdict in words."""
        worst = max((v for v in self.verdicts if not v.monitored), key=lambda v: v.level, default=None)
        return f"{worst.guard}: {worst.reason}" if worst and worst.level > Level.OK else ""


def _level(verdicts: Sequence[Verdict]) -> Level:
    return max((v.level for v in verdicts if not v.monitored), default=Level.OK)


class Chain:
    """All guards of a robot, in order, with the memory of a fault.

    After a STOP every command is zero until `enable`. A HOLD that lasts for `hold_timeout` seconds becomes a STOP.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        limiter: MotionLimiter | None,
        *,
        modes: dict[str, Mode] | None = None,
        hold_timeout: float = 0.5,
    ) -> None:
        """`limiter`: that of the guards; None for efforts, which then are simply zero in a halt."""
        self.modes = modes or {}
        self.guards = [guard for guard in guards if self._mode(guard) != "off"]
        self.limiter, self.hold_timeout = limiter, hold_timeout
        self.fault: Verdict | None = Verdict("chain", Level.STOP, "not enabled yet")
        self._held_since: float | None = None

    def _mode(self, guard: Guard) -> Mode:
        return self.modes.get(guard.name, "enforce")

    def enable(self, position: Array) -> None:
        """Forget the fault and begin at the measured position [n], standing."""
        self.fault, self._held_since = None, None
        if self.limiter is not None:
            self.limiter.reset(position)

    def stop(self, reason: str, guard: str = "operator") -> None:
        """Latch a fault from outside: emergency stop, disable, shut-down. The first one stays."""
        self.fault = self.fault or Verdict(guard, Level.STOP, reason)

    @property
    def still(self) -> bool:
        """Whether the commanded motion stands."""
        return self.limiter is None or self.limiter.motion.still

    def apply(self, command: Array, state: RobotState) -> Outcome:
        """The command [n] that may be sent."""
        verdicts: list[Verdict] = []
        if self.fault is not None:
            verdicts.append(self.fault)
            command = np.zeros_like(command)
        for guard in self.guards:
            if isinstance(guard, MotionGuard) and _level(verdicts) >= Level.HOLD:
                command = np.zeros_like(command)  # whatever the guards in between made of it
            passed, verdict = guard.apply(command, state)
            if self._mode(guard) == "monitor":
                verdict = Verdict(verdict.guard, verdict.level, verdict.reason, monitored=True)
            else:
                command = passed
            verdicts.append(verdict)
        level = _level(verdicts)
        if level == Level.HOLD:
            self._held_since = state.time if self._held_since is None else self._held_since
            if state.time - self._held_since >= self.hold_timeout:
                worst = max((v for v in verdicts if not v.monitored), key=lambda v: v.level)
                self.fault = Verdict(worst.guard, Level.STOP, f"{worst.reason}, for {self.hold_timeout:g} s")
        elif level < Level.HOLD:
            self._held_since = None
        if level == Level.STOP and self.fault is None:
            self.fault = next(v for v in verdicts if v.level == Level.STOP and not v.monitored)
        if self.limiter is None and level >= Level.HOLD:
            command = np.zeros_like(command)
        return Outcome(command, self.limiter.motion if self.limiter else None, level, tuple(verdicts))
