"""The policy node's loop: rates, timing, diagnostics and the decision log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from node_bench import DT, Bench
from robot_fakes import arm_policy, arm_robot

from robot_bridge.counters import Counters
from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.loop import run
from robot_bridge.node.observation import Observer
from robot_bridge.node.timing import Timing
from robot_bridge.robot.robot import Input


def test_slow_policies_are_asked_at_their_rate() -> None:
    policy = arm_policy(rate=12.5)
    calls = []
    infer = policy.infer
    policy.infer = lambda o: (calls.append(1), infer(o))[1]
    bench = Bench(policy)
    bench.enable()
    calls.clear()
    bench.step(100)
    assert len(calls) == 25
    assert bench.sent() == 100


def test_novelty_slows_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = Bench(arm_policy(target=1.0)), Bench(arm_policy(target=1.0))
    slow.policy.score, slow.policy.beyond = np.array([2.0]), ["a/position"]
    fast.enable()
    slow.enable()
    fast.step(40)
    slow.step(40)
    assert slow.q[0] < 0.6 * fast.q[0]
    assert "a/position" in slow.step().reason
    slow.policy.score = np.array([9.0])
    slow.step(60)
    assert slow.node.state == "fault"


def test_diagnostics_say_what_is_going_on() -> None:
    from robot_bridge.interfaces import from_dict, get_interface

    bench = Bench().moving()
    message = [m for topic, m in bench.wire.published if topic == "/diagnostics"][-1]
    from_dict(get_interface("diagnostic_msgs/msg/DiagnosticArray"), message, partial=True)
    values = {v["key"]: v["value"] for v in message["status"][0]["values"]}
    assert values["state"] == "active"
    bench.node.stop()
    bench.step(40)
    status = [m for topic, m in bench.wire.published if topic == "/diagnostics"][-1]["status"][0]
    assert status["level"] == 2
    assert "emergency stop" in status["message"]


def test_every_decision_is_logged_and_can_be_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rosbags.highlevel import AnyReader

    from lapo_tf.data import open_recording
    from lapo_tf.data.bags.importer import import_bags

    folder = tmp_path / "log"
    bench = Bench(arm_policy(rate=25.0))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    bench.node.log = DecisionLog(folder, bench.policy.description, bench.node.observer.counters)
    bench.enable()
    positions, first = [], len(bench.velocities)
    for _ in range(30):
        positions.append(bench.q.copy())
        bench.step(2)
    bench.node.stop()
    bench.step(10)
    ticks = bench.node.counts["ticks"]
    bench.node.close()
    with AnyReader([folder / "bag"]) as reader:
        said = [reader.deserialize(raw, c.msgtype).message for c, _, raw in reader.messages() if "decision" in c.topic]
    assert len(said) == ticks
    assert "operator: emergency stop" in said
    import_bags([folder / "bag"], folder / "layout.yaml", "own/log-v0", progress=False)
    with open_recording("own/log-v0") as recording:
        (episode,) = list(recording.episodes)
    executed = np.reshape(bench.velocities[first : first + 60], (30, 2, 2)).mean(axis=1)  # two ticks a decision
    n = len(episode.actions)
    assert n >= 28
    np.testing.assert_allclose(episode.observations[:n], positions[:n], atol=1e-6)
    np.testing.assert_allclose(episode.actions, executed[:n], atol=1e-6)
    with pytest.raises(Exception, match="exists already"):
        DecisionLog(folder, bench.policy.description, Counters())


def test_the_loop_keeps_absolute_time_and_counts_what_it_misses() -> None:
    bench = Bench()
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        bench.now += seconds - 0.002
        bench.wire.subscribers["/joint_states"](bench.state_message())
        bench.now += 0.002

    slow = {20: 0.031, 40: 0.5}  # a tick that takes longer than a period, and one during which all stood still
    tick = bench.node.tick

    def work(now: float) -> Any:
        if bench.node.counts["ticks"] == 5:
            bench.node.enable()
        outcome = tick(now)
        bench.now += slow.get(bench.node.counts["ticks"], 0.004)
        return outcome

    bench.node.tick = work  # type: ignore[method-assign]
    begin = bench.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot_bridge.node.loop.time.sleep", sleep)
        run(bench.node, duration=2.0)
    timing = bench.node.timing
    assert timing.ticks + timing.skipped == pytest.approx((bench.now - begin) / DT, abs=2)
    assert timing.misses >= 2
    assert 23 <= timing.skipped <= 25
    assert bench.node.state == "fault"
    assert "stood still" in bench.node.reason


@pytest.mark.parametrize(("rate", "phase"), [(50, 0.011), (50, 0.0019), (50, 0.001), (100, 0.004), (49.9, 0.015)])
def test_the_loop_follows_its_input_closely(rate: float, phase: float) -> None:
    """Whatever the phase between the sensor and the loop at the beginning, and though the sensor's clock is off."""
    bench = Bench(inputs=(Input("/joint_states", max_age=0.15),))
    due, lags = bench.now + phase, []

    def sleep(seconds: float) -> None:
        nonlocal due
        until = bench.now + seconds
        while due <= until:
            bench.now = due
            bench.wire.subscribers["/joint_states"](bench.state_message())
            due += 1.0 / rate
        bench.now = until

    tick = bench.node.tick

    def work(now: float) -> Any:
        outcome = tick(now)
        lags.append(bench.node.since)
        if len(lags) == 4:
            assert bench.node.enable()[0]
        return outcome

    bench.node.tick = work  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot_bridge.node.loop.time.sleep", sleep)
        run(bench.node, duration=4.0)
    assert bench.node.states.faults == 0
    np.testing.assert_allclose(lags[4:150], 0.002, atol=2e-4)
    assert bench.node.timing.misses + bench.node.timing.skipped == 0


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters()
    log = DecisionLog(tmp_path / "log", arm_policy().description, counters)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._writer, "write", full)
    for _ in range(3000):
        log.observation(1.0, np.zeros(2))
    log.close()
    assert counters["dropped.log"] == 3000


