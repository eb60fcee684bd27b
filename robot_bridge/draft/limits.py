"""The limits of a robot config: those of a URDF, else what the training data did."""

from __future__ import annotations

from collections.abc import Sequence

from robot_bridge.draft.joints import REVIEW, Joint, yaml_text
from robot_bridge.draft.urdf import UrdfJoint
from robot_bridge.errors import UserError, unknown
from robot_bridge.robot.bundle import Description, ObservationEntry

MARGIN = 0.1  # rad or m that the config keeps free at the ends, at most a tenth of the range
NARROWEST = 0.02  # rad or m between limits
SPEED, SPEED_ALONG = 0.5, 0.05  # rad/s and m/s where nothing is known
TO_SPEED, TO_ACCELERATION = 0.4, 0.05  # s in which full speed and full acceleration are reached


def limit_lines(
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
        f"  position: [{', '.join(yaml_text([_rounded(low), _rounded(high)]) for low, high in positions)}]",
        f"  velocity: {yaml_text([_rounded(speed) for speed in speeds])}",
        f"  {REVIEW} no URDF tells these: so that full speed is reached in {TO_SPEED} s",
        f"  acceleration: {yaml_text([_rounded(value) for value in accelerations])}",
        f"  jerk: {yaml_text([_rounded(value / TO_ACCELERATION) for value in accelerations])}",
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
