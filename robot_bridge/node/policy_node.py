"""The policy node: observations in, guarded commands out, at an absolute rhythm.

A tick looks (`Observer`, `Permits`), asks the policy when it is time (`Inference`), decides (`decide`, a pure
function), follows the states (`States`, with their diagram), sends (`Sender`) and tells (`Diagnostics`, `DecisionLog`,
`Shadow`).

Only `enable`, and `go_to_start` for the way to the start pose, lead to `active`: after a fault nothing goes on by
itself. Services (std_srvs/srv/Trigger) under the node's name: enable, disable, stop, go_to_start. A message on the
topic `<name>/stop` (std_msgs/msg/Empty) does the same as the service, which sends one, too. One on /policy/stop stops
every node, whatever its name. Topics cannot be held up by another call. And the services of a managed node: see
`robot_bridge.node.lifecycle`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from robot_bridge.guards.decision import Chain, Outcome, Verdict, decide
from robot_bridge.guards.guard import Level, RobotState
from robot_bridge.guards.motion import Motion
from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.diagnostics import Diagnostics
from robot_bridge.node.inference import Inference
from robot_bridge.node.interlocks import Permits
from robot_bridge.node.lifecycle import Managed
from robot_bridge.node.observation import Observer, Snapshot
from robot_bridge.node.outputs import senders
from robot_bridge.node.shadow import Shadow
from robot_bridge.node.start import Approach, StartPose
from robot_bridge.node.states import State, States
from robot_bridge.node.timing import Timing
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.cartesian import TWISTS
from robot_bridge.robot.robot import Robot
from robot_bridge.transport import Closable, Message, Respond, Transport

LOGGER = logging.getLogger(__name__)

Mode = Literal["run", "dry-run", "shadow"]
TRIGGER, EMPTY = "std_srvs/srv/Trigger", "std_msgs/msg/Empty"
NAME = "/policy"
WORDS = ("enable", "disable", "stop", "go_to_start")
"""What an operator may say: methods of the node, and its services."""

STOP_ALL = f"{NAME}/stop"
CORRECTION = 0.1  # share of a velocity-driven joint's drift that is taken back per tick
RECENT = 500  # ticks that diagnostics tell the timing of: a look at all of them would hold up the loop
RENEWAL = 2.0  # s of an input's silence, after which it is subscribed anew
QUEUE = 10  # messages of an input that may wait: several senders share a topic
REPORTED = 10  # errors that are told with all their lines
RIVAL = 2.0  # s since another node was heard for which enabling is refused


class PolicyNode:
    """Runs a policy on a robot over a transport. `tick` is one step; `robot_bridge.node.loop` does one every period."""

    def __init__(
        self,
        transport: Transport,
        policy: Policy,
        robot: Robot,
        *,
        name: str = NAME,
        mode: Mode = "run",
        log_to: Callable[[PolicyNode], DecisionLog] | None = None,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name`: in full, such as /left/policy."""
        self.transport, self.policy, self.robot, self.name, self.mode = transport, policy, robot, name, mode
        self.observer = Observer(policy, robot)
        self.chain = Chain.of(robot.setup())
        self.memory = self.chain.begin(np.zeros(len(robot.joints)))
        self.states = States(self._changed)
        self.inference = Inference(policy, robot, clock)
        self.senders = senders(robot, self.chain.limiter, transport)
        self.shadow = Shadow(self.senders, self.observer.counters)
        self.timing = Timing(1.0 / robot.rate)
        self.counts = {"ticks": 0, "sent": 0, "limited": 0, "holds": 0, "errors": 0}
        self.latest: tuple[Outcome, RobotState] | None = None
        """What the latest tick decided, and from what."""
        self.sent = False
        """Whether the command of the latest tick was handed over."""
        outputs = [output.topic for output in robot.outputs] if mode == "run" else []
        self.diagnostics = Diagnostics(name.strip("/"), robot.name, outputs, transport)
        self.say, self.clock = say, clock
        velocities = [n for o in robot.outputs if o.kind in ("velocity", *TWISTS) for n in o.joints]
        self._drifting = np.isin(list(robot.joints), velocities) & (robot.limits is None or robot.limits.bounded)
        self.permits = Permits(robot, transport, clock)
        self.start_pose = StartPose(policy.description, robot)
        self._approach: Approach | None = None  # while it is on the way to the start pose
        self._rival: tuple[str, float] = ("", -np.inf)
        self._trouble = ""  # what the policy raised when it was last asked
        self._reports: list[tuple[str, Exception]] = []  # of the present tick
        self._displaced = transport.counters["displaced"]
        self._lock = threading.RLock()  # states and memory: services change them from the I/O thread
        self._closables: list[Closable] = []
        self._ending, self.arrived = threading.Event(), threading.Event()
        """`arrived` is set whenever an input came."""
        self.age = self.since = np.inf
        """s, of what the present tick acts on, and of the first input."""
        self._wall = time.time() - clock()
        self._managed = Managed(self, transport, say)
        self.log = log_to(self) if log_to else None

    @property
    def state(self) -> State:
        """See `robot_bridge.node.states`."""
        return self.states.state

    @property
    def reason(self) -> str:
        """What led to the state."""
        return self.states.reason

    @property
    def still(self) -> bool:
        """Whether the commanded motion stands."""
        return self.memory.motion is None or self.memory.motion.still

    # Connections ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Declare topics and services; may be called before the transport is connected."""
        transport = self.transport
        add = self._closables.append
        for i, source in enumerate(self.robot.inputs):
            listen = self._receiver(i)
            add(transport.subscribe(source.topic, source.type, listen, queue_length=QUEUE, renew_after=RENEWAL))
        if self.mode == "run":
            for sender in self.senders:
                sender.open()
        elif self.mode == "shadow":
            self._closables += self.shadow.open(transport, self.clock)
        self.permits.open()
        services = {"enable": self.enable, "disable": self.disable, "stop": self._stop_all}
        for name, action in (services | {"go_to_start": self.go_to_start}).items():
            add(transport.advertise_service(f"{self.name}/{name}", TRIGGER, _trigger(action)))
        add(transport.advertise(f"{self.name}/stop", EMPTY))
        for topic in dict.fromkeys((f"{self.name}/stop", STOP_ALL)):
            add(transport.subscribe(topic, EMPTY, self._on_stop))
        self._closables += self._managed.open() + self.observer.transforms.open(transport)
        self._closables += self.diagnostics.open(self._on_rival)
        add(transport.on_connection(self._on_connection))

    def close(self) -> None:
        """Finish the log and undeclare everything."""
        if self.log is not None:
            self.log.close()
            self.log = None
        self.permits.close()
        for closable in self._closables:
            closable.close()
        for sender in self.senders:
            sender.close()

    def _receiver(self, number: int) -> Callable[[Message], None]:
        def receive(message: Message) -> None:
            if self.observer.receive(number, message, self.clock()):
                self.arrived.set()

        return receive

    def _on_stop(self, _: Message) -> None:
        self.stop()

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self.permits.forget()
            self.halt("node", "connection lost", cut=True)  # what was to be said while it was gone is not said later

    def _on_rival(self, words: str) -> None:
        self._rival = (words, self.clock())
        self.halt("node", words)

    # Operator ---------------------------------------------------------------------------------------------------------

    def enable(self) -> tuple[bool, str]:
        """Start, or start again after a fault, if all is well; says why not otherwise."""
        return self._begin(to_start=False)

    def go_to_start(self) -> tuple[bool, str]:
        """Move to where the training episodes began, if all is well, and be inactive there; says why not otherwise."""
        return self._begin(to_start=True)

    def _begin(self, *, to_start: bool) -> tuple[bool, str]:
        now = self.clock()
        snapshot = self.observer.snapshot(now)
        with self._lock:
            if self.state == "active":
                other = "on the way to the start pose: enable when it is there" if self._approach else ""
                other = "the policy is active: disable it first" if to_start and not self._approach else other
                return (True, f"already {self.reason}") if bool(self._approach) == to_start else (False, other)
            if obstacle := self._obstacle(snapshot, now) or self._start_obstacle(snapshot, to_start=to_start):
                return False, obstacle
            self.memory = self.chain.begin(snapshot.position)
            self._displaced = self.transport.counters["displaced"]
            self.inference.restart()
            for sender in self.senders:
                sender.begin()
            if self.log is not None:
                self.log.begin()
            self._approach = self.start_pose.approach(snapshot.position, now) if to_start else None
            self.states.enable("going to the start pose" if to_start else "enabled")
        return True, self.reason if to_start else "active"

    def _obstacle(self, snapshot: Snapshot, now: float) -> str:
        """Why it cannot be enabled; empty if it can."""
        if self.ending:
            return "the node is shutting down"
        if self.state == "stopping" or not self.still:
            return "still decelerating: enable again when it stands"
        if not self.transport.connected:
            return "not connected"
        if now - self._rival[1] < RIVAL:
            return self._rival[0]
        if self._trouble:
            return f"the policy cannot be asked: {self._trouble}"
        if snapshot.age > snapshot.max_age:
            how = "never received" if np.isinf(snapshot.age) else f"{snapshot.age:.2f} s old"
            return f"{snapshot.oldest} is {how}" + (f": {snapshot.why}" if snapshot.why else "")
        if not (np.isfinite(snapshot.observation).all() and np.isfinite(snapshot.position).all()):
            return "the observation holds NaN or infinite numbers"
        if refusal := self.permits.refusal(now):
            return refusal
        q, limits = snapshot.position, self.robot.limits
        if limits is not None and (beyond := limits.far_beyond(q)).any():
            i = int(np.argmax(beyond))
            return f"joint {list(self.robot.joints)[i]} is at {q[i]:.3f}, beyond its limits"
        return ""

    def _start_obstacle(self, snapshot: Snapshot, *, to_start: bool) -> str:
        """Why the way to the start pose, or the policy, cannot begin from here; empty if it can."""
        if to_start:
            return self.start_pose.obstacle() if self.mode == "run" else f"nothing is sent in a {self.mode}"
        wanted, far = self.robot.start.far, self.start_pose.far(snapshot.position)
        if far and wanted == "warn":
            self.say(f"note: {far}")
        return f"{far}: go to the start pose first" if far and wanted == "refuse" else ""

    def disable(self) -> tuple[bool, str]:
        """Decelerate and stand."""
        self.halt("operator", "disabled", as_asked=True)
        return True, self.state

    def stop(self) -> tuple[bool, str]:
        """Emergency stop by software: as `disable`, but it counts as a fault. No substitute for the robot's own."""
        self.halt("operator", "emergency stop")
        return True, self.state

    def _stop_all(self) -> tuple[bool, str]:
        """The service: stops, and tells all that listen to the topic, for of several nodes only one is called."""
        answer = self.stop()
        if self.transport.connected:
            self.transport.publish(f"{self.name}/stop", {})
        return answer

    @property
    def ending(self) -> bool:
        """Whether it was shut down: it returns from `run` as soon as the robot stands."""
        return self._ending.is_set()

    def shut_down(self) -> None:
        """Decelerate, then let `run` return."""
        self._ending.set()
        self.arrived.set()  # a locked node waits for it
        self.halt("operator", "shutting down", as_asked=True)
        with self._lock:
            self._managed.changed()

    def halt(self, guard: str, reason: str, *, as_asked: bool = False, cut: bool = False) -> None:
        """Come to a stand for a reason. `as_asked`: it is no fault. `cut`: see `robot_bridge.node.states`."""
        until = self.clock() + max(sender.ends_after for sender in self.senders) if cut else None
        with self._lock:
            self.states.stop(Verdict(guard, Level.STOP, reason), as_asked=as_asked, cut_until=until)

    def _changed(self, state: State, reason: str) -> None:
        if state == "stopping":
            self._approach = None
            self.permits.stopped()
        self.diagnostics.soon()
        self._managed.changed()
        self.say(f"{state}: {reason}")

    # A tick -----------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> Outcome:
        """One step: look, ask, decide, send, tell. Whatever raises in it, the robot is brought to a stand."""
        snapshot = self.observer.snapshot(now)
        self.age, self.since = snapshot.age, snapshot.since
        self._ask(snapshot, now)
        state = self._robot_state(snapshot, now)
        with self._lock:
            told = self.memory.motion
            outcome = self._decide(state)
            self.memory = outcome.memory
            if outcome.fault is not None:
                self.states.stop(outcome.fault)
            self._end_approach(now)
            before = self.state
            self.states.settle(self.still, now)
            if before == "stopping" and self.state != before and self.mode == "run":
                for sender in self.senders:
                    sender.stand()
        self.sent = self.send(outcome, snapshot.stamp, now)
        self._take_back_drift(snapshot, told)
        self.latest = outcome, state
        self._tell(outcome, state)
        return outcome

    def _end_approach(self, now: float) -> None:
        approach, motion = self._approach, self.memory.motion
        if approach is None or motion is None:
            return
        if approach.arrived(motion):
            self.states.stop(Verdict("node", Level.STOP, "at the start pose"), as_asked=True)
        elif approach.late(now):
            self.states.stop(Verdict("node", Level.STOP, "the start pose was not reached in time"))

    def _ask(self, snapshot: Snapshot, now: float) -> None:
        latest = self.latest
        interrupted = latest is None or latest[0].interrupts or not latest[1].by_policy
        try:
            if self.inference.step(snapshot, now, interrupted=interrupted):
                self._trouble = ""
                if self.log is not None and self.state == "active" and self._approach is None:
                    wish = self.inference.wish
                    self.log.step(wish.asked + self._wall, snapshot.observation, wish.action)
        except Exception as error:  # whatever a policy raises
            self._trouble = f"{type(error).__name__}: {error}"
            self._broken("policy", error)

    def _robot_state(self, snapshot: Snapshot, now: float) -> RobotState:
        wish, counters = self.inference.wish, self.transport.counters
        senders = self.senders if self.mode == "run" else []
        objections = [sender.objection(now) for sender in senders] + [sender.waits for sender in senders]
        if counters["displaced"] > self._displaced:
            self.halt("node", f"another client took over a service of {self.name}")
        dead_man, interlock = self.permits.look(now)
        return RobotState(
            time=now,
            position=snapshot.position,
            age=snapshot.age,
            max_age=snapshot.max_age,
            oldest=snapshot.oldest,
            why=snapshot.why,
            observation=snapshot.observation,
            novelty=wish.novelty,
            outside=wish.outside,
            connected=self.transport.connected,
            dead_man=dead_man,
            interlock=interlock,
            controller=next(filter(None, objections), ""),
            by_policy=self._approach is None,
            plan=self.inference.waits,
        )

    def _decide(self, state: RobotState) -> Outcome:
        memory, limiter = self.memory, self.chain.limiter
        try:
            if self.mode != "run" and limiter is not None and memory.motion is not None:
                moved = limiter.shift(memory.motion, state.position - memory.motion.position)  # it moves without us
                memory = replace(memory, motion=moved)
            wish = self.inference.command(memory.motion)
            if self._approach is not None and memory.motion is not None:
                wish = self._approach.command(memory.motion)
            return decide(self.chain, wish, state, memory, self.states.halt)
        except Exception as error:  # a guard's: nothing can be planned
            self._broken("guards", error, cut=True)
            standing = self.chain.begin(np.nan_to_num(state.position))
            halt = (self.states.halt,) if self.states.halt else ()
            return Outcome(np.zeros(len(state.position)), standing, Level.STOP, halt)

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        """Say what is to be said in this state; whether a command was handed over."""
        if self.mode != "run":
            return False
        try:
            if self.states.speaks:
                return all([sender.send(outcome, stamp, now) for sender in self.senders])
            if self.states.owed and self.transport.connected:
                self.states.owed -= all([sender.halt() for sender in self.senders])
        except Exception as error:  # a message that cannot be sent
            self._broken("outputs", error, cut=True)
        return False

    def _take_back_drift(self, snapshot: Snapshot, told: Motion | None) -> None:
        """What a joint makes of velocities drifts away from their sum: from where it was `told` to be by now."""
        motion, limiter = self.memory.motion, self.chain.limiter
        if told is None or motion is None or limiter is None or not (self.states.speaks and self.mode == "run"):
            return
        if self._drifting.any() and np.isfinite(snapshot.position).all():
            drift = np.where(self._drifting, snapshot.position - told.position, 0.0)
            with self._lock:
                self.memory = replace(self.memory, motion=limiter.shift(motion, CORRECTION * drift))

    def _broken(self, what: str, error: Exception, *, cut: bool = False) -> None:
        self.counts["errors"] += 1
        self._reports.append((what, error))
        self.halt(what, f"{type(error).__name__}: {error}", cut=cut)

    # Telling ----------------------------------------------------------------------------------------------------------

    def _tell(self, outcome: Outcome, state: RobotState) -> None:
        """After all that concerns the robot. What fails here does not concern it, either."""
        counts = self.counts
        counts["ticks"] += 1
        counts["sent"] += self.sent
        counts["limited"] += outcome.level == Level.LIMITED
        counts["holds"] += outcome.level == Level.HOLD
        try:
            if self.mode == "shadow":
                self.shadow.compare(outcome, state.time, 1.0 / self.robot.rate)
            if self.log is not None:
                values = {"age": state.age, "novelty": state.novelty, "state": self.state, "sent": self.sent}
                self.log.decision(outcome, values)
            self.diagnostics.tell(state.time, lambda: self.diagnostics_message(outcome))
        except Exception as error:
            self.counts["errors"] += 1
            self._reports.append(("telling", error))
        reports, self._reports = self._reports, []
        if self.counts["errors"] <= REPORTED:
            for what, raised in reports:
                LOGGER.error("%s: %s: %s", what, type(raised).__name__, raised, exc_info=raised)

    def diagnostics_message(self, outcome: Outcome | None = None) -> Message:
        """A DiagnosticArray: state, guards, timing, what was dropped."""
        level = {"active": 0, "inactive": 1, "stopping": 1, "fault": 2}[self.state]
        if self.state == "active" and outcome is not None and outcome.level > Level.OK:
            level = 1
        values = (
            {"state": self.state, "reason": self.reason, "mode": self.mode, "guards": outcome.reason if outcome else ""}
            | self.counts
            | {"faults": self.states.faults, "novelty": f"{self.inference.wish.novelty:.2f}"}
            | {f"not allowed by {name}": why for name, why in self.permits.told(self.clock()) if why}
            | self.timing.summary(RECENT)
            | {f"refused {topic}": text for topic, text in self.observer.complaints.items()}
        )
        counters = (self.transport.counters, self.observer.counters)
        return self.diagnostics.message(level, f"{self.state}: {self.reason}", values, *counters)


def _trigger(action: Callable[[], tuple[bool, str]]) -> Callable[[Message, Respond], None]:
    def handle(_: Message, respond: Respond) -> None:
        success, message = action()
        respond({"success": success, "message": message})

    return handle
