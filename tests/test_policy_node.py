"""The policy node and what it stands on, with a clock and a transport of the tests' own: every fault, provoked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_fakes import arm_policy, arm_robot

from robot_bridge.counters import Counters
from robot_bridge.decision_log import DecisionLog
from robot_bridge.guards import Level
from robot_bridge.interfaces import from_dict, get_interface
from robot_bridge.observation import Observer
from robot_bridge.policy_node import PolicyNode
from robot_bridge.robots import DeadMan, Input, Output
from robot_bridge.timing import Timing

DT = 0.02


class Wire:
    """A transport in memory."""

    def __init__(self) -> None:
        self.connected = True
        self.counters = Counters()
        self.subscribers: dict[str, Callable[[dict], None]] = {}
        self.services: dict[str, Callable] = {}
        self.published: list[tuple[str, dict]] = []
        self.goals: list[tuple[str, dict]] = []
        self.listeners: list[Callable[[bool], None]] = []

    def close(self) -> None: ...

    def advertise(self, topic: str, kind: str) -> Wire:
        return self

    def publish(self, topic: str, message: dict) -> bool:
        if self.connected:
            self.published.append((topic, message))
        return self.connected

    def subscribe(self, topic: str, kind: str, callback: Callable[[dict], None], **_: Any) -> Wire:
        self.subscribers[topic] = callback
        return self

    def advertise_service(self, name: str, kind: str, handler: Callable) -> Wire:
        self.services[name] = handler
        return self

    def send_goal(self, action: str, kind: str, goal: dict, **_: Any) -> str:
        self.goals.append((action, goal))
        return "id"

    def on_connection(self, callback: Callable[[bool], None]) -> Wire:
        self.listeners.append(callback)
        return self

    def connect(self, connected: bool) -> None:
        self.connected = connected
        for listener in self.listeners:
            listener(connected)


class Bench:
    """A node and a robot that does what it is told, in time of their own."""

    def __init__(self, policy: Any = None, mode: str = "run", **robot: Any) -> None:
        self.now, self.wire, self.said = 100.0, Wire(), []
        self.policy = policy or arm_policy()
        self.robot = arm_robot(**robot)
        options: Any = {"mode": mode, "say": self.said.append, "clock": lambda: self.now}
        self.node = PolicyNode(self.wire, self.policy, self.robot, **options)  # type: ignore[arg-type]
        self.node.open()
        self.q = np.zeros(2)
        self.velocities: list[np.ndarray] = []
        self.clock_offset = 0.0
        self.sensor: Callable[[dict], dict | None] = lambda message: message

    def state_message(self) -> dict:
        stamp = self.now + self.clock_offset
        header = {"stamp": {"sec": int(stamp), "nanosec": int(stamp % 1 * 1e9)}}
        return {"header": header, "name": ["a", "b"], "position": self.q.tolist()}

    def step(self, n: int = 1) -> Any:
        """`n` periods: the robot reports, the node decides, the robot moves."""
        for _ in range(n):
            message = self.sensor(self.state_message())
            if message is not None:
                self.wire.subscribers["/joint_states"](message)
            before = len(self.wire.published)
            outcome = self.node.tick(self.now)
            commands = [m["data"] for topic, m in self.wire.published[before:] if topic == "/commands"]
            assert len(commands) <= 1
            velocity = np.array(commands[0]) if commands else np.zeros(2)
            self.velocities.append(velocity)
            self.q = self.q + DT * velocity
            self.now += DT
        return outcome

    def sent(self) -> int:
        return sum(topic == "/commands" for topic, _ in self.wire.published)

    def enable(self) -> None:
        self.step()
        assert self.node.enable() == (True, "active")

    def moving(self) -> Bench:
        self.enable()
        self.step(10)
        assert np.abs(self.velocities[-1]).min() > 0.3
        return self


def decelerates(velocities: list[np.ndarray]) -> None:
    """Velocities fall to zero at no more than 5 rad/s², and stay there."""
    assert (np.abs(np.diff(velocities, axis=0)) <= 5.0 * DT + 1e-6).all()
    assert np.abs(velocities[-1]).max() < 1e-5


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


def test_after_a_lost_connection_nothing_is_said_until_enabled() -> None:
    bench = Bench().moving()
    bench.wire.connect(False)
    bench.step(5)
    bench.wire.connect(True)
    sent = bench.sent()
    bench.step(100)
    assert bench.sent() == sent
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
    assert bench.node.counts["faults"] == 1


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
    np.testing.assert_allclose(bench.node.chain.limiter.motion.position, bench.q, atol=0.05)


def test_shadow_compares_with_the_present_controller() -> None:
    bench = Bench(mode="shadow")
    bench.enable()
    for _ in range(100):
        bench.wire.subscribers["/commands"]({"data": [0.25, 0.0]})
        bench.step()
    assert bench.sent() == 0
    ours = bench.step().command
    np.testing.assert_allclose(bench.node.differences[-1], ours - [0.25, 0.0], atol=0.05)


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
        bench.q = bench.node.chain.limiter.motion.position.copy()
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
    from lapo_tf.data.bag_import import import_bags

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
        patch.setattr("robot_bridge.policy_node.time.sleep", sleep)
        bench.node.run(duration=2.0)
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
        lags.append(bench.node._since)
        if len(lags) == 4:
            assert bench.node.enable()[0]
        return outcome

    bench.node.tick = work  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot_bridge.policy_node.time.sleep", sleep)
        bench.node.run(duration=4.0)
    assert bench.node.counts["faults"] == 0
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


def ask(bench: Bench, service: str, request: dict | None = None) -> dict:
    answers: list[dict] = []
    bench.wire.services[f"/policy/{service}"](request or {}, lambda values, error=None: answers.append(values))
    return answers[0]


def test_a_managed_node_in_lifecycle_terms() -> None:
    bench = Bench()
    bench.step()

    def state() -> str:
        return ask(bench, "get_state")["current_state"]["label"]

    def change(**transition: Any) -> bool:
        bench.wire.connected = True
        return ask(bench, "change_state", {"transition": transition})["success"]

    def possible() -> list[str]:
        ways = ask(bench, "get_available_transitions")["available_transitions"]
        return [way["transition"]["label"] for way in ways]

    assert (state(), possible()) == ("inactive", ["activate", "shutdown"])
    assert not change(label="deactivate")
    assert not change(label="configure")
    assert change(id=3, label="")
    assert (state(), possible()) == ("active", ["deactivate", "shutdown"])
    bench.step(10)
    assert change(label="deactivate")
    assert (state(), possible()) == ("deactivating", [])
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert state() == "inactive"
    assert change(label="activate")
    bench.step(10)
    bench.node.stop()
    bench.step(40)
    assert (bench.node.state, state()) == ("fault", "inactive")
    bench.sensor = lambda message: None
    bench.step(20)
    assert not change(label="activate")  # for the same reasons as `enable`
    assert "change_state: a/position is" in bench.said[-1]
    assert change(label="shutdown")
    assert state() == "finalized"
    assert bench.node.ending
    events = [message for topic, message in bench.wire.published if topic == "/policy/transition_event"]
    steps = [(e["transition"]["label"], e["start_state"]["label"], e["goal_state"]["label"]) for e in events]
    assert steps[:3] == [
        ("activate", "inactive", "active"),
        ("deactivate", "active", "deactivating"),
        ("deactivate", "deactivating", "inactive"),
    ]
    assert steps[-1] == ("shutdown", "inactive", "finalized")
    moving = Bench().moving()
    assert ask(moving, "change_state", {"transition": {"label": "shutdown"}})["success"]
    assert ask(moving, "get_state")["current_state"]["label"] == "shuttingdown"
    moving.step(40)
    events = [message for topic, message in moving.wire.published if topic == "/policy/transition_event"]
    steps = [(e["transition"]["label"], e["start_state"]["label"], e["goal_state"]["label"]) for e in events]
    assert steps[1:] == [("shutdown", "active", "shuttingdown"), ("shutdown", "shuttingdown", "finalized")]
    assert len(ask(bench, "get_transition_graph")["available_transitions"]) == 4
    assert len(ask(bench, "get_available_states")["available_states"]) == 11


def test_the_node_speaks_lifecycle_msgs() -> None:
    """Every answer and event fits its type."""
    bench = Bench()
    bench.enable()
    for service, kind in (
        ("get_state", "GetState"),
        ("get_available_states", "GetAvailableStates"),
        ("get_available_transitions", "GetAvailableTransitions"),
        ("get_transition_graph", "GetAvailableTransitions"),
        ("change_state", "ChangeState"),
    ):
        from_dict(get_interface(f"lifecycle_msgs/srv/{kind}").Response, ask(bench, service))
    event = next(message for topic, message in bench.wire.published if topic == "/policy/transition_event")
    from_dict(get_interface("lifecycle_msgs/msg/TransitionEvent"), event)
