"""A robot config made of what a policy bundle knows of its recordings: text, with comments for whom reviews it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from robot_bridge.errors import UserError, unknown
from robot_bridge.robot.bundle import ActionEntry, Description, ObservationEntry, Recorded
from robot_bridge.robot.robot import JOINT_STATE, OUTPUT_TYPES
from robot_bridge.robot.urdf import UrdfJoint

REVIEW = "# REVIEW:"
STATES, OBJECTS = Recorded("/joint_states", JOINT_STATE), Recorded("/object_states", JOINT_STATE)
CONTROLLERS = {
    "position": ("trajectory", "/joint_trajectory_controller/joint_trajectory"),
    "velocity": ("velocity", "/velocity_controller/commands"),
    "effort": ("effort", "/effort_controller/commands"),
}
"""Usual controllers of ros2_control, where the recordings name none."""
FINGERS = re.compile(r"gripper|finger|hand|jaw", re.IGNORECASE)
NUMBERED = re.compile(r"(observation|action)_\d+")
RATE = 50.0  # Hz of the loop, at least
MARGIN = 0.1  # rad or m that the config keeps free at the ends, at most a tenth of the range
NARROWEST = 0.02  # rad or m between limits
SPEED, SPEED_ALONG = 0.5, 0.05  # rad/s and m/s where nothing is known
TO_SPEED, TO_ACCELERATION = 0.4, 0.05  # s in which full speed and full acceleration are reached


@dataclass(frozen=True)
class Joint:
    """A joint that the policy commands, and what is to be reviewed about its name."""

    action: ActionEntry
    robot: str
    doubt: str = ""


@dataclass
class Controller:
    """Where the commands of some joints go."""

    kind: str
    topic: str
    joints: list[Joint] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def draft(
    policy: Description,
    urdf: dict[str, UrdfJoint] | None = None,
    urdf_name: str = "",
    joints: Sequence[str] | None = None,
) -> str:
    """A robot config for a policy, as YAML with comments; `REVIEW` marks what the recordings do not say.

    Args:
        policy: of the bundle.
        urdf: joints of the robot's URDF, whose limits are taken; without it, or of joints without limits, the data's.
        urdf_name: its file, for comments and messages.
        joints: the robot's names of the joints, in the order of actions, in place of those that were recorded.

    Raises:
        UserError: numbers without names, a joint that the URDF lacks, or one of which no limits are known.
    """
    names = [entry.name.rpartition("/")[0] for entry in policy.observations if entry.constant is None]
    if all(map(NUMBERED.fullmatch, names)) or (
        not joints and all(NUMBERED.fullmatch(action.joint) for action in policy.actions)
    ):
        raise UserError(
            "the policy's numbers have no names, so no topic can be found for them: import the recordings with a "
            "layout (python -m lapo_tf.data import bag --help), then train and export again"
        )
    moved = named_joints(policy, joints)
    outputs = controllers(moved)
    efforts = {controller.kind == "effort" for controller in outputs}
    if len(efforts) > 1:
        raise UserError("the policy commands efforts and other quantities: a robot config has one or the other")
    lines = [
        f"# A robot for the policy of {policy.task}, made of its recordings by python -m robot_bridge.init.",
        "# Read all of it before anything moves; what the recordings do not say is marked REVIEW. Then compare it with",
        "# the robot: python -m robot_bridge.check.",
        f"name: {_text(policy.task)}",
        *_joint_lines(moved),
        *_rate_lines(policy.control_rate),
        *_input_lines(policy, moved),
        *_output_lines(outputs),
        *(_effort_lines(moved, urdf) if efforts == {True} else _limit_lines(policy, moved, urdf, urdf_name)),
        "guards:                # all are on; each can be set to monitor or off under modes:",
        "  speed: 0.1           # of the policy's speed: raise it as trust grows",
        "  hold_timeout: 0.5    # s until a hold becomes a fault",
        *([] if efforts == {True} else ["  max_lead: 0.1        # rad or m between commanded and measured position"]),
        f"{REVIEW} whose topic is it? std_msgs/msg/Bool; delete the line if you have none",
        "dead_man: {topic: /dead_man, max_age: 0.2}",
        "# workspace:           # a box that points of the arm stay in; needs MuJoCo on the robot's computer",
        f"#   model: {urdf_name or 'arm.urdf'}    # beside this file",
        f"#   joints: {_text([joint.robot for joint in moved])}",
        "#   points: [tool0]",
        "#   low: [0.2, -0.5, 0.05]",
        "#   high: [0.8, 0.5, 0.9]",
    ]
    return "\n".join(lines) + "\n"


# Joints ---------------------------------------------------------------------------------------------------------------


def named_joints(policy: Description, joints: Sequence[str] | None = None) -> list[Joint]:
    """The joints that a policy commands, by the robot's names: as given, as recorded, or as well as can be guessed.

    Arrays of numbers name no joints. As many as there are numbers in such a command were observed, perhaps: these then,
    in their order.
    """
    actions = policy.actions
    if joints is not None:
        if len(joints) != len(actions) or len(set(joints)) < len(joints):
            raise UserError(
                f"--joints has {len(joints)} names: expected {len(actions)} different ones, of "
                f"{', '.join(action.joint for action in actions)}"
            )
        return [Joint(action, name) for action, name in zip(actions, joints, strict=True)]
    known = {a.joint: a.recorded.joint for a in actions if a.recorded and a.recorded.joint}
    seen = [e.recorded.joint for e in policy.observations if e.recorded and e.recorded.type == JOINT_STATE]
    free = [name for name in dict.fromkeys(seen) if name and name not in known.values()]
    found: dict[str, Joint] = {}
    for topic in dict.fromkeys(a.recorded.topic for a in actions if a.recorded and not a.recorded.joint):
        nameless = [a for a in actions if a.recorded and a.recorded.topic == topic and not a.recorded.joint]
        grips = FINGERS.search(f"{topic} {nameless[0].joint}") is not None
        alike = [name for name in free if (FINGERS.search(name) is not None) == grips]
        for number, action in enumerate(sorted(nameless, key=_index)):
            if len(alike) == len(nameless):
                doubt = f"{topic} names no joints: taken as those observed, in their order"
                found[action.joint] = Joint(action, alike[number], doubt)
            elif action.joint not in free:
                doubt = f"{topic} names no joints: which one is '{action.joint}'? give --joints, or correct it here"
                found[action.joint] = Joint(action, action.joint, doubt)
    return [found.get(a.joint) or Joint(a, known.get(a.joint) or a.joint) for a in actions]


def _joint_lines(joints: Sequence[Joint]) -> list[str]:
    doubts = dict.fromkeys(joint.doubt for joint in joints if joint.doubt)
    pairs = [f"  {_text(joint.action.joint)}: {_text(joint.robot)}" for joint in joints]
    return [
        *(f"{REVIEW} {doubt}" for doubt in doubts),
        "joints:                # the policy's name: the robot's",
        *pairs,
    ]


def _index(action: ActionEntry) -> int:
    """Where in its message an action's number stands."""
    last = action.recorded.path.rpartition(".")[2] if action.recorded else ""
    return int(last) if last.isdigit() else 0


