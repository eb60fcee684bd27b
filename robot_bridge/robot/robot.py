"""What a robot listens to and says, its limits and its guards, as data. `robot_bridge.robot.config` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator
from pydantic.dataclasses import dataclass as checked_dataclass

from robot_bridge.bounds import between
from robot_bridge.errors import UserError
from robot_bridge.guards.guard import Setup
from robot_bridge.guards.limits import JointLimits
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.guards.settings import STRICT, GuardSettings, Workspace
from robot_bridge.robot.cartesian import CARTESIAN
from robot_bridge.robot.description import Description
from robot_bridge.robot.interlocks import (
    ControllerCheck,
    DeadMan,
    Interlock,
    MessageType,
    Name,
    Start,
    Topic,
    told,
)
from robot_bridge.robot.units import QUANTITIES, Conversion, Unit, Units, unit_of

JOINT_STATE = "sensor_msgs/msg/JointState"
OutputKind = Literal[
    "velocity",
    "position",
    "effort",
    "trajectory",
    "follow",
    "gripper",
    "franka_gripper",
    "twist",
    "twist_stamped",
    "pose",
]
OUTPUT_TYPES: dict[str, str] = {
    "velocity": "std_msgs/msg/Float64MultiArray",
    "position": "std_msgs/msg/Float64MultiArray",
    "effort": "std_msgs/msg/Float64MultiArray",
    "trajectory": "trajectory_msgs/msg/JointTrajectory",
    "follow": "control_msgs/action/FollowJointTrajectory",
    "gripper": "control_msgs/action/GripperCommand",
    "franka_gripper": "franka_msgs/action/Move",
    "twist": "geometry_msgs/msg/Twist",
    "twist_stamped": "geometry_msgs/msg/TwistStamped",
    "pose": "geometry_msgs/msg/PoseStamped",
}
"""What each kind of output is sent as."""

FRANKA_GRASP = "franka_msgs/action/Grasp"
"""What a franka_gripper closes by."""
GRIPPERS = ("gripper", "franka_gripper")
"""The kinds that move a gripper, by one number for all its joints."""
ACTIONS = ("follow", *GRIPPERS)
"""The kinds that are goals of an action."""

LEADING = ("velocity", "position", "trajectory", "follow", "pose", *GRIPPERS)
"""The kinds that lead each of their joints to a place."""


def _known_kind(kind: object) -> object:
    if isinstance(kind, str) and kind not in OUTPUT_TYPES:
        match = get_close_matches(kind, OUTPUT_TYPES, n=1)
        hint = f"did you mean '{match[0]}'?" if match else f"known: {', '.join(OUTPUT_TYPES)}"
        raise told(f"'{kind}' is unknown, {hint}")
    return kind


Frame = Annotated[str, AfterValidator(lambda name: name.lstrip("/"))]


@checked_dataclass(frozen=True, config=STRICT)
class Input:
    """A topic that observations come from.

    Attributes:
        topic, type: where.
        max_age: s; an older message halts the robot.
        fields: for other types than JointState: name in the observation -> path in the message ("pose.position.x").
        names: for a JointState: names it has for joints, where they are not the robot's; policy's name -> this topic's.
        frame: for a pose: the frame it is to be in. Messages of another, or of none, are refused.
        transform: rather than to refuse a pose of another frame, move it by what /tf and /tf_static say.
        units: how it says numbers, where it is not as the robot's `units` have it.
        check_stamps: whether a message that took longer than others by its stamp counts as that much older. Off where
            the sender's clock runs at another pace than this computer's: a simulator's.
    """

    topic: Topic
    type: MessageType = JOINT_STATE
    max_age: Annotated[float, between(1e-3, 10.0)] = 0.1
    fields: dict[str, str] = field(default_factory=dict)
    check_stamps: bool = True
    frame: Frame = ""
    transform: bool = False
    names: dict[str, Name] = field(default_factory=dict)
    units: Units = field(default_factory=dict)


@checked_dataclass(frozen=True, config=STRICT)
class Output:
    """Where the commands of some joints go.

    Attributes:
        kind: a velocity, position or effort per joint in a Float64MultiArray, a JointTrajectory on a topic,
            FollowJointTrajectory goals, or a gripper's goals (one number for all joints: the mean of their
            positions), by GripperCommand or by Franka's own Move and Grasp; or a Twist, TwistStamped or PoseStamped,
            the joints of which are axes: see `robot_bridge.robot.cartesian`.
        topic: of the controller, or its action's name; of a franka_gripper, the name before `/move` and `/grasp`.
        joints: the policy's names, in the controller's order; in a file, none are all of the robot's.
        horizon: s into the future that a trajectory reaches, None for 0.1 or three periods; at its end the robot
            stands. So the robot stops by itself when nothing follows.
        scale, offset: of a gripper: a goal says `scale` times the mean position of its joints (rad, m), plus `offset`.
            A scale of 2 is the width between two fingers.
        max_effort: of a gripper's goals, N or N m; 0 leaves it to the gripper. A franka_gripper closes by Grasp with
            this force, or by Move without one.
        frame: of a Cartesian output: the frame in which it is said, as its messages with a header name it.
        names: names that its messages have for joints, where they are not the robot's; policy's name -> this topic's.
        units: how its messages say numbers, where it is not as the robot's `units` have it.
    """

    kind: Annotated[OutputKind, BeforeValidator(_known_kind)]
    topic: Topic
    joints: tuple[Name, ...] = ()
    horizon: Annotated[float, between(1e-3, 1.0)] | None = None
    scale: Annotated[float, between(-1e6, 1e6)] = 1.0
    max_effort: Annotated[float, between(0.0, 1e4)] = 0.0
    offset: Annotated[float, between(-1e4, 1e4)] = 0.0
    frame: Frame = ""
    names: dict[str, Name] = field(default_factory=dict)
    units: Units = field(default_factory=dict)

    def actions(self) -> list[str]:
        """Names of the actions whose servers it needs."""
        if self.kind == "franka_gripper":
            return [f"{self.topic}/move", f"{self.topic}/grasp"] if self.max_effort else [f"{self.topic}/move"]
        return [self.topic] if self.kind in ACTIONS else []

    def steps(self, rate: float) -> int:
        """How many periods of a loop of `rate` Hz a trajectory reaches ahead."""
        horizon = max(0.1, 3.0 / rate) if self.horizon is None else self.horizon
        return max(1, round(horizon * rate))


@dataclass(frozen=True)
class Robot:
    """A robot, as its config file says.

    Attributes:
        joints: the policy's name of each joint -> the robot's; commands are in this order.
        held: of these joints, those that the policy does not move: they stay where they are when it is enabled.
        rate: Hz of the control loop; a multiple of the policy's rate is best.
        units: how topics say numbers of joints; see `robot_bridge.robot.units`.
        limits: of each joint, already narrowed by `margin` and `share`; None for robots that take efforts, and for a
            simulation that is to be run exactly as it is.
    """

    name: str
    joints: dict[str, str]
    rate: float
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    limits: JointLimits | None
    guards: GuardSettings = field(default_factory=GuardSettings)
    workspace: Workspace | None = None
    dead_man: DeadMan | None = None
    interlocks: tuple[Interlock, ...] = ()
    controllers: ControllerCheck | None = None
    start: Start = field(default_factory=Start)
    units: Units = field(default_factory=dict)
    held: tuple[str, ...] = ()

    def axes(self) -> dict[str, str]:
        """The joints that are axes of a Cartesian output, and which."""
        moved = [(name, output) for output in self.outputs if output.kind in CARTESIAN for name in output.joints]
        return {name: self.said(name, output) for name, output in moved}

    def said(self, joint: str, topic: Input | Output) -> str:
        """The name that a topic has for a joint."""
        return topic.names.get(joint) or self.joints.get(joint, joint)

    def unit(self, name: str, topic: Input | Output) -> Unit:
        """How a topic says `<joint>/<quantity>`, by the policy's name of the joint."""
        return unit_of(name, topic.units, self.units)

    def commanded(self, output: Output) -> tuple[NDArray[np.intp], list[str], dict[str, Conversion]]:
        """An output's joints: their places among all [n], its names for them, and how it says each quantity of them."""
        joints = list(self.joints)
        conversions = {
            quantity: Conversion([self.unit(f"{name}/{quantity}", output) for name in output.joints])
            for quantity in QUANTITIES
        }
        return (
            np.array([joints.index(name) for name in output.joints]),
            [self.said(name, output) for name in output.joints],
            conversions,
        )

    def setup(self) -> Setup:
        """What its guards are made of."""
        limiter = None if self.limits is None else MotionLimiter(self.limits, 1.0 / self.rate)
        return Setup(tuple(self.joints), limiter, self.guards, self.workspace)

    def mistakes_with(self, policy: Description) -> list[str]:
        """Why this robot cannot run that policy, as far as can be told without asking the robot; empty if it can."""
        mistakes = []
        quantities = {a.joint: a.quantity for a in policy.actions}
        for name in quantities:
            if name not in self.joints:
                mistakes.append(f"the policy moves joint '{name}', which the config does not name under joints")
        for name in self.joints:
            if (name in quantities) is (name in self.held):
                how = "held by the config, but" if name in self.held else "of the config is not"
                mistakes.append(f"joint '{name}' {how} moved by the policy")
        for output in self.outputs:
            wrong = [j for j in output.joints if (quantities.get(j, "effort") == "effort") != (output.kind == "effort")]
            if wrong := [j for j in wrong if j in quantities]:
                mistakes.append(
                    f"the policy commands {quantities[wrong[0]]} of '{wrong[0]}', {output.topic} takes {output.kind}"
                )
        bounded = [True] * len(self.joints) if self.limits is None else self.limits.bounded.tolist()
        for name, is_so in zip(self.joints, bounded, strict=True):
            if quantities.get(name) == "position" and not is_so:
                mistakes.append(f"the policy commands positions of '{name}', which has no limits of position")
        return [*mistakes, *self._mistakes_of_inputs(policy)]

    def _mistakes_of_inputs(self, policy: Description) -> list[str]:
        mistakes, observed = [], {entry.name for entry in policy.observations}
        named = {name for source in self.inputs for name in source.fields}
        if all(source.type != JOINT_STATE for source in self.inputs):
            for entry in policy.observations:
                if entry.constant is None and entry.name not in named:
                    mistakes.append(f"no input gives '{entry.name}'")
        measured = {f"{name}/position" for name in self.axes()}
        for name in named - measured - observed:
            mistakes.append(f"input field '{name}' is nothing that the policy observes")
        joints = {*self.joints, *(name.rpartition("/")[0] for name in observed)}
        known = {*joints, *observed, *(f"{joint}/{quantity}" for joint in joints for quantity in QUANTITIES)}
        for source in self.inputs:
            for name in dict.fromkeys([*source.names, *source.units]):
                if name not in known:
                    mistakes.append(f"{source.topic} has a name or a unit for '{name}', which nobody observes or moves")
        return mistakes


def simulated(policy: Description) -> Robot:
    """A simulation that takes the policy's own actions, unlimited: to be run in lock-step, as `lapo_tf.evaluate` does.

    Only the guards that halt are at work: no connection, NaN, missing input.

    Raises:
        UserError: its actions are of several quantities, which one array cannot carry.
    """
    if len(quantities := {a.quantity: a.joint for a in policy.actions}) > 1:
        told = ", ".join(f"{quantity} of '{joint}'" for quantity, joint in quantities.items())
        raise UserError(
            f"{policy.task} commands {told}: one array takes one quantity; give --robot with an output for each"
        )
    names = {a.joint: a.joint for a in policy.actions}
    inputs = tuple(Input(topic, max_age=10.0, check_stamps=False) for topic in ("/joint_states", "/object_states"))
    kinds: dict[str, OutputKind] = {"velocity": "velocity", "effort": "effort", "position": "position"}
    kind = kinds[policy.actions[0].quantity]
    output = Output(kind, f"/{kind}_controller/commands", tuple(names), 1.0)
    guards = GuardSettings(hold_timeout=10.0, modes={"novelty": "monitor"})
    return Robot("simulation, unlimited", names, policy.control_rate, inputs, (output,), None, guards)
