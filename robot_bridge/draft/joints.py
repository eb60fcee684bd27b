"""Which of the robot's joints a policy commands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from robot_bridge.errors import UserError
from robot_bridge.robot.cartesian import PATHS, TWISTS
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import JOINT_STATE, OUTPUT_TYPES

REVIEW = "# REVIEW:"
"""Begins what the recordings do not say."""
FINGERS = re.compile(r"gripper|finger|hand|jaw", re.IGNORECASE)


@dataclass(frozen=True)
class Joint:
    """A joint that the policy commands, and what is to be reviewed about its name."""

    action: ActionEntry
    robot: str
    doubt: str = ""

    @property
    def axis(self) -> bool:
        """Whether it is an axis of a twist."""
        return bool(twist_axis(self.action))


def twist_axis(action: ActionEntry) -> str:
    """The axis that an action was recorded to be, of a Twist; empty if of none."""
    for kind in TWISTS:
        if action.recorded is not None and action.recorded.type == OUTPUT_TYPES[kind]:
            return next((axis for axis, path in PATHS[kind].items() if path == action.recorded.path), "")
    return ""


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
    known = {a.joint: name for a in actions if a.recorded and (name := a.recorded.joint or twist_axis(a))}
    seen = [name for entry in policy.observations if (name := _observed_joint(entry))]
    free = [name for name in dict.fromkeys(seen) if name not in known.values()]
    nameless: dict[str, list[ActionEntry]] = {}
    for action in actions:
        if action.joint not in known and action.joint not in free:
            nameless.setdefault(action.recorded.topic if action.recorded else "", []).append(action)
    found: dict[str, Joint] = {}
    for topic, group in nameless.items():
        grips = FINGERS.search(f"{topic} {group[0].joint}") is not None
        alike = [name for name in free if (FINGERS.search(name) is not None) == grips]
        guess = next((names for names in (alike, free) if len(names) == len(group)), None)
        told = f"{topic} names no joints: " if topic else "the data name no joints of the commands: "
        for number, action in enumerate(sorted(group, key=index)):
            if guess:
                doubt = f"{told}taken as those observed, in their order"
                found[action.joint] = Joint(action, guess[number], doubt)
            else:
                doubt = f"{told}which one is '{action.joint}'? give --joints, or correct it here"
                found[action.joint] = Joint(action, action.joint, doubt)
    return [found.get(a.joint) or Joint(a, known.get(a.joint) or a.joint) for a in actions]


def _observed_joint(entry: ObservationEntry) -> str:
    """The joint of which a JointState told, or, where no topic is known, whose position it may be; else empty."""
    if entry.recorded is not None:
        return entry.recorded.joint if entry.recorded.type == JOINT_STATE else ""
    joint, _, quantity = entry.name.rpartition("/")
    return joint if quantity == "position" and entry.constant is None else ""


def joint_lines(joints: Sequence[Joint]) -> list[str]:
    doubts = dict.fromkeys(joint.doubt for joint in joints if joint.doubt)
    pairs = [f"  {yaml_text(joint.action.joint)}: {yaml_text(joint.robot)}" for joint in joints]
    return [
        *(f"{REVIEW} {doubt}" for doubt in doubts),
        "joints:                # the policy's name: the robot's",
        *pairs,
    ]


def index(action: ActionEntry) -> int:
    """Where in its message an action's number stands."""
    last = action.recorded.path.rpartition(".")[2] if action.recorded else ""
    return int(last) if last.isdigit() else 0


def yaml_text(value: Any) -> str:
    """A value as YAML has it within a line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True).strip()
    return text.removesuffix("...").strip()