def test_timing_counts() -> None:
    timing = Timing(0.01)
    for late, work in ((0.0, 0.002), (0.001, 0.002), (0.0, 0.011), (0.009, 0.002)):
        assert timing.tick(late, work) == 0
    assert timing.tick(0.032, 0.001, latency=0.04) == 3  # three periods went by; in the fourth it was in time
    assert timing.misses == 2
    assert timing.miss_rate == 5 / 8
    timing.seconds = 0.08
    summary = timing.summary()
    assert summary["deadline_misses"] == "5 of 8 (62.500%)"
    assert summary["loop_rate_hz"] == "62.500 of 100"
    assert summary["jitter_ms"] == "1.00/31.08/32.00"
    assert summary["latency_ms"] == "40.00/40.00/40.00"
    assert timing.summary(last=1)["work_ms"] == "1.00/1.00/1.00"
    for _ in range(Timing.SIZE):
        timing.tick(0.0, 0.003)
    assert timing.summary()["work_ms"] == "3.00/3.00/3.00"


def test_a_loop_that_waits_for_its_input_has_no_deadlines() -> None:
    timing = Timing(np.inf)
    timing.tick(0.0, 5.0)
    assert timing.summary() == {"work_ms": "5000.00/5000.00/5000.00"}


def test_a_locked_simulation_is_answered_only_when_all_numbers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages come in another thread than the loop's: a stamp is known no sooner than the numbers it belongs to."""
    inputs = tuple(Input(topic, check_stamps=False) for topic in ("/joint_states", "/object_states"))
    observer, seen = Observer(arm_policy(), arm_robot(inputs=inputs)), []
    take = observer._take

    def slowly(*arguments: Any) -> None:
        seen.append(observer.complete())  # what the loop would find meanwhile
        take(*arguments)

    monkeypatch.setattr(observer, "_take", slowly)
    for step in (1, 2):
        header = {"stamp": {"sec": step, "nanosec": 0}}
        for number, joint in enumerate("ab"):
            assert observer.receive(number, {"header": header, "name": [joint], "position": [float(step)]}, 0.1 * step)
        assert observer.complete() == step
    assert seen == [0.0, None, 1.0, None]
    bad = {"header": {"stamp": {"sec": 3, "nanosec": 0}}, "name": ["a"], "position": ["x"]}
    assert not observer.receive(0, bad, 0.4)
    assert observer.complete() == 2
