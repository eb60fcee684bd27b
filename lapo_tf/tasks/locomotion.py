"""gymnasium's walkers on data of single policies: the paper's Table 3.

The environments are gymnasium's newest, as those of Minari's data; D4RL's reference scores are from older ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapo_tf.data.collectors.base import Collected
from lapo_tf.tasks.task import PolicyUse, Task, paper_scores, single_policy

AGENTS = ("bc", "bcq", "plas", "awac", "iql", "cql", "lapo")
"""Columns of Table 3."""
WALKERS: dict[str, tuple[str, float, float]] = {
    "hopper": ("Hopper-v5", -20.272305, 3234.3),
    "walker2d": ("Walker2d-v5", 1.629008, 4592.3),
    "halfcheetah": ("HalfCheetah-v5", -280.178953, 12135.0),
}
"""Environment, and the returns of D4RL's scores 0 and 100."""


@dataclass(frozen=True)
class LocomotionTask(Task):
    """A walker with data of one quality: random, medium or expert."""

    family = "locomotion"
    title = "Locomotion"
    collecting = (
        "uniform random actions for -random; for -medium and -expert, runs of a trained policy of yours, --policy FILE."
    )

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.locomotion import collect_locomotion  # loads MuJoCo

        policy = single_policy(policies, f"{self.name} records one policy")
        return collect_locomotion(
            self.name, str(self.env_id), policy, count, seed, dataset_id, force=force, progress=progress
        )


def _locomotion(walker: str, quality: str, paper: str) -> LocomotionTask:
    env_id, low, high = WALKERS[walker]
    name, random = f"{walker}-{quality}", quality == "random"
    policy: PolicyUse = "none" if random else "required"
    return LocomotionTask(
        name,
        env_id,
        low,
        high,
        minari_id=None if random else f"mujoco/{walker}/{quality}-v0",
        collected_id=f"lapo/{name}-v0",
        policy=policy,
        paper=paper_scores(paper, AGENTS),
    )


TASKS = (
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
