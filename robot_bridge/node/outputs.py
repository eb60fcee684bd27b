"""Outputs: a guarded command as messages, and what makes sure that a part of the robot stands, kind by kind.

What stops a part of the robot when this process, or its connection, is gone (`Sender.alone`) is told at start-up.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.guards import Level
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import Motion, MotionLimiter
from robot_bridge.robot.robot import OUTPUT_TYPES, Output, Robot
from robot_bridge.transport import Closable, GoalStatus, Message, Transport

SIGN_WITHIN = 1.0  # s within which a controller gives a sign of a goal that it took: feedback or a result
GRIPPER_EVERY = 0.25  # s between goals of a gripper, at least
GRIPPER_STEP = 0.02  # of its range by which it is to move for another goal
GRIPPER_WITHIN = 10.0  # s in which a goal of a gripper is to be over
SPARE = 2.0  # s that a goal may take longer than its trajectory


def time_message(seconds: float) -> dict[str, int]:
    """A builtin_interfaces Time or Duration."""
    nanoseconds = round(seconds * 1e9)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


def plan(limiter: MotionLimiter, motion: Motion, command: Array, steps: int) -> list[Motion]:
    """Motions, one every `dt`, from `motion` on: `steps` in all with the command [n], then braking to a stand."""
    motions = [motion]
    for _ in range(steps - 1):
        motions.append(limiter.step(motions[-1], command))
    zero = np.zeros_like(command)
    while not motions[-1].still:
        motions.append(limiter.step(motions[-1], zero))
    return motions


class Sender:
    """Sends the commands of one output."""

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        self.output, self.type = output, OUTPUT_TYPES[output.kind]
        self.transport, self.limiter = transport, limiter
        joints = list(robot.joints)
        self.index = np.array([joints.index(name) for name in output.joints])
        self.names = [robot.joints[name] for name in output.joints]
        self._advertised: Closable | None = None

    @property
    def ends_after(self) -> float:
        """s for which a command that was sent goes on moving the robot, before it brakes."""
        return 0.0

    @property
    def alone(self) -> str:
        """What stops this part of the robot when nothing more is sent, and which setting of whom that depends on."""
        raise NotImplementedError

    @property
    def listens_to(self) -> str | None:
        """The topic on which another controller's commands can be heard, to compare with."""
        return self.output.topic

    def open(self) -> None:
        """Declare what is published."""
        self._advertised = self.transport.advertise(self.output.topic, self.type)

    def close(self) -> None:
        """Undo `open`."""
        if self._advertised is not None:
            self._advertised.close()

    def begin(self) -> None:
        """The robot is enabled."""

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        """Send a command now or never; False if it was dropped. `stamp`: the robot's clock, s, or 0."""
        raise NotImplementedError

    def halt(self) -> bool:
        """Make sure that this part of the robot stands, without a plan; False if that could not be said."""
        return True

    def stand(self) -> None:
        """The robot stands: nothing that was sent before may go on."""

    def objection(self, now: float) -> str:
        """What the controller has against what was sent; empty if nothing."""
        return ""

    @property
    def waits(self) -> str:
        """What the controller has to say before the motion may go on; empty if nothing."""
        return ""

    def commanded(self, outcome: Outcome) -> Array:
        """What is commanded of its joints, in the quantity that `heard` tells."""
        raise NotImplementedError

    def heard(self, message: Message, elapsed: float) -> Array | None:
        """What another controller's message commands `elapsed` s after it came, or None if nothing."""
        raise NotImplementedError


class ArraySender(Sender):
    """A number per joint in a Float64MultiArray: velocities, efforts or positions. It carries no stamp."""

    @property
    def alone(self) -> str:
        topic, kind = self.output.topic, self.output.kind
        if kind == "position":
            return f"{topic}: its controller holds the last position; the arm stops with a jolt, as its driver allows"
        return (
            f"{topic}: the arm goes on with its last {kind} until the command time-out of the controller or the driver "
            f"behind {topic} zeroes it. ros2_control's group controllers have none: see that the driver has"
        )

    def commanded(self, outcome: Outcome) -> Array:
        motion = outcome.memory.motion
        if self.output.kind == "position" and motion is not None:
            return motion.position[self.index]
        return outcome.command[self.index]

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        return self.transport.publish(self.output.topic, {"data": self.commanded(outcome).tolist()})

    def halt(self) -> bool:
        if self.output.kind == "position":  # it holds its last one by itself, and an older one must not be said again
            return True
        return self.transport.publish(self.output.topic, {"data": [0.0] * len(self.names)})

    def heard(self, message: Message, elapsed: float) -> Array | None:
        values = np.array(message["data"], np.float64)
        return values if values.shape == self.index.shape else None


