"""Film a recorded episode: the simulator is put into each recorded state and drawn. Nothing is simulated.

Where an observation is noisy, as in the kitchen, the film shows the noisy readings.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf.data.dataset import Episode
from lapo_tf.data.layouts import Layout
from lapo_tf.data.readers import open_recording
from lapo_tf.data.task import DataTask, episode_limit, task_of
from lapo_tf.errors import UserError
from lapo_tf.plots.films import Film, choose_gl, control_seconds
from lapo_tf.progress import progress_bar

Pose = Callable[[np.ndarray], None]


def play_episode(
    spec: str | Path,
    number: int,
    *,
    task: DataTask | None = None,
    known_tasks: Iterable[DataTask] = (),
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
    out: Path | str | None = None,
    progress: bool = False,
) -> Path:
    """Film one recorded episode (MP4, H.264) at the speed of the simulated clock.

    To be called in a process that has not loaded TensorFlow, as the command's is: Mesa's software renderer crashes
    beside it (see `lapo_tf.runs.film`).

    Args:
        spec: D4RL file or Minari id.
        number: of the episode, from 0.
        task: the task it is from; default: that of `known_tasks` which the data set says it is for.
        known_tasks: see `task`.
        layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
        max_episode_steps: where episodes of a D4RL file without `timeouts` are cut; default: the task's time limit.
        out: the film; default: `<name>-episode<k>.mp4`.
        progress: show a bar of the pictures.

    Raises:
        UserError: no such episode, no environment, one that cannot show recorded states, or no way to draw here.
    """
    limit = episode_limit(task, max_episode_steps)
    with open_recording(spec, layout=layout, max_episode_steps=limit) as recording:
        known = task or task_of(recording, known_tasks)
        name = recording.source.id
        if known is None:
            raise UserError(f"{name} does not say which task it is from: give --task NAME")
        episode = _episode(recording.episodes, number, name)
    plain = known.make_env()
    plain.close()
    if "rgb_array" not in (plain.metadata.get("render_modes") or ()):
        raise UserError(f"task '{known.name}' has no picture: its episodes cannot be played")
    _pose(plain, np.shape(episode.observations)[1], known)  # can it be done?
    if "tensorflow" in sys.modules:
        raise UserError("films of data are made by the command: python -m lapo_tf.data play ID --episode K")
    if backend := choose_gl():
        os.environ["MUJOCO_GL"] = backend  # before gymnasium draws
    env = known.make_env(render_mode="rgb_array")
    try:
        pose = _pose(env, np.shape(episode.observations)[1], known)
        stem = re.sub(r"[^\w-]+", "-", name.removesuffix(".hdf5"))
        out = Path(out or f"{stem}-episode{number}.mp4").expanduser()
        _film(env, pose, episode, f"episode {number} of {name}", out, progress)
    finally:
        env.close()
    return out


def _episode(episodes: Iterator[Episode], number: int, name: str) -> Episode:
    if number < 0:
        raise UserError(f"--episode is {number}: expected 0 or more")
    count = 0
    for episode in episodes:
        if count == number:
            return episode
        count += 1
    raise UserError(f"{name} has {count} episodes: expected --episode from 0 to {count - 1}")


def _pose(env: Any, size: int, task: DataTask) -> Pose:
    """How an observation of `size` channels becomes the simulator's state."""
    import mujoco

    inner = env.unwrapped
    model, data = inner.model, inner.data
    wanted = inner.observation_space.shape[0]
    if size != wanted:
        raise UserError(f"observations have {size} values but task '{task.name}' has {wanted}: give its own task")
    walks = size == model.nq - 1 + model.nv  # gymnasium's walkers do not observe how far they are
    if not (walks or size == model.nq + model.nv or task.positions_first):
        raise UserError(f"observations of task '{task.name}' do not hold the simulator's state: they cannot be played")
    travelled = 0.0

    def pose(observation: np.ndarray) -> None:
        nonlocal travelled
        if walks:
            data.qpos[0], data.qpos[1:] = travelled, observation[: model.nq - 1]
            travelled += float(observation[model.nq - 1]) * inner.dt
        else:
            data.qpos[:] = observation[: model.nq]
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_forward(model, data)

    return pose


def _film(env: Any, pose: Pose, episode: Episode, title: str, out: Path, progress: bool) -> None:
    """Draw all states into a film."""
    env.reset(seed=0)
    observations, rewards = np.asarray(episode.observations, np.float64), np.asarray(episode.rewards)
    totals = np.concatenate([[0.0], np.cumsum(rewards)])
    seconds, last = control_seconds(env), len(observations) - 1
    with (
        Film(out, seconds) as film,
        progress_bar(total=last + 1, unit="step", desc="film", disable=not progress) as done,
    ):
        for t, observation in enumerate(observations):
            pose(observation)
            text = f"{t * seconds:6.2f} s   return {totals[min(t, len(rewards))]:.4g}   {title}"
            film.picture(t, env.render, text, last=t == last)
            done.update()
