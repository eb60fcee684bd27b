"""What a robot listens to and says, its limits and its guards; `robot_configs` reads them from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robot_bridge.node.guards import Mode
from robot_bridge.node.limits import JointLimits
from robot_bridge.robot.bundle import Description

JOINT_STATE = "sensor_msgs/msg/JointState"
OutputKind = Literal["velocity", "position", "effort", "trajectory", "follow"]
OUTPUT_TYPES: dict[str, str] = {
    "velocity": "std_msgs/msg/Float64MultiArray",
    "position": "std_msgs/msg/Float64MultiArray",
    "effort": "std_msgs/msg/Float64MultiArray",
    "trajectory": "trajectory_msgs/msg/JointTrajectory",
    "follow": "control_msgs/action/FollowJointTrajectory",
}
"""What each kind of output is sent as."""

GUARDS = ("connection", "dead_man", "finite", "stale", "novelty", "speed", "lead", "workspace", "motion")
ALWAYS_ON = ("connection", "finite")


@dataclass(frozen=True)
class Input:
    """A topic that observations come from.

    Attributes:
        topic, type: where.
        max_age: s; an older message halts the robot.
        fields: for other types than JointState: name in the observation -> path in the message ("pose.position.x").
        check_stamps: whether a message that took longer than others by its stamp counts as that much older.
    """

    topic: str
    type: str = JOINT_STATE
    max_age: float = 0.1
    fields: dict[str, str] = field(default_factory=dict)
    check_stamps: bool = True


@dataclass(frozen=True)
class Output:
    """Where the commands of some joints go.

    Attributes:
        kind: a velocity, position or effort per joint in a Float64MultiArray, a JointTrajectory on a topic, or
            FollowJointTrajectory goals.
        topic: of the controller, or its action's name.
        joints: the policy's names, in the controller's order.
        horizon: s into the future that a trajectory reaches; at its end the robot stands. So the robot stops by itself
            when nothing follows.
    """

    kind: OutputKind
    topic: str
    joints: tuple[str, ...]
    horizon: float = 0.1


@dataclass(frozen=True)
class Workspace:
    """A box that points of the arm stay in; `joints` are the model's names in the order of the robot's."""

    model: Path
    joints: tuple[str, ...]
    points: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class DeadMan:
    """A std_msgs/msg/Bool topic that must say true, at least every `max_age` seconds."""

    topic: str
    max_age: float = 0.2


@dataclass(frozen=True)
class Robot:
    """A robot, as its config file says.

    Attributes:
        joints: the policy's name of each joint -> the robot's; commands are in this order.
        rate: Hz of the control loop; a multiple of the policy's rate is best.
        limits: of each joint, already narrowed by `margin` and `share`; None for robots that take efforts, and for a
            simulation that is to be run exactly as it is.
    """

    name: str
    joints: dict[str, str]
    rate: float
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    limits: JointLimits | None
    speed: float = 1.0
    max_lead: float = 0.1
    hold_timeout: float = 0.5
    novelty: dict[str, float] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    workspace: Workspace | None = None
    dead_man: DeadMan | None = None

    def mistakes_with(self, policy: Description) -> list[str]:
        """Why this robot cannot run that policy, as far as can be told without asking the robot; empty if it can."""
        mistakes = []
        wanted = [a.joint for a in policy.actions]
        for name in wanted:
            if name not in self.joints:
                mistakes.append(f"the policy moves joint '{name}', which the config does not name under joints")
        for name in self.joints:
            if name not in wanted:
                mistakes.append(f"joint '{name}' of the config is not moved by the policy")
        efforts = {a.quantity == "effort" for a in policy.actions}
        if efforts != {self.outputs[0].kind == "effort"}:
            kinds = ", ".join(sorted({a.quantity for a in policy.actions}))
            mistakes.append(f"the policy commands {kinds}, the robot's outputs take {self.outputs[0].kind}")
        named = {name for source in self.inputs for name in source.fields}
        if all(source.type != JOINT_STATE for source in self.inputs):
            for entry in policy.observations:
                if entry.constant is None and entry.name not in named:
                    mistakes.append(f"no input gives '{entry.name}'")
        for name in named - {entry.name for entry in policy.observations}:
            mistakes.append(f"input field '{name}' is nothing that the policy observes")
        return mistakes


def simulated(policy: Description) -> Robot:
    """A simulation that takes the policy's own actions, unlimited: to be run in lock-step, as `lapo_tf.evaluate` does.

    Only the guards that halt are at work: no connection, NaN, missing input.
    """
    names = {a.joint: a.joint for a in policy.actions}
    inputs = tuple(Input(topic, max_age=10.0, check_stamps=False) for topic in ("/joint_states", "/object_states"))
    kinds: dict[str, OutputKind] = {"velocity": "velocity", "effort": "effort", "position": "position"}
    kind = kinds[policy.actions[0].quantity]
    output = Output(kind, f"/{kind}_controller/commands", tuple(names), 1.0)
    return Robot(
        "simulation, unlimited",
        names,
        policy.control_rate,
        inputs,
        (output,),
        None,
        hold_timeout=10.0,
        modes={"novelty": "monitor"},
    )
