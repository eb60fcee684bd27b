"""What a task is: its environment, its data, and the scores to measure against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError, unknown


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

    def load_dataset(self, spec: str | None = None, *, progress: bool = True) -> OfflineDataset:
        """The data set `spec` (a D4RL file or a Minari id), or the task's own, collected or downloaded on first use.

        Raises:
            UserError: it cannot be had, or does not fit the task's environment.
        """
        from lapo_tf.data.readers import load_dataset

        if spec is None and self.minari_id is None and self.collected_id is not None:
            spec = self._collect(self.collected_id, progress)
        env = self.make_env()
        try:
            return load_dataset(
                spec or str(self.minari_id), observation_space=env.observation_space, action_space=env.action_space
            )
        finally:
            env.close()

    def _collect(self, dataset_id: str, progress: bool) -> str:
        from minari.storage.datasets_root_dir import get_dataset_path

        if not get_dataset_path(dataset_id).exists():
            print(f"no local data set '{dataset_id}' yet: collecting it once")
            collect(self.name, progress=progress)
        return dataset_id


def collect(task: str, steps: int | None = None, seed: int = 0, *, force: bool = False, progress: bool = True) -> Any:
    """Make a task's collected data set; see `lapo_tf.data.collectors`."""
    from lapo_tf.data import collectors

    if task == "toy-navigation":
        return collectors.collect_toy(samples=steps or 1000, seed=seed, force=force)
    if task.startswith("maze2d-"):
        return collectors.collect_maze2d(task.removeprefix("maze2d-"), steps, seed, force=force, progress=progress)
    raise UserError(f"task '{task}' has no collector: give its data with --dataset")


def _maze(size: str, low: float, high: float, paper: str) -> Task:
    env, name = f"lapo/Maze2d{size.capitalize()}-v0", f"maze2d-{size}"
    return Task(name, env, low, high, collected_id=f"lapo/maze2d-{size}-v0", paper=_paper(paper))


def _kitchen(kind: str, paper: str) -> Task:
    env = f"lapo/Kitchen{kind.capitalize()}-v0"
    return Task(f"kitchen-{kind}", env, 0.0, 4.0, minari_id=f"D4RL/kitchen/{kind}-v2", paper=_paper(paper))


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