# Topics ---------------------------------------------------------------------------------------------------------------


def _rate_lines(control_rate: float) -> list[str]:
    times = max(1, math.ceil(RATE / control_rate - 1e-9))
    return [f"rate: {times * control_rate:g}               # Hz of the loop: {times} times the policy's"]


def _input_lines(policy: Description, joints: Sequence[Joint]) -> list[str]:
    """The inputs: a topic that was recorded each, else the usual ones."""
    robot = {joint.action.joint: joint.robot for joint in joints}
    inputs: dict[tuple[str, str], list[tuple[ObservationEntry, Recorded]]] = {}
    unread: list[str] = []
    for entry in (entry for entry in policy.observations if entry.constant is None):
        joint = entry.name.rpartition("/")[0]
        source = entry.recorded or (STATES if joint in {*robot, *robot.values()} else OBJECTS)
        if why := _unreadable(entry, robot.get(joint, joint)):
            unread.append(f"{REVIEW} no input gives {entry.name}, of {source.topic} ({source.type}): {why}")
        else:
            inputs.setdefault((source.topic, source.type), []).append((entry, source))
    lines = [line for (topic, kind), found in inputs.items() for line in _one_input(topic, kind, found)]
    if not any(kind == JOINT_STATE for _, kind in inputs):
        lines.insert(0, f"  - {{topic: {STATES.topic}, max_age: 0.1}}")
        lines.insert(0, f"  {REVIEW} where are the joints' positions measured? the guards need them")
    return ["inputs:", *lines, *(f"  {line}" for line in unread)]


def _unreadable(entry: ObservationEntry, joint: str) -> str:
    """Why no input can give a number as it was recorded; empty if one can. `joint`: the robot's name of it."""
    source = entry.recorded
    if source is None:
        return ""
    if source.type == JOINT_STATE:
        if not source.joint:
            return "without joints: in the layout; name them there, import and train again"
        return "" if source.joint == joint else f"the topic says {source.joint}, as another topic does"
    if source.joint:
        return "its numbers cannot be read by joints' names; have a JointState published"
    return "" if source.path else "the recordings do not say where in it; name its numbers one by one in the layout"


