"""Robot configs made of bundles: what was recorded comes back, what was not is marked, and `check` agrees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from recorded_arm import (
    ARM,
    ARRAY,
    CUBE,
    JOINT_STATE,
    POSE,
    ROBOTS,
    URDF,
    arrays,
    commanded,
    described,
    observed,
    written,
)
from robot_fakes import LinearPolicy

from robot_bridge import check
from robot_bridge.node.observation import Observer
from robot_bridge.node.start import StartPose
from robot_bridge.robot.description import ActionEntry, ObservationEntry, Recorded, StartEntry
from robot_bridge.robot.robot import OUTPUT_TYPES


@pytest.mark.parametrize("kind", ROBOTS)
def test_outputs_are_what_was_recorded_as_the_command(tmp_path: Path, kind: str) -> None:
    actions, output_kind, topic, doubtful = ROBOTS[kind]
    robot, text = written(tmp_path, described(*actions), URDF)
    (output,) = robot.outputs
    assert (output.kind, output.topic, output.joints) == (output_kind, topic, tuple(a.joint for a in actions))
    assert list(robot.joints.values()) == ["shoulder", "elbow"]
    assert ("REVIEW" in text.split("outputs:")[1].split("kind:")[0]) == doubtful
    assert ("names no joints" in text) == actions[0].joint.startswith("command")
    assert robot.guards.speed == 0.1
    assert not robot.guards.modes
    assert robot.dead_man is not None
    assert robot.rate == 60.0  # three times the policy's


def test_inputs_are_the_recorded_topics(tmp_path: Path) -> None:
    late = ObservationEntry("door/position", "", 0, 1, (), recorded=Recorded("/door", "std_msgs/msg/Float64", "data"))
    speed = observed("elbow", "velocity", topic="/speeds", time="receive", max_age=0.05)
    robot, text = written(
        tmp_path, described(*arrays("velocity", "/c"), observations=(*ARM, CUBE, late, speed), rate=100.0), URDF
    )
    assert [(source.topic, source.type, source.max_age, source.check_stamps) for source in robot.inputs] == [
        ("/joint_states", JOINT_STATE, 0.2, True),
        ("/cube/pose", POSE, 0.5, True),
        ("/door", "std_msgs/msg/Float64", 10.0, True),
        ("/speeds", JOINT_STATE, 0.05, False),
    ]
    assert robot.inputs[1].fields == {"cube.x/position": "pose.position.x"}
    assert robot.inputs[1].frame == ""
    assert "# REVIEW: in which frame does the policy know it?" in text
    assert CUBE.recorded is not None
    framed = dataclasses.replace(CUBE, recorded=dataclasses.replace(CUBE.recorded, frame="/table"))
    robot, text = written(tmp_path, described(*arrays("velocity", "/c"), observations=(*ARM, framed)), URDF)
    assert robot.inputs[1].frame == "table"
    assert "in which frame" not in text
    robot, text = written(tmp_path, described(*arrays("velocity", "/c"), observations=(*ARM, late), rate=100.0), URDF)
    assert "never stale in the data" in text
    assert robot.rate == 100.0


def test_limits_are_those_of_the_urdf_and_else_of_the_data(tmp_path: Path) -> None:
    robot, text = written(tmp_path, described(*arrays("velocity", "/c")), URDF)
    assert robot.limits is not None
    np.testing.assert_allclose(robot.limits.low, [-2.4, -1.0], atol=1e-9)  # a margin of 0.1; and what the data reached
    np.testing.assert_allclose(robot.limits.high, [1.9, 1.5], atol=1e-9)
    np.testing.assert_allclose(robot.limits.velocity, [1.5, 0.75])  # half of the URDF's
    assert robot.limits.stopping_time.max() == pytest.approx(0.5)
    assert "THESE ARE NOT THE ROBOT'S LIMITS: arm.urdf gives none for elbow." in text

    robot, text = written(tmp_path, described(*arrays("velocity", "/c")))
    assert robot.limits is not None
    np.testing.assert_allclose(robot.limits.low, [-1.0, -1.0], atol=1e-9)
    np.testing.assert_allclose(robot.limits.velocity, [0.75, 0.4])  # half of the highest that was seen, or commanded
    assert "no URDF was given for shoulder, elbow." in text


def test_efforts_have_no_limits(tmp_path: Path) -> None:
    robot, text = written(tmp_path, described(*arrays("effort", "/arm/commands")), URDF)
    assert robot.limits is None
    assert robot.outputs[0].kind == "effort"
    assert "shoulder: up to 0.8 N m, of 50 in the URDF" in text


def test_a_gripper_beside_an_arm(tmp_path: Path) -> None:
    grip = commanded(
        "gripper", "position", "/hand/gripper_action/_action/feedback", "control_msgs/action/GripperCommand"
    )
    fingers = observed("finger_joint")
    policy = described(*arrays("velocity", "/arm/commands"), grip, observations=(*ARM, fingers))
    robot, _ = written(tmp_path, policy)
    assert robot.joints == {"command.0": "shoulder", "command.1": "elbow", "gripper": "finger_joint"}
    assert [(o.kind, o.topic, o.joints) for o in robot.outputs] == [
        ("velocity", "/arm/commands", ("command.0", "command.1")),
        ("gripper", "/hand/gripper_action", ("gripper",)),
    ]
    message = commanded("gripper", "position", "/hand/command", "control_msgs/msg/GripperCommand", "position")
    robot, text = written(tmp_path, described(*policy.actions[:2], message, observations=policy.observations))
    assert robot.outputs[1].topic == "/hand/gripper_cmd"
    assert "/hand/command was recorded: is this the gripper's action?" in text


def test_a_gripper_rests_at_its_ends(tmp_path: Path) -> None:
    """A margin there would call a closed gripper out of its limits."""
    finger = '<joint name="finger_joint" type="prismatic"><limit lower="0" upper="0.05" velocity="0.1"/></joint>'
    grip = commanded("gripper", "position", "/grip/commands", path="data.0")
    policy = described(*arrays("velocity", "/arm/commands"), grip, observations=(*ARM, observed("finger_joint")))
    robot, text = written(tmp_path, policy, URDF.replace("</robot>", f"{finger}</robot>"))
    assert robot.limits is not None
    np.testing.assert_allclose([robot.limits.low[2], robot.limits.high[2]], [0.0, 0.05], atol=1e-9)
    assert "finger_joint: the URDF's limits and the margin" in text


@pytest.mark.parametrize("kind", ["twist", "twist_stamped"])
def test_twists(tmp_path: Path, kind: str) -> None:
    prefix = "twist." if kind == "twist_stamped" else ""
    axes = {"hand.x": "linear.x", "hand.z": "linear.z", "hand.yaw": "angular.z"}
    moves = [commanded(n, "velocity", "/twist", OUTPUT_TYPES[kind], prefix + path) for n, path in axes.items()]
    grip = commanded("gripper", "position", "/grip/commands", path="data.0")
    policy = described(*moves, grip, observations=(observed("finger_joint"), CUBE))
    robot, text = written(tmp_path, policy)
    assert robot.joints == {"hand.x": "x", "hand.z": "z", "hand.yaw": "yaw", "gripper": "finger_joint"}
    assert (robot.outputs[0].kind, robot.outputs[0].topic) == (kind, "/twist")
    assert robot.outputs[0].frame == ("base_link" if kind == "twist_stamped" else "")
    assert robot.limits is not None
    assert robot.limits.bounded.tolist() == [False, False, False, True]
    np.testing.assert_allclose(robot.limits.velocity, [0.4, 0.4, 0.4, 0.25])
    assert "NOTHING BOUNDS WHERE x, z, yaw GO" in text


def test_a_mobile_base_needs_no_joints(tmp_path: Path) -> None:
    moves = [
        commanded(f"base.{p}", "velocity", "/cmd_vel", OUTPUT_TYPES["twist"], p) for p in ("linear.x", "angular.z")
    ]
    robot, text = written(tmp_path, described(*moves, observations=(CUBE,)))
    assert [source.topic for source in robot.inputs] == ["/cube/pose"]
    assert "where are the joints' positions measured" not in text


def test_where_training_began_is_known_of_joints_that_arrays_do_not_name(tmp_path: Path) -> None:
    starts = tuple(StartEntry(name, "rad", 0.1, 0.0, 0.2) for name in ("shoulder", "elbow"))
    policy = dataclasses.replace(described(*arrays("velocity", "/arm/commands")), start=starts)
    robot, _ = written(tmp_path, policy)
    pose = StartPose(policy, robot)
    assert pose.obstacle() == ""
    assert pose.far(np.array([0.1, 0.1])) == ""
    assert "joint command.1 is at 0.900" in pose.far(np.array([0.1, 0.9]))


def test_the_order_of_an_array_is_its_own(tmp_path: Path) -> None:
    """The layout took its numbers in another order, or not all."""
    swapped = tuple(commanded(f"c.{i}", "velocity", "/c", path=f"data.{i}") for i in (1, 0))
    robot, text = written(tmp_path, described(*swapped))
    assert robot.outputs[0].joints == ("c.0", "c.1")
    assert robot.joints == {"c.1": "elbow", "c.0": "shoulder"}
    assert "what are the others to be" not in text
    some = tuple(commanded(f"c.{i}", "velocity", "/c", path=f"data.{i}") for i in (0, 2))
    assert "numbers 0, 2 of it: what are the others to be?" in written(tmp_path, described(*some))[1]


def test_topics_in_other_units(tmp_path: Path) -> None:
    """A robot in degrees, of which the layout made rad: what goes out and what comes in are degrees again."""
    degree = np.pi / 180
    actions = tuple(
        ActionEntry(f"c.{i}", "velocity", "rad/s", 1.0, -1, 1, Recorded("/c", ARRAY, f"data.{i}", scale=degree))
        for i in (0, 1)
    )
    policy = described(*actions, observations=(observed("shoulder", scale=degree), observed("elbow", scale=-degree)))
    robot, _ = written(tmp_path, policy)
    assert robot.unit("c.0/velocity", robot.outputs[0]).said(degree) == pytest.approx(1.0)
    observer = Observer(LinearPolicy(policy, np.zeros((2, 2))), robot)
    observer.receive(0, {"name": ["shoulder", "elbow"], "position": [90.0, 45.0]}, now=1.0)
    snapshot = observer.snapshot(1.0)
    np.testing.assert_allclose(snapshot.observation, [np.pi / 2, -np.pi / 4])
    np.testing.assert_allclose(snapshot.position, [np.pi / 2, -np.pi / 4])


def test_numbers_that_are_not_si(tmp_path: Path) -> None:
    """A layout that scales to [-1, 1] and gives no unit: robot and guards have SI units, the policy its own."""
    actions = tuple(
        ActionEntry(f"c.{i}", "velocity", "", 2.0, -1, 1, Recorded("/c", ARRAY, f"data.{i}", scale=0.5)) for i in (0, 1)
    )
    entries = tuple(
        ObservationEntry(
            f"{j}/position", "", -0.5, 0.75, (), None, 0.25, Recorded("/q", JOINT_STATE, "position", j, 0.1, scale=0.25)
        )
        for j in ("shoulder", "elbow")
    )
    robot, _ = written(tmp_path, policy := described(*actions, observations=entries))
    assert robot.limits is not None
    np.testing.assert_allclose(robot.limits.low, [-2.0, -2.0], atol=1e-9)
    np.testing.assert_allclose(robot.limits.velocity, [1.0, 1.0])
    assert not robot.outputs[0].units
    observer = Observer(LinearPolicy(policy, np.zeros((2, 2))), robot)
    observer.receive(0, {"name": ["shoulder", "elbow"], "position": [2.0, 1.0]}, now=1.0)
    snapshot = observer.snapshot(1.0)
    np.testing.assert_allclose(snapshot.observation, [0.5, 0.25])
    np.testing.assert_allclose(snapshot.position, [2.0, 1.0])


def test_set_points_are_no_measurements(tmp_path: Path) -> None:
    target = ObservationEntry(
        "target.elbow/position", "rad", -1, 1, (), recorded=observed("elbow", topic="/goal").recorded
    )
    policy = described(*arrays("velocity", "/c"), observations=(*ARM, target))
    robot, _ = written(tmp_path, policy)
    observer = Observer(LinearPolicy(policy, np.zeros((2, 4))), robot)
    observer.receive(0, {"name": ["shoulder", "elbow"], "position": [0.1, 0.2], "velocity": [0.3, 0.4]}, now=1.0)
    observer.receive(1, {"name": ["shoulder", "elbow"], "position": [0.9, 0.8]}, now=1.0)
    snapshot = observer.snapshot(1.0)
    np.testing.assert_allclose(snapshot.observation[1:], [0.2, 0.3, 0.8])
    assert snapshot.position[1] == 0.2
    policy = described(*arrays("velocity", "/c"), observations=(*ARM[:1], target))
    urdf = URDF.replace('continuous"', 'revolute"').replace("<limit velocity", '<limit lower="-1" upper="1" velocity')
    written(tmp_path, policy, urdf, joints=["shoulder", "elbow"])


def test_a_bundle_that_knows_no_topics(tmp_path: Path) -> None:
    """Of a table, or of a simulator: the usual topics, each to be reviewed."""
    entries = tuple(ObservationEntry(f"{name}/position", "rad", -1, 1, ()) for name in ("a", "b", "cube_x"))
    actions = tuple(ActionEntry(j, "velocity", "rad/s", 1.0, -1, 1) for j in ("a", "b"))
    robot, text = written(tmp_path, described(*actions, observations=entries))
    assert [source.topic for source in robot.inputs] == ["/joint_states", "/object_states"]
    assert (robot.outputs[0].kind, robot.outputs[0].topic) == ("velocity", "/velocity_controller/commands")
    assert "# REVIEW: the data do not say by which topic these come: cube_x/position" in text
    assert "# REVIEW: the data do not say what took the commands" in text


def test_commands_of_a_table_have_columns_of_their_own(tmp_path: Path) -> None:
    entries = tuple(ObservationEntry(f"{name}/position", "rad", -1, 1, ()) for name in ("a", "b"))
    actions = tuple(ActionEntry(f"cmd_{j}", "velocity", "rad/s", 1.0, -1, 1) for j in ("a", "b"))
    robot, text = written(tmp_path, described(*actions, observations=entries))
    assert robot.joints == {"cmd_a": "a", "cmd_b": "b"}
    assert "the data name no joints of the commands" in text


def test_commands_without_units_are_doubted(tmp_path: Path) -> None:
    vague = tuple(dataclasses.replace(action, unit="") for action in arrays("position", "/c"))
    _, text = written(tmp_path, described(*vague))
    assert "no unit tells what command.0, command.1 are: taken for position" in text
    assert "no unit tells" not in written(tmp_path, described(*arrays("position", "/c")))[1]


def test_one_array_for_arm_and_gripper(tmp_path: Path) -> None:
    all_of_it = tuple(commanded(f"command.{i}", "position", "/c", path=f"data.{i}") for i in range(3))
    robot, _ = written(tmp_path, described(*all_of_it, observations=(*ARM, observed("finger_joint"))))
    assert list(robot.joints.values()) == ["shoulder", "elbow", "finger_joint"]


def test_what_no_input_can_give_is_told(tmp_path: Path) -> None:
    unread = ObservationEntry("goal.0/position", "", 0, 1, (), recorded=Recorded("/goal", "my_msgs/msg/Goal"))
    policy = described(*arrays("velocity", "/c"), observations=(*ARM, unread))
    robot, text = written(tmp_path, policy)
    assert [source.topic for source in robot.inputs] == ["/joint_states"]
    assert "# REVIEW: no input gives goal.0/position, of /goal (my_msgs/msg/Goal)" in text


def test_check_names_the_recorded_topic_that_a_config_lacks(tmp_path: Path) -> None:
    robot, _ = written(tmp_path, policy := described(*arrays("velocity", "/c")))
    robot = dataclasses.replace(robot, inputs=robot.inputs[:1])
    findings = check.Findings()
    values = np.array([0.0, np.nan, 0.0, np.nan])
    check.observation(findings, LinearPolicy(policy, np.zeros((2, 4))), robot, values, np.zeros(2))
    assert findings.lines == [
        (
            "WRONG",
            "missing in the observation: elbow/position, cube.x/position (recorded on /cube/pose, no input of the "
            "config)",
        )
    ]


def test_names_given_by_hand(tmp_path: Path) -> None:
    robot, text = written(tmp_path, described(*arrays("velocity", "/c")), URDF, joints=["elbow", "shoulder"])
    assert robot.joints == {"command.0": "elbow", "command.1": "shoulder"}
    assert "names no joints" not in text
