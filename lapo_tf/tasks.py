"""What a task is: its environment, its data, and the scores to measure against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium as gym

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.config import DataChoice
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError, unknown

if TYPE_CHECKING:
    from lapo_tf.data.collectors import Collected


@dataclass(frozen=True)
class Task:
    """A task of the paper.

    `normalized` = 100 (return - score_min) / (score_max - score_min), D4RL's reference scores. `paper` holds the
    published scores of the paper's Table 2, by agent.
    """

    name: str
    env_id: str
    score_min: float
    score_max: float
    minari_id: str | None = None
    """Published data set, downloaded on first use."""
    collected_id: str | None = None
    """This project's own collection, made on first use."""
    paper: dict[str, float] = field(default_factory=dict)

    def make_env(self, render_mode: str | None = None) -> gym.Env:
        """The task's gymnasium environment."""
        return gym.make(self.env_id, render_mode=render_mode)

    def normalized(self, returns: Any) -> Any:
        """Normalized score of a return, or of an array of returns."""
        return 100.0 * (returns - self.score_min) / (self.score_max - self.score_min)

    def load_dataset(
        self, spec: str | None = None, *, data: DataChoice = "auto", progress: bool = True
    ) -> OfflineDataset:
        """The data set `spec` (a D4RL file or a Minari id), or the task's own.

        A task's own data set is the first of: the published one that is here, the published one that can be
        downloaded, this project's collection, made on first use. Which one it is, is printed unless it was here.

        Args:
            spec: overrides the task's own.
            data: `official` forbids the collection.
            progress: show progress bars while collecting.

        Raises:
            UserError: it cannot be had, or does not fit the task's environment.
        """
        from lapo_tf.data.readers import load_dataset

        env = self.make_env()
        try:
            return load_dataset(
                spec or self._own_dataset(data, progress),
                observation_space=env.observation_space,
                action_space=env.action_space,
            )
        finally:
            env.close()

    def _own_dataset(self, data: DataChoice, progress: bool) -> str:
        """The id of the task's own data set, which is here afterwards."""
        from lapo_tf.data.readers import NotDownloadedError, download, is_local

        missing = f"task '{self.name}' has no published data set"
        if self.minari_id is not None:
            if is_local(self.minari_id):
                return self.minari_id
            try:
                download(self.minari_id)
                return self.minari_id
            except NotDownloadedError as error:
                if data == "official" or self.collected_id is None:
                    raise
                missing = f"{self.minari_id} cannot be downloaded ({error.reason})"
        elif data == "official":
            raise UserError(f"{missing}: leave --data official out, or give a file with --dataset")
        if self.collected_id is None:
            raise UserError(f"{missing}: give its data with --dataset")
        here = is_local(self.collected_id)
        how = "" if here else ", made now and kept"
        print(f"data: {missing}; using this project's own collection, {self.collected_id}{how}", flush=True)
        if not here:
            collect(self.name, progress=progress)
        return self.collected_id


def collect(
    task: str,
    count: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Make a task's collected data set; see `lapo_tf.data.collectors`.

    Args:
        task: a name in `TASKS`.
        count: how much: episodes in the kitchen, else steps; by default the collector's own number.
        seed: the same seed gives the same data.
        dataset_id: Minari id to store it under; by default the task's `collected_id`.
        force: replace a data set of that id.
        progress: show progress bars.

    Raises:
        UserError: there is no such task or no collector for it, or it cannot be stored.
    """
    from lapo_tf.data import collectors

    dataset_id = dataset_id or get_task(task).collected_id
    family, _, kind = task.partition("-")
    if dataset_id is None:
        raise UserError(f"task '{task}' has no collector: give its data with --dataset")
    if family == "kitchen":
        from lapo_tf.data.collectors.kitchen import collect_kitchen

        return collect_kitchen(kind, count, seed, dataset_id, force=force, progress=progress)
    if family == "maze2d":
        return collectors.collect_maze2d(kind, count, seed, dataset_id, force=force, progress=progress)
    return collectors.collect_toy(1000 if count is None else count, seed, dataset_id, force=force)


def _maze(size: str, low: float, high: float, paper: str) -> Task:
    env, name = f"lapo/Maze2d{size.capitalize()}-v0", f"maze2d-{size}"
    return Task(name, env, low, high, collected_id=f"lapo/maze2d-{size}-v0", paper=_paper(paper))


def _kitchen(kind: str, paper: str) -> Task:
    env = f"lapo/Kitchen{kind.capitalize()}-v0"
    own = f"lapo/kitchen-{kind}-v0"
    return Task(f"kitchen-{kind}", env, 0.0, 4.0, f"D4RL/kitchen/{kind}-v2", own, paper=_paper(paper))


def _paper(scores: str) -> dict[str, float]:
    """Columns of the paper's Table 2, left to right."""
    agents = ("bc", "bcq", "plas", "awac", "awac-gmm", "iql", "cql", "lapo")
    return dict(zip(agents, map(float, scores.split()), strict=True))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("toy-navigation", "lapo/ToyNavigation-v0", 0.0, 10.0, collected_id="lapo/toy-navigation-v0"),
        _maze("umaze", 23.85, 161.86, "0.99 18.91 80.12 94.53 19.45 51.00 22.86 118.86"),
        _maze("medium", 13.13, 277.39, "3.34 12.79 5.19 31.40 46.53 33.26 12.25 142.75"),
        _maze("large", 6.7, 273.99, "-1.14 27.17 45.80 43.85 9.04 64.30 7.00 200.56"),
        _kitchen("complete", "4.50 9.08 38.08 3.83 1.08 66.67 4.67 53.17"),
        _kitchen("partial", "31.67 17.58 27.00 0.25 0.42 32.33 0.55 53.67"),
        _kitchen("mixed", "30.00 11.50 29.92 0.00 3.92 49.92 1.86 62.42"),
    )
}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none, with the nearest name.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
