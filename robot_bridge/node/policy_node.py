"""The policy node: observations in, guarded commands out, at an absolute rhythm.

States, as in a ROS 2 managed node: `inactive` (not enabled; sends nothing), `active`, `stopping` (decelerating within
the limits after a fault, a disable or Ctrl-C) and `fault` (stands; sends nothing). Only the service `enable` leads from
`inactive` or `fault` to `active`: after a fault nothing goes on by itself.

Services (std_srvs/srv/Trigger): /policy/enable, /policy/disable, /policy/stop. A message on /policy/stop
(std_msgs/msg/Empty) does the same as the service, and cannot be held up by another call. And those of a managed node:
see `robot_bridge.node.lifecycle`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.guards import (
    Chain,
    ConnectionGuard,
    DeadManGuard,
    FiniteGuard,
    Guard,
    LeadGuard,
    Level,
    MotionGuard,
    NoveltyGuard,
    Outcome,
    RobotState,
    SpeedGuard,
    StaleGuard,
    WorkspaceGuard,
)
from robot_bridge.node.lifecycle import Managed
from robot_bridge.node.limits import MotionLimiter
from robot_bridge.node.observation import Observer, Snapshot
from robot_bridge.node.outputs import Sender, received, time_message
from robot_bridge.node.timing import Timing
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.kinematics import Kinematics
from robot_bridge.robot.robot import OUTPUT_TYPES, Robot
from robot_bridge.transport import Closable, Message, Respond, Transport

Mode = Literal["run", "dry-run", "shadow"]
State = Literal["inactive", "active", "stopping", "fault"]
TRIGGER = "std_srvs/srv/Trigger"
DIAGNOSTICS, DIAGNOSTICS_TYPE = "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"
DIAGNOSTICS_PERIOD = 0.5  # s
ZEROS = 5  # commands of zero sent after standing still, before silence
CORRECTION = 0.1  # share of a velocity-driven robot's drift that is taken back per tick
BEHIND = 0.1  # of a period that a tick is to come after its input: inputs come a little late at times
DRIFT = 0.005  # of a period
RECENT = 500  # ticks that diagnostics tell the timing of: a look at all of them would hold up the loop
STALLED = 5  # periods without a tick after which the robot has stopped by itself


def build_chain(robot: Robot) -> Chain:
    """The guards of a robot, as its config says."""
    guards: list[Guard] = [ConnectionGuard(), DeadManGuard(), FiniteGuard(), StaleGuard()]
    options: Any = robot.novelty
    guards += [NoveltyGuard(**options), SpeedGuard(robot.speed)]
    limiter = None
    if robot.limits is not None:
        limiter = MotionLimiter(robot.limits, 1.0 / robot.rate)
        short = np.minimum(robot.max_lead, 0.5 * (robot.limits.high - robot.limits.low))
        guards.append(LeadGuard(limiter, short))
        if robot.workspace is not None:
            box = robot.workspace
            points = Kinematics(box.model, box.joints, box.points)
            guards.append(WorkspaceGuard(limiter, points, np.array(box.low), np.array(box.high)))
        guards.append(MotionGuard(limiter, list(robot.joints), robot.modes.get("motion") == "monitor"))
    return Chain(guards, limiter, modes=robot.modes, hold_timeout=robot.hold_timeout)


@dataclass
class Wish:
    """What the policy last wanted."""

    values: np.ndarray
    """Per joint, SI units, in the robot's order."""
    action: np.ndarray
    """Raw, in the policy's order."""
    novelty: np.ndarray
    outside: list[str]


