"""URDF as robots' packages have it: meshes elsewhere, fixed frames, joints that go round or follow others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_bridge.errors import UserError
from robot_bridge.guards.kinematics import Kinematics

URDF = """<?xml version="1.0"?><robot name="arm">
<link name="world"/>
<link name="base"><visual><geometry><mesh filename="package://arm/base.stl"/></geometry></visual></link>
<joint name="stand" type="fixed"><parent link="world"/><child link="base"/><origin xyz="0 0 0.5"/></joint>
<link name="upper"/>
<joint name="turn" type="continuous"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/></joint>
<link name="tool0"/>
<joint name="flange" type="fixed"><parent link="upper"/><child link="tool0"/><origin xyz="0.3 0 0"/></joint>
<link name="left"/>
<joint name="grip" type="prismatic"><parent link="tool0"/><child link="left"/><axis xyz="1 0 0"/>
<limit lower="0" upper="0.04" effort="1" velocity="1"/></joint>
<link name="right"/>
<joint name="mirror" type="prismatic"><parent link="tool0"/><child link="right"/><axis xyz="1 0 0"/>
<limit lower="0" upper="0.04" effort="1" velocity="1"/><mimic joint="grip" multiplier="-2" offset="0.01"/></joint>
</robot>"""


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    path = tmp_path / "arm.urdf"
    path.write_text(URDF)
    return path


@pytest.mark.parametrize("angle", [0.0, 1.0, 4.0])
def test_frames_are_where_the_urdf_says(arm: Path, angle: float) -> None:
    points = Kinematics(arm, ["turn", "grip"], ["base", "tool0", "left", "right"])(np.array([angle, 0.02]))
    direction = np.array([np.cos(angle), np.sin(angle), 0.0])
    for point, reach in zip(points, (0.0, 0.3, 0.32, 0.3 - 2 * 0.02 + 0.01), strict=True):
        np.testing.assert_allclose(point, reach * direction + [0, 0, 0.5], atol=1e-12)


def test_a_joint_that_follows_can_be_given_itself(arm: Path) -> None:
    points = Kinematics(arm, ["turn", "grip", "mirror"], ["right"])(np.array([0.0, 0.02, 0.03]))
    np.testing.assert_allclose(points, [[0.33, 0, 0.5]], atol=1e-12)


def test_what_is_no_urdf_is_told(tmp_path: Path) -> None:
    path = tmp_path / "arm.urdf"
    path.write_text("<robot><link")
    with pytest.raises(UserError, match=r"MuJoCo cannot read .*arm\.urdf"):
        Kinematics(path, ["turn"], ["tool0"])
