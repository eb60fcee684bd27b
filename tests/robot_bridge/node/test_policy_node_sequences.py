"""The policy node, driven through random sequences of faults, stamps, pauses and services, with every kind of output.

A model of what a robot may be told looks at every message: nothing but a stand while not active, nothing that is older
than inputs may be, nothing outside the limits, nothing that moves it after a stop.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from node_bench import DT, Bench
from robot_fakes import arm_policy

from robot_bridge.guards.limits import JointLimits
from robot_bridge.node.goals import GRIPPER_EVERY
from robot_bridge.paths import number_at
from robot_bridge.robot.cartesian import CARTESIAN, PATHS, TWISTS
from robot_bridge.robot.description import StartEntry
from robot_bridge.robot.interlocks import JOY, ControllerCheck, DeadMan, Interlock, Start
from robot_bridge.robot.robot import GRIPPERS, LEADING, Output, OutputKind
from robot_bridge.transport import GoalStatus

LIMITS = JointLimits([-1, -1], [1, 1], [1, 1], [5, 5], [500, 500])
MAX_AGE = 0.1
HOLD = 0.3
KINDS = get_args(OutputKind)
SPEEDS, PLACES = ("velocity", *TWISTS), ("position", "pose")
HELD, STOP, ASKED = 0.2, 0.5, 1.0  # s for which a dead man, a stop topic and a controller manager may be silent
# How long an arm may move on once nothing fresh comes in: the age that is tolerated, braking, a horizon, a few ticks.
COASTING = MAX_AGE + 1.0 / 5.0 + 0.1 + 5 * DT


class Robot(RuleBasedStateMachine):
    """The robot's side of the node, and the operator's."""

    @initialize(
        kind=st.sampled_from(KINDS),
        dead_man=st.sampled_from(["none", "bool", "joy"]),
        cell=st.booleans(),
        at_once=st.sampled_from([None, "policy", "start"]),
    )
    def begin(self, kind: str, dead_man: str, cell: bool, at_once: str | None) -> None:
        topic = "/arm" if kind in ("trajectory", "follow") else "/commands"
        names = {"a": "x", "b": "y"} if kind in CARTESIAN else {}
        options: dict[str, Any] = {"start": Start(speed=0.5)}
        if dead_man != "none":
            joy = DeadMan("/dead_man", HELD, JOY, button=0)
            options["dead_man"] = joy if dead_man == "joy" else DeadMan("/dead_man", HELD)
        if cell:
            options["interlocks"] = (Interlock("/external_stop", max_age=STOP),)
            options["controllers"] = ControllerCheck(("arm",), every=0.1, max_age=ASKED)
        self.dead_man, self.cell = dead_man, cell
        self.kind = kind
        self.bench = Bench(
            arm_policy(target=0.9, start=tuple(StartEntry(j, "rad", q, q, q) for j, q in (("a", 0.2), ("b", -0.3)))),
            outputs=(Output(kind, topic, ("a", "b"), 0.1, names=names),),  # type: ignore[arg-type]
            limits=None if kind == "effort" else LIMITS,
            hold_timeout=HOLD,
            max_lead=0.5,
            **options,
        )
        self.bench.policy.weights[:] = 0.0
        self.bench.policy.bias = np.float32([0.9, -0.7])
        self.silent, self.held, self.fresh = False, True, -np.inf
        self.stop: bool | None = False  # what the external stop says, None if nothing
        self.controller: str | None = "active"  # what the controller manager says
        self.pressed = False  # the joystick's switch, since the robot moved
        self.known: bool | None = None  # whether it was held when it was last told
        self.allowed = dict.fromkeys(("dead_man", "stop", "controller"), -np.inf)  # when each was last told
        self.moved = False
        self.seen = self.goals = 0
        self.before = np.zeros(2)  # the latest velocity that was commanded
        self.stopped = True  # since the last enabling
        if at_once is not None:
            self.the_operator_sees_to_it_that_it_moves(at_once == "start")

    # What happens -----------------------------------------------------------------------------------------------------

    @rule(n=st.integers(1, 30))
    def time_passes(self, n: int) -> None:
        for _ in range(n):
            self.tick()

    @rule(n=st.integers(6, 60))
    def the_loop_stands_still(self, n: int) -> None:
        self.bench.now += n * DT
        self.bench.node.halt("timing", f"the loop stood still for {n} periods", cut=True)
        self.stopped = True

    @rule(to_start=st.booleans())
    def an_operator_begins(self, to_start: bool) -> None:
        self.the_operator_sees_to_it_that_it_moves(to_start)

    def the_operator_sees_to_it_that_it_moves(self, to_start: bool) -> None:
        if not self.bench.wire.connected:
            self.bench.wire.connect(True)
        self.silent, self.stop, self.controller, self.held = False, False, "active", False
        for _ in range(20):
            self.tick()
        self.held = True
        self.tick()
        if to_start:
            self.go_to_the_start_pose()
        else:
            self.enable()
        self.tick()

    @rule()
    def enable(self) -> None:
        if self.bench.node.state == "active":
            return
        self.expect(self.bench.node.enable()[0])

    @rule()
    def go_to_the_start_pose(self) -> None:
        if self.bench.node.state == "active":
            return
        done, _ = self.bench.node.go_to_start()
        assert not done or self.kind in LEADING
        self.expect(done)

    def expect(self, done: bool) -> None:
        """The robot is about to move, if `done`: then nothing must stand in the way."""
        if not done:
            return
        assert self.bench.wire.connected
        assert self.bench.now - self.fresh <= MAX_AGE + 1e-6 or self.kind == "effort"
        assert not self.objections()
        assert self.pressed or self.dead_man != "joy", "without a press of its own"
        self.stopped, self.moved = False, True

    def objections(self) -> list[str]:
        """What does not allow motion, as far as the cell has told it by now."""
        limits = {"dead_man": HELD if self.dead_man != "none" else np.inf}
        limits |= {"stop": STOP, "controller": ASKED} if self.cell else {}
        return [name for name, age in limits.items() if self.bench.now - self.allowed[name] > age + 1e-6]

    @rule(how=st.sampled_from(["disable", "stop", "topic", "all", "displaced", "rival"]))
    def somebody_stops_it(self, how: str) -> None:
        node, wire = self.bench.node, self.bench.wire
        if how == "topic":
            wire.subscribers["/policy/stop"]({})
        elif how == "all":
            wire.services["/policy/stop"]({}, lambda values, error=None: None)
        elif how == "displaced":
            wire.counters.add("displaced")
        elif how == "rival":
            node._on_rival("another node named policy is running")
        else:
            getattr(node, how)()
        self.stopped = True

    @rule(connected=st.booleans())
    def the_connection_changes(self, connected: bool) -> None:
        if connected != self.bench.wire.connected:
            self.bench.wire.connect(connected)
            self.stopped = True
            self.forget()

    @rule(silent=st.booleans())
    def the_sensor_changes(self, silent: bool) -> None:
        self.silent = silent

    @rule(offset=st.sampled_from([-50.0, -5.0, -0.5, 0.0, 0.3, 5.0]))
    def the_clock_is_set(self, offset: float) -> None:
        self.bench.clock_offset += offset

    @rule(held=st.sampled_from([True, False, None]))
    def the_dead_man_changes(self, held: bool | None) -> None:
        self.held = held

    @rule(what=st.sampled_from(["dead man", "stop"]))
    def something_objects_between_two_ticks(self, what: str) -> None:
        if not self.bench.wire.connected or (self.dead_man == "none" if what == "dead man" else not self.cell):
            return
        if what == "dead man":
            self.tell_dead_man(held=False)
            self.tell_dead_man(held=True)
        else:
            self.bench.wire.subscribers["/external_stop"]({"data": True})
            self.bench.wire.subscribers["/external_stop"]({"data": False})
            self.allowed["stop"] = self.bench.now
        self.stopped = True

    @rule(stop=st.sampled_from([True, False, None]))
    def the_external_stop_changes(self, stop: bool | None) -> None:
        self.stop = stop

    @rule(state=st.sampled_from(["active", "inactive", None]))
    def the_controllers_change(self, state: str | None) -> None:
        self.controller = state

    @rule(values=st.sampled_from([(0.9, -0.7), (1e9, -1e9), (np.nan, 0.0), (0.0, 0.0), (-0.9, 0.9)]))
    def the_policy_wants(self, values: tuple[float, float]) -> None:
        self.bench.policy.bias = np.float32(values)

    @rule()
    def the_policy_raises_once(self) -> None:
        infer = self.bench.policy.infer

        def fail(observation: np.ndarray) -> np.ndarray:
            self.bench.policy.infer = infer
            raise RuntimeError("interpreter failed")

        self.bench.policy.infer = fail

    @rule(bad=st.sampled_from([{}, {"name": ["a"], "position": []}, {"header": {"stamp": {"sec": 10**400}}}]))
    def a_bad_message_comes(self, bad: dict) -> None:
        self.bench.wire.subscribers["/joint_states"](bad)

    @rule(position=st.sampled_from([None, 3.0, float("inf")]))
    def a_bad_number_comes(self, position: float | None) -> None:
        message = self.bench.state_message() | {"position": [position, 0.0]}
        self.bench.now += 1e-3
        self.bench.wire.subscribers["/joint_states"](message)

    @rule(takes=st.booleans())
    def the_controller_changes(self, takes: bool) -> None:
        self.bench.wire.takes_goals = takes

    @rule()
    def a_goal_is_aborted(self) -> None:
        if self.bench.wire.results:
            self.bench.wire.results[-1]({"error_code": -5, "error_string": "tolerance"}, GoalStatus.ABORTED, None)

    # What is looked at ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        bench = self.bench
        if not self.silent and bench.wire.connected:
            before = bench.node.observer.counters["rejected"]
            bench.wire.subscribers["/joint_states"](bench.state_message())
            if bench.node.observer.counters["rejected"] == before:
                self.fresh = bench.now
        if self.held is not None:
            self.tell_dead_man(held=self.held)
        if self.cell and bench.wire.connected:
            self.tell_cell()
        state, objections = bench.node.state, self.objections()
        bench.node.tick(bench.now)
        assert not (objections and bench.node.state == "active"), objections
        for message in self.said():
            self.look_at(message, state)
        motion = bench.node.memory.motion
        if motion is not None and bench.node.states.speaks:
            bench.q = motion.position.copy()
        bench.now += DT

    def tell_dead_man(self, *, held: bool) -> None:
        if self.dead_man == "none" or not self.bench.wire.connected:
            return
        now = self.bench.now
        if self.known and now - self.allowed["dead_man"] > HELD:
            self.known, self.pressed = None, False  # what happened meanwhile is not known
        self.pressed = held and (self.pressed or self.known is False)
        self.known = held
        self.allowed["dead_man"] = now if held else -np.inf
        self.bench.wire.subscribers["/dead_man"]({"buttons": [int(held)]} if self.dead_man == "joy" else {"data": held})

    def tell_cell(self) -> None:
        """What the external stop and the controller manager say."""
        wire, now = self.bench.wire, self.bench.now
        if self.stop is not None:
            wire.subscribers["/external_stop"]({"data": self.stop})
            self.allowed["stop"] = -np.inf if self.stop else now
        while wire.calls and self.controller is not None:
            wire.calls.pop(0)[1]({"controller": [{"name": "arm", "state": self.controller}]}, None)
            self.allowed["controller"] = now if self.controller == "active" else -np.inf

    def forget(self) -> None:
        """The connection was lost: nothing is known any more."""
        self.known, self.pressed = None, False
        self.allowed = dict.fromkeys(self.allowed, -np.inf)
        self.bench.wire.calls.clear()

    def said(self) -> list[Any]:
        wire = self.bench.wire
        messages = [m for topic, m in wire.published[self.seen :] if topic in ("/commands", "/arm")]
        messages += [goal.get("trajectory", goal) for _, goal in wire.goals[self.goals :]]
        self.seen, self.goals = len(wire.published), len(wire.goals)
        return messages

    def look_at(self, message: dict[str, Any], before: str) -> None:
        """One message, which was sent in a tick that began in the state `before`."""
        node, now = self.bench.node, self.bench.now
        assert before in ("active", "stopping") or self.stands(message), "a command while not enabled"
        late = GRIPPER_EVERY if self.kind in GRIPPERS else 0.0
        if now - self.fresh > COASTING + late and self.kind != "effort":
            assert self.stands(message), f"a command of what was known {now - self.fresh:.2f} s ago"
        if self.kind == "effort":
            assert np.abs(message["data"]).max() <= 1.0
            assert node.state == "active" or self.stands(message), "an effort after a stop"
            return
        for path in self.paths(message):
            assert np.isfinite(path).all()
            assert (np.abs(path) <= 1.0 + 1e-6).all(), "out of the limits of position"
            assert (np.abs(np.diff(path, axis=0)) <= DT * (1.0 + 1e-6)).all(), "too fast"
            bent = np.abs(np.diff(path, 2, axis=0))
            assert (bent <= 5.0 * DT * DT + 1e-6).all(), "too much acceleration"
        if self.kind in SPEEDS:
            velocity = self.values(message)
            assert (np.abs(velocity) <= 1.0 + 1e-6).all()
            if node.states.speaks:
                assert (np.abs(velocity - self.before) <= 5.0 * DT + 1e-6).all(), "too much acceleration"
            if self.stopped or node.state == "stopping":
                assert (np.abs(velocity) <= np.abs(self.before) + 1e-6).all(), "faster after a stop"
            self.before = velocity

    def paths(self, message: dict[str, Any]) -> list[np.ndarray]:
        if "points" in message:
            assert message["points"][-1]["velocities"] == [0.0, 0.0]
            return [np.array([point["positions"] for point in message["points"]])]
        return [self.values(message)[None]] if self.kind in (*PLACES, *GRIPPERS) else []

    def values(self, message: dict[str, Any]) -> np.ndarray:
        """What it says of the joints, or of a gripper's."""
        if self.kind in CARTESIAN:
            return np.array([number_at(message, PATHS[self.kind][axis]) for axis in "xy"])
        if self.kind in GRIPPERS:
            return np.full(2, message["width"] if "width" in message else message["command"]["position"])
        return np.array(message["data"])

    def stands(self, message: dict[str, Any]) -> bool:
        """Whether a message moves nothing."""
        if "points" in message:
            positions = np.array([point["positions"] for point in message["points"]])
            return bool(np.ptp(positions, axis=0).max() < 1e-5)
        values = self.values(message)
        if self.kind in GRIPPERS:
            return bool(abs(values[0] - self.bench.q.mean()) < 1e-5)
        return bool(np.abs(values - self.bench.q if self.kind in PLACES else values).max() < 1e-5)

    @invariant()
    def a_stop_comes_to_an_end(self) -> None:
        """Active only if nobody stopped it since it was enabled, and if it is connected."""
        if not hasattr(self, "bench"):
            return
        node = self.bench.node
        if self.stopped and node.state == "active":
            self.tick()  # what comes by a counter is seen in the next tick
        if self.moved and node.state != "active":  # a press counts for one start
            self.moved, self.pressed = False, False
        assert not (self.stopped and node.state == "active")
        assert node.state in ("inactive", "active", "stopping", "fault")

    def teardown(self) -> None:
        """Whatever was: with an operator who stops it, the robot stands within a second."""
        if not hasattr(self, "bench"):
            return
        self.bench.node.stop()
        self.stopped = True
        for _ in range(50):
            self.tick()
        assert self.bench.node.state in ("fault", "inactive")


def drive(sequences: int, steps: int, *, same: bool) -> None:
    run_state_machine_as_test(
        Robot,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            derandomize=same,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_sequence_moves_a_robot_that_must_not_move() -> None:
    drive(60, 30, same=True)


@pytest.mark.slow
def test_no_sequence_moves_a_robot_that_must_not_move_at_length() -> None:
    drive(2000, 60, same=False)
