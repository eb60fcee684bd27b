"""Policies with a history and chunks: which action is sent at which tick, and that none outlives an interruption.

The robot takes efforts, which the guards let through as they are or make zero: what is sent tells which action of which
asking it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_bench import DT, Bench
from robot_fakes import LinearPolicy, arm_policy

from robot_bridge.robot.description import Model
from robot_bridge.robot.robot import Output

PER_ASKING = 100.0  # what is sent is PER_ASKING * (1 + number of the asking) + number of the action


class Planner(LinearPolicy):
    """Remembers what it was shown and when, and answers numbered actions."""

    def __init__(self, rate: float, **model: Any) -> None:
        description = replace(arm_policy(rate=rate).description, model=Model(**model))
        super().__init__(description, np.zeros((2, 2)))
        self.bench: Bench
        self.shown: list[list[float]] = []
        """The first number of each observation, by asking."""
        self.asked: list[float] = []
        self.takes = 0.0  # s
        self.wrong = np.zeros(2)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        model = self.description.model
        self.shown.append(np.atleast_2d(observation)[:, 0].tolist())
        self.asked.append(self.bench.now)
        self.bench.now += self.takes
        numbers = PER_ASKING * len(self.asked) + np.arange(model.chunk)
        actions = numbers[:, None] + np.zeros(2) + self.wrong
        return actions if model.chunk > 1 else actions[0]


@dataclass(frozen=True)
class Sent:
    """An action that was sent: number of the asking, and its own."""

    asking: int
    action: int


class Site:
    """A node that runs a planner; the first number of its observation is the number of the tick."""

    def __init__(self, rate: float = 50.0, **model: Any) -> None:
        self.policy = Planner(rate, **model)
        effort = (Output("effort", "/commands", ("a", "b")),)
        self.bench = self.policy.bench = Bench(self.policy, limits=None, outputs=effort, hold_timeout=0.5)
        self.bench.sensor = lambda message: message | {"position": [float(self.tick), 0.0]}
        self.tick = 0

    def step(self, n: int = 1, *, silent: bool = False) -> list[Sent | None]:
        """What was sent in each of `n` ticks; None for a stand or nothing."""
        return [self._step(silent) for _ in range(n)]

    def _step(self, silent: bool) -> Sent | None:
        bench, begin = self.bench, self.bench.now
        if not silent:
            bench.wire.subscribers["/joint_states"](bench.sensor(bench.state_message()))
        before = len(bench.wire.published)
        bench.node.tick(bench.now)
        bench.now = max(bench.now, begin + DT)
        self.tick += 1
        commands = [m["data"] for topic, m in bench.wire.published[before:] if topic == "/commands"]
        number = commands[0][0] if commands else 0.0
        return None if number == 0.0 else Sent(*(int(x) for x in divmod(number - PER_ASKING, PER_ASKING)))

    def enabled(self) -> Site:
        self.step()
        assert self.bench.node.enable() == (True, "active")
        self.policy.shown.clear()
        self.policy.asked.clear()
        self.tick = 0
        return self


def pairs(sent: list[Sent | None]) -> list[tuple[int, int] | None]:
    return [None if s is None else (s.asking, s.action) for s in sent]


def test_a_chunk_is_executed_up_to_its_horizon_and_then_asked_anew() -> None:
    site = Site(history=3, chunk=4, horizon=3).enabled()
    assert pairs(site.step(7)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert site.policy.shown == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]  # the first one stands for those before it


def test_a_history_without_chunks_sees_every_step() -> None:
    site = Site(history=2).enabled()
    assert pairs(site.step(4)) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert site.policy.shown == [[0, 0], [0, 1], [1, 2], [2, 3]]


def test_a_faster_loop_repeats_each_action_and_shows_observations_at_the_policy_s_rate() -> None:
    site = Site(rate=12.5, history=2, chunk=2, horizon=2).enabled()
    assert pairs(site.step(9)) == [(0, 0)] * 4 + [(0, 1)] * 4 + [(1, 0)]
    assert site.policy.shown == [[0, 0], [4, 8]]


def test_after_a_pause_nothing_of_before_is_executed_or_shown() -> None:
    site = Site(history=2, chunk=8, horizon=8).enabled()
    assert pairs(site.step(3)) == [(0, 0), (0, 1), (0, 2)]
    silent = site.step(8, silent=True)  # inputs may be 0.1 s old
    assert silent[-1] is None
    assert site.bench.node.state == "active"
    asked = len(site.policy.asked)
    assert site.step(3) == [None, Sent(asked, 0), Sent(asked, 1)]
    assert site.policy.shown[-1] == [11, 12]


@pytest.mark.parametrize("way", ["disable", "stop"])
def test_after_a_stop_it_begins_anew(way: str) -> None:
    site = Site(history=2, chunk=8, horizon=8).enabled()
    site.step(3)
    getattr(site.bench.node, way)()
    assert site.step(10) == [None] * 10
    site.bench.node.enable()
    asked, tick = len(site.policy.asked), site.tick
    assert site.step(2) == [Sent(asked, 0), Sent(asked, 1)]
    assert site.policy.shown[-1] == [tick, tick]


def test_an_enabling_amid_a_tick_moves_nothing_before_the_policy_was_asked_anew() -> None:
    """The service comes by another thread: here between the asking and the decision."""
    site = Site(chunk=8, horizon=8)
    node, decide = site.bench.node, site.bench.node._decide

    def enabled_before(state: Any) -> Any:
        node._decide = decide  # type: ignore[method-assign]
        assert node.enable() == (True, "active")
        return decide(state)

    node._decide = enabled_before  # type: ignore[method-assign]
    assert site.step(2) == [None, Sent(1, 0)]


def test_while_it_stands_a_policy_is_asked_no_more_often_than_otherwise() -> None:
    site = Site(chunk=8, horizon=8)
    site.step(33)
    assert len(site.policy.asked) == 5
    site.enabled().step(33)
    assert len(site.policy.asked) == 5


def test_steps_that_went_by_while_it_was_asked_are_left_out() -> None:
    site = Site(chunk=8, horizon=6).enabled()
    site.policy.takes = 2.4 * DT
    assert pairs(site.step(5)) == [(0, 2), (0, 2), (0, 3), (0, 4), (0, 5)]  # the tick that asked ends in step 2
    assert site.bench.node.inference.plan.took[-1] == pytest.approx(2.4 * DT)
    site.policy.takes = 20 * DT
    assert pairs(site.step(1)) == [(1, 5)]  # the last that may be executed, and only once
    site.policy.takes = 0.0
    assert pairs(site.step(2)) == [(2, 0), (2, 1)]


def test_a_late_tick_executes_the_action_of_its_time_and_not_one_beyond_the_horizon() -> None:
    site = Site(history=3, chunk=8, horizon=4).enabled()
    assert pairs(site.step(1)) == [(0, 0)]
    site.bench.now += DT
    assert pairs(site.step(1)) == [(0, 2)]
    site.bench.now += 3 * DT
    assert pairs(site.step(1)) == [(1, 0)]
    assert site.policy.shown[-1] == [2, 2, 2]  # of the steps that were left out nothing is known


@pytest.mark.parametrize("rate", [50.0, 12.5])
def test_a_policy_that_says_nan_ends_in_a_fault(rate: float) -> None:
    """Whether it is asked at every tick or not: the hold goes on until it is too long."""
    site = Site(rate=rate, chunk=8, horizon=2).enabled()
    site.step(3)
    site.policy.wrong = np.array([np.nan, 0.0])
    assert site.step(40)[-1] is None
    assert site.bench.node.state == "fault"
    assert "for 0.5 s" in site.bench.node.reason


def test_an_interruption_of_a_slow_policy_costs_two_ticks_not_a_period() -> None:
    site = Site(rate=5.0, chunk=2, horizon=2).enabled()
    assert pairs(site.step(3)) == [(0, 0)] * 3
    good, site.bench.sensor = site.bench.sensor, lambda message: message | {"position": [float("nan"), 0.0]}
    assert site.step() == [None]
    site.bench.sensor = good
    sent = site.step(3)
    assert sent[:1] == [None]
    assert sent[2] == Sent(1, 0)


EVENTS = st.one_of(
    st.tuples(st.just("ticks"), st.integers(1, 12)),
    st.tuples(st.just("silence"), st.integers(1, 12)),
    st.tuples(st.just("late"), st.integers(1, 12)),
    st.tuples(st.just("nan"), st.integers(1, 3)),
    st.tuples(st.just("slow"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["enable", "disable", "stop", "disconnect", "connect", "raise"]), st.just(1)),
)


@given(
    rate=st.sampled_from([50.0, 25.0, 12.5, 20.0]),
    history=st.integers(1, 3),
    chunk=st.integers(1, 6),
    horizon=st.integers(1, 6),
    events=st.lists(EVENTS, max_size=40),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_action_outlives_its_horizon_or_an_interruption(
    rate: float, history: int, chunk: int, horizon: int, events: list[tuple[str, int]]
) -> None:
    site = Site(rate=rate, history=history, chunk=chunk, horizon=min(horizon, chunk))
    bench, policy = site.bench, site.policy
    site.enabled()
    good = bench.sensor
    pause = -np.inf  # the latest time at which nothing was executed, or somebody stopped it
    for name, n in events:
        if name in ("enable", "disable", "stop"):
            getattr(bench.node, name)()
            pause = bench.now if name != "enable" or bench.node.state != "active" else pause
        elif name in ("connect", "disconnect"):
            bench.wire.connect(name == "connect")
        elif name == "late":
            bench.now += n * DT / 3
        elif name == "slow":
            policy.takes = n * DT / 2
        elif name == "raise":
            policy.wrong = np.zeros(3)  # of another shape
        else:
            if name == "nan":
                bench.sensor = lambda message: message | {"position": [float("nan"), 0.0]}
            for _ in range(n):
                begin = bench.now
                (sent,) = site.step(silent=name == "silence")
                policy.wrong = np.zeros(2)
                if sent is None:
                    pause = begin
                    continue
                asked = policy.asked[sent.asking]
                assert asked > pause, "planned before a pause"
                assert sent.asking == len(policy.asked) - 1, "planned before another plan"
                assert sent.action < policy.description.model.horizon, "beyond the horizon"
                assert begin - asked <= (sent.action + 1) / rate + DT, "out of date"
            bench.sensor = good


def test_the_history_holds_only_what_came_since_the_pause() -> None:
    site = Site(history=4, chunk=2, horizon=2).enabled()
    site.step(9)
    site.bench.node.stop()
    site.step(10)
    site.bench.node.enable()
    first = site.tick
    site.step(9)
    assert all(min(shown) >= first for shown in site.policy.shown[-4:])
