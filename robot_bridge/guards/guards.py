"""Guards: what stands between a policy's wish and a robot. Pure functions of arrays; time comes in with the state.

A wish is a velocity per joint (rad/s, m/s), or an effort per joint for robots that take no other. Each guard sees it
after the ones before it and judges it: how much of it may pass, how severe that is, and why.

    OK         nothing to object
    LIMITED    the command was made smaller
    HOLD       come to a halt; goes on by itself if the reason goes away within `hold_timeout`
    STOP       come to a halt and stay: a fault, until somebody enables again

A halt is a deceleration within all limits, never a jump: guards only change the wished velocity, and the last one,
`MotionGuard`, makes of it a motion that can always be stopped (see `robot_bridge.guards.motion`).

A class that derives from `Guard` is registered in `GUARDS`, in the order of this file, which is the order in which they
judge. The config's names of guards, the chain of a robot and the table in docs/deploy.md follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robot_bridge.guards.guard import GUARDS as GUARDS
from robot_bridge.guards.guard import Guard, Judgement, Level, Memory, RobotState, Setup
from robot_bridge.guards.kinematics import Kinematics
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.guards.settings import NoveltySettings


def _halt(command: Array, level: Level, reason: str, memory: Memory | None = None) -> Judgement:
    return Judgement(np.zeros_like(command), level, reason, memory)


class ConnectionGuard(Guard):
    """A robot that commands do not reach stops by itself, and must not go on by itself later."""

    name = "connection"
    sees = "the rosbridge is gone or has stopped answering"
    does = "STOP; what the arm does by itself depends on its controller"
    always_on = True

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        return Judgement(command) if state.connected else _halt(command, Level.STOP, "connection lost")


class ControllerGuard(Guard):
    """A controller that takes no goals does not move the arm, and must not begin to by surprise."""

    name = "controller"
    sees = "a `follow` goal was refused, aborted, never answered, or not answered yet"
    does = "HOLD, with the controller's words; no goal is sent any more"
    always_on = True

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        return _halt(command, Level.HOLD, state.controller) if state.controller else Judgement(command)


class DeadManGuard(Guard):
    """The operator lets go of the dead-man switch."""

    name = "dead_man"
    sees = "its switch is let go, its topic says something else, or is silent"
    does = "STOP"
    options = ("dead_man",)

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        return _halt(command, Level.STOP, state.dead_man) if state.dead_man else Judgement(command)


class InterlockGuard(Guard):
    """Something else in the cell does not allow motion: see `robot_bridge.node.interlocks`."""

    name = "interlock"
    sees = "an external stop, a protective stop, a mode, a controller that is not active; or nothing of one of them"
    does = "STOP"
    options = ("interlocks", "controllers")
    always_on = True

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        return _halt(command, Level.STOP, state.interlock) if state.interlock else Judgement(command)


class FiniteGuard(Guard):
    """A NaN or an infinity in what was measured, or in the command, which is refused."""

    name = "finite"
    sees = "NaN or infinity in measurement, observation or command"
    does = "HOLD; the command is refused"
    always_on = True

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        for what, values in (("observation", state.observation), ("position", state.position), ("command", command)):
            if not np.isfinite(values).all():
                where = int(np.argmin(np.isfinite(values)))
                return _halt(command, Level.HOLD, f"{what}[{where}] is {values[where]}")
        return Judgement(command)


class StaleGuard(Guard):
    """An input is older than it may be, or missing."""

    name = "stale"
    sees = "an input older than its `max_age`, delayed by its stamp, repeated or missing"
    does = "HOLD"
    options = ("inputs[].max_age", "inputs[].check_stamps")

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        if state.age <= state.max_age:
            return Judgement(command)
        how = f"{1000 * state.age:.0f} ms old (at most {1000 * state.max_age:.0f})"
        how = "missing" if np.isinf(state.age) else how
        why = f": {state.why}" if state.why else ""
        return _halt(command, Level.HOLD, f"{state.oldest or 'input'} is {how}{why}")


@dataclass(frozen=True)
class NoveltyGuard(Guard):
    """An observation is unlike the training data; slower, and where it is much unlike, not at all."""

    settings: NoveltySettings
    name = "novelty"
    sees = "for `patience`: score above `slow_above`, or numbers out of range by the data's width; above `hold_above`"
    does = "slower (`slow_to`); HOLD"
    options = ("guards.novelty",)

    @classmethod
    def of(cls, setup: Setup) -> Guard:
        return cls(setup.settings.novelty)

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        if not state.by_policy:
            return Judgement(command)
        s, now = self.settings, state.time
        alien = not state.novelty <= s.hold_above  # so that NaN holds
        novel = not state.novelty <= s.slow_above or bool(state.outside)
        memory = replace(
            memory,
            alien_since=_since(memory.alien_since, alien, now),
            novel_since=_since(memory.novel_since, novel, now),
        )
        named = f" ({', '.join(state.outside[:3])} out of the data's range)" if state.outside else ""
        reason = f"novelty {state.novelty:.1f}{named}"
        if memory.alien_since is not None and now - memory.alien_since >= s.patience:
            return _halt(command, Level.HOLD, reason, memory)
        if memory.novel_since is not None and now - memory.novel_since >= s.patience:
            return Judgement(command * s.slow_to, Level.LIMITED, reason, memory)
        return Judgement(command, memory=memory)


class PlanGuard(Guard):
    """After an interruption nothing moves before the policy was asked anew."""

    name = "plan"
    sees = "what was planned before a HOLD or a stop is out of date, and the policy was not asked since"
    does = "HOLD, until it was asked"
    always_on = True

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        waits = state.plan and state.by_policy
        return _halt(command, Level.HOLD, state.plan) if waits else Judgement(command)


def _since(before: float | None, is_so: bool, now: float) -> float | None:
    """When something began that is so, or None."""
    if not is_so:
        return None
    return now if before is None else before


@dataclass(frozen=True)
class SpeedGuard(Guard):
    """The policy's speeds times `share`: low for a bring-up. Silent, because it is no event."""

    share: float = 1.0
    name = "speed"
    sees = "everything that the policy wants"
    does = "all speeds times `speed`"
    options = ("guards.speed",)

    @classmethod
    def of(cls, setup: Setup) -> Guard:
        return cls(setup.settings.speed)

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        return Judgement(command * self.share if state.by_policy else command)


