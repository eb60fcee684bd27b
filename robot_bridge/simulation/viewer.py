"""A window in which a person can watch a simulation: MuJoCo's own viewer, drawing in a thread of its own."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from robot_bridge.errors import UserError


class Viewer:
    """Shows a MuJoCo model and its state. The simulation goes on when the window is closed."""

    def __init__(self, env: Any) -> None:
        """
        Args:
            env: has `model` and `data`, and a gymnasium renderer that knows from where its scene is looked at.

        Raises:
            UserError: there is no screen to show it on.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # MuJoCo would take the process down.
            raise UserError("--viewer needs a screen and DISPLAY is not set: film it with --video FOLDER instead")
        import mujoco.viewer

        before = set(threading.enumerate())
        try:
            self._handle = mujoco.viewer.launch_passive(env.model, env.data, show_left_ui=False, show_right_ui=False)
        except RuntimeError as error:  # macOS wants another interpreter
            raise UserError(f"--viewer: {error}; on macOS run it with mjpython instead of python") from None
        self._threads = set(threading.enumerate()) - before
        with self._handle.lock():
            for name, value in camera(env).items():
                setattr(self._handle.cam, name, value)

    def show(self) -> None:
        """Take over the present state. Quick: the drawing is done elsewhere."""
        if self._handle.is_running():
            self._handle.sync()

    def close(self) -> None:
        """Close the window, and wait until it is closed: a process that ends meanwhile would crash."""
        self._handle.close()
        for thread in self._threads:
            thread.join(5.0)


def camera(env: Any) -> dict[str, Any]:
    """From where an environment's films are taken, as fields of MuJoCo's camera; {} where it does not say."""
    for owner in (env, getattr(env, "_robot", None)):
        for name in ("mujoco_renderer", "_renderer"):
            if config := getattr(getattr(owner, name, None), "default_cam_config", None):
                return dict(config)
    return {}
