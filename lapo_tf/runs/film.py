"""Films of a run's policy in the simulator.

Pictures are drawn by a child process, which replays the recorded actions (`lapo_tf.runs.replay`): it has MUJOCO_GL set
before MuJoCo is imported, also when a notebook has long imported it, and it never loads TensorFlow, whose copy of LLVM
crashes Mesa's software renderer in the same process (seen with TensorFlow 2.21 and Mesa 22.3).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lapo_tf.errors import UserError
from lapo_tf.plots.films import choose_gl
from lapo_tf.progress import progress_bar
from lapo_tf.runs.run import Rollout, Run


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
    check_video(run)
    rollout = rollout or run.rollout(episodes, seed)
    episodes = min(episodes, len(rollout.returns))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".film-", dir=path.parent) as folder:  # gone with an interrupted film
        job, film = Path(folder) / "job.npz", Path(folder) / "film.mp4"
        # The policy gives the same actions for the same observations, to the bit.
        actions = {f"actions_{i}": run.policy(rollout.observations[i]) for i in range(episodes)}
        np.savez(
            job,
            task=json.dumps(run.task.to_dict()),
            seeds=rollout.seeds[:episodes],
            returns=rollout.returns[:episodes],
            **actions,  # type: ignore[arg-type]
        )
        _draw(job, film, int(rollout.lengths[:episodes].sum()), progress)
        os.replace(film, path)
    return path


def check_video(run: Run) -> None:
    """Raise a `UserError` where the run's task has no picture, or MuJoCo cannot draw on this machine."""
    env = run.task.make_env()
    modes = env.metadata.get("render_modes") or ()
    env.close()
    if "rgb_array" not in modes:
        raise UserError(f"task '{run.task.name}' has no picture to film: leave --video out")
    choose_gl()


def _draw(job: Path, film: Path, steps: int, progress: bool) -> None:
    """Run `lapo_tf.runs.replay`, which says "step" for every step and "error …" before it fails."""
    backend = choose_gl()
    environment = os.environ | ({"MUJOCO_GL": backend} if backend else {})
    command = [sys.executable, "-m", "lapo_tf.runs.replay", str(job), str(film)]
    message = ""
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child,
        progress_bar(total=steps, unit="step", desc="video", disable=not progress) as bar,
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
