"""Every kind of output: what it says, and what makes its part of the robot stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from node_bench import DT, Bench
from robot_fakes import LinearPolicy, arm_policy

from robot_bridge.guards.limits import JointLimits
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.node.goals import SIGN_WITHIN
from robot_bridge.node.joints import plan
from robot_bridge.node.loop import run
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import Output
from robot_bridge.transport import GoalStatus

KINDS = ("velocity", "position", "effort", "trajectory", "follow")
LIMITS = JointLimits([-1, -1], [1, 1], [1, 1], [5, 5], [500, 500])


def output(kind: Any, horizon: float | None = 0.1) -> Output:
    return Output(kind, "/commands" if kind in ("velocity", "position", "effort") else "/arm", ("a", "b"), horizon)


def bench_of(kind: str, horizon: float | None = 0.1, **changes: Any) -> Bench:
    limits = None if kind == "effort" else LIMITS
    policy = arm_policy(target=0.9)
    return Bench(policy, outputs=(output(kind, horizon),), limits=limits, max_lead=0.5, **changes)


def moved(bench: Bench, ticks: int) -> None:
    """Ticks, with an arm that is where it is commanded to be."""
    for _ in range(ticks):
        bench.step()
        if bench.node.memory.motion is not None:
            bench.q = bench.node.memory.motion.position.copy()


def said(bench: Bench) -> list[Any]:
    """Commands in the order in which they were sent: arrays, or trajectories."""
    arrays = [m["data"] for topic, m in bench.wire.published if topic == "/commands"]
    trajectories = [m for topic, m in bench.wire.published if topic == "/arm"]
    return arrays or trajectories or [goal["trajectory"] for _, goal in bench.wire.goals]


def lasts(trajectory: dict[str, Any]) -> float:
    end = trajectory["points"][-1]["time_from_start"]
    return end["sec"] + 1e-9 * end["nanosec"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_depends_on_others_is_told_by_name(kind: str) -> None:
    (sender,) = bench_of(kind).node.senders
    assert sender.output.topic in sender.alone
    expected = {
        "velocity": "time-out of the controller or the driver behind /commands",
        "effort": "time-out of the controller or the driver behind /commands",
        "position": "holds the last position",
        "trajectory": "stands within 0.32 s",
        "follow": "send_action_goals_in_new_thread: true",
    }[kind]
    assert expected in sender.alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_stall_ends_in_a_stand_and_never_in_an_old_command(kind: str) -> None:
    """The loop stood still for 0.3 s and is connected: what carries no stamp says zero, and all else ends by itself."""
    bench = bench_of(kind)
    bench.enable()
    moved(bench, 10)
    before, cancelled = len(said(bench)), len(bench.wire.cancelled)
    bench.now += 0.3
    bench.node.halt("timing", "the loop stood still for 15 periods", cut=True)
    moved(bench, 100)
    assert bench.node.state == "fault"
    after = said(bench)[before:]
    assert after == ([[0.0, 0.0]] * 5 if kind in ("velocity", "effort") else [])
    assert len(bench.wire.cancelled) - cancelled == (kind == "follow")
    if kind in ("trajectory", "follow"):
        assert said(bench)[-1]["points"][-1]["velocities"] == [0.0, 0.0]


def test_a_loop_that_stalls_is_noticed_by_itself() -> None:
    """With the node's own loop, whose first tick after the stall must not say what was planned before it."""
    bench = Bench(arm_policy(target=0.9))
    ticks = 0

    def sleep(seconds: float) -> None:
        nonlocal ticks
        ticks += 1
        bench.now += seconds + (0.3 if ticks == 30 else 0.0)
        bench.wire.subscribers["/joint_states"](bench.state_message())
        if ticks == 5:
            assert bench.node.enable()[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot_bridge.node.loop.time.sleep", sleep)
        run(bench.node, duration=1.0)
    commands = np.array(said(bench))
    (zeros,) = np.nonzero((commands == 0.0).all(axis=1))
    assert "stood still" in bench.node.reason
    assert np.abs(commands[zeros[0] - 1]).max() > 0.3  # it moved until then
    assert list(zeros) == list(range(len(commands) - 5, len(commands)))


@pytest.mark.parametrize("horizon", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("phase", range(0, 26, 5))
def test_a_goal_that_brakes_is_sent_at_once_whatever_the_horizon(horizon: float, phase: int) -> None:
    bench = bench_of("follow", horizon)
    bench.enable()
    moved(bench, 5 + phase)
    goals = len(bench.wire.goals)
    bench.node.stop()
    moved(bench, 1)
    assert len(bench.wire.goals) == goals + 1
    speed = np.abs(bench.node.memory.motion.velocity).max()
    assert lasts(bench.wire.goals[-1][1]["trajectory"]) <= speed / 5.0 + 0.1
    moved(bench, 60)
    assert bench.node.state == "fault"
    assert bench.wire.cancelled[-1] == f"id{len(bench.wire.goals)}"  # nothing of it may go on


def test_a_controller_that_refuses_gets_one_goal_and_is_quoted() -> None:
    bench = bench_of("follow")
    bench.wire.takes_goals = False
    bench.enable()
    moved(bench, 3)
    assert len(bench.wire.goals) == 1  # no second one before a sign of the first
    told = {"error_code": -5, "error_string": "Goal tolerance violated"}
    bench.wire.results[0](told, GoalStatus.ABORTED, None)
    moved(bench, 100)
    assert len(bench.wire.goals) == 1
    assert bench.node.state == "fault"
    assert "/arm aborted a goal: Goal tolerance violated (error_code -5" in bench.node.reason
    bench.wire.takes_goals = True
    bench.enable()
    moved(bench, 10)
    assert bench.node.state == "active"
    assert len(bench.wire.goals) > 3


def test_a_controller_that_says_nothing_is_no_controller() -> None:
    """Behind a rosbridge a refused goal has no answer, and so does one that nobody takes."""
    bench = bench_of("follow")
    bench.wire.takes_goals = False
    bench.enable()
    moved(bench, round(SIGN_WITHIN / DT) + 40)
    assert len(bench.wire.goals) == 1
    assert bench.node.state == "fault"
    assert "gave no sign of a goal" in bench.node.reason
    assert bench.wire.cancelled


def test_the_motion_waits_for_a_sign_of_the_first_goal() -> None:
    """Else the second goal would begin where the arm is not."""
    bench = bench_of("follow")
    bench.wire.takes_goals = False
    bench.enable()
    moved(bench, 12)
    last = bench.wire.goals[0][1]["trajectory"]["points"][-1]["positions"]
    assert bench.node.state == "active"
    np.testing.assert_allclose(bench.node.memory.motion.position, last, atol=0.02)
    bench.wire.takes_goals = True
    bench.wire.feedbacks[0]({})
    moved(bench, 10)
    first = bench.wire.goals[1][1]["trajectory"]["points"][0]["positions"]
    np.testing.assert_allclose(first, last, atol=0.02)
    assert np.abs(bench.node.memory.motion.velocity).min() > 0.1  # it goes on


def test_a_controller_that_is_switched_off_gets_two_more_goals_at_most() -> None:
    bench = bench_of("follow")
    bench.enable()
    moved(bench, 20)
    bench.wire.takes_goals, goals = False, len(bench.wire.goals)
    moved(bench, 100)
    assert len(bench.wire.goals) <= goals + 2
    assert bench.node.state == "fault"


def test_goals_that_are_pre_empted_by_the_next_are_no_failure() -> None:
    bench = bench_of("follow")
    bench.enable()
    moved(bench, 20)
    for result in bench.wire.results[:-1]:
        result({"error_code": 0, "error_string": "pre-empted"}, GoalStatus.ABORTED, None)
        result({"error_code": -1, "error_string": "cancelled due to new goal"}, GoalStatus.CANCELED, None)
    moved(bench, 20)
    assert bench.node.state == "active"
    bench.wire.results[-1](None, GoalStatus.CANCELED, None)
    moved(bench, 5)
    assert "cancelled a goal" in bench.node.diagnostics_message(bench.step())["status"][0]["values"][3]["value"]


def test_quantities_are_those_of_each_joint() -> None:
    """Velocities of the arm and a position of the gripper, in one policy."""
    actions = (ActionEntry("a", "velocity", "rad/s", 1.0, -1, 1), ActionEntry("b", "position", "m", 1.0, 0, 1))
    observations = tuple(ObservationEntry(f"{j}/position", "rad", -2, 2, ()) for j in "ab")
    description = Description("mixed", 50.0, observations, actions, (), {})
    policy = LinearPolicy(description, np.zeros((2, 2)), np.array([0.2, 0.4]))
    outputs = (Output("velocity", "/commands", ("a",)), Output("position", "/gripper", ("b",)))
    bench = Bench(policy, outputs=outputs, limits=JointLimits([-1, 0], [1, 1], [1, 1], [5, 5], [500, 500]))
    assert bench.robot.mistakes_with(description) == []
    bench.enable()
    for _ in range(200):
        message = bench.sensor(bench.state_message())
        bench.wire.subscribers["/joint_states"](message)
        before = len(bench.wire.published)
        bench.node.tick(bench.now)
        sent = {topic: m["data"][0] for topic, m in bench.wire.published[before:] if "data" in m}
        bench.q = np.array([bench.q[0] + DT * sent["/commands"], sent["/gripper"]])
        bench.now += DT
    assert bench.node.state == "active"
    assert sent["/commands"] == pytest.approx(0.2, abs=1e-3)
    assert bench.q[1] == pytest.approx(0.4, abs=1e-3)
    effort = Description("e", 50.0, observations, (*actions[:1], ActionEntry("b", "effort", "Nm", 1.0, -1, 1)), (), {})
    assert bench.robot.mistakes_with(effort) == ["the policy commands effort of 'b', /gripper takes position"]


def test_a_plan_ends_within_limits_that_are_wider_for_a_joint_that_began_beyond() -> None:
    limiter = MotionLimiter(LIMITS, DT)
    motion = limiter.begin(np.array([1.05, 0.0]))
    motions = plan(limiter, motion, np.array([0.5, 0.5]), 5)
    positions = np.array([m.position for m in motions])
    assert (positions[:, 0] == 1.05).all()  # it may stay, and is not thrown back into its limits
    assert motions[-1].still
    back = plan(limiter, motion, np.array([-0.5, 0.0]), 5)
    assert back[-1].position[0] < 1.03  # nor is it held where it is: it comes back


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("velocity", {"data": [0.0, 0.0]}),
        ("position", {"data": [0.3, 0.3]}),
        ("trajectory", {"points": [{"positions": [0.3, 0.3], "velocities": [], "time_from_start": 1}]}),
        ("trajectory", {"points": [{"positions": [0.3, 0.3], "velocities": [0.0, 0.0], "time_from_start": 0}]}),
    ],
)
def test_shadow_compares_like_with_like(kind: str, message: dict[str, Any]) -> None:
    """Another controller that commands what the policy would: to stay at its target."""
    for point in message.get("points", []):
        point["time_from_start"] = {"sec": point["time_from_start"], "nanosec": 0}
    bench = Bench(arm_policy(target=0.3), mode="shadow", outputs=(output(kind),))
    bench.q = np.array([0.3, 0.3])
    bench.enable()
    for _ in range(20):
        bench.wire.subscribers[output(kind).topic]({"joint_names": ["a", "b"]} | message)
        bench.step()
    assert len(bench.node.shadow.differences) == 20
    assert np.abs(bench.node.shadow.differences).max() < 1e-6


