"""The policy node's answers to every fault, provoked; what it commands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from node_bench import DT, Bench, decelerates
from robot_fakes import arm_policy, arm_robot

from robot_bridge.guards.guard import Level
from robot_bridge.node.observation import Observer
from robot_bridge.robot.interlocks import DeadMan
from robot_bridge.robot.robot import Input, Output


def test_nothing_is_sent_before_enable_and_the_policy_runs_after() -> None:
    bench = Bench()
    bench.step(5)
    assert bench.sent() == 0
    assert bench.node.state == "inactive"
    assert bench.node.enable()[0]
    bench.step(150)
    np.testing.assert_allclose(bench.q, [0.5, 0.5], atol=0.02)
    assert bench.sent() == 150


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda b: None, "never received"),
        (lambda b: (b.step(), setattr(b, "now", b.now + 1)), "1.02 s old"),
        (lambda b: (setattr(b, "q", np.array([np.nan, 0])), b.step()), "NaN"),
        (lambda b: (setattr(b, "q", np.array([1.5, 0])), b.step()), "joint a is at 1.500, beyond its limits"),
        (lambda b: (b.step(), setattr(b.wire, "connected", False)), "not connected"),
    ],
)
def test_enable_says_why_not(spoil: Callable, why: str) -> None:
    bench = Bench()
    spoil(bench)
    done, message = bench.node.enable()
    assert not done
    assert why in message


def test_a_silent_sensor_holds_then_stops_and_stays() -> None:
    bench = Bench().moving()
    bench.sensor = lambda message: None
    begin = bench.now
    while bench.velocities[-1].any() and bench.now < begin + 2:
        bench.step()
    assert bench.now - begin < 0.1 + 1.0 / 5.0 + 0.1  # its age, then braking from 1 rad/s at 5 rad/s²
    decelerates(bench.velocities[-20:])
    bench.step(30)
    assert bench.node.state == "fault"
    assert "a/position" in bench.node.reason
    bench.sensor = lambda message: message
    sent = bench.sent()
    bench.step(50)  # it is back, and nothing goes on by itself
    assert bench.sent() == sent
    assert bench.node.enable()[0]
    assert np.abs(bench.step(5).command).max() > 0


def test_a_short_gap_is_only_a_hold() -> None:
    bench = Bench().moving()
    bench.sensor = lambda message: None
    bench.step(10)
    assert bench.step().level == Level.HOLD
    bench.sensor = lambda message: message
    bench.step(3)
    assert bench.node.state == "active"


def test_nan_is_refused() -> None:
    bench = Bench().moving()
    bench.sensor = lambda message: message | {"position": [None, 0.1]}
    bench.step(60)
    assert np.isfinite(bench.velocities).all()
    decelerates(bench.velocities[-50:])
    assert bench.node.state == "fault"
    assert "finite" in bench.node.reason


def test_a_policy_that_gives_nan_is_refused() -> None:
    bench = Bench().moving()
    bench.policy.bias = np.float32(np.nan)
    bench.step(60)
    assert np.isfinite(bench.velocities).all()
    decelerates(bench.velocities[-50:])
    assert bench.node.state == "fault"


@pytest.mark.parametrize("kind", ["velocity", "position"])
def test_after_a_lost_connection_nothing_moves_until_enabled(kind: str) -> None:
    """Velocities carry no stamp, and the arm may still go on with the last one: it is told to stand. Positions hold."""
    bench = Bench(outputs=(Output(kind, "/commands", ("a", "b")),)).moving()  # type: ignore[arg-type]
    bench.wire.connect(False)
    bench.step(5)
    bench.wire.connect(True)
    before = bench.sent()
    bench.step(100)
    told = [m["data"] for topic, m in bench.wire.published if topic == "/commands"][before:]
    assert told == ([[0.0, 0.0]] * 5 if kind == "velocity" else [])
    sent = bench.sent()
    assert bench.node.state == "fault"
    assert "connection lost" in bench.node.reason
    assert bench.node.enable()[0]
    bench.step(2)
    assert bench.sent() == sent + 2


@pytest.mark.parametrize("how", ["service", "topic", "method"])
def test_emergency_stop(how: str) -> None:
    bench = Bench().moving()
    answers: list[dict] = []
    if how == "service":
        bench.wire.services["/policy/stop"]({}, lambda values, error=None: answers.append(values))
    elif how == "topic":
        bench.wire.subscribers["/policy/stop"]({})
    else:
        bench.node.stop()
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert bench.node.state == "fault"
    assert "emergency stop" in bench.node.reason
    assert bench.node.states.faults == 1


def test_disable_is_no_fault() -> None:
    bench = Bench().moving()
    bench.node.disable()
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert bench.node.state == "inactive"


def test_dead_man_must_be_held() -> None:
    bench = Bench(dead_man=DeadMan("/dead_man", 0.2))
    bench.step()
    assert "dead-man" in bench.node.enable()[1]
    press = bench.wire.subscribers["/dead_man"]
    press({"data": True})
    assert bench.node.enable()[0]
    for _ in range(20):
        press({"data": True})
        bench.step()
    assert bench.node.state == "active"
    bench.step(40)  # silent
    assert bench.node.state == "fault"
    decelerates(bench.velocities[-30:])


@pytest.mark.parametrize("value", [1, "true", "false", [True], None])
def test_a_dead_man_says_true_or_is_not_held(value: object) -> None:
    bench = Bench(dead_man=DeadMan("/dead_man", 0.2))
    bench.step()
    bench.wire.subscribers["/dead_man"]({"data": value})
    assert bench.node.enable() == (False, "the dead-man switch is not held")


def test_it_is_not_enabled_while_it_decelerates() -> None:
    bench = Bench().moving()
    bench.node.stop()
    bench.step()
    while bench.node.state == "stopping":
        assert bench.node.enable() == (False, "still decelerating: enable again when it stands")
        bench.step()
    assert bench.node.enable()[0]
    decelerates(bench.velocities[-10:])


def test_a_policy_that_raises_is_a_fault_that_brakes_first() -> None:
    bench = Bench().moving()

    def fail(observation: np.ndarray) -> np.ndarray:
        raise RuntimeError("interpreter failed")

    infer, bench.policy.infer = bench.policy.infer, fail
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert bench.node.state == "fault"
    assert bench.node.reason == "policy: RuntimeError: interpreter failed"
    assert bench.node.enable() == (False, "the policy cannot be asked: RuntimeError: interpreter failed")
    bench.policy.infer = infer
    bench.step()
    assert bench.node.enable()[0]


def test_a_guard_that_raises_leaves_zeros() -> None:
    bench = Bench().moving()
    guard = bench.node.chain.guards[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(guard), "judge", lambda *_: 1 / 0)
        bench.step(20)
    assert np.abs(bench.velocities[-20:]).max() == 0.0
    assert "guards: ZeroDivisionError" in bench.node.reason
    assert bench.node.state == "fault"


def test_a_message_that_cannot_be_sent_is_a_fault() -> None:
    bench = Bench().moving()
    publish = bench.wire.publish

    def refuse(topic: str, message: dict) -> bool:
        if topic == "/commands" and any(message["data"]):
            raise ValueError("no such field")
        return publish(topic, message)

    bench.wire.publish = refuse  # type: ignore[method-assign]
    bench.step(20)
    assert "outputs: ValueError: no such field" in bench.node.reason
    assert [m["data"] for topic, m in bench.wire.published if topic == "/commands"][-1] == [0.0, 0.0]


def test_what_cannot_be_told_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().moving()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.node.diagnostics, "tell", lambda *_: 1 / 0)
        bench.step(20)
    assert bench.node.state == "active"
    assert bench.node.counts["errors"] == 20
    assert caplog.text.count("ZeroDivisionError: division by zero\n") <= 20


# Other nodes ----------------------------------------------------------------------------------------------------------


def heard(bench: Bench, other: Bench) -> None:
    """What the other tells on /diagnostics."""
    bench.wire.subscribers["/diagnostics"](other.node.diagnostics_message())


def test_a_node_of_the_same_name_stops_both() -> None:
    one, two = Bench().moving(), Bench(outputs=(Output("velocity", "/others", ("a", "b")),))
    heard(one, one)
    assert one.node.state == "active"  # it hears itself, too
    heard(one, two)
    one.step(40)
    assert (one.node.state, one.node.reason) == ("fault", "another node named policy is running")
    assert one.node.enable() == (False, "another node named policy is running")
    one.step(100)
    assert one.node.enable()[0]  # it is gone


def test_a_node_with_a_common_output_stops_both_and_one_in_a_dry_run_none() -> None:
    for mode, state in (("run", "fault"), ("dry-run", "active"), ("shadow", "active")):
        one, two = Bench().moving(), Bench(mode=mode, name="/left/policy")
        heard(one, two)
        one.step(40)
        assert one.node.state == state
    assert one.node.name == "/policy"


def test_two_arms_have_stops_of_their_own_and_one_for_both() -> None:
    arms = [Bench(name=name).moving() for name in ("/left/policy", "/right/policy")]
    arms[0].wire.services["/left/policy/stop"]({}, lambda values, error=None: None)
    assert ("/left/policy/stop", {}) in arms[0].wire.published  # others of that name hear it, too
    assert [arm.node.state for arm in arms] == ["stopping", "active"]
    for arm in arms:
        arm.wire.subscribers["/policy/stop"]({})
    assert [arm.node.state for arm in arms] == ["stopping", "stopping"]


def test_whose_services_were_taken_over_stops() -> None:
    bench = Bench().moving()
    bench.wire.counters.add("displaced")
    bench.step(40)
    assert bench.node.state == "fault"
    assert "another client took over" in bench.node.reason


def test_the_order_of_joints_does_not_matter() -> None:
    straight, turned = Bench(arm_policy(target=0.3)), Bench(arm_policy(target=0.3))
    straight.policy.bias = turned.policy.bias = np.float32([0.9, -0.6])
    straight.enable()
    turned.enable()
    turned.sensor = lambda m: m | {"name": [*m["name"][::-1], "z"], "position": [*m["position"][::-1], 9.0]}
    straight.step(60)
    turned.step(60)
    np.testing.assert_array_equal(straight.q, turned.q)


@pytest.mark.parametrize("jump", [-100.0, 100.0])
def test_a_clock_jump_neither_stops_nor_hides_anything(jump: float) -> None:
    bench = Bench().moving()
    bench.clock_offset = jump
    bench.step(20)
    assert bench.node.state == "active"
    bench.sensor = lambda message: None
    bench.step(60)
    assert bench.node.state == "fault"


def test_stuck_and_delayed_messages_are_old() -> None:
    stuck = Bench().moving()
    last = stuck.state_message()
    stuck.sensor = lambda message: last  # the same message again and again
    stuck.step(60)
    assert stuck.node.state == "fault"
    queued: list[dict] = []
    late = Bench().moving()

    def delay(message: dict) -> dict | None:
        queued.append(message)
        return queued.pop(0) if len(queued) > 15 else None

    late.step(10)
    late.sensor = delay
    late.step(80)
    assert late.node.state == "fault"
    assert "old" in late.node.reason


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"name": ["a", "b"], "position": [0.0]},
        {"name": ["a", "a"], "position": [0.0, 0.0]},
        {"name": ["a", "b"], "position": ["x", "y"]},
        {"name": 5, "position": None},
        {"name": ["a", "b"], "position": [0.0, 0.0], "header": {"stamp": "now"}},
        {"name": [["a"], "b"], "position": [0.0, 0.0]},
    ],
)
def test_wrong_messages_are_rejected_and_counted(message: dict) -> None:
    bench = Bench().moving()
    bench.sensor = lambda good: message
    bench.step(60)
    assert bench.node.state == "fault"
    assert bench.node.observer.counters["rejected.malformed"] == 60


def test_a_flood_changes_nothing() -> None:
    bench = Bench().moving()
    outcome = None
    for _ in range(30):
        for k in range(20):
            message = bench.state_message()
            message["header"]["stamp"]["nanosec"] += k
            bench.wire.subscribers["/joint_states"](message)
        outcome = bench.step()
    assert bench.node.state == "active"
    assert outcome.level < Level.HOLD


def test_inputs_of_other_types_are_read_by_path() -> None:
    robot = arm_robot(
        inputs=(Input("/joint_states"), Input("/pose", "geometry_msgs/msg/Pose", 0.5, {"b/position": "position.x"}))
    )
    observer = Observer(arm_policy(), robot)
    observer.receive(0, {"name": ["a", "b"], "position": [0.1, 0.2]}, 1.0)
    observer.receive(1, {"position": {"x": 0.7}}, 1.2)
    snapshot = observer.snapshot(1.3)
    np.testing.assert_array_equal(snapshot.observation, [0.1, 0.7])
    np.testing.assert_array_equal(snapshot.position, [0.1, 0.2])
    assert (snapshot.oldest, round(snapshot.age, 6)) == ("a/position", 0.3)
    assert not observer.receive(1, {"position": {}}, 1.4)


def test_dry_run_sends_nothing_and_follows() -> None:
    bench = Bench(mode="dry-run")
    bench.enable()
    for _ in range(40):
        bench.step()
        bench.q = bench.q + 0.001  # somebody else moves it
    assert bench.sent() == 0
    assert bench.node.state == "active"
    np.testing.assert_allclose(bench.node.memory.motion.position, bench.q, atol=0.05)


def test_shadow_compares_with_the_present_controller() -> None:
    bench = Bench(mode="shadow")
    bench.enable()
    for _ in range(100):
        bench.wire.subscribers["/commands"]({"data": [0.25, 0.0]})
        bench.step()
    assert bench.sent() == 0
    ours = bench.step().command
    np.testing.assert_allclose(bench.node.shadow.differences[-1], ours - [0.25, 0.0], atol=0.05)


def test_shut_down_decelerates_first() -> None:
    bench = Bench().moving()
    bench.node.shut_down()
    assert bench.node.enable() == (False, "the node is shutting down")
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert bench.node.state == "inactive"


@pytest.mark.parametrize("kind", ["trajectory", "follow"])
def test_trajectories_are_feasible_and_end_standing(kind: str) -> None:
    output = Output(kind, "/arm", ("b", "a"), 0.1)  # type: ignore[arg-type]
    bench = Bench(outputs=(output,))
    bench.enable()
    for _ in range(12):
        bench.step()
        bench.q = bench.node.memory.motion.position.copy()
    messages = [m for t, m in bench.wire.published if t == "/arm"] or [g["trajectory"] for _, g in bench.wire.goals]
    assert len(messages) == (12 if kind == "trajectory" else 6)
    last = messages[-1]
    assert last["joint_names"] == ["b", "a"]
    stamp = last["header"]["stamp"]["sec"] + 1e-9 * last["header"]["stamp"]["nanosec"]
    assert abs(stamp - (bench.now - DT)) < 0.03  # the robot's clock
    times = np.array([p["time_from_start"]["sec"] + 1e-9 * p["time_from_start"]["nanosec"] for p in last["points"]])
    np.testing.assert_allclose(np.diff(times, prepend=0.0), DT, atol=1e-9)
    assert times[-1] >= 0.1
    positions = np.array([point["positions"] for point in last["points"]])
    velocities = np.diff(positions, axis=0) / DT
    assert (np.abs(velocities) <= 1.0 + 1e-6).all()
    assert (np.abs(np.diff(velocities, axis=0)) <= 5.0 * DT + 1e-6).all()
    assert np.abs(velocities[-1]).max() < 1e-3
    assert last["points"][-1]["velocities"] == [0.0, 0.0]


def test_positions_are_commanded_from_where_it_stands() -> None:
    bench = Bench(outputs=(Output("position", "/commands", ("a", "b")),))
    bench.q = np.array([0.2, -0.1])
    bench.step()
    assert bench.node.enable()[0]
    bench.wire.published.clear()
    bench.node.tick(bench.now)
    (data,) = [m["data"] for topic, m in bench.wire.published if topic == "/commands"]
    np.testing.assert_allclose(data, [0.2, -0.1], atol=0.01)


def test_a_text_is_no_number_even_if_it_looks_like_one() -> None:
    bench = Bench()
    bench.sensor = lambda message: message | {"position": ["0.1", "0.2"]}
    bench.step()
    assert bench.node.observer.counters["rejected.malformed./joint_states"] == 1
    assert bench.node.observer.complaints["/joint_states"] == "position holds '0.1', expected numbers"
    enabled, why = bench.node.enable()
    assert not enabled
    assert "position holds '0.1'" in why
