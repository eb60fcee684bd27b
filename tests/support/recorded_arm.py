"""Policies whose numbers say where they were recorded, and the robot configs drafted of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robot_bridge.draft.document import draft
from robot_bridge.draft.urdf import read_urdf
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry, Recorded
from robot_bridge.robot.robot import OUTPUT_TYPES, Robot

JOINT_STATE, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
ARRAY, TRAJECTORY = OUTPUT_TYPES["velocity"], OUTPUT_TYPES["trajectory"]
UNITS = {"position": "rad", "velocity": "rad/s", "effort": "N m"}

URDF = """<robot name="arm"><link name="base"/><link name="one"/><link name="two"/>
<joint name="shoulder" type="revolute"><parent link="base"/><child link="one"/><axis xyz="0 0 1"/>
 <limit lower="-2.5" upper="2" velocity="3" effort="50"/></joint>
<joint name="elbow" type="continuous"><parent link="one"/><child link="two"/><axis xyz="0 1 0"/>
 <limit velocity="1.5" effort="20"/></joint></robot>"""


def observed(name: str, quantity: str = "position", **recorded: Any) -> ObservationEntry:
    told = {"topic": "/joint_states", "type": JOINT_STATE, "path": quantity, "joint": name, "max_age": 0.2}
    source = Recorded(**told | recorded)
    return ObservationEntry(f"{name}/{quantity}", UNITS[quantity], -1.0, 1.5, (), recorded=source)


def commanded(name: str, quantity: str, topic: str, kind: str = ARRAY, path: str = "data", **more: Any) -> ActionEntry:
    source = Recorded(topic, kind, path, **more)
    return ActionEntry(name, quantity, UNITS[quantity], 1.0, -0.8, 0.4, source)


CUBE = ObservationEntry(
    "cube.x/position", "m", 0.2, 0.6, (), recorded=Recorded("/cube/pose", POSE, "pose.position.x", max_age=0.5)
)
ARM = (observed("shoulder"), observed("elbow"), observed("shoulder", "velocity"))


def described(*actions: ActionEntry, observations: tuple[ObservationEntry, ...] = (*ARM, CUBE), rate: float = 20.0):
    return Description("arm", rate, observations, actions, (), {})


def arrays(quantity: str, topic: str) -> tuple[ActionEntry, ...]:
    return tuple(commanded(f"command.{i}", quantity, topic, path=f"data.{i}") for i in (0, 1))


def named(quantity: str, topic: str, kind: str, path: str) -> tuple[ActionEntry, ...]:
    return tuple(commanded(j, quantity, topic, kind, path, joint=j) for j in ("shoulder", "elbow"))


def written(tmp_path: Path, policy: Description, urdf: str | None = None, **options: Any) -> tuple[Robot, str]:
    """The robot that a drafted config describes, and its text."""
    joints = None
    if urdf is not None:
        (tmp_path / "arm.urdf").write_text(urdf)
        joints = read_urdf(tmp_path / "arm.urdf")
    text = draft(policy, joints, "arm.urdf", **options)
    (tmp_path / "my-arm.yaml").write_text(text)
    robot = load_robot(tmp_path / "my-arm.yaml")
    assert robot.mistakes_with(policy) == []
    return robot, text


STATE = "control_msgs/msg/JointTrajectoryControllerState"
ROBOTS: dict[str, tuple[tuple[ActionEntry, ...], str, str, bool]] = {
    "velocities": (arrays("velocity", "/arm/commands"), "velocity", "/arm/commands", False),
    "positions": (arrays("position", "/arm/commands"), "position", "/arm/commands", False),
    "trajectories": (
        named("position", "/arm/joint_trajectory", TRAJECTORY, "points[0].positions"),
        "trajectory",
        "/arm/joint_trajectory",
        False,
    ),
    "a controller's state": (
        named("position", "/arm/controller_state", STATE, "reference.positions"),
        "trajectory",
        "/arm/joint_trajectory",
        True,
    ),
    "an action's feedback": (
        named(
            "position",
            "/arm/follow_joint_trajectory/_action/feedback",
            "control_msgs/action/FollowJointTrajectory_FeedbackMessage",
            "feedback.desired.positions",
        ),
        "follow",
        "/arm/follow_joint_trajectory",
        False,
    ),
    "a leader's joints": (
        named("position", "/leader/joint_states", JOINT_STATE, "position"),
        "trajectory",
        "/joint_trajectory_controller/joint_trajectory",
        True,
    ),
}