@dataclass(frozen=True)
class LeadGuard(Guard):
    """Keeps the commanded position near the measured one: a blocked arm must not be pulled at harder and harder.

    Per joint, no velocity that would lead by more than `max_lead` rad (m); STOP at `stop_at` times that.
    """

    limiter: MotionLimiter
    max_lead: Array | float = 0.1
    stop_at: float = 2.0
    name = "lead"
    sees = "commanded and measured position drift apart by `max_lead`; by twice that"
    does = "no further; STOP"
    options = ("guards.max_lead",)

    @classmethod
    def of(cls, setup: Setup) -> Guard | None:
        if setup.limiter is None:
            return None
        limits, lead = setup.limiter.limits, setup.settings.max_lead
        most = np.minimum(0.1 if lead is None else lead, 0.5 * (limits.high - limits.low))
        return cls(setup.limiter, np.where(limits.bounded, most, np.inf))

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        assert memory.motion is not None
        # What is not finite is the finite guard's business.
        lead = np.nan_to_num(memory.motion.position - state.position, posinf=1e9, neginf=-1e9)
        allowed = np.broadcast_to(np.asarray(self.max_lead, np.float64), lead.shape)
        worst = int(np.argmax(np.abs(lead) / allowed))
        if abs(lead[worst]) > self.stop_at * allowed[worst]:
            reason = f"joint {worst} is {lead[worst]:+.3f} from its command: it does not follow"
            return _halt(command, Level.STOP, reason)
        clipped = np.clip(command, -self._speed(allowed + lead), self._speed(allowed - lead))
        if (clipped == command).all():
            return Judgement(command)
        return Judgement(clipped, Level.LIMITED, f"joint {worst} lags {abs(lead[worst]):.3f} behind")

    def _speed(self, room: Array) -> Array:
        """From which speed a joint can stop within `room`, with a tenth to spare."""
        room = np.maximum(0.0, room)
        return np.minimum(room / self.limiter.dt, 0.9 * np.sqrt(2.0 * self.limiter.limits.acceleration * room))


@dataclass(frozen=True)
class WorkspaceGuard(Guard):
    """Keeps points of the arm within a box: neither the next position nor the place where it could stop lie outside.

    Where the arm is outside already, only motions that lead back are let through.

    Attributes:
        points: joint positions [n] -> points [k, 3], in metres (see `robot_bridge.guards.kinematics`).
        low, high: corners of the box, [3].
    """

    limiter: MotionLimiter
    points: Callable[[Array], Array]
    low: Array
    high: Array
    name = "workspace"
    sees = "a point of the arm (MuJoCo model or URDF) would leave the box, now or while stopping"
    does = "slower, or no further"
    options = ("workspace",)

    @classmethod
    def of(cls, setup: Setup) -> Guard | None:
        box = setup.workspace
        if box is None or setup.limiter is None:
            return None
        points = Kinematics(box.model, box.joints, box.points)
        return cls(setup.limiter, points, np.array(box.low), np.array(box.high))

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        assert memory.motion is not None
        now = self._outside(memory.motion.position)
        for share in (1.0, 0.5, 0.25, 0.0):
            motion = self.limiter.step(memory.motion, share * command)
            end = [motion, *self.limiter.brake(motion)][-1].position
            path = (motion.position, (motion.position + end) / 2.0, end)
            if max(map(self._outside, path)) <= now:
                if share == 1.0:
                    return Judgement(command)
                return Judgement(share * command, Level.LIMITED, "at the edge of the workspace")
        return Judgement(np.zeros_like(command), Level.LIMITED, "at the edge of the workspace")

    def _outside(self, position: Array) -> float:
        """How far the outermost point lies outside of the box, m; 0 inside."""
        points = self.points(position)
        return max(0.0, float(np.max([self.low - points, points - self.high])))


@dataclass(frozen=True)
class MotionGuard(Guard):
    """Position, velocity, acceleration and jerk of every joint; the last guard. See `robot_bridge.guards.motion`.

    With `monitor`, what is remembered is the command as it came.
    """

    limiter: MotionLimiter
    joints: Sequence[str]
    monitor: bool = False
    name = "motion"
    sees = "limits of position, velocity, acceleration, jerk, with margin and share"
    does = "a motion that can always be stopped within them"
    options = ("limits",)

    @classmethod
    def of(cls, setup: Setup) -> Guard | None:
        if setup.limiter is None:
            return None
        return cls(setup.limiter, setup.joints, setup.settings.modes.get(cls.name) == "monitor")

    def judge(self, command: Array, state: RobotState, memory: Memory) -> Judgement:
        assert memory.motion is not None
        motion = self.limiter.step(memory.motion, command)
        after = self.limiter.follow(memory.motion, command) if self.monitor else motion
        remembered = replace(memory, motion=after)
        if len(changed := np.flatnonzero(np.abs(motion.velocity - command) > 1e-9)):
            names = ", ".join(self.joints[i] for i in changed[:3])
            return Judgement(motion.velocity, Level.LIMITED, f"limits of {names}", remembered)
        return Judgement(motion.velocity, memory=remembered)
