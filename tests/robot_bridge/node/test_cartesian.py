"""Twists and poses: their limits, their messages, their stops, and configs that cannot be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from node_bench import DT, Bench
from robot_fakes import arm_policy

from robot_bridge.errors import UserError
from robot_bridge.guards.limits import JointLimits
from robot_bridge.paths import angles, number_at, quaternion
from robot_bridge.robot.cartesian import AXES, PATHS, POSE
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import Input, Output
from robot_bridge.robot.units import Unit
from robot_bridge.simulation.controller import Host, Reference
from robot_bridge.simulation.controllers import Controllers

INF = np.inf
POSE_TYPE = "geometry_msgs/msg/PoseStamped"


def limits(low: list[float], high: list[float]) -> JointLimits:
    n = len(low)
    return JointLimits(low, high, np.full(n, 1.0), np.full(n, 5.0), np.full(n, 500.0))


def twisted(kind: Any = "twist_stamped", bounded: bool = False, **changes: Any) -> Bench:
    """A base that moves along x and turns; where it is bounded, along x and y, within 0.5 m, measured as a pose."""
    names = {"a": "x", "b": "y" if bounded else "yaw"}
    source = Input("/joint_states")
    if bounded:
        fields = {"a/position": "pose.position.x", "b/position": "pose.position.y"}
        source = Input("/pose", POSE_TYPE, fields=fields, frame="base")
    edge = 0.5 if bounded else INF
    return Bench(
        arm_policy(target=0.9),
        inputs=(source,),
        outputs=(Output(kind, "/commands", ("a", "b"), frame="" if kind == "twist" else "base", names=names),),
        limits=limits([-edge] * 2, [edge] * 2),
        **changes,
    )


def drive(bench: Bench, ticks: int, obey: float = 1.0) -> list[np.ndarray]:
    """Ticks, with a robot that does `obey` times what a twist says; the velocities [2] it was told."""
    told = []
    kind = bench.robot.outputs[0].kind
    paths = [PATHS[kind][axis] for axis in bench.robot.axes().values()]
    for _ in range(ticks):
        source, message = bench.robot.inputs[0], bench.state_message()
        if source.type == POSE_TYPE:
            place = {"x": bench.q[0], "y": bench.q[1], "z": 0.0}
            message = {
                "header": message["header"] | {"frame_id": "base"},
                "pose": {"position": place, "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}},
            }
        bench.wire.subscribers[source.topic](message)
        before = len(bench.wire.published)
        bench.node.tick(bench.now)
        for topic, said in bench.wire.published[before:]:
            if topic == "/commands":
                told.append(np.array([number_at(said, path) for path in paths]))
                bench.q = bench.q + DT * obey * told[-1]
        bench.now += DT
    return told


def last(bench: Bench) -> dict:
    return [message for topic, message in bench.wire.published if topic == "/commands"][-1]


def test_a_twist_keeps_limits_of_speed_and_acceleration_and_stops() -> None:
    bench = twisted()
    drive(bench, 1)
    assert bench.node.enable() == (True, "active")
    told = drive(bench, 30)
    velocities = np.array(told)
    assert velocities.max() == pytest.approx(1.0)  # it wants more
    assert (velocities <= 1.0 + 1e-9).all()
    assert (np.abs(np.diff(velocities, axis=0)) <= 5.0 * DT + 1e-9).all()
    bench.node.stop()
    halting = np.array(drive(bench, 60))
    assert (np.abs(np.diff([velocities[-1], *halting], axis=0)) <= 5.0 * DT + 1e-6).all()
    assert np.abs(halting[-1]).max() < 1e-5
    assert bench.node.state == "fault"
    assert drive(bench, 20) == []


def test_a_base_may_go_as_far_as_it_likes() -> None:
    """Nothing is measured, and no lead is built up, along an axis without limits of position."""
    bench = twisted()
    bench.policy.weights[:] = 0.0
    bench.policy.bias = np.float32([1.0, -1.0])
    drive(bench, 1)
    bench.node.enable()
    told = drive(bench, 500)
    assert bench.node.state == "active"
    np.testing.assert_allclose(told[-1], [1.0, -1.0])
    assert bench.node.memory.motion is not None
    assert bench.node.memory.motion.position[0] > 9.0
    assert bench.node.observer.snapshot(bench.now).position.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("obey", [1.0, 0.9, 1.1])
def test_a_twist_stays_in_its_box(obey: float) -> None:
    bench = twisted(bounded=True, max_lead=0.2)
    drive(bench, 1)
    bench.node.enable()
    furthest = 0.0
    for _ in range(200):
        drive(bench, 1, obey)
        furthest = max(furthest, float(np.abs(bench.q).max()))
    assert bench.node.state == "active"
    assert 0.45 < furthest < (0.5 + 1e-6 if obey == 1.0 else 0.56)  # what it makes of speeds is corrected as it goes


def test_messages_are_those_of_their_types() -> None:
    bench = twisted()
    drive(bench, 1)
    bench.node.enable()
    drive(bench, 10)
    message = last(bench)
    assert message["header"]["frame_id"] == "base"
    stamp = message["header"]["stamp"]
    assert stamp["sec"] + 1e-9 * stamp["nanosec"] == pytest.approx(bench.now - DT, abs=1e-3)
    assert set(message["twist"]) == {"linear", "angular"}
    assert message["twist"]["linear"]["x"] > 0.3
    assert message["twist"]["angular"]["z"] > 0.3
    assert (message["twist"]["linear"]["y"], message["twist"]["angular"]["x"]) == (0.0, 0.0)
    bench = twisted("twist", units={"b": Unit(-1.0)})
    drive(bench, 1)
    bench.node.enable()
    drive(bench, 10)
    message = last(bench)
    assert set(message) == {"linear", "angular"}
    assert message["angular"]["z"] < -0.3


@pytest.mark.parametrize("kind", ["twist", "twist_stamped"])
def test_a_twist_is_zero_after_a_stall(kind: str) -> None:
    bench = twisted(kind)
    drive(bench, 1)
    bench.node.enable()
    drive(bench, 20)
    bench.now += 0.3
    bench.node.halt("timing", "the loop stood still", cut=True)
    told = drive(bench, 50)
    assert [velocity.tolist() for velocity in told] == [[0.0, 0.0]] * 5
    assert "cmd_vel_timeout of diff_drive_controller" in bench.node.senders[0].alone


# Poses ----------------------------------------------------------------------------------------------------------------

CENTRE = {"x": 0.5, "y": 0.0, "z": 0.3, "roll": np.pi, "pitch": 0.0, "yaw": 0.0}
"""A hand that looks down: its roll is told as π or as -π."""


def posed(quantity: str = "velocity") -> Bench:
    """The policy moves x and yaw, the rest is held."""
    policy = arm_policy(target=0.9)
    observations = (ObservationEntry("x/position", "m", 0, 1, ()), ObservationEntry("yaw/position", "rad", -1, 1, ()))
    actions = tuple(ActionEntry(name, quantity, "", 1.0, -1, 1) for name in ("x", "yaw"))
    policy.description = Description("t", 50.0, observations, actions, (), {})
    joints = ("yaw", "x", "y", "z", "roll", "pitch")
    centre = np.array([CENTRE[axis] for axis in joints])
    bench = Bench(
        policy,
        joints={name: name for name in joints},
        held=("y", "z", "roll", "pitch"),
        inputs=(Input("/pose", POSE_TYPE, fields={f"{name}/position": POSE[name] for name in joints}, frame="base"),),
        outputs=(Output("pose", "/servo/pose", joints, frame="base"),),
        limits=limits((centre - 0.3).tolist(), (centre + 0.3).tolist()),
    )
    bench.q = centre.copy()
    assert bench.robot.mistakes_with(policy.description) == []
    return bench


def follow(bench: Bench, ticks: int, follows: bool = True) -> list[dict]:
    """Ticks, with a servo that is where it was told to be; the poses that it was told."""
    told: list[dict] = []
    for _ in range(ticks):
        place = dict(zip(bench.robot.joints, bench.q, strict=True))
        turned = quaternion([place["roll"], place["pitch"], place["yaw"]])
        pose = {
            "position": {key: place[key] for key in "xyz"},
            "orientation": dict(zip("xyzw", turned, strict=True)),
        }
        header = bench.state_message()["header"] | {"frame_id": "base"}
        bench.wire.subscribers["/pose"]({"header": header, "pose": pose})
        before = len(bench.wire.published)
        bench.node.tick(bench.now)
        told += [message for topic, message in bench.wire.published[before:] if topic == "/servo/pose"]
        if follows and told and bench.node.states.speaks and bench.node.memory.motion is not None:
            bench.q = bench.node.memory.motion.position.copy()
        bench.now += DT
    return told


def numbers(message: dict) -> np.ndarray:
    """x, y, z, roll, pitch, yaw as they are in the message."""
    pose = message["pose"]
    return np.array([*(pose["position"][key] for key in "xyz"), *angles([pose["orientation"][key] for key in "xyzw"])])


@pytest.mark.parametrize("roll", [np.pi - 0.02, -np.pi + 0.02])
def test_a_pose_moves_in_steps_within_its_box_and_holds_the_rest(roll: float) -> None:
    bench = posed()
    bench.q[4] = roll
    follow(bench, 1)
    assert bench.node.enable() == (True, "active")
    told = follow(bench, 150)
    path = np.array([numbers(message) for message in told])
    assert told[-1]["header"]["frame_id"] == "base"
    np.testing.assert_allclose(path[-1, [0, 5]], [0.8, 0.3], atol=1e-3)  # the edge of the box
    np.testing.assert_allclose(path[:, [1, 2, 4]], np.tile([0.0, 0.3, 0.0], (150, 1)), atol=1e-9)
    np.testing.assert_allclose(path[:, 3], roll, atol=1e-9)
    assert (np.abs(np.diff(path[:, [0, 5]], axis=0)) <= DT * 1.0 + 1e-9).all()
    assert (np.abs(np.diff(path[:, [0, 5]], 2, axis=0)) <= DT * DT * 5.0 + 1e-9).all()


def test_a_stop_holds_the_pose_where_it_comes_to_a_stand() -> None:
    bench = posed()
    follow(bench, 1)
    bench.node.enable()
    moving = numbers(follow(bench, 12)[-1])
    bench.node.stop()
    halting = np.array([moving, *(numbers(message) for message in follow(bench, 60))])
    assert (np.abs(np.diff(halting[:, [0, 5]], 2, axis=0)) <= DT * DT * 5.0 + 1e-9).all()
    np.testing.assert_allclose(halting[-1], halting[-2], atol=1e-6)
    assert 0.01 < halting[-1, 0] - moving[0] < 0.15  # it braked
    assert bench.node.state == "fault"
    assert follow(bench, 20) == []
    assert "goes to its last pose" in bench.node.senders[0].alone


def test_after_a_stall_no_old_pose_is_said() -> None:
    bench = posed()
    follow(bench, 1)
    bench.node.enable()
    follow(bench, 20)
    bench.now += 0.3
    bench.node.halt("timing", "the loop stood still", cut=True)
    assert follow(bench, 50) == []
    assert bench.node.state == "fault"


def test_a_servo_that_does_not_follow_is_a_fault() -> None:
    bench = posed()
    follow(bench, 1)
    bench.node.enable()
    told = follow(bench, 100, follows=False)
    assert max(numbers(message)[0] for message in told) <= 0.5 + 0.11  # max_lead, about
    bench.q[0] -= 0.2  # pushed back
    follow(bench, 30, follows=False)
    assert bench.node.state == "fault"
    assert "it does not follow" in bench.node.reason


def test_policies_may_want_poses() -> None:
    bench = posed("position")
    bench.policy.weights[:] = 0.0
    bench.policy.bias = np.float32([0.6, -0.2])
    follow(bench, 1)
    bench.node.enable()
    np.testing.assert_allclose(numbers(follow(bench, 150)[-1])[[0, 5]], [0.6, -0.2], atol=1e-3)


def test_shadow_hears_twists_and_poses() -> None:
    sender = twisted().node.senders[0]
    message = {"twist": {"linear": {"x": 0.3}, "angular": {"z": -0.2}}}
    np.testing.assert_allclose(sender.heard(message, 0.0), [0.3, -0.2])  # type: ignore[arg-type]


# Simulated ------------------------------------------------------------------------------------------------------------


def controlled(bench: Bench) -> tuple[Callable[[dict], np.ndarray], list[float]]:
    """What a simulated controller asks for after a message, and its clock."""
    now, todo = [50.0], []
    host = Host(lambda: now[0], todo.append, bench.node.observer.counters, DT)
    controller: Any = Controllers(bench.robot, host).all[0]

    def heard(message: dict) -> np.ndarray:
        controller.on_array(message)
        for change in todo:
            change()
        todo.clear()
        reference = Reference(len(bench.robot.joints))
        controller.refer(reference, bench.q)
        return np.where(np.isnan(reference.velocity), reference.position, reference.velocity)

    return heard, now


def test_simulated_controllers_do_what_is_said_and_refuse_the_rest() -> None:
    bench = twisted()
    heard, now = controlled(bench)
    twist = {"linear": {"x": 0.3, "y": 0.0, "z": 0.0}, "angular": {"x": 0.0, "y": 0.0, "z": -0.2}}
    good = {"header": {"stamp": {"sec": 49, "nanosec": 900_000_000}, "frame_id": "base"}, "twist": twist}
    old = {"header": {"stamp": {"sec": 49, "nanosec": 0}, "frame_id": "base"}, "twist": twist}
    assert np.isnan(heard(old)).all()
    assert np.isnan(heard(good | {"header": {"frame_id": "camera"}})).all()
    assert np.isnan(heard({"header": good["header"]})).all()
    assert np.isnan(heard(good | {"twist": {"linear": {"x": None}, "angular": {"z": 0.0}}})).all()
    np.testing.assert_allclose(heard(good), [0.3, -0.2])
    assert bench.node.observer.counters["refused.array"] == 4
    now[0] += 0.3
    assert np.isnan(heard(old)).all()  # out of date, as velocities are
    arm = posed()
    heard, now = controlled(arm)
    follow(arm, 1)
    arm.node.enable()
    (message,) = follow(arm, 1)
    wanted = arm.node.memory.motion.position  # type: ignore[union-attr]
    now[0] += 10.0  # a pose holds
    found = heard(message)
    np.testing.assert_allclose(np.cos(found), np.cos(wanted), atol=1e-9)  # roll may be a turn off


# Configs --------------------------------------------------------------------------------------------------------------

CONFIG = f"""
joints: {{ee_x: x, ee_y: y, ee_z: z, r: roll, p: pitch, w: yaw}}
held: [r, p]
inputs:
  - topic: /tcp/pose
    type: {POSE_TYPE}
    frame: base_link
    fields:
      {{ee_x/position: pose.position.x, ee_y/position: pose.position.y, ee_z/position: pose.position.z,
       r/position: pose.orientation.roll, p/position: pose.orientation.pitch, w/position: pose.orientation.yaw}}
