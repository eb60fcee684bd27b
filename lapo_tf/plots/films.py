"""Films of a run's policy in the simulator.

Pictures are drawn by a child process, which replays the recorded actions: it has MUJOCO_GL set before MuJoCo is
imported, also when a notebook has long imported it, and it never loads TensorFlow, whose copy of LLVM crashes Mesa's
software renderer in the same process (seen with TensorFlow 2.21 and Mesa 22.3).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lapo_tf.errors import UserError

if TYPE_CHECKING:
    from lapo_tf.runs.run import Rollout, Run
    from lapo_tf.tasks import Task

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
_CHILD = "import sys; from lapo_tf.plots.films import film_job; film_job(sys.argv[1])"


def record_video(
    run: Run,
    path: Path | str,
    episodes: int = 3,
    seed: int = 0,
    *,
    rollout: Rollout | None = None,
    progress: bool = False,
) -> Path:
    """Film episodes, one after the other, at the speed of the simulated clock (MP4, H.264).

    Args:
        run: whose policy acts.
        path: the file to write.
        episodes: how many.
        seed: episode i is reset with `seed + i`.
        rollout: film the first of these episodes of the run, instead of running new ones.
        progress: show a bar of the steps.

    Raises:
        UserError: the task has no picture, or MuJoCo cannot draw here.
    """
    from lapo_tf.training.run_folder import replacing

    check_video(run)
    rollout = rollout or run.rollout(episodes, seed)
    episodes = min(episodes, len(rollout.returns))
    with tempfile.TemporaryDirectory() as folder, replacing(Path(path)) as temporary:
        # The policy gives the same actions for the same observations, to the bit.
        actions = {f"actions_{i}": run.policy(rollout.observations[i]) for i in range(episodes)}
        job = {"task": run.task.name, "out": str(temporary.resolve())}
        np.savez(
            Path(folder) / "job.npz",
            job=json.dumps(job),
            seeds=rollout.seeds[:episodes],
            returns=rollout.returns[:episodes],
            **actions,  # type: ignore[arg-type]
        )
        _run_child(Path(folder) / "job.npz", int(rollout.lengths[:episodes].sum()), progress)
    return Path(path)


def check_video(run: Run) -> None:
    """Raise a `UserError` where the run's task has no picture, or MuJoCo cannot draw on this machine."""
    env = run.task.make_env()
    modes = env.metadata.get("render_modes") or ()
    env.close()
    if "rgb_array" not in modes:
        raise UserError(f"task '{run.task.name}' has no picture to film: leave --video out")
    choose_gl()


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


def _run_child(job: Path, steps: int, progress: bool) -> None:
    """Run `film_job` in a process of its own; it says "step" for every step and "error …" before it fails."""
    from tqdm.auto import tqdm

    backend = choose_gl()
    environment = os.environ | ({"MUJOCO_GL": backend} if backend else {})
    command = [sys.executable, "-c", _CHILD, str(job)]
    message = ""
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child,
        tqdm(total=steps, unit="step", desc="video", disable=not progress, dynamic_ncols=True) as bar,
    ):
        try:
            assert child.stdout is not None
            for line in child.stdout:
                bar.update(line.startswith("step"))
                message = line.removeprefix("error ").strip() if line.startswith("error ") else message
            code = child.wait()
        finally:
            child.kill()
    if code:
        message = message or f"exit status {code} with MUJOCO_GL={backend}"
        raise UserError(f"filming failed: {message}; try another MUJOCO_GL (egl, osmesa), or leave --video out")


def film_job(path: str) -> None:
    """The child process: replay the episodes in a job file, draw them and write the film."""
    from lapo_tf.tasks import load_task

    try:
        with np.load(path) as file:
            values = dict(file)
        job = json.loads(str(values["job"]))
        task = load_task(job["task"])
        env = task.make_env(render_mode="rgb_array")
        _film(env, task, values, job["out"])
        env.close()
    except Exception as error:
        print(f"error {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
        raise SystemExit(1) from None


def _film(env: Any, task: Task, values: dict[str, np.ndarray], out: str) -> None:
    from imageio_ffmpeg import write_frames

    seconds = control_seconds(env)
    stride = math.ceil(1.0 / seconds / MAX_FPS)
    fps = 1.0 / seconds / stride
    options: dict[str, Any] = {"fps": fps, "quality": 8, "macro_block_size": 2}
    film = None
    for frame in _pictures(env, task, values, stride, hold=1 + round(HOLD_SECONDS * fps)):
        if film is None:
            # The temporary file's name does not tell the format.
            film = write_frames(out, frame.shape[1::-1], output_params=["-f", "mp4"], **options)
            film.send(None)
        film.send(np.ascontiguousarray(frame))
    if film is not None:
        film.close()


def _pictures(env: Any, task: Task, values: dict[str, np.ndarray], stride: int, hold: int) -> Iterator[np.ndarray]:
    """Every `stride`-th state of the episodes, from the first, and `hold` times the last."""
    for i, (seed, expected) in enumerate(zip(values["seeds"], values["returns"], strict=True)):
        replay = _Replay(env, task, int(seed), f"episode {i + 1}/{len(values['seeds'])}")
        yield replay.picture()
        for n, action in enumerate(values[f"actions_{i}"], 1):
            replay.step(action)
            print("step", flush=True)
            if n % stride == 0:
                yield replay.picture()
        if not math.isclose(replay.total, expected, abs_tol=1e-6):
            raise RuntimeError(f"episode {i + 1} replayed to a return of {replay.total}, not {expected}")
        yield from [replay.picture()] * hold


def control_seconds(env: Any) -> float:
    """Simulated seconds of one step of an environment."""
    # `render_fps` is a whole number, which the kitchen's 12.5 steps a second is not.
    return float(getattr(env.unwrapped, "dt", None) or 1.0 / env.metadata["render_fps"])


class _Replay:
    """An episode, step by step."""

    def __init__(self, env: Any, task: Task, seed: int, title: str) -> None:
        self.env, self.task, self.title = env, task, title
        self.steps, self.total = 0, 0.0
        _, self.info = env.reset(seed=seed)

    def step(self, action: np.ndarray) -> None:
        _, reward, _, _, self.info = self.env.step(action)
        self.steps, self.total = self.steps + 1, self.total + float(reward)

    def picture(self) -> np.ndarray:
        progress = self.task.progress(self.info, self.total)
        text = f"{self.title}   {self.steps * control_seconds(self.env):5.2f} s   {progress}"
        return caption(self.env.render(), text)


def caption(frame: np.ndarray, text: str) -> np.ndarray:
    """A picture uint8 [h, w, 3] with a strip of text below, [h + 32, w, 3]."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (frame.shape[1], frame.shape[0] + CAPTION), (24, 24, 28))
    image.paste(Image.fromarray(np.ascontiguousarray(frame)), (0, 0))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 13)
    ImageDraw.Draw(image).text((10, frame.shape[0] + 8), text, (240, 240, 240), font)
    return np.asarray(image)
