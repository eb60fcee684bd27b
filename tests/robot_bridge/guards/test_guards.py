"""Guards, each provoked, and the chain of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from robot_bridge.errors import UserError
from robot_bridge.guards.decision import Chain, Outcome, Verdict, decide
from robot_bridge.guards.guard import Guard, Judgement, Level, Memory, RobotState
from robot_bridge.guards.guards import (
    GUARDS,
    ConnectionGuard,
    ControllerGuard,
    DeadManGuard,
    FiniteGuard,
    InterlockGuard,
    LeadGuard,
    MotionGuard,
    NoveltyGuard,
    SpeedGuard,
    StaleGuard,
    WorkspaceGuard,
)
from robot_bridge.guards.kinematics import Kinematics
from robot_bridge.guards.limits import JointLimits
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.guards.settings import NoveltySettings

DT = 0.02
ZERO = np.zeros(2)
LIMITS = JointLimits([-1, -1], [1, 1], [1, 1], [4, 4], [100, 100])


def state(time: float = 0.0, **changes) -> RobotState:
    return RobotState(**{"time": time, "position": ZERO} | changes)


class Session:
    """Decision after decision, each with the memory of the one before; a fault stays until `enable`."""

    def __init__(self, *guards: Guard, limiter: MotionLimiter | None, modes=None, hold_timeout: float = 0.5) -> None:
        self.limiter = limiter
        self.chain = Chain(guards, limiter, modes or {}, hold_timeout)
        self.memory = self.chain.begin(ZERO)
        self.fault: Verdict | None = Verdict("chain", Level.STOP, "not enabled yet")

    def enable(self, position: np.ndarray) -> None:
        self.fault, self.memory = None, self.chain.begin(position)

    def apply(self, wish: np.ndarray, state: RobotState) -> Outcome:
        outcome = decide(self.chain, wish, state, self.memory, self.fault)
        self.memory, self.fault = outcome.memory, self.fault or outcome.fault
        return outcome

    @property
    def position(self) -> np.ndarray:
        assert self.memory.motion is not None
        return self.memory.motion.position

    @property
    def still(self) -> bool:
        assert self.memory.motion is not None
        return self.memory.motion.still


def judged(guard: Guard, state: RobotState, wish: np.ndarray | None = None) -> Judgement:
    return guard.judge(WISH if wish is None else wish, state, Memory())


# Single guards --------------------------------------------------------------------------------------------------------

WISH = np.array([0.5, -0.5])


@pytest.mark.parametrize(
    ("guard", "bad", "level", "reason"),
    [
        (ConnectionGuard(), {"connected": False}, Level.STOP, "connection lost"),
        (ControllerGuard(), {"controller": "/arm aborted a goal"}, Level.HOLD, "/arm aborted a goal"),
        (DeadManGuard(), {"dead_man": "the dead-man switch is not held"}, Level.STOP, "dead-man"),
        (InterlockGuard(), {"interlock": "protective stop"}, Level.STOP, "protective stop"),
        (StaleGuard(), {"age": 0.15, "oldest": "/joint_states"}, Level.HOLD, "/joint_states is 150 ms old"),
        (StaleGuard(), {"age": 0.15, "why": "the clock was set"}, Level.HOLD, "old .*: the clock was set"),
        (StaleGuard(), {"age": np.inf, "oldest": "/objects"}, Level.HOLD, "/objects is missing"),
        (FiniteGuard(), {"observation": np.array([0, np.nan])}, Level.HOLD, r"observation\[1\] is nan"),
        (FiniteGuard(), {"position": np.array([np.inf, 0])}, Level.HOLD, r"position\[0\] is inf"),
    ],
)
def test_guards_that_halt(guard, bad: dict, level: Level, reason: str) -> None:
    judgement = judged(guard, state(age=0.05, dead_man=""))
    np.testing.assert_array_equal(judgement.command, WISH)
    assert judgement.level == Level.OK
    judgement = judged(guard, state(**bad))
    np.testing.assert_array_equal(judgement.command, ZERO)
    assert judgement.level == level
    assert re.search(reason, judgement.reason)


def test_a_command_that_is_not_finite_is_refused() -> None:
    judgement = judged(FiniteGuard(), state(), np.array([0.1, -np.inf]))
    assert judgement.level == Level.HOLD
    np.testing.assert_array_equal(judgement.command, ZERO)


def test_novelty_slows_then_holds_after_a_while() -> None:
    guard = NoveltyGuard(NoveltySettings(slow_above=1.0, hold_above=3.0, slow_to=0.3, patience=0.1))
    memory = Memory()

    def judge(time: float, **changes) -> Judgement:
        nonlocal memory
        judgement = guard.judge(WISH, state(time, **changes), memory)
        memory = judgement.memory
        return judgement

    assert judge(0.0, novelty=9.0).level == Level.OK  # a single odd reading
    assert judge(0.02, novelty=0.5).level == Level.OK
    assert judge(0.09, novelty=2.0).level == Level.OK
    judgement = judge(0.2, novelty=2.0)
    assert judgement.level == Level.LIMITED
    np.testing.assert_allclose(judgement.command, 0.3 * WISH)
    judge(0.22, novelty=4.0)
    judgement = judge(0.33, novelty=4.0)
    assert judgement.level == Level.HOLD
    np.testing.assert_array_equal(judgement.command, ZERO)
    judge(1.0, outside=["x/position"])
    assert "x/position" in judge(1.2, outside=["x/position"]).reason
    memory = Memory()
    guard = NoveltyGuard(NoveltySettings(patience=0.0))
    assert judge(2.0, novelty=np.nan).level == Level.HOLD


def test_lead_is_bounded_and_a_blocked_arm_stops() -> None:
    limiter = MotionLimiter(LIMITS, DT)
    session = Session(LeadGuard(limiter, 0.1), MotionGuard(limiter, "ab"), limiter=limiter)
    session.enable(ZERO)
    leads = []
    for k in range(80):  # the arm does not move at all
        session.apply(np.array([1.0, 0.0]), state(k * DT))
        leads.append(session.position[0])
    assert 0.09 < max(leads) < 0.13  # what braking takes on top
    assert session.fault is None
    session.enable(ZERO)
    outcome = session.apply(np.array([0.0, 0.0]), state(position=np.array([0.0, 0.3])))
    assert outcome.level == Level.STOP
    assert "does not follow" in outcome.reason


def test_speed_is_scaled() -> None:
    np.testing.assert_allclose(judged(SpeedGuard(0.1), state()).command, 0.1 * WISH)


MODEL = """<mujoco><worldbody>
<body name="arm"><joint name="swing" type="hinge" axis="0 0 1"/><geom size=".05"/>
<body name="slider" pos="0.5 0 0"><joint name="reach" type="slide" axis="1 0 0"/><geom size=".05"/>
<site name="tip" pos="0.1 0 0"/></body></body></worldbody></mujoco>"""


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    path = tmp_path / "arm.xml"
    path.write_text(MODEL)
    return path


def test_kinematics_are_those_of_a_polar_arm(arm: Path) -> None:
    tip = Kinematics(arm, ["swing", "reach"], ["tip", "slider"])
    for angle, reach in ((0.0, 0.0), (0.7, 0.2), (-1.5, -0.1)):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        np.testing.assert_allclose(
            tip(np.array([angle, reach])), [(0.6 + reach) * direction, (0.5 + reach) * direction], atol=1e-12
        )


def test_kinematics_read_urdf(tmp_path: Path) -> None:
    path = tmp_path / "arm.urdf"
    path.write_text(
        """<robot name="r"><link name="base"/><link name="tip"><inertial><mass value="1"/>
        <inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
        <joint name="j" type="revolute"><parent link="base"/><child link="tip"/><axis xyz="0 0 1"/>
        <origin xyz="0 0 1"/><limit lower="-1" upper="1" effort="1" velocity="1"/></joint></robot>"""
    )
    np.testing.assert_allclose(Kinematics(path, ["j"], ["tip"])(np.array([0.5])), [[0, 0, 1]], atol=1e-12)


def test_unknown_names_are_told(arm: Path) -> None:
    with pytest.raises(UserError, match=r"unknown joint in arm\.xml 'swingg': did you mean 'swing'"):
        Kinematics(arm, ["swingg"], ["tip"])
    with pytest.raises(UserError, match="unknown site or body"):
        Kinematics(arm, ["swing"], ["hand"])


def test_workspace_is_never_left(arm: Path) -> None:
    points = Kinematics(arm, ["swing", "reach"], ["tip"])
    limits = JointLimits([-3, -1], [3, 1], [2, 1], [5, 5], [500, 500])
    limiter = MotionLimiter(limits, DT)
    low, high = np.array([-0.2, -0.55, -1.0]), np.array([0.8, 0.45, 1.0])
    guards = [WorkspaceGuard(limiter, points, low, high), MotionGuard(limiter, "ab")]
    session, rng = Session(*guards, limiter=limiter), np.random.default_rng(0)
    session.enable(ZERO)
    seen, limited = [], 0
    for k in range(250):
        if k % 25 == 0:
            wish = rng.uniform(-1, 1, 2) * [4, 2]
        outcome = session.apply(wish, state(k * DT, position=session.position))
        limited += outcome.verdicts[0].level == Level.LIMITED
        seen.append(points(session.position)[0])
    assert (np.array(seen) >= low - 2e-3).all()
    assert (np.array(seen) <= high + 2e-3).all()
    assert limited > 10
    assert np.max(np.array(seen)[:, 1]) > 0.35  # it does go there
    session.enable(np.array([0.0, 0.5]))  # outside: 1.1 instead of 0.8
    for _ in range(60):
        session.apply(np.array([0.0, 1.0]), state())
    assert points(session.position)[0, 0] <= 1.1 + 1e-6
    for _ in range(60):
        session.apply(np.array([0.0, -0.5]), state())
    assert points(session.position)[0, 0] < 0.8


# The chain ------------------------------------------------------------------------------------------------------------


def session_of(*guards: Guard, **options) -> Session:
    limiter = MotionLimiter(LIMITS, DT)
    motion = MotionGuard(limiter, "ab", options.get("modes", {}).get("motion") == "monitor")
    return Session(*guards, motion, limiter=limiter, **options)


def test_nothing_moves_before_enable() -> None:
    session = session_of()
    for k in range(5):
        outcome = session.apply(WISH, state(k * DT))
        assert outcome.level == Level.STOP
        np.testing.assert_array_equal(outcome.command, ZERO)
    session.enable(ZERO)
    assert np.abs(session.apply(WISH, state(1.0)).command).max() > 0


def test_a_fault_decelerates_within_limits_and_stays_until_enabled() -> None:
    session = session_of(ConnectionGuard())
    session.enable(ZERO)
    for k in range(30):
        speed = session.apply(WISH, state(k * DT)).command
    np.testing.assert_allclose(speed, WISH, atol=1e-3)
    speeds = [speed, *(session.apply(WISH, state(1 + k * DT, connected=k > 0)).command for k in range(30))]
    assert (np.abs(np.diff(speeds, axis=0)) <= LIMITS.acceleration * DT + 1e-9).all()
    assert np.abs(speeds[1]).min() > 0.3  # no jump
    assert np.abs(speeds[-1]).max() < 1e-6
    assert session.still
    assert "connection lost" in session.apply(WISH, state(3.0)).reason  # connected again since long
    session.enable(session.position)
    assert session.apply(WISH, state(4.0)).level < Level.HOLD


def test_a_hold_ends_by_itself_or_becomes_a_fault() -> None:
    session = session_of(StaleGuard(), hold_timeout=0.3)
    session.enable(ZERO)
    assert session.apply(WISH, state(0.0, age=0.2)).level == Level.HOLD
    assert session.apply(WISH, state(0.1, age=0.0)).level < Level.HOLD
    assert session.apply(WISH, state(0.2, age=0.2)).level == Level.HOLD
    assert session.apply(WISH, state(0.45, age=0.4)).level == Level.HOLD
    session.apply(WISH, state(0.5, age=0.4))
    outcome = session.apply(WISH, state(0.52, age=0.0))  # too late: it is a fault now
    assert outcome.level == Level.STOP
    assert outcome.reason.startswith("stale:")


def test_monitored_guards_only_talk_and_others_can_be_off() -> None:
    modes = {"stale": "monitor", "motion": "monitor"}
    session = session_of(StaleGuard(), modes=modes)
    session.enable(ZERO)
    outcome = session.apply(np.array([50.0, 0.1]), state(age=9.0, observation=np.array([np.nan])))
    np.testing.assert_array_equal(outcome.command, [50.0, 0.1])
    assert outcome.level == Level.OK
    assert [(v.guard, v.level, v.monitored) for v in outcome.verdicts] == [
        ("stale", Level.HOLD, True),
        ("motion", Level.LIMITED, True),
    ]


def test_a_hold_that_ends_in_mere_slowness_begins_anew() -> None:
    session = session_of(StaleGuard(), NoveltyGuard(NoveltySettings(patience=0.0)), hold_timeout=0.3)
    session.enable(ZERO)
    for time in (0.0, 0.2):
        assert session.apply(WISH, state(time, age=0.2)).level == Level.HOLD
    assert session.apply(WISH, state(0.25, novelty=2.0)).level == Level.LIMITED
    for time in (0.3, 0.55):
        assert session.apply(WISH, state(time, age=0.2)).level == Level.HOLD
    assert session.fault is None
    session.apply(WISH, state(0.6, age=0.2))
    assert session.fault is not None


def test_efforts_are_zero_in_a_halt() -> None:
    session = Session(StaleGuard(), limiter=None)
    assert session.apply(WISH, state()).level == Level.STOP
    session.enable(ZERO)
    np.testing.assert_array_equal(session.apply(WISH, state()).command, WISH)
    np.testing.assert_array_equal(session.apply(WISH, state(age=1.0)).command, ZERO)


def test_random_states_never_break_a_limit() -> None:
    """All guards together: whatever the inputs do, what comes out is a motion within the limits."""
    rng = np.random.default_rng(3)
    limiter = MotionLimiter(LIMITS, DT)
    guards = [
        *(ConnectionGuard(), DeadManGuard(), FiniteGuard(), StaleGuard(), NoveltyGuard(NoveltySettings(patience=0.05))),
        *(SpeedGuard(0.8), LeadGuard(limiter, 0.1), MotionGuard(limiter, "ab")),
    ]
    session = Session(*guards, limiter=limiter, hold_timeout=0.2)
    q, path, levels = ZERO, [], set()
    for k in range(1000):
        if session.fault is not None and session.still and rng.random() < 0.2:
            session.enable(session.position)
            q = session.position.copy()
        wish = rng.normal(size=2) * 10 ** rng.uniform(-2, 3) * (rng.random() < 0.9)
        if rng.random() < 0.05:
            wish[rng.integers(2)] = rng.choice([np.nan, np.inf])
        measured = q + rng.normal(size=2) * 0.01
        if rng.random() < 0.02:
            measured[0] = np.nan
        odd = rng.random(4) < 0.02
        outcome = session.apply(
            wish,
            RobotState(
                k * DT,
                measured,
                age=9.0 if odd[0] else 0.0,
                connected=not odd[1],
                dead_man="not held" if odd[2] else "",
                novelty=5.0 if odd[3] else 0.1,
            ),
        )
        assert np.isfinite(outcome.command).all()
        q = session.position.copy()
        path.append(q)
        levels.add(outcome.level)
    assert levels == set(Level)
    v = np.diff(path, axis=0) / DT
    a = np.diff(v, axis=0) / DT
    assert (np.abs(path) <= 1 + 1e-9).all()
    assert (np.abs(v) <= LIMITS.velocity * (1 + 1e-6)).all()
    assert (np.abs(a) <= LIMITS.acceleration * (1 + 1e-6)).all()
    assert (np.abs(np.diff(a, axis=0) / DT) <= LIMITS.jerk * (1 + 1e-3)).all()  # "still" is not quite 0 at enable


def test_the_table_of_guards_in_the_docs_is_that_of_the_registry() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    rows = []
    for name, guard in GUARDS.items():
        always = " (*always*)" if guard.always_on else ""
        options = ", ".join(f"`{option}`" for option in guard.options)
        rows.append(f"| {name}{always} | {guard.sees} | {guard.does} | {options} |")
    assert "\n".join(rows) in text
