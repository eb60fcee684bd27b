"""What a task is: its environment, its data, and the scores to measure against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import gymnasium as gym

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.config import DataChoice
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError, unknown

if TYPE_CHECKING:
    from lapo_tf.data.collectors import Collected

PolicyUse: TypeAlias = Literal["none", "optional", "required"]


@dataclass(frozen=True)
class Task:
    """A task of the paper.

    `normalized` = 100 (return - score_min) / (score_max - score_min), D4RL's reference scores. `paper` holds the
    published scores of the paper's Tables 2 and 3, by agent.
    """

    name: str
    env_id: str
    score_min: float
    score_max: float
    minari_id: str | None = None
    """Published data set, downloaded on first use."""
    collected_id: str | None = None
    """This project's own collection, made on first use."""
    policy: PolicyUse = "none"
    """Whether the collection records trained policies that its maker may give, or has to."""
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
        from lapo_tf.data.download import NotDownloadedError, download, is_local

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
        if not here and self.policy == "required":
            how = f"python -m lapo_tf.collect {self.name} --policy ..."
            raise UserError(f"{missing}: record policies of yours ({how}), or give data with --dataset")
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
    policies: Mapping[str, Path] | None = None,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Make a task's collected data set; see `lapo_tf.data.collectors`.

    Args:
        task: a name in `TASKS`.
        count: how much: episodes in the kitchen, else steps; by default the collector's own number.
        seed: the same seed gives the same data.
        dataset_id: Minari id to store it under; by default the task's `collected_id`.
        policies: files of trained policies, by the goal each was trained for (walker2d-mix; for a goal without one, the
            policy that comes along), or one, under "".
        force: replace a data set of that id.
        progress: show progress bars.

    Raises:
        UserError: there is no such task or no collector for it, or it cannot be stored.
    """
    from lapo_tf.data import collectors

    known, policies = load_task(task), dict(policies or {})
    dataset_id = dataset_id or known.collected_id
    family, _, kind = task.partition("-")
    if dataset_id is None:
        raise UserError(f"task '{task}' has no collector: give its data with --dataset")
    if known.policy == "required" and not policies:
        raise UserError(f"{task} records trained policies: give --policy (see --help)")
    if policies and known.policy == "none":
        raise UserError(f"{task} is collected without a policy: leave --policy out")
    if kind.startswith("mix-"):
        from lapo_tf.data.collectors.locomotion import collect_walker2d

        goal = kind.removeprefix("mix-")
        return collect_walker2d(goal, policies, count, seed, dataset_id, force=force, progress=progress)
    if family in LOCOMOTION:
        from lapo_tf.data.collectors.locomotion import collect_locomotion

        if set(policies) - {""}:
            raise UserError(f"{task} records one policy: give --policy FILE")
        policy = policies.get("")
        return collect_locomotion(task, known.env_id, policy, count, seed, dataset_id, force=force, progress=progress)
    if family == "antmaze":
        from lapo_tf.data.collectors.antmaze import collect_antmaze

        if set(policies) - {""}:
            raise UserError(f"{task} is walked by one policy: give --policy FILE")
        size, walker = kind.removesuffix("-diverse"), policies[""]
        return collect_antmaze(size, walker, count, seed, dataset_id, force=force, progress=progress)
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


def _antmaze(size: str, paper: str) -> Task:
    name, env = f"antmaze-{size}-diverse", f"lapo/AntMaze{size.capitalize()}-v0"
    own = f"lapo/{name}-v0"
    return Task(name, env, 0.0, 1.0, f"D4RL/antmaze/{size}-diverse-v1", own, policy="required", paper=_paper(paper))


def _walker2d_mix(goal: str, low: float, high: float, paper: str) -> Task:
    name, env = f"walker2d-mix-{goal}", f"lapo/Walker2d{goal.capitalize()}-v0"
    return Task(name, env, low, high, collected_id=f"lapo/{name}-v0", policy="optional", paper=_paper(paper))


def _locomotion(walker: str, quality: str, paper: str) -> Task:
    """In gymnasium's newest environments, as Minari's data; D4RL's reference scores are from older ones."""
    env_id, low, high = LOCOMOTION[walker]
    name, random = f"{walker}-{quality}", quality == "random"
    minari_id = None if random else f"mujoco/{walker}/{quality}-v0"
    policy: PolicyUse = "none" if random else "required"
    scores = _paper(paper, LOCOMOTION_AGENTS)
    return Task(name, env_id, low, high, minari_id, f"lapo/{name}-v0", policy, paper=scores)


