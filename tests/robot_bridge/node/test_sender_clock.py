"""What is made of stamps: lateness, other clocks, and simulations that run at a pace of their own."""

from __future__ import annotations

import numpy as np
import pytest
from robot_fakes import arm_policy, arm_robot

from robot_bridge.node.observation import Observer
from robot_bridge.node.sender_clock import SenderClock, seconds
from robot_bridge.robot.robot import Input

HZ = 50


def clock() -> SenderClock:
    return SenderClock(max_delay=0.1, patience=1.5)


def fed(clock: SenderClock, offset: float, begin: float, length: float, pace: float = 1.0) -> list[float | None]:
    """The delays of messages that came at `begin` and after, by a clock that is `offset` ahead."""
    times = begin + np.arange(round(length * HZ)) / HZ
    return [clock.delay(begin + offset + pace * (t - begin), t) for t in times]


def test_one_message_out_of_order_is_dropped_and_the_next_is_not() -> None:
    c = clock()
    fed(c, 1000.0, 0.0, 1.0)
    assert c.delay(1000.5, 1.0) is None
    assert c.delay(c.last, 1.0) is None
    assert c.delay(1000.6, 1.01) is None  # newer than the one before, yet older than the newest
    assert c.delay(1001.02, 1.02) == pytest.approx(0.0, abs=1e-9)


def test_the_same_message_for_ever_is_dropped_for_ever() -> None:
    c = clock()
    fed(c, 1000.0, 0.0, 1.0)
    assert [c.delay(c.last, 1.0 + k / HZ) for k in range(1000)] == [None] * 1000


@pytest.mark.parametrize("step", [-0.4, -0.9, -1.5, -100.0, 5.0])
def test_a_clock_that_is_set_is_taken_up_within_seconds(step: float) -> None:
    c = clock()
    fed(c, 1000.0, 0.0, 3.0)
    delays = fed(c, 1000.0 + step, 3.0, 6.0)
    ok = [d is not None and d <= 0.1 for d in delays]
    assert all(ok[-3 * HZ :])


def test_messages_that_are_late_at_a_stroke_are_late_for_longer_than_a_hold() -> None:
    c = clock()
    fed(c, 1000.0, 0.0, 3.0)
    delays = fed(c, 999.7, 3.3, 5.0)  # nothing for 0.3 s, and then each by 0.3 s later than it should
    late = [d for d in delays if d is not None and d > 0.1]
    assert len(late) >= 1.4 * HZ
    np.testing.assert_allclose(late, 0.3, atol=0.01)


def test_a_queue_that_grows_is_never_taken_for_a_clock() -> None:
    """2 % too many messages for the way: each waits longer than the one before."""
    c = clock()
    fed(c, 1000.0, 0.0, 3.0)
    delays = fed(c, 1000.0, 3.0, 60.0, pace=0.98)
    true = 0.02 * np.arange(len(delays)) / HZ
    np.testing.assert_allclose(np.array(delays, float), true, atol=0.08)  # a clock may drift 1 ms a second


@pytest.mark.parametrize("pace", [0.5, 0.95, 1.0, 1.5])
def test_the_time_of_a_simulation_is_known_at_any_pace(pace: float) -> None:
    c = clock()
    fed(c, 10.0, 0.0, 30.0, pace)
    truth = 10.0 + pace * 30.05
    assert c.now(30.05, paced=True) == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize("stamp", [{"sec": -5}, {"sec": 2**31}, {"sec": float("nan")}, {"sec": float("inf")}])
def test_no_time_is_refused(stamp: dict) -> None:
    with pytest.raises(ValueError, match="expected 0 to 2"):
        seconds(stamp)


# Seen by the observer -------------------------------------------------------------------------------------------------


def joint_state(names: list[str], stamp: float) -> dict:
    header = {"stamp": {"sec": int(stamp), "nanosec": round(stamp % 1 * 1e9)}}
    return {"header": header, "name": names, "position": [0.1] * len(names)}


@pytest.mark.parametrize("lag", [0.0, -0.003, 0.003])
def test_two_drivers_on_one_topic_have_clocks_of_their_own(lag: float) -> None:
    observer = Observer(arm_policy(), arm_robot())
    for k in range(100):
        assert observer.receive(0, joint_state(["a"], 1000 + k / HZ), k / HZ)
        assert observer.receive(0, joint_state(["b"], 1000 + k / HZ + lag), k / HZ + 0.001)
    snapshot = observer.snapshot(99 / HZ + 0.002)
    assert snapshot.age < 0.01
    assert not observer.counters.snapshot()


def test_a_slow_clock_is_named() -> None:
    observer = Observer(arm_policy(), arm_robot())
    for k in range(200):
        observer.receive(0, joint_state(["a", "b"], 10 + 0.5 * k / HZ), k / HZ)
    assert "runs at 0.50 of this computer's" in observer.snapshot(200 / HZ).why
    patient = Observer(arm_policy(), arm_robot(inputs=(Input("/joint_states", check_stamps=False),)))
    for k in range(200):
        patient.receive(0, joint_state(["a", "b"], 10 + 0.5 * k / HZ), k / HZ)
    snapshot = patient.snapshot(199 / HZ + 0.01)
    assert snapshot.age < 0.02
    assert snapshot.stamp == pytest.approx(10 + 0.5 * (199 / HZ + 0.01), abs=0.02)


def test_what_was_refused_is_named_with_its_topic_and_path() -> None:
    inputs = (Input("/joint_states"), Input("/pose", "geometry_msgs/msg/Pose", 0.5, {"b/position": "position.z"}))
    observer = Observer(arm_policy(), arm_robot(inputs=inputs))
    observer.receive(0, joint_state(["a"], 5.0), 1.0)
    assert not observer.receive(1, {"position": {"x": 0.7}}, 1.0)
    assert observer.complaints == {"/pose": "there is no 'z' of position.z"}
    assert observer.counters["rejected.malformed./pose"] == 1


def test_joints_that_go_round_are_followed_across_the_turn() -> None:
    from robot_bridge.guards.limits import JointLimits

    limits = JointLimits([-20, -3], [20, 3], [1, 1], [5, 5], [500, 500])
    observer = Observer(arm_policy(), arm_robot(limits=limits))
    angles = np.linspace(3.0, 10.0, 100)
    seen = []
    for k, angle in enumerate(angles):
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        message = joint_state(["a", "b"], 5.0 + k / HZ) | {"position": [wrapped, wrapped / 2]}
        observer.receive(0, message, k / HZ)
        seen.append(observer.snapshot(k / HZ).position)
        np.testing.assert_allclose(seen[-1][1], wrapped / 2)  # the other one's range is less than a turn
    np.testing.assert_allclose(np.array(seen)[:, 0], angles, atol=1e-9)
