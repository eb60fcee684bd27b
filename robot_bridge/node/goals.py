"""Goals of actions: trajectories that a controller answers, and a gripper's positions."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.guard import Level
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.node.joints import TrajectorySender
from robot_bridge.node.sender import Sender
from robot_bridge.robot.robot import FRANKA_GRASP, Output, Robot
from robot_bridge.transport import GoalStatus, Message, Transport

SIGN_WITHIN = 1.0  # s within which a controller gives a sign of a goal that it took: feedback or a result
GRIPPER_EVERY = 0.25  # s between goals of a gripper, at least
GRIPPER_STEP = 0.02  # of its range by which it is to move for another goal
GRIPPER_WITHIN = 10.0  # s in which a goal of a gripper is to be over
FRANKA_ANY = 0.1  # m; more than a hand opens, so that it may find a thing of any width
SPARE = 2.0  # s that a goal may take longer than its trajectory


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
        action, kind, goal = self.goal(outcome, self.output.scale * position + self.output.offset)
        self.transport.send_goal(action, kind, goal, feedback=self._sign, result=self._result, timeout=GRIPPER_WITHIN)
        return True

    def goal(self, outcome: Outcome, said: float) -> tuple[str, str, Message]:
        """The action, its type and the goal that bring the gripper to what its messages say as `said`."""
        return (
            self.output.topic,
            self.type,
            {"command": {"position": said, "max_effort": self.output.max_effort}},
        )

    def objection(self, now: float) -> str:
        return self._objection

    def _sign(self, _: Message) -> None:
        self._answered = True

    def _result(self, values: Message | None, status: int, error: str | None) -> None:
        self._answered |= values is not None
        if not self._answered and status == GoalStatus.UNKNOWN:
            self._objection = f"{self.output.topic} gave no answer to a goal: {error or 'nobody offers it'}"


class FrankaGripperSender(GripperSender):
    """The same by Franka's own actions: Move opens, Grasp closes with the output's force (Move, too, without one).

    A Grasp succeeds at any width here, for the policy does not say how wide the thing is.
    """

    def begin(self) -> None:
        super().begin()
        self._width: float | None = None

    def goal(self, outcome: Outcome, said: float) -> tuple[str, str, Message]:
        assert self.limiter is not None
        before, self._width = self._width, said
        speed = abs(self.output.scale) * float(self.limiter.limits.velocity[self.index].min())
        goal: Message = {"width": said, "speed": speed}
        if not self.output.max_effort or before is None or said >= before:
            return f"{self.output.topic}/move", self.type, goal
        goal |= {"force": self.output.max_effort, "epsilon": {"inner": FRANKA_ANY, "outer": FRANKA_ANY}}
        return f"{self.output.topic}/grasp", FRANKA_GRASP, goal