def test_shadow_follows_a_long_trajectory_in_time() -> None:
    bench = Bench(arm_policy(target=0.3), mode="shadow", outputs=(output("trajectory"),))
    points = [
        {"positions": [p, p], "velocities": [], "time_from_start": {"sec": s, "nanosec": 0}}
        for s, p in ((0, 0.3), (2, 0.5))
    ]
    bench.q = np.array([0.3, 0.3])
    bench.enable()
    bench.wire.subscribers["/arm"]({"joint_names": ["b", "a"], "points": points})
    bench.step(51)
    np.testing.assert_allclose(bench.node.shadow.differences[-1], [-0.1, -0.1], atol=0.01)


@pytest.mark.parametrize(
    ("kind", "message", "why"),
    [
        ("velocity", None, "nobody commanded on /commands"),
        ("velocity", {"data": ["x", 0.0]}, "could not convert"),
        ("trajectory", {"joint_names": [], "points": []}, "nothing was commanded"),
        ("follow", None, "goals of /arm cannot be heard"),
    ],
)
def test_shadow_says_why_nothing_was_compared(kind: str, message: dict | None, why: str) -> None:
    bench = Bench(mode="shadow", outputs=(output(kind),))
    bench.enable()
    if message is not None:
        bench.wire.subscribers[output(kind).topic](message)
    bench.step(5)
    summary = bench.node.shadow.summary()
    assert isinstance(summary, str)
    assert summary.startswith("nothing was compared: ")
    assert why in summary


