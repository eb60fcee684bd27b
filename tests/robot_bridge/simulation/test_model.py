"""Twins: a model behind the topics and controllers of a robot's config."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
pytest.importorskip("mujoco", reason="the robot extra is not installed")
from robot_fakes import LinearPolicy, arm_policy, arm_robot

from robot_bridge.counters import Counters
from robot_bridge.errors import UserError
from robot_bridge.guards.limits import JointLimits
from robot_bridge.node import loop
from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.paths import number_at
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import Input, Output, OutputKind, Robot
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.controller import Host, Reference
from robot_bridge.simulation.grippers import GripperController
from robot_bridge.simulation.model import Model, find_model
from robot_bridge.simulation.simulation import Simulation
from robot_bridge.transport import RosbridgeTransport

ARM = """<mujoco><compiler angle="radian"/><option timestep="0.002"/><worldbody>
<body name="upper"><joint name="arm_a" axis="0 1 0" range="-2 2" limited="true" actuatorfrcrange="-50 50"/>
 <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" contype="0" conaffinity="0"/>
 <body name="lower" pos="0.3 0 0"><joint name="arm_b" axis="0 1 0" range="0.1 2" limited="true"/>
  <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" contype="0" conaffinity="0"/>
  <body name="left" pos="0.3 0 0"><joint name="left_finger" type="slide" axis="0 0 1" range="0 0.04" armature="0.1"/>
   <geom size="0.01" contype="0" conaffinity="0"/></body>
  <body name="right" pos="0.3 0 0"><joint name="right_finger" type="slide" axis="0 0 -1" range="0 0.04" armature="0.1"/>
   <geom size="0.01" contype="0" conaffinity="0"/></body></body></body>
<body name="cube" pos="0.5 0.4 0.3"><freejoint/><geom type="box" size="0.02 0.02 0.02" rgba="1 0 0 1"/></body>
<geom type="plane" size="2 2 0.1"/></worldbody>
<equality><joint joint1="right_finger" joint2="left_finger"/></equality>
<actuator><position joint="arm_a" kp="5"/></actuator></mujoco>"""

URDF = """<robot name="arm"><link name="base"/>
<link name="one"><inertial><mass value="1"/><inertia ixx="0.1" iyy="0.1" izz="0.1" ixy="0" ixz="0" iyz="0"/></inertial>
 <visual><geometry><mesh filename="package://nowhere/one.dae"/></geometry></visual></link>
<link name="two"><inertial><mass value="0.1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/>
 </inertial></link>
<joint name="a" type="revolute"><parent link="base"/><child link="one"/><axis xyz="0 0 1"/>
 <limit lower="-2" upper="2" effort="10" velocity="1"/></joint>
<joint name="b" type="revolute"><parent link="one"/><child link="two"/><axis xyz="0 1 0"/>
 <limit lower="-2" upper="2" effort="10" velocity="1"/><mimic joint="a" multiplier="-0.5" offset="0.1"/></joint>
