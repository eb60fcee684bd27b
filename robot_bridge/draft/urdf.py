"""Limits of a robot's joints, as its URDF has them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from robot_bridge.errors import UserError

XACRO = "{http://www.ros.org/wiki/xacro}"
MOVING = ("revolute", "prismatic", "continuous")


@dataclass(frozen=True)
class UrdfJoint:
    """A joint that moves, in rad or m, per s, N m or N; None: the URDF gives no such limit.

    Attributes:
        kind: `revolute`, `prismatic` or `continuous`.
        position: lowest and highest.
    """

    kind: str
    position: tuple[float, float] | None
    velocity: float | None
    effort: float | None


def read_urdf(path: Path) -> dict[str, UrdfJoint]:
    """The joints of a URDF that move, by name.

    Raises:
        UserError: no such file, none that can be read, or a xacro file.
    """
    if not path.is_file():
        raise UserError(f"no such URDF: {path}")
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        raise UserError(f"{path} cannot be read as XML ({error}): expected a URDF") from None
    if any(str(element.tag).startswith(XACRO) for element in root.iter()):
        raise UserError(
            f"{path} is a xacro file: make a URDF of it with xacro {path.name} > {path.name.split('.')[0]}.urdf"
        )
    if root.tag != "robot":
        raise UserError(f"{path} is no URDF, but XML that begins with <{root.tag}>: expected <robot>")
    found = {}
    for joint in root.findall("joint"):
        kind, name = joint.get("type", ""), joint.get("name", "")
        if kind in MOVING:
            try:
                found[name] = _joint(kind, joint.find("limit"))
            except ValueError as error:
                raise UserError(f"{path}: the limit of joint '{name}' is no number ({error})") from None
    return found


def _joint(kind: str, limit: ET.Element | None) -> UrdfJoint:
    values = {} if limit is None else {name: float(value) for name, value in limit.attrib.items()}
    low, high = values.get("lower", 0.0), values.get("upper", 0.0)
    position = (low, high) if kind != "continuous" and low < high else None
    return UrdfJoint(kind, position, values.get("velocity") or None, values.get("effort") or None)
