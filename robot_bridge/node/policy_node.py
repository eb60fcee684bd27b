"""The policy node: observations in, guarded commands out, at an absolute rhythm.

A tick looks (`Observer`), asks the policy when it is time (`Inference`), decides (`decide`, a pure function), follows
the states (`States`, with their diagram), sends (`Sender`) and tells (`Diagnostics`, `DecisionLog`, `Shadow`).

Only `enable` leads to `active`: after a fault nothing goes on by itself. Services (std_srvs/srv/Trigger) under the
node's name: enable, disable, stop. A message on the topic `<name>/stop` (std_msgs/msg/Empty) does the same as the
service, which sends one, too. One on /policy/stop stops every node, whatever its name. Topics cannot be held up by
another call. And the services of a managed node: see `robot_bridge.node.lifecycle`.
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
from robot_bridge.guards.guards import Level, RobotState
from robot_bridge.guards.motion import Motion
from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.diagnostics import Diagnostics
from robot_bridge.node.inference import Inference
from robot_bridge.node.lifecycle import Managed
from robot_bridge.node.observation import Observer, Snapshot
from robot_bridge.node.outputs import senders
from robot_bridge.node.shadow import Shadow
from robot_bridge.node.states import State, States
from robot_bridge.node.timing import Timing
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import Robot
from robot_bridge.transport import Closable, Message, Respond, Transport

LOGGER = logging.getLogger(__name__)

Mode = Literal["run", "dry-run", "shadow"]
TRIGGER, EMPTY = "std_srvs/srv/Trigger", "std_msgs/msg/Empty"
NAME = "/policy"
STOP_ALL = f"{NAME}/stop"
CORRECTION = 0.1  # share of a velocity-driven joint's drift that is taken back per tick
BEHIND = 0.1  # of a period that a tick is to come after its input: inputs come a little late at times
DRIFT = 0.005  # of a period
RECENT = 500  # ticks that diagnostics tell the timing of: a look at all of them would hold up the loop
STALLED = 5  # periods without a tick after which what was planned is out of date
RENEWAL = 2.0  # s of an input's silence, after which it is subscribed anew
QUEUE = 10  # messages of an input that may wait: several senders share a topic
REPORTED = 10  # errors that are told with all their lines
RIVAL = 2.0  # s since another node was heard for which enabling is refused


class PolicyNode:
    """Runs a policy on a robot over a transport. `tick` is one step; `run` does one every period."""

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
        self.inference = Inference(policy, robot)
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
        self._say, self._clock = say, clock
        velocities = [name for output in robot.outputs if output.kind == "velocity" for name in output.joints]
        self._drifting = np.isin(list(robot.joints), velocities)
        self._dead_man: tuple[bool, float] = (False, -np.inf)
        self._rival: tuple[str, float] = ("", -np.inf)
        self._trouble = ""  # what the policy raised when it was last asked
        self._reports: list[tuple[str, Exception]] = []  # of the present tick
        self._displaced = transport.counters["displaced"]
        self._lock = threading.RLock()  # states and memory: services change them from the I/O thread
        self._closables: list[Closable] = []
        self._ending, self._arrived = threading.Event(), threading.Event()
        self._age = self._since = np.inf  # s, of what the present tick acts on, and of the first input
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
            self._closables += self.shadow.open(transport, self._clock)
        if self.robot.dead_man is not None:
            add(transport.subscribe(self.robot.dead_man.topic, "std_msgs/msg/Bool", self._on_dead_man))
        for name, action in (("enable", self.enable), ("disable", self.disable), ("stop", self._stop_all)):
            add(transport.advertise_service(f"{self.name}/{name}", TRIGGER, _trigger(action)))
        add(transport.advertise(f"{self.name}/stop", EMPTY))
        for topic in dict.fromkeys((f"{self.name}/stop", STOP_ALL)):
            add(transport.subscribe(topic, EMPTY, self._on_stop))
        self._closables += self._managed.open()
        self._closables += self.diagnostics.open(self._on_rival)
        add(transport.on_connection(self._on_connection))

    def close(self) -> None:
        """Finish the log and undeclare everything."""
        if self.log is not None:
            self.log.close()
            self.log = None
        for closable in self._closables:
            closable.close()
        for sender in self.senders:
            sender.close()

    def _receiver(self, number: int) -> Callable[[Message], None]:
        def receive(message: Message) -> None:
            if self.observer.receive(number, message, self._clock()):
                self._arrived.set()

        return receive

    def _on_stop(self, _: Message) -> None:
        self.stop()

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self._halt("node", "connection lost", cut=True)  # what was to be said while it was gone is not said later

    def _on_dead_man(self, message: Message) -> None:
        self._dead_man = (message.get("data") is True, self._clock())

    def _on_rival(self, words: str) -> None:
        self._rival = (words, self._clock())
        self._halt("node", words)

    # Operator ---------------------------------------------------------------------------------------------------------

    def enable(self) -> tuple[bool, str]:
        """Start, or start again after a fault, if all is well; says why not otherwise."""
        now = self._clock()
        snapshot = self.observer.snapshot(now)
        with self._lock:
            if self.state == "active":
                return True, "already active"
            if obstacle := self._obstacle(snapshot, now):
                return False, obstacle
            self.memory = self.chain.begin(snapshot.position)
            self._displaced = self.transport.counters["displaced"]
            self.inference.restart()
            for sender in self.senders:
                sender.begin()
            if self.log is not None:
                self.log.begin()
            self.states.enable()
        return True, "active"

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
        if self._dead_man_held(now) is False:
            return "the dead-man switch is not held"
        q, limits = snapshot.position, self.robot.limits
        if limits is not None and (beyond := limits.far_beyond(q)).any():
            i = int(np.argmax(beyond))
            return f"joint {list(self.robot.joints)[i]} is at {q[i]:.3f}, beyond its limits"
        return ""

    def disable(self) -> tuple[bool, str]:
        """Decelerate and stand."""
        self._halt("operator", "disabled", as_asked=True)
        return True, self.state

    def stop(self) -> tuple[bool, str]:
        """Emergency stop by software: as `disable`, but it counts as a fault. No substitute for the robot's own."""
        self._halt("operator", "emergency stop")
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
        self._arrived.set()  # a locked node waits for it
        self._halt("operator", "shutting down", as_asked=True)
        with self._lock:
            self._managed.changed()

    def _halt(self, guard: str, reason: str, *, as_asked: bool = False, cut: bool = False) -> None:
        until = self._clock() + max(sender.ends_after for sender in self.senders) if cut else None
        with self._lock:
            self.states.stop(Verdict(guard, Level.STOP, reason), as_asked=as_asked, cut_until=until)

    def _changed(self, state: State, reason: str) -> None:
        self.diagnostics.soon()
        self._managed.changed()
        self._say(f"{state}: {reason}")

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self, duration: float | None = None) -> None:
        """Tick at absolute times until `shut_down`, or for `duration` seconds; see `_shift`."""
        period, begin = 1.0 / self.robot.rate, self._clock()
        deadline = begin
        while not (self.ending and self.state not in ("active", "stopping")):
            if duration is not None and deadline - begin > duration:
                self.shut_down()
                duration = None
            now = self._clock()
            if now < deadline:
                time.sleep(deadline - now)
            woke = self._clock()
            missed = int((woke - deadline) / period)
            if missed > STALLED:
                self._halt("timing", f"the loop stood still for {missed} periods", cut=True)
            self.tick(woke)
            done = self._clock()
            left_out = self.timing.tick(woke - deadline, done - woke, self._age + done - woke if self.sent else np.nan)
            deadline += (left_out + 1) * period
            self.timing.seconds = deadline - begin
            deadline += self._shift(period)

    def _shift(self, period: float) -> float:
        """By how much the grid moves, s, so that ticks follow closely on the first input's messages.

        Two loops of one rate that know nothing of each other are up to a period apart, and a policy feels it. While the
        robot moves it is a `DRIFT` of a period at most.
        """
        if not self._since < 2.0 * period:  # silent, or slower than the loop
            return 0.0
        error = BEHIND * period - self._since
        error -= period * round(error / period)
        most = period if self.state in ("inactive", "fault") else DRIFT * period
        return min(most, max(-most, error))

    def run_lock_step(self, timeout: float = 30.0) -> None:
        """One tick for every observation of a simulation that waits for its command; enables itself.

        Returns after `shut_down`, or when nothing came for `timeout` seconds.
        """
        done, self.timing = 0.0, Timing(np.inf)
        while not self.ending:
            if not self._arrived.wait(timeout):
                self._say(f"no new observation for {timeout:g} s: the simulation has ended")
                return
            self._arrived.clear()
            stamp = self.observer.complete()
            if stamp is None or stamp <= done:
                continue
            if self.state != "active":
                enabled, why = self.enable()
                if not enabled:
                    self._say(f"not enabled: {why}")
                    continue
            done, begin = stamp, self._clock()
            self.inference.restart()
            outcome = self.tick(begin)
            while not self.sent and not self.ending:  # the simulation waits for it
                time.sleep(0.005)
                self.sent = self._send(outcome, stamp, begin)
            self.timing.tick(0.0, self._clock() - begin)

    def tick(self, now: float) -> Outcome:
        """One step: look, ask, decide, send, tell. Whatever raises in it, the robot is brought to a stand."""
        snapshot = self.observer.snapshot(now)
        self._age, self._since = snapshot.age, snapshot.since
        self._ask(snapshot, now)
        state = self._robot_state(snapshot, now)
        with self._lock:
            told = self.memory.motion
            outcome = self._decide(state)
            self.memory = outcome.memory
            if outcome.fault is not None:
                self.states.stop(outcome.fault)
            before = self.state
            self.states.settle(self.still, now)
            if before == "stopping" and self.state != before and self.mode == "run":
                for sender in self.senders:
                    sender.stand()
        self.sent = self._send(outcome, snapshot.stamp, now)
        self._take_back_drift(snapshot, told)
        self.latest = outcome, state
        self._tell(outcome, state)
        return outcome

    def _ask(self, snapshot: Snapshot, now: float) -> None:
        try:
            if self.inference.ask(snapshot, now):
                self._trouble = ""
                if self.log is not None and self.state == "active":
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
            self._halt("node", f"another client took over a service of {self.name}")
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
            dead_man=self._dead_man_held(now),
            controller=next(filter(None, objections), ""),
        )

    def _decide(self, state: RobotState) -> Outcome:
        memory, limiter = self.memory, self.chain.limiter
        try:
            if self.mode != "run" and limiter is not None and memory.motion is not None:
                moved = limiter.shift(memory.motion, state.position - memory.motion.position)  # it moves without us
                memory = replace(memory, motion=moved)
            return decide(self.chain, self.inference.command(memory.motion), state, memory, self.states.halt)
        except Exception as error:  # a guard's: nothing can be planned
            self._broken("guards", error, cut=True)
            standing = self.chain.begin(np.nan_to_num(state.position))
            halt = (self.states.halt,) if self.states.halt else ()
            return Outcome(np.zeros(len(state.position)), standing, Level.STOP, halt)

    def _send(self, outcome: Outcome, stamp: float, now: float) -> bool:
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

    def _dead_man_held(self, now: float) -> bool | None:
        if self.robot.dead_man is None:
            return None
        held, when = self._dead_man
        return held and now - when <= self.robot.dead_man.max_age

    def _broken(self, what: str, error: Exception, *, cut: bool = False) -> None:
        self.counts["errors"] += 1
        self._reports.append((what, error))
        self._halt(what, f"{type(error).__name__}: {error}", cut=cut)

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
