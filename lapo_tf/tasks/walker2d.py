"""Walker2d on data of policies for three goals: the paper's mixed-task experiments (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.dataset import Episode
from lapo_tf.data.rewards import Relabel
from lapo_tf.tasks.task import Task, paper_scores


@dataclass(frozen=True)
class Walker2dTask(Task):
    """One of three goals."""

    goal: str = ""
    """`forward`, `backward` or `jump`."""

    family = "walker2d"
    title = "Walker2d, mixed tasks"
    options = "locomotion"
    collecting = (
        "runs of three policies, each in its own environment, relabelled for the named task. Policies come along; "
        "yours go in their place by --policy forward=FILE, backward=FILE, jump=FILE."
    )

    @property
    def relabel(self) -> Relabel:
        def relabel(episode: Episode) -> Episode:
            from lapo_tf.data.collectors.locomotion import relabel_walker2d  # loads MuJoCo

            return relabel_walker2d(self.goal)(episode)

        return relabel

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.locomotion import collect_walker2d  # loads MuJoCo

        return collect_walker2d(self.goal, policies, count, seed, dataset_id, force=force, progress=progress)


def _walker2d(goal: str, low: float, high: float, paper: str) -> Walker2dTask:
    name = f"walker2d-mix-{goal}"
    return Walker2dTask(
        name,
        f"lapo/Walker2d{goal.capitalize()}-v0",
        low,
        high,
        collected_id=f"lapo/{name}-v0",
        policy="optional",
        paper=paper_scores(paper),
        goal=goal,
    )


TASKS = (
    _walker2d("forward", 545.4125, 4311.2516, "-5.65 0.91 22.91 71.89 78.09 28.25 102.75 74.17"),
    _walker2d("backward", 2002.7373, 4428.209, "-84.56 -1.37 -27.58 -7.95 71.33 -46.25 66.64 99.22"),
    _walker2d("jump", 718.75006, 2277.9615, "-72.92 -41.43 0.56 51.08 28.01 -46.41 37.28 43.20"),
)
