"""Films of a simulation: pictures with captions as an MP4, and how to draw without a screen."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from imageio_ffmpeg import write_frames
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from lapo_tf.errors import UserError

MAX_FPS = 50  # of the film; where control is faster, frames are left out and time still runs true
CAPTION = 32  # height of the strip of text, pixels
HOLD_SECONDS = 1.0  # for which an episode's last picture stays

_PROBE = """
import mujoco
from mujoco.{} import GLContext
context = GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


class Film:
    """A film that runs at the speed of the simulated clock (MP4, H.264). An interrupted one leaves no file.

    with Film(path, control_seconds(env)) as film:
        film.picture(0, env.render, "the beginning")
    """

    def __init__(self, path: Path, step_seconds: float) -> None:
        """
        Args:
            path: the file to write.
            step_seconds: simulated time from one step to the next.
        """
        self.path = path
        self._stride = math.ceil(1.0 / step_seconds / MAX_FPS)
        self._fps = 1.0 / step_seconds / self._stride
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._writer: Any = None

    def __enter__(self) -> Film:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
                if kind is None:
                    os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def picture(self, step: int, render: Callable[[], np.ndarray], text: str, *, last: bool = False) -> None:
        """Show an episode's state after `step` steps, unless it is one of those that are left out.

        Args:
            step: from 0; every so many are shown, see `MAX_FPS`.
            render: draws the state, uint8 [h, w, 3]; called if it is shown.
            text: of the caption.
            last: of the episode: shown in any case, and for `HOLD_SECONDS` more.
        """
        if step % self._stride and not last:
            return
        frame = np.ascontiguousarray(caption(render(), text))
        if self._writer is None:
            # The temporary file's name does not tell the format.
            options: dict[str, Any] = {"fps": self._fps, "quality": 8, "macro_block_size": 2}
            self._writer = write_frames(
                str(self._temporary), frame.shape[1::-1], output_params=["-f", "mp4"], **options
            )
            self._writer.send(None)
        for _ in range(1 + round(HOLD_SECONDS * self._fps) if last else 1):
            self._writer.send(frame)


def caption(frame: np.ndarray, text: str) -> np.ndarray:
    """A picture uint8 [h, w, 3] with a strip of text below, [h + 32, w, 3]."""
    image = Image.new("RGB", (frame.shape[1], frame.shape[0] + CAPTION), (24, 24, 28))
    image.paste(Image.fromarray(np.ascontiguousarray(frame)), (0, 0))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 13)
    ImageDraw.Draw(image).text((10, frame.shape[0] + 8), text, (240, 240, 240), font)
    return np.asarray(image)


def control_seconds(env: Any) -> float:
    """Simulated seconds of one step of an environment."""
    # `render_fps` is a whole number, which the kitchen's 12.5 steps a second is not.
    return float(getattr(env.unwrapped, "dt", None) or 1.0 / env.metadata["render_fps"])


def choose_gl() -> str | None:
    """The value of MUJOCO_GL that works here: the user's, or of a screen's, EGL and OSMesa the first that does.

    None where MuJoCo needs no choice (macOS, Windows).

    Raises:
        UserError: none works, with the packages to install.
    """
    if not sys.platform.startswith("linux"):
        return None
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    screen = ["glfw"] if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else []
    for backend in [wanted] if wanted else [*screen, "egl", "osmesa"]:
        if backend in ("glfw", "egl", "osmesa") and _works(backend):
            return backend
    tried = f"MUJOCO_GL={wanted} does not work here" if wanted else "MuJoCo cannot draw on this machine"
    raise UserError(
        f"{tried}: a video needs MUJOCO_GL=egl (apt install libegl1 libgl1-mesa-dri, or a GPU's driver) or "
        "MUJOCO_GL=osmesa (apt install libosmesa6); all else works without: leave --video out"
    )


@cache
def _works(backend: str) -> bool:
    """Try to make a drawing context, in a process of its own because a failure can take its process down."""
    environment = os.environ | {"MUJOCO_GL": backend}
    command = [sys.executable, "-c", _PROBE.format(backend)]
    try:
        return subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode == 0
    except subprocess.TimeoutExpired:
        return False
