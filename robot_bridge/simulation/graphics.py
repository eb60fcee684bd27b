"""Drawing without a screen."""

from __future__ import annotations

import os
import sys

from robot_bridge.errors import UserError


def choose_gl() -> None:
    """Choose a way to draw without a screen where there is none. Before MuJoCo is imported."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("MUJOCO_GL")):
        os.environ["MUJOCO_GL"] = "egl"  # where it does not work: MUJOCO_GL=osmesa


def no_drawing(error: Exception) -> UserError:
    """What a user is told when MuJoCo failed to draw."""
    return UserError(
        f"--video: MuJoCo cannot draw on this machine ({str(error).splitlines()[0] if str(error) else error!r}): "
        "try MUJOCO_GL=egl (apt install libegl1 libgl1-mesa-dri) or MUJOCO_GL=osmesa (apt install libosmesa6)"
    )
