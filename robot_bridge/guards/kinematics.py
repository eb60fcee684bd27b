"""Forward kinematics by MuJoCo, which reads its own XML and URDF."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.errors import UserError, unknown
from robot_bridge.guards.limits import Array


class Kinematics:
    """Positions of points of an arm, from its joint positions."""

    def __init__(self, model: Path, joints: Sequence[str], points: Sequence[str]) -> None:
        """
        Args:
            model: MuJoCo XML or URDF. Of a URDF, meshes are left out (package:// means nothing here), links that are
                fixed to others keep their names, and joints that mimic others follow them.
            joints: the model's names of the joints, in the order in which positions are given.
            points: names of sites or bodies.

        Raises:
            UserError: no MuJoCo, no such model, joint or point.
        """
        try:
            import mujoco
        except ImportError:
            raise UserError("the workspace guard needs MuJoCo: pip install 'robot-bridge[workspace]'") from None
        if not model.is_file():
            raise UserError(f"no such model: {model}; expected a MuJoCo XML or URDF file")
        tied: dict[str, tuple[str, float, float]] = {}
        try:
            root = ET.fromstring(model.read_bytes())
            if root.tag == "robot":
                tied = mimics(root)
                self._model = mujoco.MjModel.from_xml_string(_bare(root))
            else:
                self._model = mujoco.MjModel.from_xml_path(str(model))
        except (ValueError, ET.ParseError) as error:
            raise UserError(f"MuJoCo cannot read {model} ({str(error).splitlines()[0]})") from None
        m: Any = self._model
        known = [m.joint(i).name for i in range(m.njnt)]
        for name in joints:
            if name not in known:
                raise unknown(f"joint in {model.name}", name, known)
        self._address = np.array([m.joint(name).qposadr[0] for name in joints])
        followers = {name: mimic for name, mimic in tied.items() if name in known and name not in joints}
        self._followers = np.array([m.joint(name).qposadr[0] for name in followers], np.intp)
        self._leaders = np.array([m.joint(leader).qposadr[0] for leader, _, _ in followers.values()], np.intp)
        self._multipliers = np.array([multiplier for _, multiplier, _ in followers.values()])
        self._offsets = np.array([offset for _, _, offset in followers.values()])
        sites, bodies = ([get(i).name for i in range(n)] for get, n in ((m.site, m.nsite), (m.body, m.nbody)))
        for name in points:
            if name not in (*sites, *bodies):
                raise unknown(f"site or body in {model.name}", name, [*sites, *bodies])
        self._sites = [sites.index(name) for name in points if name in sites]
        self._bodies = [bodies.index(name) for name in points if name not in sites]
        self._data = mujoco.MjData(m)
        self._kinematics = mujoco.mj_kinematics

    def __call__(self, position: Array) -> Array:
        """The points [k, 3] in the model's world frame, m; joints that are not named stay at the model's zero."""
        q = self._data.qpos
        q[self._address] = position
        q[self._followers] = self._multipliers * q[self._leaders] + self._offsets
        self._kinematics(self._model, self._data)
        return np.concatenate([self._data.site_xpos[self._sites], self._data.xpos[self._bodies]])


def mimics(robot: ET.Element) -> dict[str, tuple[str, float, float]]:
    """Joints of a URDF that follow others: name -> leader, multiplier, offset."""
    found = {}
    for joint in robot.iter("joint"):
        if (mimic := joint.find("mimic")) is not None:
            numbers = float(mimic.get("multiplier", 1.0)), float(mimic.get("offset", 0.0))
            found[joint.get("name", "")] = (mimic.get("joint", ""), *numbers)
    return found


def _bare(robot: ET.Element) -> str:
    """A URDF of frames and joints alone, of which MuJoCo keeps every link."""
    for link in robot.iter("link"):
        for child in list(link):
            link.remove(child)
        inertial = ET.SubElement(link, "inertial")  # MuJoCo wants every body that moves to have a mass
        ET.SubElement(inertial, "mass", value="1")
        ET.SubElement(inertial, "inertia", ixx="1", iyy="1", izz="1", ixy="0", ixz="0", iyz="0")
    for joint in robot.iter("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
    for extra in robot.findall("mujoco"):
        robot.remove(extra)
    ET.SubElement(ET.SubElement(robot, "mujoco"), "compiler", fusestatic="false", strippath="true")
    return ET.tostring(robot, encoding="unicode")
