"""Look at a data set: measure what is in it, and find what seems wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from minari.serialization import deserialize_space
from numpy.typing import NDArray

from lapo_tf.data.dataset import METADATA, Episode, OfflineDataset, from_episodes
from lapo_tf.data.inspect.findings import findings
from lapo_tf.data.inspect.model import AT_BOUND, Inspection, sample
from lapo_tf.data.layouts import Layout
from lapo_tf.data.readers import open_recording
from lapo_tf.data.recording import Recording
from lapo_tf.data.task import DataTask, episode_limit, task_of
from lapo_tf.errors import UserError

FEW = 12  # distinct rewards up to which rewards count as sparse


def inspect_dataset(
    spec: str | Path,
    *,
    task: DataTask | None = None,
    known_tasks: Iterable[DataTask] = (),
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
) -> Inspection:
    """Look at a data set. Everything is in memory, as for training.

    Args:
        spec: D4RL file or Minari id.
        task: the task it is for; default: that of `known_tasks` which the data set says it is for.
        known_tasks: see `task`.
        layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
        max_episode_steps: where episodes of a D4RL file without `timeouts` are cut; default: the task's time limit.

    Raises:
        UserError: a data set that cannot be loaded, or of other dimensions than the task's environment.
    """
    limit = episode_limit(task, max_episode_steps)
    with open_recording(spec, layout=layout, max_episode_steps=limit, infos=True) as recording:
        watch = _Watch()
        dataset = from_episodes(
            watch.through(recording.episodes),
            recording.source,
            capacity=recording.steps + recording.count,
            warnings=recording.warnings,
        )
        chosen = task or task_of(recording, known_tasks)
        if chosen is not None and (differs := _misfit(chosen, dataset)):
            if task is not None:
                raise UserError(f"{dataset.summary.id}: {differs}: leave --task out, or give its own")
            chosen = None
        known = recording.metadata.get(METADATA) or {}
        low, high, bounded_by = _bounds(chosen, recording)
    returns, lengths, best = (np.array(values) for values in (watch.returns, watch.lengths, watch.best))
    values, counts = np.unique(dataset.rewards[dataset.index], return_counts=True)
    few = {float(v): int(n) for v, n in zip(values, counts, strict=True)} if len(values) <= FEW else None
    successes, means = _successes(chosen, watch, best, few)
    observation_names, action_names = channel_names(dataset, chosen, known)
    constant = np.ptp(dataset.observations, axis=0) == 0
    actions = dataset.actions[dataset.index]
    at_bounds = np.zeros(dataset.act_dim)
    if low is not None and high is not None:
        margin = AT_BOUND * (high - low)
        at_bounds = ((actions <= low + margin) | (actions >= high - margin)).mean(axis=0)
    inside = np.flatnonzero(np.diff(dataset.index) == 1)
    found = Inspection(
        dataset,
        chosen,
        observation_names,
        action_names,
        returns,
        lengths,
        best,
        successes,
        means,
        few,
        low,
        high,
        bounded_by,
        at_bounds,
        float((actions[inside + 1] - actions[inside]).std()) if len(inside) else 0.0,
        np.quantile(sample(dataset.observations), (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1), axis=0),
        constant,
    )
    found.quantiles[0], found.quantiles[-1] = dataset.observations.min(axis=0), dataset.observations.max(axis=0)
    found.findings = findings(found, watch.backwards, watch.uneven)
    return found


def channel_names(dataset: OfflineDataset, task: DataTask | None, known: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the observation and action channels: as imported, of a known environment, or just numbers."""
    observation, action = list(known.get("observation") or ()), list(known.get("action") or ())
    if task is not None and not observation:
        observation, action = task.channel_names()
    if len(observation) != dataset.obs_dim:
        observation = [f"s{i}" for i in range(dataset.obs_dim)]
    if len(action) != dataset.act_dim:
        action = [f"a{i}" for i in range(dataset.act_dim)]
    return observation, action


class _Watch:
    """Notes what alignment forgets, while the episodes stream through."""

    def __init__(self) -> None:
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.best: list[float] = []
        self.success: list[bool] = []
        self.backwards: list[tuple[int, int]] = []  # episode and step after which time does not go on
        self.uneven: list[tuple[int, int]] = []  # where a step takes 1.5 times the usual

    def through(self, episodes: Iterator[Episode]) -> Iterator[Episode]:
        for number, episode in enumerate(episodes):
            rewards = np.asarray(episode.rewards, np.float64)
            if len(rewards):
                self.returns.append(float(rewards.sum()))
                self.lengths.append(len(rewards))
                self.best.append(float(rewards.max()))
            for name in ("success", "is_success"):
                if name in episode.infos:
                    self.success.append(bool(np.any(np.asarray(episode.infos[name]) > 0)))
                    break
            for name in ("time", "timestamp"):
                times = np.asarray(episode.infos.get(name, ()), np.float64).reshape(-1)
                if len(times) > 1:
                    steps = np.diff(times)
                    self.backwards += [(number, int(i)) for i in np.flatnonzero(steps <= 0)]
                    self.uneven += [(number, int(i)) for i in np.flatnonzero(steps > 1.5 * np.median(steps))]
                    break
            yield episode


def _misfit(task: DataTask, dataset: OfflineDataset) -> str | None:
    """In what a task's environment has other dimensions than a data set."""
    if task.env_id is None:
        return None
    env = task.make_env()
    env.close()
    for what, have, space in (
        ("observations", dataset.obs_dim, env.observation_space),
        ("actions", dataset.act_dim, env.action_space),
    ):
        if space.shape != (have,):
            return f"{what} have {have} values, those of task '{task.name}' {space.shape}"
    return None


def _bounds(task: DataTask | None, recording: Recording) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    if task is not None and task.env_id is not None:
        env = task.make_env()
        space: Any = env.action_space
        env.close()
        whose = "the environment's bounds"
    elif "action_space" in recording.metadata:
        space, whose = deserialize_space(recording.metadata["action_space"]), "the data set's bounds"
    else:
        return None, None, ""
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None, None, ""
    return low.reshape(-1).astype(np.float64), high.reshape(-1).astype(np.float64), whose


def _successes(
    task: DataTask | None, watch: _Watch, best: np.ndarray, few: dict[float, int] | None
) -> tuple[NDArray[np.bool_] | None, str]:
    if len(watch.success) == len(best):
        return np.array(watch.success), "recorded as success"
    if task is not None and (known := task.success_in_data(best)) is not None:
        return known
    if few is not None and len(few) > 1 and max(few) > 0:
        return best >= max(few), f"reward {max(few):.4g} reached"
    return None, ""
