"""Forward kinematics by MuJoCo, which reads its own XML and URDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robot_bridge.errors import UserError, unknown
from robot_bridge.guards.limits import Array


class Kinematics:
    """Positions of points of an arm, from its joint positions."""

    def __init__(self, model: Path, joints: Sequence[str], points: Sequence[str]) -> None:
        """
        Args:
            model: MuJoCo XML or URDF.
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
        try:
            self._model = mujoco.MjModel.from_xml_path(str(model))
        except ValueError as error:
            raise UserError(f"MuJoCo cannot read {model} ({str(error).splitlines()[0]})") from None
        m = self._model
        known = [m.joint(i).name for i in range(m.njnt)]
        for name in joints:
            if name not in known:
                raise unknown(f"joint in {model.name}", name, known)
        self._address = np.array([m.joint(name).qposadr[0] for name in joints])
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
        self._data.qpos[self._address] = position
        self._kinematics(self._model, self._data)
        return np.concatenate([self._data.site_xpos[self._sites], self._data.xpos[self._bodies]])