class TrajectorySender(Sender):
    """A JointTrajectory on a topic: a horizon ahead, then braking. It ends standing: nothing need be said to stop."""

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        super().__init__(output, robot, limiter, transport)
        if limiter is None:
            raise ValueError(f"{output.topic}: trajectories need limits")
        self.rules, self.steps = limiter, output.steps(robot.rate)

    @property
    def ends_after(self) -> float:
        return self.steps * self.rules.dt

    @property
    def alone(self) -> str:
        within = self.ends_after + float(self.rules.limits.stopping_time.max())
        return f"{self.output.topic}: the arm stands within {within:.2f} s, where its last trajectory ends"

    def message(self, outcome: Outcome, stamp: float) -> Message:
        """A JointTrajectory. With a stamp, a controller refuses it once its end is past: it cannot act late."""
        assert outcome.memory.motion is not None
        steps = 1 if outcome.level >= Level.HOLD else self.steps  # a halt brakes now, not a horizon ahead
        motions = plan(self.rules, outcome.memory.motion, outcome.command, steps)
        points = [
            {
                "positions": motion.position[self.index].tolist(),
                "velocities": motion.velocity[self.index].tolist(),
                "time_from_start": time_message((k + 1) * self.rules.dt),
            }
            for k, motion in enumerate(motions)
        ]
        points[-1]["velocities"] = [0.0] * len(self.names)
        return {"header": {"stamp": time_message(stamp)}, "joint_names": self.names, "points": points}

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        return self.transport.publish(self.output.topic, self.message(outcome, stamp))

    def commanded(self, outcome: Outcome) -> Array:
        assert outcome.memory.motion is not None
        return outcome.memory.motion.position[self.index]

    def heard(self, message: Message, elapsed: float) -> Array | None:
        if not message["points"]:
            return None
        order = [message["joint_names"].index(name) for name in self.names]
        times = [p["time_from_start"]["sec"] + 1e-9 * p["time_from_start"]["nanosec"] for p in message["points"]]
        positions = np.array([point["positions"] for point in message["points"]], np.float64)[:, order]
        return np.array([np.interp(elapsed, times, column) for column in positions.T])


@dataclass(eq=False)
class _Goal:
    sent: float
    epoch: int
    id: str = ""
    over: bool = False


