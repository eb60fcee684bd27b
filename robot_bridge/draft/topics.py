"""The loop's rate, the inputs and the outputs of a robot config: the topics that were recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from robot_bridge.draft.joints import REVIEW, Joint, index, twist_axis, yaml_text
from robot_bridge.errors import UserError
from robot_bridge.paths import FRAMED, POSES
from robot_bridge.robot.cartesian import TWISTS
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry, Recorded
from robot_bridge.robot.robot import JOINT_STATE, OUTPUT_TYPES

STATES, OBJECTS = Recorded("/joint_states", JOINT_STATE), Recorded("/object_states", JOINT_STATE)
CONTROLLERS = {
    "position": ("trajectory", "/joint_trajectory_controller/joint_trajectory"),
    "velocity": ("velocity", "/velocity_controller/commands"),
    "effort": ("effort", "/effort_controller/commands"),
}
"""Usual controllers of ros2_control, where the recordings name none."""
RATE = 50.0  # Hz of the loop, at least


@dataclass
class Controller:
    """Where the commands of some joints go."""

    kind: str
    topic: str
    recorded: bool
    joints: list[Joint] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def rate_lines(control_rate: float) -> list[str]:
    times = max(1, math.ceil(RATE / control_rate - 1e-9))
    return [f"rate: {times * control_rate:g}               # Hz of the loop: {times} times the policy's"]


def input_lines(policy: Description, joints: Sequence[Joint]) -> list[str]:
    """The inputs: a topic that was recorded each, else the usual ones."""
    robot = {joint.action.joint: joint.robot for joint in joints}
    inputs: dict[tuple[str, str], list[tuple[ObservationEntry, Recorded]]] = {}
    unread: list[str] = []
    for entry in (entry for entry in policy.observations if entry.constant is None):
        joint = entry.name.rpartition("/")[0]
        source = entry.recorded or (STATES if joint in {*robot, *robot.values()} else OBJECTS)
        if why := _unreadable(entry):
            unread.append(f"{REVIEW} no input gives {entry.name}, of {source.topic} ({source.type}): {why}")
        else:
            inputs.setdefault((source.topic, source.type), []).append((entry, source))
    # The policy's names, and the robot's joint that each one means.
    meant = {entry.name.rpartition("/")[0]: entry.name.rpartition("/")[0] for entry in policy.observations} | robot
    lines = [line for (topic, kind), found in inputs.items() for line in _one_input(topic, kind, found, meant)]
    if not any(kind == JOINT_STATE for _, kind in inputs) and not all(joint.axis for joint in joints):
        lines.insert(0, f"  - {{topic: {STATES.topic}, max_age: 0.1}}")
        lines.insert(0, f"  {REVIEW} where are the joints' positions measured? the guards need them")
    return ["inputs:", *lines, *(f"  {line}" for line in unread)]


def _unreadable(entry: ObservationEntry) -> str:
    """Why no input can give a number as it was recorded; empty if one can."""
    source = entry.recorded
    if source is None:
        return ""
    if source.type == JOINT_STATE:
        return "" if source.joint else "without joints: in the layout; name them there, import and train again"
    if source.joint:
        return "its numbers cannot be read by joints' names; have a JointState published"
    return "" if source.path else "the recordings do not say where in it; name its numbers one by one in the layout"


def _one_input(
    topic: str, kind: str, found: Sequence[tuple[ObservationEntry, Recorded]], meant: Mapping[str, str]
) -> Iterator[str]:
    """An input's lines."""
    ages = [source.max_age for _, source in found]
    known = [age for age in ages if age is not None]
    age = min(10.0, min(known, default=10.0))
    if not found[0][0].recorded:
        age = 0.1
        yield f"  {REVIEW} the data do not say by which topic these come: {', '.join(entry.name for entry, _ in found)}"
    elif not known:
        yield f"  {REVIEW} it was never stale in the data (max_age: null), as if it were only said on change"
    yield f"  - topic: {yaml_text(topic)}"
    if kind != JOINT_STATE:
        yield f"    type: {yaml_text(kind)}"
    yield f"    max_age: {age:g}       # s; an older message halts the robot"
    if any(source.time == "receive" for _, source in found) and (kind == JOINT_STATE or kind.endswith("Stamped")):
        yield "    check_stamps: false  # its stamps were not believed in the recordings either"
    if kind != JOINT_STATE:
        frame = found[0][1].frame.lstrip("/")
        if kind in FRAMED and frame:
            yield f"    frame: {yaml_text(frame)}   # as recorded; another is refused, or moved with transform: true"
        elif kind in FRAMED:
            yield f"    {REVIEW} in which frame does the policy know it? A pose in another is then refused, or moved"
            yield "    # frame: base_link"
        yield "    fields:"
        yield from (f"      {yaml_text(entry.name)}: {yaml_text(source.path)}" for entry, source in found)
    names, units = _names_and_units(found, meant)
    if names:
        yield f"    names: {yaml_text(names)}   # the policy's name: this topic's"
    yield from _unit_lines(units)