def gripper_bench() -> Bench:
    outputs = (Output("gripper", "/hand/grip", ("a", "b"), scale=2.0, max_effort=7.0),)
    return Bench(arm_policy(target=0.9), outputs=outputs, limits=LIMITS, max_lead=5.0)


def test_a_gripper_gets_few_goals_and_keeps_its_last_one_in_a_halt() -> None:
    bench = gripper_bench()
    bench.enable()
    moved(bench, 100)
    goals = [goal["command"] for _, goal in bench.wire.goals]
    assert 3 <= len(goals) <= 1 + 100 * DT / 0.25
    assert {goal["max_effort"] for goal in goals} == {7.0}
    positions = [goal["position"] for goal in goals]
    assert positions == sorted(positions)
    assert positions[-1] == pytest.approx(2.0 * 0.9, abs=0.1)  # of both joints, as a width
    bench.node.stop()
    moved(bench, 50)
    assert bench.wire.cancelled == []  # it keeps its grip
    assert "keeps its grip" in bench.node.senders[0].alone


def test_a_gripper_that_never_answers_stops_the_robot() -> None:
    bench = gripper_bench()
    bench.wire.takes_goals = False
    bench.enable()
    moved(bench, 2)
    bench.wire.results[0](None, GoalStatus.UNKNOWN, "no answer within 10 s")
    moved(bench, 60)
    assert bench.node.state == "fault"
    assert "/hand/grip gave no answer to a goal: no answer within 10 s" in bench.node.reason


