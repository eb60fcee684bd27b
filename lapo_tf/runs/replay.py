"""The drawing process of `lapo_tf.runs.film`: replays episodes of a job file and films them. TensorFlow stays away.

python -m lapo_tf.runs.replay JOB.npz FILM.mp4
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf.plots.films import Film, control_seconds
from lapo_tf.tasks import read_task
from lapo_tf.tasks.task import Task


def replay(env: Any, task: Task, job: Mapping[str, np.ndarray], film: Film) -> None:
    """Film the job's episodes, one after the other.

    Args:
        env: of the task, drawing.
        task: whose words for an episode's progress are in the captions.
        job: `seeds` [n], `returns` [n], and of each episode `actions_<i>` [T, act].
        film: what to draw into.

    Raises:
        RuntimeError: an episode comes to another return than it is said to.
    """
    for i, (seed, expected) in enumerate(zip(job["seeds"], job["returns"], strict=True)):
        title, actions = f"episode {i + 1}/{len(job['seeds'])}", job[f"actions_{i}"]
        _, info = env.reset(seed=int(seed))
        total = 0.0
        for step in range(len(actions) + 1):
            if step:
                _, reward, _, _, info = env.step(actions[step - 1])
                total += float(reward)
                print("step", flush=True)
            text = f"{title}   {step * control_seconds(env):5.2f} s   {task.progress(info, total)}"
            film.picture(step, env.render, text, last=step == len(actions))
        if not math.isclose(total, expected, abs_tol=1e-6):
            raise RuntimeError(f"episode {i + 1} replayed to a return of {total}, not {expected}")


def main() -> None:
    """The process: its last line says what went wrong, if anything did."""
    job_path, out = sys.argv[1:]
    try:
        with np.load(job_path) as file:
            job = dict(file)
        task = read_task(json.loads(str(job["task"])))
        env = task.make_env(render_mode="rgb_array")
        with Film(Path(out), control_seconds(env)) as film:
            replay(env, task, job, film)
        env.close()
    except Exception as error:
        print(f"error {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