def _names_and_units(
    found: Sequence[tuple[ObservationEntry, Recorded]], meant: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, float]]:
    """How a topic's names and numbers differ from the robot's: names that it has for joints, and factors by number.

    A set-point has a name of its own in the policy, and the joint's in the topic. It is no measurement of the joint: so
    the topic has no such joint under the joint's own name.
    """
    names: dict[str, str] = {}
    units: dict[str, float] = {}
    for entry, source in found:
        joint, _, quantity = entry.name.rpartition("/")
        factor = entry.scale / source.scale
        own = [name for name, said in meant.items() if said == source.joint]
        if source.joint and joint not in own:
            names |= {joint: source.joint} | {name: f"no {name}" for name in own}
            own = []
        same = dict.fromkeys([joint, *own])
        if factor != 1.0:
            units |= {f"{name}/{quantity}": factor for name in same}
    return names, units


def _unit_lines(units: dict[str, float]) -> Iterator[str]:
    if units:
        yield "    units:             # the topic says `scale` times the value in SI units: the layout's own factor"
        yield from (f"      {yaml_text(name)}: {{scale: {factor:.9g}}}" for name, factor in units.items())


def controllers(joints: Sequence[Joint]) -> list[Controller]:
    """Where the joints' commands go: to the topics of the recordings, if they are a controller's."""
    found: dict[tuple[str, str], Controller] = {}
    for joint in joints:
        kind, topic, doubt = _controller(joint.action)
        recorded = (kind, topic) != CONTROLLERS[joint.action.quantity] or not doubt
        controller = found.setdefault((kind, topic), Controller(kind, topic, recorded))
        controller.joints.append(joint)
        if doubt and doubt not in controller.doubts:
            controller.doubts.append(doubt)
    for controller in found.values():
        if vague := [joint.action for joint in controller.joints if not joint.action.unit and not joint.axis]:
            names = ", ".join(action.joint for action in vague)
            doubt = (
                f"no unit tells what {names} are: taken for {vague[0].quantity}; if wrong, give units in the layout,"
            )
            controller.doubts.append(f"{doubt} import and export again")
        if controller.kind in ("position", "velocity", "effort"):
            controller.joints.sort(key=lambda joint: index(joint.action))
            places = [index(j.action) for j in controller.joints if j.action.recorded and not j.action.recorded.joint]
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
    if twist_axis(action):
        return next(kind for kind in TWISTS if OUTPUT_TYPES[kind] == source.type), source.topic, ""
    if source.type in POSES:
        raise UserError(
            f"the commands were poses ({source.topic}): no config can be made of these, for the policy turns by a "
            "quaternion's numbers; begin with a copy of configs/robots/moveit-servo.yaml"
        )
    doubt = f"{source.type} on {source.topic} was recorded, which cannot be sent: which controller moves the arm?"
    return kind, usual, doubt


def output_lines(outputs: Sequence[Controller]) -> list[str]:
    lines = ["outputs:"]
    for controller in outputs:
        lines += [f"  {REVIEW} {doubt}" for doubt in controller.doubts]
        lines += [f"  - kind: {controller.kind}", f"    topic: {yaml_text(controller.topic)}"]
        lines.append(f"    joints: {yaml_text([joint.action.joint for joint in controller.joints])}   # in its order")
        if controller.kind in ("trajectory", "follow"):
            lines.append(
                "    horizon: 0.1       # s; it ends standing, so the arm stops by itself when nothing follows"
            )
        if controller.kind == "twist_stamped":
            source = controller.joints[0].action.recorded
            frame = source.frame.lstrip("/") if source is not None else ""
            lines += [f"    {REVIEW} in which frame was it said?"] * (not frame)
            lines.append(f"    frame: {yaml_text(frame or 'base_link')}")
        if controller.kind in ("velocity", *TWISTS):
            lines.append(f"    {REVIEW} does the driver stop by itself when nothing follows? ros2_control's does not")
        if controller.kind == "gripper":
            lines.append(
                f"    {REVIEW} a goal says `scale` times the mean of these positions: 2 for the width of two fingers"
            )
            lines.append(f"    scale: {_said(controller.joints[0].action) if controller.recorded else 1.0:.9g}")
        elif controller.recorded:
            by = "/effort" if controller.kind == "effort" else ""
            said = {f"{joint.action.joint}{by}": _said(joint.action) for joint in controller.joints}
            lines += _unit_lines({name: factor for name, factor in said.items() if factor != 1.0})
    return lines


def _said(action: ActionEntry) -> float:
    """What the recorded topic says of a command, per value in SI units."""
    return 1.0 if action.recorded is None else 1.0 / (action.scale * action.recorded.scale)