def test_a_gripper_that_closed_on_something_is_no_objection() -> None:
    bench = gripper_bench()
    bench.wire.takes_goals = False
    bench.enable()
    moved(bench, 2)
    bench.wire.results[0]({"stalled": True, "reached_goal": False}, GoalStatus.ABORTED, None)
    moved(bench, 20)
    bench.wire.results[1](None, GoalStatus.UNKNOWN, "no answer within 10 s")  # overtaken
    moved(bench, 5)
    assert bench.node.state == "active"


def test_frankas_hand_opens_by_move_and_closes_by_grasp() -> None:
    outputs = (Output("franka_gripper", "/hand", ("a", "b"), scale=2.0, max_effort=20.0),)
    policy = arm_policy(target=0.5)
    bench = Bench(policy, outputs=outputs, limits=LIMITS, max_lead=5.0)
    bench.enable()
    moved(bench, 100)
    opening = list(bench.wire.goals)
    assert {action for action, _ in opening} == {"/hand/move"}
    assert opening[-1][1] == {"width": pytest.approx(2.0 * 0.5, abs=0.1), "speed": 2.0 * LIMITS.velocity.min()}
    policy.bias = -policy.bias
    moved(bench, 150)
    action, goal = bench.wire.goals[-1]
    assert (action, goal["force"]) == ("/hand/grasp", 20.0)
    assert goal["width"] == pytest.approx(2.0 * -0.5, abs=0.1)
    assert min(goal["epsilon"].values()) >= 0.08  # as wide as the hand opens: whatever is there is held


def test_frankas_hand_without_a_force_only_moves() -> None:
    output = Output("franka_gripper", "/hand", ("a", "b"), scale=2.0)
    assert output.actions() == ["/hand/move"]
    bench = Bench(arm_policy(target=-0.5), outputs=(output,), limits=LIMITS, max_lead=5.0)
    bench.enable()
    moved(bench, 100)
    assert {action for action, _ in bench.wire.goals} == {"/hand/move"}
