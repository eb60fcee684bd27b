"""D4RL's kitchen (Franka arm): the paper's Table 2."""

from __future__ import annotations

from collections import Counter
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

PANDA_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
PANDA_FINGERS = ("panda_finger_joint1", "panda_finger_joint2")

# The joints of gymnasium-robotics' kitchen in the order of its qpos, after the robot's nine.
_OBJECTS = (
    ("knob_Joint_1", "rad"),
    ("bottom_right_burner", "m"),
    ("knob_Joint_2", "rad"),
    ("bottom_left_burner", "m"),
    ("knob_Joint_3", "rad"),
    ("top_right_burner", "m"),
    ("knob_Joint_4", "rad"),
    ("top_left_burner", "m"),
    ("light_switch", "rad"),
    ("light_joint", "m"),
    ("slide_cabinet", "m"),
    ("left_hinge_cabinet", "rad"),
    ("right_hinge_cabinet", "rad"),
    ("microwave", "rad"),
    *((f"kettle_{axis}", "m") for axis in "xyz"),
    *((f"kettle_q{axis}", "") for axis in "wxyz"),
)


@dataclass(frozen=True)
class KitchenTask(Task):
    """Some of the kitchen's seven elements to bring to their goals."""

    kind: str = ""
    """`complete`, `partial` or `mixed`."""

    family = "kitchen"
    title = "Kitchen"
    collected_by = "episodes"
    collecting = (
        "a scripted demonstrator does four of the kitchen's seven elements in each episode, on all cores. The three "
        "tasks differ in goal and rewards only: once collected, the other two take seconds. An interrupted collection "
        "goes on where it was."
    )
    positions_first = True

    @property
    def elements(self) -> tuple[str, ...]:
        """What the task asks for."""
        return tuple(gym.spec(str(self.env_id)).kwargs["tasks_to_complete"])

    @property
    def relabel(self) -> Relabel:
        return reward_rule({"rule": "kitchen", "elements": self.elements}, "kitchen: ")

    def names(self, env: gym.Env) -> Names:
        """D4RL's 60 numbers: robot 9, objects 21, goal 30. Actions: joint velocities in units of 2 rad/s (or m/s)."""
        from lapo_tf.envs.kitchen import MAX_SPEED  # loads MuJoCo

        kitchen: Any = env.unwrapped
        joints = [(name, "rad") for name in PANDA_JOINTS] + [(name, "m") for name in PANDA_FINGERS]
        measured = [*joints, *_OBJECTS]
        goals = np.asarray(kitchen.goal, np.float32)
        observations = [Observed(f"{name}/position", unit) for name, unit in measured]
        observations += [
            Observed(f"goal/{name}", unit, float(goal)) for (name, unit), goal in zip(measured, goals, strict=True)
        ]
        actions = [Commanded(name, "velocity", f"{unit}/s", MAX_SPEED) for name, unit in joints]
        return Names(observations, actions, round(1.0 / kitchen.dt, 6))

    def channel_names(self) -> tuple[list[str], list[str]]:
        from lapo_tf.envs.kitchen import ELEMENT_INDICES  # loads MuJoCo

        joints = [f"arm {i + 1}" for i in range(7)] + ["finger 1", "finger 2"]
        objects = {
            i: name if len(at) == 1 else f"{name} {k + 1}"
            for name, at in ELEMENT_INDICES.items()
            for k, i in enumerate(at)
        }
        state = joints + [objects.get(i, f"knob {i}") for i in range(9, 30)]
        return state + [f"goal: {name}" for name in state], joints

    def success_in_data(self, best: np.ndarray) -> tuple[np.ndarray, str]:
        return best >= self.score_max, f"all {self.score_max:.0f} elements at their goal at once"

    def success_numbers(self, returns: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`elements/<k>_done`, the share of episodes that completed exactly k elements, and `success/<element>`."""
        done, n = [info["episode_task_completions"] for info in infos], len(returns)
        count = Counter(map(len, done))
        shares = {f"elements/{k}_done": count[k] / n for k in range(len(self.elements) + 1)}
        return shares | {f"success/{name}": sum(name in names for names in done) / n for name in self.elements}

    def describe(self, numbers: Mapping[str, float]) -> list[str]:
        percent = lambda name: f"{100 * numbers[name]:.0f} %"  # noqa: E731
        counts = reversed(range(len(self.elements) + 1))
        shares = ", ".join(f"{k} in {percent(f'elements/{k}_done')}" for k in counts)
        return [
            f"completed    {shares} of the episodes",
            "elements     " + ", ".join(f"{name} {percent(f'success/{name}')}" for name in self.elements),
        ]

    def progress(self, info: Mapping[str, Any], total: float) -> str:
        return "done: " + (", ".join(info["episode_task_completions"]) or "nothing yet")

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        from lapo_tf.data.collectors.kitchen import collect_kitchen  # loads MuJoCo

        return collect_kitchen(self.kind, count, seed, dataset_id, force=force, progress=progress)


def _kitchen(kind: str, paper: str) -> KitchenTask:
    name = f"kitchen-{kind}"
    return KitchenTask(
        name,
        f"lapo/Kitchen{kind.capitalize()}-v0",
        0.0,
        4.0,
        minari_id=f"D4RL/kitchen/{kind}-v2",
        collected_id=f"lapo/{name}-v0",
        paper=paper_scores(paper),
        kind=kind,
    )


TASKS = (
    _kitchen("complete", "4.50 9.08 38.08 3.83 1.08 66.67 4.67 53.17"),
    _kitchen("partial", "31.67 17.58 27.00 0.25 0.42 32.33 0.55 53.67"),
    _kitchen("mixed", "30.00 11.50 29.92 0.00 3.92 49.92 1.86 62.42"),
)