def _one_input(topic: str, kind: str, found: Sequence[tuple[ObservationEntry, Recorded]]) -> Iterator[str]:
    """An input's lines."""
    ages = [source.max_age for _, source in found]
    known = [age for age in ages if age is not None]
    age = min(10.0, min(known, default=10.0))
    if not found[0][0].recorded:
        age = 0.1
        yield f"  {REVIEW} the data do not say by which topic these come: {', '.join(entry.name for entry, _ in found)}"
    elif not known:
        yield f"  {REVIEW} it was never stale in the data (max_age: null), as if it were only said on change"
    yield f"  - topic: {_text(topic)}"
    if kind != JOINT_STATE:
        yield f"    type: {_text(kind)}"
    yield f"    max_age: {age:g}       # s; an older message halts the robot"
    if any(source.time == "receive" for _, source in found) and (kind == JOINT_STATE or kind.endswith("Stamped")):
        yield "    check_stamps: false  # its stamps were not believed in the recordings either"
    if kind != JOINT_STATE:
        yield "    fields:"
        yield from (f"      {_text(entry.name)}: {_text(source.path)}" for entry, source in found)


def controllers(joints: Sequence[Joint]) -> list[Controller]:
    """Where the joints' commands go: to the topics of the recordings, if they are a controller's."""
    found: dict[tuple[str, str], Controller] = {}
    for joint in joints:
        kind, topic, doubt = _controller(joint.action)
        controller = found.setdefault((kind, topic), Controller(kind, topic))
        controller.joints.append(joint)
        if doubt and doubt not in controller.doubts:
            controller.doubts.append(doubt)
    for controller in found.values():
        if controller.kind in ("position", "velocity", "effort"):
            controller.joints.sort(key=lambda joint: _index(joint.action))
            places = [_index(j.action) for j in controller.joints if j.action.recorded and not j.action.recorded.joint]
            if places and places != list(range(len(places))):
                doubt = f"the policy commands numbers {', '.join(map(str, places))} of it: what are the others to be?"
                controller.doubts.append(doubt)
    return list(found.values())


def _controller(action: ActionEntry) -> tuple[str, str, str]:
    """Kind and topic of the output for an action, and what is to be reviewed."""
    kind, usual = CONTROLLERS[action.quantity]
    source = action.recorded
    if source is None:
        return kind, usual, "the data do not say what took the commands: which controller, which topic?"
    name = source.type.rpartition("/")[2]
    base, of_action, _ = source.topic.partition("/_action/")
    if name.startswith("FollowJointTrajectory"):
        return "follow", base, "" if of_action else f"{source.type} on {source.topic} was recorded: is it this action?"
    if name.startswith("GripperCommand"):
        base = base if of_action else f"{source.topic.rpartition('/')[0]}/gripper_cmd"
        return "gripper", base, "" if of_action else f"{source.topic} was recorded: is this the gripper's action?"
    if source.type == OUTPUT_TYPES["trajectory"]:
        return "trajectory", source.topic, ""
    if name == "JointTrajectoryControllerState":
        base = f"{source.topic.rpartition('/')[0]}/joint_trajectory"
        return "trajectory", base, f"the controller's state, {source.topic}, was recorded: does it take commands here?"
    if source.type == OUTPUT_TYPES[action.quantity]:
        return action.quantity, source.topic, ""
    return (
        kind,
        usual,
        f"{source.type} on {source.topic} was recorded, which cannot be sent: which controller moves the arm?",
    )


def _output_lines(outputs: Sequence[Controller]) -> list[str]:
    lines = ["outputs:"]
    for controller in outputs:
        lines += [f"  {REVIEW} {doubt}" for doubt in controller.doubts]
        lines += [f"  - kind: {controller.kind}", f"    topic: {_text(controller.topic)}"]
        lines.append(f"    joints: {_text([joint.action.joint for joint in controller.joints])}   # in its order")
        if controller.kind in ("trajectory", "follow"):
            lines.append(
                "    horizon: 0.1       # s; it ends standing, so the arm stops by itself when nothing follows"
            )
        if controller.kind == "velocity":
            lines.append(f"    {REVIEW} does the driver stop by itself when nothing follows? ros2_control's does not")
        if controller.kind == "gripper":
            lines.append(
                f"    {REVIEW} a goal says `scale` times the mean of these positions: 2 for the width of two fingers"
            )
            lines.append("    scale: 1.0")
    return lines


# Limits ---------------------------------------------------------------------------------------------------------------


