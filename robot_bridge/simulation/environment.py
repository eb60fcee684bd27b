"""The environment of a simulated robot: any that gymnasium can make, whose numbers a policy bundle names.

Two more methods help, where an environment has them:

    substep(action)   a part of a control step, `substep_dt` seconds long, for commands that come at any moment: the
                      observation, the reward, whether all is done, whether this ended a control step. Without an action
                      (None) the set-points stay.
    joint_state()     true positions and velocities of the commanded joints, without the sensor's noise.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.robot.bundle import Description


@runtime_checkable
class Substeps(Protocol):
    """An environment with steps finer than its control step."""

    @property
    def substep_dt(self) -> float:
        """Seconds in one call of `substep`."""

    def substep(self, action: np.ndarray | None) -> tuple[np.ndarray, float, bool, bool]:
        """Observation, reward, whether all is done, whether this ended a control step."""


@runtime_checkable
class JointState(Protocol):
    """An environment that tells where its joints really are."""

    def joint_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n] and velocities [n] of the commanded joints, in the order of actions."""


def make_environment(policy: Description, env_id: str | None = None, *, drawn: bool = False) -> Any:
    """The environment that a bundle was trained for, or another one of the same numbers.

    Args:
        policy: names the environment and its numbers.
        env_id: a gymnasium id instead, `module:Name-v0` where importing the module registers it.
        drawn: pictures are wanted.

    Raises:
        UserError: no id is known, it cannot be made, or its spaces are not those of the bundle.
    """
    env_id = env_id or policy.environment.get("id")
    if env_id is None:
        raise UserError(
            f"the bundle of '{policy.task}' names no environment: give --env, e.g. --env my_package:MyArm-v0, "
            "or export the run again"
        )
    if drawn and sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("MUJOCO_GL")):
        os.environ["MUJOCO_GL"] = "egl"  # before MuJoCo is imported; where it does not work: MUJOCO_GL=osmesa
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # advice on environments that nobody asked for
            import gymnasium as gym

            env: Any = gym.make(env_id, render_mode="rgb_array" if drawn else None)
    except ImportError as error:
        missing = error.name or env_id.partition(":")[0]
        hint = "pip install 'lapo-tf[robot]', or the package of the environment"
        raise UserError(f"the environment '{env_id}' needs the module {missing}, which is not here: {hint}") from None
    except gym.error.Error as error:
        raise UserError(f"cannot make the environment '{env_id}': {str(error).splitlines()[0]}") from None
    for what, space, expected in (
        ("observations", env.observation_space, len(policy.observations)),
        ("actions", env.action_space, len(policy.actions)),
    ):
        if space.shape != (expected,):
            raise UserError(f"{env_id} has {what} of shape {space.shape}: expected the bundle's ({expected},)")
    if drawn:
        _try_to_draw(env)
    return env


def _try_to_draw(env: Any) -> None:
    env.reset(seed=0)
    try:
        env.render()
    except Exception as error:  # each of MuJoCo's backends fails in its own way
        raise UserError(
            f"--video: MuJoCo cannot draw on this machine ({str(error).splitlines()[0] if str(error) else error!r}): "
            "try MUJOCO_GL=egl (apt install libegl1 libgl1-mesa-dri) or MUJOCO_GL=osmesa (apt install libosmesa6)"
        ) from None
