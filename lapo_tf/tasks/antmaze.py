"""D4RL's AntMaze with "diverse" data, an ant walking to a goal: the paper's Table 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.dataset import Episode
from lapo_tf.data.rewards import Relabel, reward_rule
from lapo_tf.tasks.task import Task, paper_scores, single_policy


@dataclass(frozen=True)
class AntMazeTask(Task):
    """One of three mazes."""

    size: str = ""
    """`umaze`, `medium` or `large`."""

    family = "antmaze"
    title = "AntMaze"
    collecting = (
        "an ant led through the maze by way-points; its walking is a goal-reaching policy of yours, --policy FILE (an "
        ".npz with fc0, fc1, last_fc and last_fc_log_std)."
    )

    @property
    def relabel(self) -> Relabel:
        def relabel(episode: Episode) -> Episode:
            from lapo_tf.envs.antmaze import GOAL_RADIUS, goal_of  # loads MuJoCo

            rule = {"rule": "distance", "field": "observation[0:2]", "goal": goal_of(self.size).tolist(), "ends": True}
            return reward_rule(rule | {"threshold": GOAL_RADIUS}, f"antmaze-{self.size}: ")(episode)

        return relabel

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.antmaze import collect_antmaze  # loads MuJoCo

        walker = single_policy(policies, f"{self.name} is walked by one policy")
        assert walker is not None  # `policy` is "required"
        return collect_antmaze(self.size, walker, count, seed, dataset_id, force=force, progress=progress)


def _antmaze(size: str, paper: str) -> AntMazeTask:
    name = f"antmaze-{size}-diverse"
    return AntMazeTask(
        name,
        f"lapo/AntMaze{size.capitalize()}-v0",
        0.0,
        1.0,
        minari_id=f"D4RL/antmaze/{size}-diverse-v1",
        collected_id=f"lapo/{name}-v0",
        policy="required",
        paper=paper_scores(paper),
        size=size,
    )


TASKS = (
    _antmaze("umaze", "60.00 62.00 7.00 72.00 0.00 69.33 16.71 91.33"),
    _antmaze("medium", "0.00 11.33 8.67 0.33 0.00 73.00 1.00 85.67"),
    _antmaze("large", "0.00 0.67 1.33 0.00 0.00 48.00 11.89 61.67"),
)