</robot>"""


def model(folder: Path, robot: Robot, text: str = ARM, **options: Any) -> Model:
    path = folder / ("arm.urdf" if text.startswith("<robot") else "arm.xml")
    path.write_text(text)
    return Model(path, robot, **options)


def asked(n: int = 2, **values: Any) -> Reference:
    reference = Reference(n)
    for name, value in values.items():
        getattr(reference, name)[:] = value
    return reference


def advance(world: Model, reference: Reference, seconds: float) -> np.ndarray:
    for _ in range(round(seconds / world.step_dt)):
        world.step(reference)
    return world.position


def test_a_twin_does_what_is_asked_of_its_joints_and_stands_otherwise(tmp_path: Path) -> None:
    world = model(tmp_path, arm_robot())
    start = world.position.copy()
    np.testing.assert_allclose(start, [0.0, 0.1])  # within its range, where it has no keyframe
    np.testing.assert_allclose(advance(world, asked(), 1.0), start, atol=1e-3)  # although gravity pulls
    moved = advance(world, asked(velocity=0.5), 1.0)
    np.testing.assert_allclose(moved - start, 0.5, atol=0.01)
    np.testing.assert_allclose(advance(world, asked(), 1.0), moved, atol=0.01)
    np.testing.assert_allclose(advance(world, asked(position=[-0.3, 0.8]), 1.0), [-0.3, 0.8], atol=0.005)
    floating = advance(world, asked(effort=0.0), 0.5)  # without effort it floats
    np.testing.assert_allclose(floating, [-0.3, 0.8], atol=0.02)
    pushed = advance(world, asked(effort=[0.5, 0.0]), 0.3)
    assert pushed[0] > floating[0] + 0.01
    world.reset(1)
    np.testing.assert_allclose(world.position, start)


def test_forces_stay_within_the_models(tmp_path: Path) -> None:
    quick = JointLimits([-1, -1], [1, 1], [999, 999], [5, 5], [500, 500])
    world = model(tmp_path, arm_robot(limits=quick))
    world.step(asked(position=[2.0, 2.0]))
    assert world.data.qfrc_applied[0] == pytest.approx(50.0)


def test_drives_go_no_faster_than_an_arm_can(tmp_path: Path) -> None:
    """Whatever is asked: twice what the config allows, 1 rad/s."""
    world = model(tmp_path, arm_robot())
    start = world.position.copy()
    np.testing.assert_allclose(advance(world, asked(velocity=50.0), 0.3) - start, 0.6, atol=0.1)
    world.reset(0)
    np.testing.assert_allclose(advance(world, asked(position=[1.5, 1.6]), 0.3) - start, 0.6, atol=0.1)


def test_joints_are_found_by_name_but_for_a_prefix_and_others_stand_in(tmp_path: Path) -> None:
    said: list[str] = []
    limits = JointLimits([-1] * 3, [1] * 3, [1] * 3, [5] * 3, [500] * 3)
    joints = {"a": "ur_arm_a", "b": "arm_b", "c": "grip"}
    robot = arm_robot(joints=joints, outputs=(Output("velocity", "/commands", ("a", "b", "c")),), limits=limits)
    world = model(tmp_path, robot, say=said.append)
    assert said == ["note: arm.xml lacks grip: what is commanded of them is what they do"]
    start = world.position.copy()
    np.testing.assert_allclose(advance(world, asked(3, velocity=0.2), 0.5) - start, 0.1, atol=0.01)
    numbers = world.numbers()
    assert numbers["ur_arm_a/position"] == world.position[0]
    assert numbers["grip/position"] == pytest.approx(0.1)
    assert numbers["left_finger/position"] == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(UserError, match=r"none of the robot's joints x, y; it has: arm_a, arm_b, left_finger"):
        model(tmp_path, arm_robot(joints={"a": "x", "b": "y"}))


def test_a_finger_that_is_tied_to_another_follows_it(tmp_path: Path) -> None:
    world = model(tmp_path, arm_robot(joints={"a": "arm_a", "b": "left_finger"}))
    advance(world, asked(position=[0.0, 0.03]), 1.0)
    numbers = world.numbers()
    assert numbers["left_finger/position"] == pytest.approx(0.03, abs=2e-3)
    assert numbers["right_finger/position"] == pytest.approx(0.03, abs=2e-3)


def test_a_urdf_is_read_with_its_mimics_and_without_lost_meshes(tmp_path: Path) -> None:
    world = model(tmp_path, arm_robot(joints={"a": "a", "b": "arm/x"}), URDF)
    advance(world, asked(position=[0.8, 0.0]), 1.5)
    assert world.numbers()["b/position"] == pytest.approx(0.1 - 0.5 * 0.8, abs=0.01)
    with pytest.raises(UserError, match="MuJoCo cannot read"):
        model(tmp_path, arm_robot(), "<mujoco><nothing/></mujoco>")
    with pytest.raises(UserError, match=r"no such model: nowhere\.xml"):
        find_model("nowhere.xml")


def test_objects_are_told_as_poses(tmp_path: Path) -> None:
    said: list[str] = []
    fields = {"cube/position": "pose.position.x"}
    kind = "geometry_msgs/msg/PoseStamped"
    inputs = (Input("/joint_states"), Input("/cube/pose", kind, fields=fields), Input("/mug", kind, fields=fields))
    world = model(tmp_path, arm_robot(inputs=inputs), say=said.append)
    message = world.message(inputs[1])
    assert message is not None
    np.testing.assert_allclose(list(message["pose"]["position"].values()), [0.5, 0.4, 0.3])
    assert message["pose"]["orientation"] == {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
    assert world.message(inputs[2]) is None
    assert "note: nothing in arm.xml stands for /mug: publish it yourself" in said
    advance(world, asked(), 1.0)
    fallen = world.message(inputs[1])
    assert fallen is not None
    assert fallen["pose"]["position"]["z"] == pytest.approx(0.02, abs=2e-3)


def drive(world: Model, robot: Robot, policy: Any, target: Any, tolerance: float = 0.03) -> int:
    """Let a policy move a twin over real sockets until it is where it is to go; how often the node saw a fault.

    Raises:
        AssertionError: it is not there within 15 s.
    """
    target = np.asarray(target)
    with RosbridgeServer(port=0) as server:
        out, back = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
        simulation = Simulation(out, world, robot, say=lambda line: None, hold_dead_man=True)
        node = PolicyNode(back, policy, robot, say=lambda line: None)
        simulation.open()
        node.open()
        out.start()
        back.start()
        threads = [threading.Thread(target=run) for run in (simulation.run, lambda: loop.run(node))]
        for thread in threads:
            thread.start()
        try:
            deadline, why = time.monotonic() + 10.0, ""
            while time.monotonic() < deadline:
                done, why = node.enable()
                if done:
                    break
                time.sleep(0.05)
            assert done, why
            deadline = time.monotonic() + 15.0
            while np.abs(world.position - target)[np.isfinite(target)].max() > tolerance:
                assert time.monotonic() < deadline, f"at {world.position}, {node.reason}"
                time.sleep(0.02)
            return node.states.faults
        finally:
            node.shut_down()
            threads[1].join()
            node.close()
            simulation.stop()
            threads[0].join()
            simulation.close()
            back.close()
            out.close()


@pytest.mark.parametrize("kind", ["velocity", "position", "trajectory", "follow"])
def test_one_config_drives_a_twin_by_every_kind_of_output(tmp_path: Path, kind: Any) -> None:
    robot = arm_robot(
        joints={"a": "arm_a", "b": "arm_b"},
        inputs=(Input("/joint_states", max_age=0.5, check_stamps=False),),
        outputs=(Output(kind, "/arm/commands", ("a", "b"), 0.2),),
        max_lead=0.5,
    )
    assert drive(model(tmp_path, robot), robot, arm_policy(), [0.5, 0.5]) == 0


@pytest.mark.parametrize("kind", ["gripper", "franka_gripper"])
def test_a_gripper_is_closed_by_its_action(tmp_path: Path, kind: OutputKind) -> None:
    """Beside an arm of velocities. The server of its action wants widths."""
    joints = {"a": "arm_a", "b": "arm_b", "l": "left_finger", "r": "right_finger"}
    limits = JointLimits([-1, -1, 0, 0], [1, 1, 0.04, 0.04], [1, 1, 0.05, 0.05], [5, 5, 1, 1], [500, 500, 99, 99])
    outputs = (
        Output("velocity", "/arm/commands", ("a", "b")),
        Output(kind, "/hand/grip", ("l", "r"), scale=2.0, max_effort=10.0),
    )
    inputs = (Input("/joint_states", max_age=0.5, check_stamps=False),)
    robot = arm_robot(joints=joints, inputs=inputs, outputs=outputs, limits=limits)
    world = model(tmp_path, robot)
    target = np.array([0.1, 0.2, 0.035, 0.035])
    assert drive(world, robot, reach(robot, target), target, tolerance=3e-3) == 0


def test_a_gripper_tells_how_its_goal_ended() -> None:
    class Handle:
        def __init__(self) -> None:
            self.results: list[tuple[dict, int]] = []

        def on_cancel(self, callback: Any) -> None: ...

        def result(self, values: dict, status: int, error: str | None = None) -> bool:
            self.results.append((values, status))
            return True

    now, handles = [0.0], [Handle(), Handle(), Handle()]
    host = Host(lambda: now[0], lambda change: change(), Counters(), 0.01)
    gripper = GripperController(
        Output("gripper", "/grip", ("l", "r"), scale=2.0), arm_robot(joints={"l": "l", "r": "r"}), host
    )
    gripper.on_goal({"command": {"position": 0.06}}, handles[0])  # type: ignore[arg-type]
    reference = Reference(2)
    gripper.refer(reference, np.zeros(2))
    np.testing.assert_allclose(reference.position, 0.03)
    gripper.refer(reference, np.array([0.03, 0.03]))
    assert handles[0].results == [({"position": 0.06, "effort": 0.0, "stalled": False, "reached_goal": True}, 4)]
    gripper.on_goal({"command": {"position": 0.0}}, handles[1])  # type: ignore[arg-type]
    for now[0] in (1.0, 1.1, 1.7):  # it holds something
        gripper.refer(reference, np.array([0.02, 0.02]))
    ((values, status),) = handles[1].results
    assert (values["stalled"], values["reached_goal"], status) == (True, False, 4)
    gripper.on_goal({"command": {"position": None}}, handles[2])  # type: ignore[arg-type]
    assert handles[2].results[0][1] == 6
    assert gripper.host.counters["refused.goal"] == 1


def test_efforts_push_a_twin(tmp_path: Path) -> None:
    policy = arm_policy()
    actions = tuple(dataclasses.replace(action, quantity="effort", unit="N m") for action in policy.description.actions)
    policy.description = dataclasses.replace(policy.description, actions=actions)
    policy.weights, policy.bias = np.zeros((2, 2), np.float32), np.float32([0.3, 0.0])
    robot = arm_robot(
        joints={"a": "arm_a", "b": "arm_b"},
        inputs=(Input("/joint_states", max_age=0.5, check_stamps=False),),
        outputs=(Output("effort", "/arm/efforts", ("a", "b")),),
        limits=None,
    )
    assert drive(model(tmp_path, robot), robot, policy, [0.1, np.nan]) == 0


def reach(robot: Robot, target: np.ndarray) -> LinearPolicy:
    """Moves each joint of a robot towards a target, rad or m."""
    joints = list(robot.joints)
    description = Description(
        task="reach",
        control_rate=robot.rate,
        observations=tuple(ObservationEntry(f"{j}/position", "rad", -9, 9, ()) for j in joints),
        actions=tuple(ActionEntry(j, "velocity", "rad/s", 1.0, -1, 1) for j in joints),
        novelty=(),
        sha256={},
    )
    return LinearPolicy(description, -2.0 * np.eye(len(joints)), 2.0 * target)


@pytest.mark.parametrize(
    ("name", "config"), [("universal_robots_ur5e", "ur5e"), ("franka_fr3", "fr3"), ("robotstudio_so101", "so101")]
)
def test_shipped_configs_drive_the_twins_of_their_arms(name: str, config: str) -> None:
    """At full speed of the guards, on the models of MuJoCo Menagerie."""
    menagerie = pytest.importorskip("mujoco_menagerie", reason="the twin extra is not installed")
    try:
        menagerie.get(name).path()
    except menagerie.MenagerieError as error:
        pytest.skip(f"the model cannot be had: {error}")
    _drive_near_the_middle(load_robot(config), find_model(name))


@pytest.mark.parametrize("config", ["ur5e", "fr3", "so101"])
def test_shipped_configs_drive_a_chain_with_the_joints_of_their_arms(config: str, tmp_path: Path) -> None:
    """Names, ranges, topics and kinds of commands are the arm's; lengths and masses are not."""
    robot = load_robot(config)
    assert robot.limits is not None
    links = "".join(
        f'<body pos="0 0 0.1"><joint name="{joint}" axis="{"0 0 1" if i % 2 else "0 1 0"}" range="{low} {high}"/>'
        '<geom type="capsule" fromto="0 0 0 0 0 0.1" size="0.02" mass="0.3" contype="0" conaffinity="0"/>'
        for i, (joint, low, high) in enumerate(
            zip(robot.joints.values(), robot.limits.low, robot.limits.high, strict=True)
        )
    )
    path = tmp_path / "chain.xml"
    path.write_text(
        '<mujoco><compiler angle="radian" autolimits="true"/><worldbody>'
        f"{links}{'</body>' * len(robot.joints)}</worldbody></mujoco>"
    )
    _drive_near_the_middle(robot, path)


