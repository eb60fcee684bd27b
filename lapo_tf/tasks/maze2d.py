"""D4RL's Maze2d, a ball pushed to a goal: the paper's Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.rewards import Relabel, reward_rule
from lapo_tf.tasks.names import Commanded, Names, Observed
from lapo_tf.tasks.task import Task, paper_scores


@dataclass(frozen=True)
class Maze2dTask(Task):
    """One of three mazes."""

    size: str = ""
    """`umaze`, `medium` or `large`."""

    family = "maze2d"
    title = "Maze2d"
    collecting = "D4RL's way-point controller, re-run; by default D4RL's number of steps: 1, 2 and 4 million."

    @property
    def maze(self) -> Any:
        from lapo_tf.envs.maze2d import plan_of  # loads MuJoCo

        return plan_of(self.size)

    @property
    def relabel(self) -> Relabel:
        return reward_rule({"rule": "maze", "maze": self.size}, "maze: ")

    def names(self, env: gym.Env) -> Names:
        return Names(
            [Observed(f"{j}/position", "m") for j in "xy"] + [Observed(f"{j}/velocity", "m/s") for j in "xy"],
            [Commanded(j, "effort", "N", 100.0) for j in "xy"],
            100.0,
        )

    def channel_names(self) -> tuple[list[str], list[str]]:
        return ["x", "y", "x velocity", "y velocity"], ["x force", "y force"]

    def success_numbers(self, returns: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`success/goal`: the share of episodes that were near the goal at least once."""
        return {"success/goal": float((returns > 0).mean())}

    def describe(self, numbers: Mapping[str, float]) -> list[str]:
        return [f"goal         reached in {100 * numbers['success/goal']:.0f} % of the episodes"]

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.maze2d import collect_maze2d  # loads MuJoCo

        return collect_maze2d(self.size, count, seed, dataset_id, force=force, progress=progress)


def _maze(size: str, low: float, high: float, paper: str) -> Maze2dTask:
    name = f"maze2d-{size}"
    return Maze2dTask(
        name,
        f"lapo/Maze2d{size.capitalize()}-v0",
        low,
        high,
        collected_id=f"lapo/{name}-v0",
        paper=paper_scores(paper),
        size=size,
    )


TASKS = (
    _maze("umaze", 23.85, 161.86, "0.99 18.91 80.12 94.53 19.45 51.00 22.86 118.86"),
    _maze("medium", 13.13, 277.39, "3.34 12.79 5.19 31.40 46.53 33.26 12.25 142.75"),
    _maze("large", 6.7, 273.99, "-1.14 27.17 45.80 43.85 9.04 64.30 7.00 200.56"),
)
