"""The limits of a robot config: those of a URDF, else what the training data did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from robot_bridge.draft.joints import FINGERS, REVIEW, Joint, yaml_text
from robot_bridge.draft.urdf import UrdfJoint
from robot_bridge.errors import UserError, unknown
from robot_bridge.robot.description import Description, ObservationEntry

MARGIN = 0.1  # rad or m that the config keeps free at the ends, at most a tenth of the range
NARROWEST = 0.02  # rad or m between limits
SPEED, SPEED_ALONG = 0.5, 0.05  # rad/s and m/s where nothing is known
TO_SPEED, TO_ACCELERATION = 0.4, 0.05  # s in which full speed and full acceleration are reached


@dataclass(frozen=True)
class Limit:
    """Of a joint; `position` None: an axis of a twist, which has none. What the URDF says is `known`."""

    joint: Joint
    known: UrdfJoint
    position: tuple[float, float] | None
    velocity: float

    @property
    def rests(self) -> bool:
        """Whether it is a gripper's, which rests at its ends: the margin is to leave these."""
        return self.known.position is not None and FINGERS.search(self.joint.robot) is not None

    def entries(self) -> dict[str, Any]:
        """As a config has them."""
        position = self.position
        if position is not None and (self.known.position is None or self.rests):
            position = _with_margin(*position)
        acceleration = self.velocity / TO_SPEED
        rates = {"velocity": self.velocity, "acceleration": acceleration, "jerk": acceleration / TO_ACCELERATION}
        where = {} if position is None else {"position": [_rounded(end) for end in position]}
        return where | {name: _rounded(rate) for name, rate in rates.items()}


def limit_lines(
    policy: Description, joints: Sequence[Joint], urdf: dict[str, UrdfJoint] | None, urdf_name: str
) -> list[str]:
    """Limits of positions and speeds, a joint each; accelerations and jerks by the time in which they are reached."""
    limits = [_limit(policy, joint, urdf, urdf_name) for joint in joints]
    lines = [
        *_doubts(limits, "no URDF was given" if urdf is None else f"{urdf_name} gives none"),
        "limits:",
        f"  margin: {MARGIN}          # rad or m that stay free before each limit (at most a tenth of the range)",
        "  share: 0.5           # of velocity, acceleration and jerk",
        f"  {REVIEW} accelerations and jerks: no URDF tells them; full speed is reached in {TO_SPEED} s here",
    ]
    if any(limit.position is None for limit in limits):
        lines.append("  groups:              # a joint or an axis each; those of a twist may do without positions")
        for limit in limits:
            entries = {name: [value] for name, value in limit.entries().items()}
            lines.append(f"    - {yaml_text(entries)}   # {limit.joint.robot}")
        return lines
    lines.append(f"  # in this order: {', '.join(joint.robot for joint in joints)}; rad or m")
    columns = [limit.entries() for limit in limits]
    return lines + [f"  {name}: {yaml_text([entries[name] for entries in columns])}" for name in columns[0]]


def _doubts(limits: Sequence[Limit], why: str) -> list[str]:
    """What is to be reviewed about limits that are not the URDF's."""

    def listed(chosen: Callable[[Limit], bool]) -> str:
        return ", ".join(limit.joint.robot for limit in limits if chosen(limit))

    lines = []
    if names := listed(lambda limit: limit.position is not None and limit.known.position is None):
        lines += [
            f"{REVIEW} THESE ARE NOT THE ROBOT'S LIMITS: {why} for {names}.",
            "# Positions there are those that the training data reached, and a margin: put in the data sheet's.",
        ]
    if names := listed(lambda limit: limit.position is None):
        lines += [
            f"{REVIEW} NOTHING BOUNDS WHERE {names} GO: give positions (m) and, among the inputs, the pose that is",
            "# moved, by the policy's names; see docs/deploy.md, Twists and poses.",
        ]
    if names := listed(lambda limit: limit.rests):
        lines.append(f"# {names}: the URDF's limits and the margin, for a gripper rests at its ends")
    if names := listed(lambda limit: limit.known.velocity is None):
        lines.append(f"{REVIEW} speeds of {names} are the data's, or a guess: put in the data sheet's")
    return lines


def _limit(policy: Description, joint: Joint, urdf: dict[str, UrdfJoint] | None, urdf_name: str) -> Limit:
    known = UrdfJoint("", None, None, None) if joint.axis else _in_urdf(joint, urdf, urdf_name)
    position = None if joint.axis else known.position or _data_range(policy, joint, known, urdf_name)
    return Limit(joint, known, position, known.velocity or _data_speed(policy, joint))


def _in_urdf(joint: Joint, urdf: dict[str, UrdfJoint] | None, urdf_name: str) -> UrdfJoint:
    """What the URDF says of a joint; nothing, if there is no URDF."""
    if urdf is None:
        return UrdfJoint("", None, None, None)
    if joint.robot not in urdf:
        hint = f" ({joint.doubt})" if joint.doubt else ""
        raise UserError(f"{unknown(f'joint in {urdf_name}:', joint.robot, urdf)}{hint}")
    return urdf[joint.robot]


def _data_range(policy: Description, joint: Joint, known: UrdfJoint, urdf_name: str) -> tuple[float, float]:
    """The positions that a joint had in the data."""
    entry = _observed(policy, joint, "position")
    if entry is not None:
        low, high = entry.low / entry.scale, entry.high / entry.scale
    elif joint.action.quantity == "position":
        low, high = joint.action.low * joint.action.scale, joint.action.high * joint.action.scale
    else:
        what = f"it is {known.kind} in {urdf_name}, without limits" if known.kind else "there is no URDF"
        raise UserError(
            f"no limits of joint '{joint.robot}' are known: {what}, and its position is not among what the policy "
            "observes: give a --urdf that limits it, or the robot's names by --joints"
        )
    return low, high


def _with_margin(low: float, high: float) -> tuple[float, float]:
    """Limits of which the config's margin leaves these."""
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


def effort_lines(joints: Sequence[Joint], urdf: dict[str, UrdfJoint] | None, urdf_name: str) -> list[str]:
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
