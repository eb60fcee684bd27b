"""The way to where the training episodes began: slow, guarded, stoppable, told; and what enabling far from it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from node_bench import DT, Bench, decelerates
from robot_fakes import arm_policy

from robot_bridge.robot.description import StartEntry
from robot_bridge.robot.interlocks import DeadMan, Interlock, Start
from robot_bridge.robot.robot import Output

POSE = np.array([0.4, -0.3])
SPEED = 0.2


def starts(pose: np.ndarray = POSE, joints: str = "ab") -> tuple[StartEntry, ...]:
    return tuple(StartEntry(j, "rad", q, q - 0.1, q + 0.1) for j, q in zip(joints, pose.tolist(), strict=True))


def bench(kind: str = "velocity", start: Any = None, **robot: Any) -> Bench:
    topic = "/commands" if kind in ("velocity", "position", "effort") else "/arm"
    policy = arm_policy(start=starts() if start is None else start)
    robot = {"outputs": (Output(kind, topic, ("a", "b"), 0.1),), "start": Start(speed=SPEED)} | robot  # type: ignore[arg-type]
    return Bench(policy, **robot)


def follow(bench: Bench, n: int = 1) -> np.ndarray:
    """`n` periods of an arm that is wherever the commanded motion is by now; its way [n, 2]."""
    way = []
    for _ in range(n):
        bench.wire.subscribers["/joint_states"](bench.state_message())
        bench.node.tick(bench.now)
        if bench.node.states.speaks:
            bench.q = bench.node.memory.motion.position.copy()
        way.append(bench.q)
        bench.now += DT
    return np.array(way)


def until_it_rests(bench: Bench, within: float = 30.0) -> np.ndarray:
    way = []
    begin = bench.now
    while bench.node.state in ("active", "stopping"):
        assert bench.now - begin < within
        way.append(follow(bench)[0])
    return np.array(way)


@pytest.mark.parametrize("kind", ["velocity", "position", "trajectory", "follow"])
def test_it_goes_there_slowly_in_step_and_says_so(kind: str) -> None:
    b = bench(kind, speed=0.1)  # of the policy: the way has a speed of its own
    follow(b)
    assert b.node.go_to_start() == (True, "going to the start pose")
    assert b.node.go_to_start() == (True, "already going to the start pose")
    assert b.node.enable() == (False, "on the way to the start pose: enable when it is there")
    way = until_it_rests(b)
    np.testing.assert_allclose(b.q, POSE, atol=0.005)
    assert (b.node.state, b.node.reason) == ("inactive", "at the start pose")
    speeds = np.abs(np.diff(way, axis=0)) / DT
    assert 0.95 * SPEED < speeds.max() <= SPEED + 1e-6
    np.testing.assert_allclose(way[:, 1], way[:, 0] * POSE[1] / POSE[0], atol=0.01)  # a straight line
    assert b.node.states.faults == 0
    before = len(b.wire.published) + len(b.wire.goals)
    follow(b, 20)
    after = [m for t, m in b.wire.published if t != "/diagnostics"]
    assert len(after) + len(b.wire.goals) <= before  # nothing more is said
    assert b.node.enable() == (True, "active")
    assert np.abs(follow(b, 20)[-1] - POSE).max() > 0.0


def test_where_it_is_there_already_it_says_so_at_once() -> None:
    b = bench()
    b.q = POSE.copy()
    follow(b)
    assert b.node.go_to_start()[0]
    until_it_rests(b, within=0.5)
    assert b.node.reason == "at the start pose"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "effort", "limits": None}, "outputs of kind effort lead no joint to a place"),
        ({"start": ()}, "the bundle does not say where its training episodes began: export it again"),
        ({"start": starts(POSE[:1], "a")}, "the bundle does not say where joint b began: move the robot by hand"),
        ({"start": starts(np.array([0.0, 1.3]))}, "joint b began at 1.300, out of its limits"),
        ({"mode": "dry-run"}, "nothing is sent in a dry-run"),
    ],
)
def test_it_is_refused_where_it_makes_no_sense(change: dict[str, Any], why: str) -> None:
    b = bench(**change)
    follow(b)
    assert b.node.go_to_start() == (False, why)
    assert b.node.state == "inactive"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda b: setattr(b, "now", b.now + 1.0), "a/position is 1.02 s old"),
        (lambda b: b.wire.connect(False), "not connected"),
        (lambda b: b.wire.subscribers["/external_stop"]({"data": True}), "/external_stop is True"),
        (lambda b: b.wire.subscribers["/dead_man"]({"data": False}), "the dead-man switch is not held"),
        (lambda b: b.node.enable(), "the policy is active: disable it first"),
    ],
)
def test_it_is_refused_where_enabling_would_be(spoil: Callable[[Bench], object], why: str) -> None:
    b = bench(dead_man=DeadMan("/dead_man"), interlocks=(Interlock("/external_stop"),))
    b.wire.subscribers["/dead_man"]({"data": True})
    b.wire.subscribers["/external_stop"]({"data": False})
    follow(b)
    spoil(b)
    assert b.node.go_to_start() == (False, why)


@pytest.mark.parametrize(
    ("halt", "state", "reason"),
    [
        (lambda b: b.node.stop(), "fault", "emergency stop"),
        (lambda b: b.node.disable(), "inactive", "disabled"),
        (lambda b: b.wire.subscribers["/policy/stop"]({}), "fault", "emergency stop"),
        (lambda b: b.wire.subscribers["/external_stop"]({"data": True}), "fault", "interlock: /external_stop is True"),
    ],
)
def test_it_can_be_stopped_at_any_time(halt: Callable[[Bench], object], state: str, reason: str) -> None:
    b = bench(interlocks=(Interlock("/external_stop", max_age=None),))
    b.wire.subscribers["/external_stop"]({"data": False})
    follow(b)
    assert b.node.go_to_start()[0]
    follow(b, 20)
    halt(b)
    way = follow(b, 40)
    assert np.abs(way[-1] - POSE).max() > 0.1
    decelerates(list(np.diff(way, axis=0) / DT))
    assert (b.node.state, b.node.reason) == (state, reason)


def test_a_way_that_is_barred_ends_in_a_fault() -> None:
    b = bench()
    follow(b)
    assert b.node.go_to_start()[0]
    for _ in range(int(20.0 / DT)):  # a blocked arm: the lead guard lets it go no further
        b.wire.subscribers["/joint_states"](b.state_message())
        b.node.tick(b.now)
        b.now += DT
    assert (b.node.state, b.node.reason) == ("fault", "the start pose was not reached in time")


def test_novelty_and_what_the_policy_wants_do_not_matter_on_the_way() -> None:
    b = bench()
    b.policy.score[:] = 50.0
    b.policy.beyond = ["a/position"]
    follow(b)
    assert b.node.go_to_start()[0]
    until_it_rests(b)
    assert b.node.reason == "at the start pose"


def test_the_service_answers_at_once() -> None:
    b = bench()
    follow(b)
    answers: list[dict] = []
    b.wire.services["/policy/go_to_start"]({}, lambda values, error=None: answers.append(values))
    assert answers == [{"success": True, "message": "going to the start pose"}]


@pytest.mark.parametrize(("far", "enabled", "notes"), [("warn", True, 1), ("refuse", False, 0), ("ignore", True, 0)])
def test_enabling_far_from_the_start_is_as_the_config_says(far: Any, enabled: bool, notes: int) -> None:
    b = Bench(arm_policy(start=starts()), start=Start(far=far, within=0.1))
    b.q = np.array([0.45, 0.0])
    follow(b)
    done, why = b.node.enable()
    where = "joint b is at 0.000, where training episodes began at -0.400 to -0.200"
    assert done is enabled
    assert why == ("active" if enabled else f"{where}: go to the start pose first")
    assert b.said.count(f"note: {where}") == notes
    near = Bench(arm_policy(start=starts()), start=Start(far=far, within=0.1))
    near.q = np.array([0.59, -0.5])  # 0.19 from the pose: 0.1 of spread, and 0.1 within
    follow(near)
    assert near.node.enable() == (True, "active")
    assert not [line for line in near.said if line.startswith("note")]


def test_within_is_at_most_a_tenth_of_a_joints_range() -> None:
    """Fingers that move by centimetres are not near everywhere."""
    for b, near in ((-0.01, True), (0.01, False)):  # 0.2 of a range of 2 from the outermost start at -0.2
        one = Bench(arm_policy(start=starts()), start=Start(far="refuse", within=5.0))
        one.q = np.array([0.4, b])
        follow(one)
        assert one.node.enable()[0] is near


def test_after_the_way_the_policy_is_looked_at_again() -> None:
    b = bench()
    follow(b)
    assert b.node.go_to_start()[0]
    follow(b, 5)
    assert b.node.latest is not None
    assert not b.node.latest[1].by_policy
    b.node.stop()
    follow(b, 2)
    assert b.node.latest[1].by_policy


def test_a_start_that_is_a_little_out_of_the_limits_is_taken_at_their_edge() -> None:
    """As that of fingers that training data closed to 0, where a config keeps a margin."""
    b = bench(start=starts(np.array([0.4, 1.05])))
    b.q = np.array([0.3, 0.8])
    follow(b)
    assert b.node.go_to_start()[0]
    until_it_rests(b)
    assert b.node.reason == "at the start pose"
    np.testing.assert_allclose(b.q, [0.4, 1.0], atol=0.005)