class FollowSender(TrajectorySender):
    """FollowJointTrajectory goals: one every half horizon, and at once when the robot is to come to a halt.

    Of a goal that is refused behind a rosbridge nothing is ever heard, and it costs the rosbridge a thread. So the
    second goal waits for a sign of the first (feedback, or a result), and every later one for a sign of the one before
    the last; and so does the motion, else far ahead of the arm. A controller that aborts, refuses or
    is silent gets no more goals until the robot is enabled again.
    """

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        super().__init__(output, robot, limiter, transport)
        self._every = max(1, self.steps // 2)
        self._lock = threading.Lock()  # results come by the transport's thread
        self._epoch = 0  # goals of before the last enabling mean nothing any more
        self.begin()

    @property
    def alone(self) -> str:
        return (
            f"{super().alone}; over a rosbridge_server, stopping sooner needs its parameter "
            "send_action_goals_in_new_thread: true"
        )

    @property
    def listens_to(self) -> str | None:
        return None  # goals of an action go from client to server only

    def open(self) -> None:
        """Goals need no declaration."""

    def begin(self) -> None:
        with self._lock:
            self._epoch += 1
            self._tick, self._halting, self._objection = 0, False, ""
            self._latest: _Goal | None = None
            self._silent: list[_Goal] = []  # sent, and no sign yet
            self._answered = False

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        due = self._tick % self._every == 0
        self._tick += 1
        with self._lock:
            waits = self._waits()
            halting, self._halting = self._halting, outcome.level > (Level.HOLD if waits else Level.LIMITED)
            stands = outcome.memory.motion is not None and outcome.memory.motion.still
            at_once = self._halting and not halting and not (waits and stands)
            if self._objection or not (at_once or (due and not waits)):
                return not self._objection
            goal = self._latest = _Goal(now, self._epoch)
            self._silent.append(goal)
        trajectory = self.message(outcome, stamp)
        last = trajectory["points"][-1]["time_from_start"]
        goal.id = self.transport.send_goal(
            self.output.topic,
            self.type,
            {"trajectory": trajectory},
            feedback=lambda _: self._sign(goal),
            result=lambda values, status, error: self._result(goal, values, status, error),
            timeout=last["sec"] + 1e-9 * last["nanosec"] + SPARE,
        )
        return True

    def halt(self) -> bool:
        self.stand()
        return True

    def stand(self) -> None:
        goal = self._latest
        if goal is not None and not goal.over:
            goal.over = True
            self.transport.cancel_goal(self.output.topic, goal.id)

    def objection(self, now: float) -> str:
        with self._lock:
            if not self._objection and self._silent and now - self._silent[0].sent > SIGN_WITHIN:
                self._object(f"gave no sign of a goal within {SIGN_WITHIN:g} s: refused, or nobody offers it")
            objection = self._objection
        if objection:
            self.stand()
        return objection

    @property
    def waits(self) -> str:
        with self._lock:
            return f"{self.output.topic} gave no sign of a goal yet" if self._waits() else ""

    def _waits(self) -> bool:
        return len(self._silent) > (1 if self._answered else 0)

    def _object(self, text: str) -> None:
        self._objection = self._objection or f"{self.output.topic} {text}"

    def _sign(self, goal: _Goal) -> None:
        with self._lock:
            self._heard_of(goal)

    def _heard_of(self, goal: _Goal) -> None:
        if goal in self._silent:
            self._silent.remove(goal)
            self._answered = True

    def _result(self, goal: _Goal, values: Message | None, status: int, error: str | None) -> None:
        told = values or {}
        code, text = told.get("error_code", 0), told.get("error_string", "")
        with self._lock:
            self._heard_of(goal)
            cancelled, goal.over = goal.over, True
            if cancelled or status == GoalStatus.SUCCEEDED or goal.epoch != self._epoch:
                return
            if goal is self._latest or (code and status == GoalStatus.ABORTED):  # others were pre-empted by the next
                how = {GoalStatus.ABORTED: "aborted", GoalStatus.CANCELED: "cancelled"}.get(status, "ended")
                self._object(f"{how} a goal: {text or error or 'no reason given'} (error_code {code}, status {status})")


class GripperSender(Sender):
    """GripperCommand goals: one at most every `GRIPPER_EVERY` seconds, where the commanded position has moved enough.

    A gripper that closes on something ends its goal without having reached it, in words that differ from one to the
    other; and what becomes of one that is overtaken, too. So only a gripper that never answers is an objection.
    """

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        super().__init__(output, robot, limiter, transport)
        if limiter is None:
            raise ValueError(f"{output.topic}: a gripper needs limits")
        limits = limiter.limits
        self._enough = GRIPPER_STEP * float((limits.high - limits.low)[self.index].mean())
        self.begin()

    @property
    def alone(self) -> str:
        return f"{self.output.topic}: the gripper ends its last goal and keeps its grip"

    @property
    def listens_to(self) -> str | None:
        return None

    def open(self) -> None:
        """Goals need no declaration."""

    def begin(self) -> None:
        self._sent: tuple[float, float] | None = None  # position and time of the latest goal
        self._objection, self._answered = "", False

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        assert outcome.memory.motion is not None
        position = float(outcome.memory.motion.position[self.index].mean())
        if self._sent is not None:
            before, when = self._sent
            if abs(position - before) < self._enough or now - when < GRIPPER_EVERY:
                return True
        if self._objection:
            return False
        self._sent = position, now
        command = {"position": self.output.scale * position, "max_effort": self.output.max_effort}
        goal = {"command": command}
        topic, kind = self.output.topic, self.type
        self.transport.send_goal(topic, kind, goal, feedback=self._sign, result=self._result, timeout=GRIPPER_WITHIN)
        return True

    def objection(self, now: float) -> str:
        return self._objection

    def _sign(self, _: Message) -> None:
        self._answered = True

    def _result(self, values: Message | None, status: int, error: str | None) -> None:
        self._answered |= values is not None
        if not self._answered and status == GoalStatus.UNKNOWN:
            self._objection = f"{self.output.topic} gave no answer to a goal: {error or 'nobody offers it'}"


SENDERS: dict[str, type[Sender]] = {
    "velocity": ArraySender,
    "position": ArraySender,
    "effort": ArraySender,
    "trajectory": TrajectorySender,
    "follow": FollowSender,
    "gripper": GripperSender,
}
"""By the kind of an output."""


def senders(robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> list[Sender]:
    """Of all outputs of a robot."""
    return [SENDERS[output.kind](output, robot, limiter, transport) for output in robot.outputs]


def hear(sender: Sender, message: Message, elapsed: float) -> tuple[Array | None, str]:
    """What another controller's message commands, or None; and what is wrong with the message, empty if nothing."""
    try:
        return sender.heard(message, elapsed), ""
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return None, f"{type(error).__name__}: {error}"