outputs:
  - {{kind: pose, topic: /servo/pose, frame: base_link}}
limits:
  position: [[0.3, 0.6], [-0.3, 0.3], [0.1, 0.5], [2.8, 3.4], [-0.3, 0.3], [-1.5, 1.5]]
  velocity: [0.2, 0.2, 0.2, 0.5, 0.5, 0.5]
  acceleration: [1, 1, 1, 2, 2, 2]
  jerk: [20, 20, 20, 40, 40, 40]
"""
BASE = """
joints: {forward: x, turn: yaw}
inputs: [{topic: /joint_states}]
outputs: [{kind: twist, topic: /cmd_vel}]
limits: {velocity: [0.5, 1.0], acceleration: [1, 2], jerk: [20, 40]}
"""


def load(tmp_path: Path, values: Any) -> Any:
    path = tmp_path / "robot.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return load_robot(path)


def test_configs_say_it(tmp_path: Path) -> None:
    robot = load(tmp_path, CONFIG)
    assert list(robot.axes().values()) == list(AXES)
    assert robot.held == ("r", "p")
    assert robot.limits.bounded.all()
    base = load(tmp_path, BASE)
    assert not base.limits.bounded.any()
    assert base.limits.velocity.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("config", "place", "value", "message"),
    [
        (CONFIG, "outputs.0.frame", "", "outputs[0].frame: missing: in which frame is it said?"),
        (CONFIG, "inputs.0.frame", "map", "inputs[0].frame: 'map', but outputs[0] moves 'ee_x' in 'base_link'"),
        (CONFIG, "joints.ee_z", "up", "outputs[0].joints: 'ee_z' is 'up' there, expected an axis: x, y, z"),
        (CONFIG, "outputs.0.names", {"ee_y": "x"}, "outputs[0].joints: an axis is named twice"),
        (CONFIG, "outputs.0.joints", ["ee_x", "ee_y", "ee_z", "r", "p"], "outputs[0].joints: yaw missing: held: names"),
        (CONFIG, "held", ["q"], "held: 'q' is not among the joints"),
        (CONFIG, "outputs.0.kind", "effort", "held: given, but an effort holds no joint"),
        (CONFIG, "limits.position", None, "limits: the position of 'ee_x' is missing: it bounds where a pose may be"),
        (CONFIG, "outputs.0.kind", "twist_stamped", "limits: positions of 'r' are given, but a twist's turns"),
        (CONFIG, "inputs.0.type", "geometry_msgs/msg/Pose", "inputs[0].frame: given, but a geometry_msgs/msg/Pose"),
        (CONFIG, "inputs.0.fields", {"ee_x/position": "pose.position.x"}, "inputs: no field gives ee_y/position"),
        (BASE, "outputs.0.kind", "velocity", "limits: the position of 'forward' is missing: only axes of a twist do"),
        (BASE, "outputs.0.scale", 2.0, "outputs[0]: scale, offset and max_effort are a gripper's"),
    ],
)
def test_mistakes_in_configs_are_told(tmp_path: Path, config: str, place: str, value: Any, message: str) -> None:
    values = yaml.safe_load(config)
    *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    target = values
    for part in parents:
        target = target[part]
    target[last] = value
    with pytest.raises(UserError) as caught:
        load(tmp_path, values)
    assert message in str(caught.value)


def test_held_joints_are_not_the_policys() -> None:
    bench = posed()
    policy = bench.policy.description
    actions = (*policy.actions, ActionEntry("roll", "velocity", "", 1.0, -1, 1))
    wrong = Description("t", 50.0, policy.observations, actions, (), {})
    assert bench.robot.mistakes_with(wrong) == ["joint 'roll' held by the config, but moved by the policy"]


def test_an_axis_that_nobody_measures_is_moved_by_speeds_alone() -> None:
    policy = twisted().policy.description
    actions = tuple(ActionEntry(name, "position", "", 1.0, -1, 1) for name in ("a", "b"))
    wrong = Description("t", 50.0, policy.observations, actions, (), {})
    assert twisted().robot.mistakes_with(wrong) == [
        f"the policy commands positions of '{name}', which has no limits of position" for name in ("a", "b")
    ]
    assert twisted(bounded=True).robot.mistakes_with(wrong) == []