class PolicyNode:
    """Runs a policy on a robot over a transport. `tick` is one step; `run` does one every period."""

    def __init__(
        self,
        transport: Transport,
        policy: Policy,
        robot: Robot,
        *,
        mode: Mode = "run",
        log_to: Callable[[PolicyNode], DecisionLog] | None = None,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport, self.policy, self.robot, self.mode = transport, policy, robot, mode
        self.observer = Observer(policy, robot)
        self.chain = build_chain(robot)
        self.timing = Timing(1.0 / robot.rate)
        self.state: State = "inactive"
        self.reason = "not enabled yet"
        self.counts = {"ticks": 0, "sent": 0, "limited": 0, "holds": 0, "faults": 0}
        self.differences: list[np.ndarray] = []  # shadow: ours minus the present controller's, per tick
        self._say, self._clock = say, clock
        actions = policy.description.actions
        order = [a.joint for a in actions]
        self._order = np.array([order.index(name) for name in robot.joints])
        self._scale = np.array([a.scale for a in actions])
        self._quantity = actions[0].quantity
        self._period = 1.0 / policy.description.control_rate
        self._next_inference = -np.inf
        self._wish = Wish(np.zeros(len(order)), np.zeros(len(order)), np.zeros(1), [])
        self._senders = [Sender(output, robot, transport) for output in robot.outputs]
        self._others: dict[int, np.ndarray] = {}
        self._dead_man: tuple[bool, float] = (False, -np.inf)
        self._lock = threading.Lock()  # chain and state: services change them from the I/O thread
        self._closables: list[Closable] = []
        self._zeros_left, self._muted, self.sent = 0, True, False
        self._ending, self._arrived = threading.Event(), threading.Event()
        self._next_diagnostics = -np.inf
        self._age = self._since = np.inf  # s, of what the present tick acts on, and of the first input
        self._executed: list[np.ndarray] = []
        self._wall, self._decided = time.time() - clock(), time.time()
        self._managed = Managed(self, transport, say)
        self.log = log_to(self) if log_to else None

    # Connections ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Declare topics and services; may be called before the transport is connected."""
        add, transport = self._closables.append, self.transport
        for i, source in enumerate(self.robot.inputs):
            add(transport.subscribe(source.topic, source.type, self._receiver(i)))
        if self.mode == "run":
            for sender in self._senders:
                sender.open()
        elif self.mode == "shadow":
            for i, sender in enumerate(self._senders):
                if sender.output.kind != "follow":
                    add(transport.subscribe(sender.output.topic, OUTPUT_TYPES[sender.output.kind], self._listener(i)))
        if self.robot.dead_man is not None:
            add(transport.subscribe(self.robot.dead_man.topic, "std_msgs/msg/Bool", self._on_dead_man))
        for name, action in (("enable", self.enable), ("disable", self.disable), ("stop", self.stop)):
            add(transport.advertise_service(f"/policy/{name}", TRIGGER, _trigger(action)))
        add(transport.subscribe("/policy/stop", "std_msgs/msg/Empty", self._on_stop))
        self._closables += self._managed.open()
        add(transport.advertise(DIAGNOSTICS, DIAGNOSTICS_TYPE))
        add(transport.on_connection(self._on_connection))

    def close(self) -> None:
        """Undeclare everything and finish the log."""
        for closable in self._closables:
            closable.close()
        for sender in self._senders:
            sender.close()
        if self.log is not None:
            self.log.close()
            self.log = None

    def _receiver(self, number: int) -> Callable[[Message], None]:
        def receive(message: Message) -> None:
            if self.observer.receive(number, message, self._clock()):
                self._arrived.set()

        return receive

    def _listener(self, number: int) -> Callable[[Message], None]:
        """Shadow: takes what the present controller commands."""
        sender = self._senders[number]
        read = received(sender.output, sender.names)

        def listen(message: Message) -> None:
            self._others[number] = read(message)

        return listen

    def _on_stop(self, _: Message) -> None:
        self.stop()

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            with self._lock:
                self._fault("connection", "connection lost: the robot stops by itself")
                self._muted = True  # what was to be said while it was gone is not said later

    def _on_dead_man(self, message: Message) -> None:
        self._dead_man = (message.get("data") is True, self._clock())

    # Operator ---------------------------------------------------------------------------------------------------------

    def enable(self) -> tuple[bool, str]:
        """Start, or start again after a fault, if all is well; says why not otherwise."""
        now = self._clock()
        snapshot = self.observer.snapshot(now)
        with self._lock:
            if self.state == "active":
                return True, "already active"
            if self._ending.is_set():
                return False, "the node is shutting down"
            if not self.chain.still:
                return False, "still decelerating: enable again when it stands"
            if not self.transport.connected:
                return False, "not connected"
            if snapshot.age > snapshot.max_age:
                how = "never received" if np.isinf(snapshot.age) else f"{snapshot.age:.2f} s old"
                return False, f"{snapshot.oldest} is {how}"
            if not (np.isfinite(snapshot.observation).all() and np.isfinite(snapshot.position).all()):
                return False, "the observation holds NaN or infinite numbers"
            if self._dead_man_held(now) is False:
                return False, "the dead-man switch is not held"
            if self.robot.limits is not None:
                q = snapshot.position
                if (beyond := self.robot.limits.far_beyond(q)).any():
                    name = list(self.robot.joints)[int(np.argmax(beyond))]
                    return False, f"joint {name} is at {q[int(np.argmax(beyond))]:.3f}, beyond its limits"
            self.chain.enable(snapshot.position)
            self._executed = []
            self._muted, self._next_inference = self.mode != "run", -np.inf
            self._set_state("active", "enabled")
        return True, "active"

    def disable(self) -> tuple[bool, str]:
        """Decelerate and stand."""
        with self._lock:
            self._fault("operator", "disabled")
        return True, self.state

    def stop(self) -> tuple[bool, str]:
        """Emergency stop by software: as `disable`, but it counts as a fault. No substitute for the robot's own."""
        with self._lock:
            self._fault("operator", "emergency stop")
        return True, self.state

    @property
    def ending(self) -> bool:
        """Whether it was shut down: it returns from `run` as soon as the robot stands."""
        return self._ending.is_set()

    def shut_down(self) -> None:
        """Decelerate, then let `run` return."""
        self._ending.set()
        self._arrived.set()  # a locked node waits for it
        with self._lock:
            self._fault("operator", "shutting down")
            self._managed.changed()

    def _fault(self, guard: str, reason: str) -> None:
        self.chain.stop(reason, guard)
        if self.state == "active":
            self.counts["faults"] += reason not in ("disabled", "shutting down")
            self._set_state("stopping", reason)
            self._zeros_left = ZEROS

    def _set_state(self, state: State, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._next_diagnostics = -np.inf
            self._managed.changed()
            self._say(f"{state}: {reason}")

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self, duration: float | None = None) -> None:
        """Tick at absolute times until `shut_down`, or for `duration` seconds; see `_shift`."""
        period, begin = 1.0 / self.robot.rate, self._clock()
        deadline = begin
        while not (self._ending.is_set() and self.state not in ("active", "stopping")):
            if duration is not None and deadline - begin > duration:
                self.shut_down()
                duration = None
            now = self._clock()
            if now < deadline:
                time.sleep(deadline - now)
            woke = self._clock()
            missed = int((woke - deadline) / period)
            if missed > STALLED:
                with self._lock:
                    self._fault("timing", f"the loop stood still for {missed} periods")
                    self._muted = True  # the robot has stopped by itself
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
        while not self._ending.is_set():
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
            self._next_inference = -np.inf
            outcome = self.tick(begin)
            while not self.sent and not self._ending.is_set():  # the simulation waits for it
                time.sleep(0.005)
                self.sent = self._send(outcome, self.observer.snapshot(begin))
            self.timing.tick(0.0, self._clock() - begin)

    def tick(self, now: float) -> Outcome:
        """One step: look, decide, guard, send."""
        snapshot = self.observer.snapshot(now)
        self._age, self._since = snapshot.age, snapshot.since
        if now >= self._next_inference - 0.25 / self.robot.rate:
            late = now - self._next_inference > self._period
            nominal = now if late else self._next_inference
            self._next_inference = nominal + self._period
            self._infer(snapshot, nominal)
        state = RobotState(
            now,
            snapshot.position,
            snapshot.age,
            snapshot.max_age,
            snapshot.oldest,
            snapshot.observation,
            float(np.max(self._wish.novelty)),
            self._wish.outside,
            self.transport.connected,
            self._dead_man_held(now),
        )
        with self._lock:
            if self.mode != "run" and self.chain.limiter is not None:
                self.chain.limiter.correct(snapshot.position, 1.0)  # it moves without us
            outcome = self.chain.apply(self._wanted(), state)
            self._judge(outcome)
            muted = self._muted
        sent = self.sent = self._send(outcome, snapshot) if not muted else False
        drifts = self.chain.limiter is not None and self.robot.outputs[0].kind == "velocity" and not muted
        if drifts and np.isfinite(snapshot.position).all():
            self.chain.limiter.correct(snapshot.position, CORRECTION)  # type: ignore[union-attr]
        self._account(outcome, sent, now, state)
        return outcome

    def _infer(self, snapshot: Snapshot, nominal: float) -> None:
        if not np.isfinite(snapshot.observation).all():
            return  # the guards see it, too
        self._log_step()
        action = self.policy.infer(snapshot.observation)
        novelty, outside = self.policy.novelty(snapshot.observation, action), self.policy.outside(snapshot.observation)
        self._wish = Wish((action * self._scale)[self._order].astype(np.float64), action, novelty, outside)
        self._decided = nominal + self._wall  # on the grid of decisions, without its jitter
        if self.log is not None and self.state == "active":
            self.log.observation(self._decided, snapshot.observation)

    def _wanted(self) -> np.ndarray:
        """The wish as the guards take it: velocities, or efforts."""
        if self._quantity == "position" and self.chain.limiter is not None:
            return (self._wish.values - self.chain.limiter.motion.position) / self._period
        return self._wish.values

    def _judge(self, outcome: Outcome) -> None:
        """Follow what the guards said."""
        if self.state == "active" and self.chain.fault is not None:
            self._fault(self.chain.fault.guard, f"{self.chain.fault.guard}: {self.chain.fault.reason}")
        if self.state == "stopping" and self.chain.still and self._zeros_left <= 0:
            operator = self.chain.fault is not None and self.chain.fault.reason in ("disabled", "shutting down")
            self._set_state("inactive" if operator else "fault", self.reason)
            self._muted = True
        if self.state == "stopping" and (self.chain.still or self._muted):
            self._zeros_left -= 1

    def _send(self, outcome: Outcome, snapshot: Snapshot) -> bool:
        results = [sender.send(outcome, self.chain.limiter, snapshot.stamp) for sender in self._senders]
        return all(results)

    def _dead_man_held(self, now: float) -> bool | None:
        if self.robot.dead_man is None:
            return None
        held, when = self._dead_man
        return held and now - when <= self.robot.dead_man.max_age

    # Telling ----------------------------------------------------------------------------------------------------------

    def _account(self, outcome: Outcome, sent: bool, now: float, state: RobotState) -> None:
        counts = self.counts
        counts["ticks"] += 1
        counts["sent"] += sent
        counts["limited"] += outcome.level == Level.LIMITED
        counts["holds"] += outcome.level == Level.HOLD
        self._executed.append(outcome.command)
        if self.mode == "shadow" and len(self._others) == len(self._senders):
            theirs = np.concatenate([self._others[i] for i in range(len(self._senders))])
            ours = np.concatenate([outcome.command[sender._index] for sender in self._senders])
            if theirs.shape == ours.shape:
                self.differences.append(ours - theirs)
                del self.differences[:-10_000]
        if self.log is not None:
            values = {"age": state.age, "novelty": state.novelty, "state": self.state, "sent": sent}
            self.log.decision(outcome, values)
        if now >= self._next_diagnostics:
            self._next_diagnostics = now + DIAGNOSTICS_PERIOD
            if self.transport.connected:
                self.transport.publish(DIAGNOSTICS, self.diagnostics(outcome))

    def _log_step(self) -> None:
        """Before the next decision: what became of the last one."""
        executed, self._executed = self._executed, []
        if self.log is not None and executed and self.state == "active":
            command = np.empty(len(self._order))
            command[self._order] = np.mean(executed, axis=0)  # back in the policy's order
            self.log.action(self._decided, command, self._wish.action)

    def diagnostics(self, outcome: Outcome | None = None) -> Message:
        """A DiagnosticArray: state, guards, timing, what was dropped."""
        level = {"active": 0, "inactive": 1, "stopping": 1, "fault": 2}[self.state]
        if self.state == "active" and outcome is not None and outcome.level > Level.OK:
            level = 1
        values = (
            {"state": self.state, "mode": self.mode, "guards": outcome.reason if outcome else ""}
            | self.counts
            | self.timing.summary(RECENT)
            | self.transport.counters.snapshot()
            | self.observer.counters.snapshot()
            | {"novelty": f"{float(np.max(self._wish.novelty)):.2f}"}
        )
        status = {
            "level": level,
            "name": "policy",
            "message": f"{self.state}: {self.reason}",
            "hardware_id": self.robot.name,
            "values": [{"key": k, "value": str(v)} for k, v in values.items()],
        }
        return {"header": {"stamp": time_message(time.time())}, "status": [status]}


def _trigger(action: Callable[[], tuple[bool, str]]) -> Callable[[Message, Respond], None]:
    def handle(_: Message, respond: Respond) -> None:
        success, message = action()
        respond({"success": success, "message": message})

    return handle