def _limit_lines(
    policy: Description, joints: Sequence[Joint], urdf: dict[str, UrdfJoint] | None, urdf_name: str
) -> list[str]:
    """Limits of positions and speeds, a joint each; accelerations and jerks by the time in which they are reached."""
    positions, velocities, guessed = [], [], []
    for joint in joints:
        known = _in_urdf(joint, urdf, urdf_name)
        position, velocity = known.position, known.velocity
        if position is None:
            position = _data_range(policy, joint, known, urdf_name)
            guessed.append(joint.robot)
        positions.append(position)
        velocities.append((velocity or _data_speed(policy, joint), joint.robot, velocity is None))
    loud = []
    if guessed:
        what = "no URDF was given" if urdf is None else f"{urdf_name} gives none"
        loud = [
            f"{REVIEW} THESE ARE NOT THE ROBOT'S LIMITS: {what} for {', '.join(guessed)}.",
            "# Positions there are those that the training data reached, and a margin: put in the data sheet's.",
        ]
    slow = [name for _, name, unknown_ in velocities if unknown_]
    if slow:
        loud.append(
            f"{REVIEW} speeds of {', '.join(slow)} are the data's, or a guess: replace them by the data sheet's"
        )
    speeds = [speed for speed, _, _ in velocities]
    accelerations = [speed / TO_SPEED for speed in speeds]
    return [
        *loud,
        "limits:",
        f"  margin: {MARGIN}          # rad or m that stay free before each limit (at most a tenth of the range)",
        "  share: 0.5           # of velocity, acceleration and jerk",
        f"  # in this order: {', '.join(joint.robot for joint in joints)}; rad or m",
        f"  position: [{', '.join(_text([_rounded(low), _rounded(high)]) for low, high in positions)}]",
        f"  velocity: {_text([_rounded(speed) for speed in speeds])}",
        f"  {REVIEW} no URDF tells these: so that full speed is reached in {TO_SPEED} s",
        f"  acceleration: {_text([_rounded(value) for value in accelerations])}",
        f"  jerk: {_text([_rounded(value / TO_ACCELERATION) for value in accelerations])}",
    ]


def _in_urdf(joint: Joint, urdf: dict[str, UrdfJoint] | None, urdf_name: str) -> UrdfJoint:
    """What the URDF says of a joint; nothing, if there is no URDF."""
    if urdf is None:
        return UrdfJoint("", None, None, None)
    if joint.robot not in urdf:
        hint = f" ({joint.doubt})" if joint.doubt else ""
        raise UserError(f"{unknown(f'joint in {urdf_name}:', joint.robot, urdf)}{hint}")
    return urdf[joint.robot]


def _data_range(policy: Description, joint: Joint, known: UrdfJoint, urdf_name: str) -> tuple[float, float]:
    """The positions that a joint had in the data, so much wider that the config's margin leaves these."""
    entry = _observed(policy, joint, "position")
    if entry is not None:
        low, high = entry.low / entry.scale, entry.high / entry.scale
    elif joint.action.quantity == "position":
        low, high = joint.action.low * joint.action.scale, joint.action.high * joint.action.scale
    else:
        what = f"it is {known.kind} in {urdf_name}, without limits" if known.kind else "there is no URDF"
        raise UserError(
            f"no limits of joint '{joint.robot}' are known: {what}, and its position is not among what the policy "
            "observes: give a --urdf that limits it"
        )
    middle, width = 0.5 * (low + high), max(high - low, NARROWEST)
    half = 0.5 * width + min(MARGIN, 0.125 * width)
    return middle - half, middle + half


def _data_speed(policy: Description, joint: Joint) -> float:
    """The highest speed of a joint in the data, or a cautious one."""
    entry, action = _observed(policy, joint, "velocity"), joint.action
    cautious = SPEED_ALONG if action.unit.startswith("m") else SPEED
    if entry is not None:
        return max(abs(entry.low), abs(entry.high)) / entry.scale or cautious
    if action.quantity == "velocity":
        return max(abs(action.low), abs(action.high)) * action.scale
    return cautious


def _observed(policy: Description, joint: Joint, quantity: str) -> ObservationEntry | None:
    """The number of the observation that is a quantity of a joint."""
    names = {f"{joint.action.joint}/{quantity}", f"{joint.robot}/{quantity}"}
    return next((entry for entry in policy.observations if entry.name in names), None)


def _effort_lines(joints: Sequence[Joint], urdf: dict[str, UrdfJoint] | None, urdf_name: str = "") -> list[str]:
    """Efforts have no limits but the policy's bounds: what these are, beside the URDF's."""
    lines = [
        f"{REVIEW} efforts go out as the policy wishes them, within these bounds of its own; nothing limits the motion"
    ]
    for joint in joints:
        largest = joint.action.scale * max(abs(joint.action.low), abs(joint.action.high))
        allowed = _in_urdf(joint, urdf, urdf_name).effort
        told = f", of {allowed:g} in the URDF" if allowed else ""
        lines.append(f"#   {joint.robot}: up to {largest:.4g} {joint.action.unit}{told}")
    return lines


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _text(value: Any) -> str:
    """A value as YAML has it within a line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True).strip()
    return text.removesuffix("...").strip()