def _drive_near_the_middle(robot: Robot, model: Path) -> None:
    guards = dataclasses.replace(robot.guards, speed=1.0)
    inputs = (dataclasses.replace(robot.inputs[0], max_age=0.5, check_stamps=False),)
    robot = dataclasses.replace(robot, guards=guards, inputs=inputs)
    world = Model(model, robot)
    assert robot.limits is not None
    low, high = robot.limits.low, robot.limits.high
    wide = high - low > 1.0  # rad; all but fingers
    beside = 0.5 * (low + high) + np.where(wide, 0.2, 0.0)  # some start in the middle
    start = world.position.copy()
    target = start + np.clip(beside - start, -0.4, 0.4)
    assert np.abs(target - start)[wide].min() > 0.1
    assert drive(world, robot, reach(robot, target), target) == 0


def test_axes_of_a_hand_stand_in_and_are_told_as_its_pose(tmp_path: Path) -> None:
    path = tmp_path / "arm.xml"
    path.write_text(ARM)
    fields = {"a/position": "pose.position.x", "b/position": "pose.orientation.yaw"}
    source = Input("/hand/pose", "geometry_msgs/msg/PoseStamped", 0.1, fields, frame="base")
    output = Output("twist_stamped", "/servo", ("a", "b"), frame="base", names={"a": "x", "b": "yaw"})
    notes: list[str] = []
    robot = arm_robot(joints={"a": "hand_x", "b": "hand_yaw"}, inputs=(source,), outputs=(output,))
    model = Model(path, robot, say=notes.append)
    reference = Reference(2)
    reference.velocity[:] = 0.5, -0.3
    for _ in range(round(1.0 / model.step_dt)):
        model.step(reference)
    message = model.message(source)
    assert message is not None
    assert number_at(message, "pose.position.x") == pytest.approx(0.5)
    assert number_at(message, "pose.orientation.yaw") == pytest.approx(-0.3)
    assert notes == ["note: arm.xml lacks hand_x, hand_yaw: what is commanded of them is what they do"]
