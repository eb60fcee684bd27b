"""The paper's toy navigation task: one step, one number (Table 1, Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapo_tf.data.collectors.base import Collected
from lapo_tf.tasks.task import Task


@dataclass(frozen=True)
class ToyTask(Task):
    """Two intervals of actions are rewarded, the better one rarely seen."""

    family = "toy"
    title = "Toy navigation"
    collecting = "the paper's one-step task, 1,000 steps by default."

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.toy import SAMPLES, collect_toy

        return collect_toy(SAMPLES if count is None else count, seed, dataset_id, force=force)


TASKS = (ToyTask("toy-navigation", "lapo/ToyNavigation-v0", 0.0, 10.0, collected_id="lapo/toy-navigation-v0"),)