LOCOMOTION: dict[str, tuple[str, float, float]] = {
    "hopper": ("Hopper-v5", -20.272305, 3234.3),
    "walker2d": ("Walker2d-v5", 1.629008, 4592.3),
    "halfcheetah": ("HalfCheetah-v5", -280.178953, 12135.0),
}
"""Environment, and the returns of D4RL's scores 0 and 100."""
TABLE_AGENTS = ("bc", "bcq", "plas", "awac", "awac-gmm", "iql", "cql", "lapo")
LOCOMOTION_AGENTS = ("bc", "bcq", "plas", "awac", "iql", "cql", "lapo")


def _paper(scores: str, agents: Sequence[str] = TABLE_AGENTS) -> dict[str, float]:
    """Columns of the paper's Tables 2 and 3, left to right."""
    return dict(zip(agents, map(float, scores.split()), strict=True))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("toy-navigation", "lapo/ToyNavigation-v0", 0.0, 10.0, collected_id="lapo/toy-navigation-v0"),
        _maze("umaze", 23.85, 161.86, "0.99 18.91 80.12 94.53 19.45 51.00 22.86 118.86"),
        _maze("medium", 13.13, 277.39, "3.34 12.79 5.19 31.40 46.53 33.26 12.25 142.75"),
        _maze("large", 6.7, 273.99, "-1.14 27.17 45.80 43.85 9.04 64.30 7.00 200.56"),
        _antmaze("umaze", "60.00 62.00 7.00 72.00 0.00 69.33 16.71 91.33"),
        _antmaze("medium", "0.00 11.33 8.67 0.33 0.00 73.00 1.00 85.67"),
        _antmaze("large", "0.00 0.67 1.33 0.00 0.00 48.00 11.89 61.67"),
        _kitchen("complete", "4.50 9.08 38.08 3.83 1.08 66.67 4.67 53.17"),
        _kitchen("partial", "31.67 17.58 27.00 0.25 0.42 32.33 0.55 53.67"),
        _kitchen("mixed", "30.00 11.50 29.92 0.00 3.92 49.92 1.86 62.42"),
        _walker2d_mix("forward", 545.4125, 4311.2516, "-5.65 0.91 22.91 71.89 78.09 28.25 102.75 74.17"),
        _walker2d_mix("backward", 2002.7373, 4428.209, "-84.56 -1.37 -27.58 -7.95 71.33 -46.25 66.64 99.22"),
        _walker2d_mix("jump", 718.75006, 2277.9615, "-72.92 -41.43 0.56 51.08 28.01 -46.41 37.28 43.20"),
        _locomotion("hopper", "random", "2.23 7.80 6.68 8.01 7.89 8.33 23.46"),
        _locomotion("walker2d", "random", "1.11 4.87 9.17 0.42 5.41 -0.23 1.28"),
        _locomotion("halfcheetah", "random", "2.25 2.25 26.45 15.18 13.11 22.20 30.55"),
        _locomotion("hopper", "medium", "49.23 56.44 50.96 69.55 65.75 71.59 51.63"),
        _locomotion("walker2d", "medium", "47.11 73.72 76.47 84.02 77.89 82.10 80.75"),
        _locomotion("halfcheetah", "medium", "37.84 47.22 44.54 48.13 47.47 49.76 45.97"),
        _locomotion("hopper", "expert", "76.16 68.86 107.05 109.32 109.36 102.27 106.76"),
        _locomotion("walker2d", "expert", "79.22 110.51 109.56 110.46 109.93 108.76 112.27"),
        _locomotion("halfcheetah", "expert", "85.63 93.15 93.79 14.01 94.98 87.40 95.93"),
    )
}


def load_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none, with the nearest name.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
