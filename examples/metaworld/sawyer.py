"""Metaworld's arm as a task of one's own: what its numbers are called, and episodes that can be had twice."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lapo_tf.tasks import Task
from lapo_tf.tasks.names import Commanded, Names, Observed

FRAME = [f"hand_{axis}" for axis in "xyz"] + ["gripper"] + [f"object_{axis}" for axis in "xyz"]
FRAME += [f"object_q{i}" for i in range(4)]
UNUSED = 7  # zeros where tasks of two objects have the second one


class Seeded(gym.Wrapper):
    """The seed of `reset` decides where things are. Metaworld itself ignores it."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.unwrapped.seed(seed)
        return self.env.reset(seed=seed, options=options)


class Sparse(Seeded):
    """The reward is success, 0 or 1."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(info["success"]), terminated, truncated, info


class SawyerTask(Task):
    """A task of Metaworld: it observes this moment, the one before and the goal; an action moves the hand's set-point.

    Such steps (of 1 cm at most) are no quantity of a joint, so they go as efforts do: as they are, without limits.
    """

    family = "sawyer"
    title = "Metaworld"

    def names(self, env: gym.Env) -> Names:
        def frame(prefix: str) -> list[Observed]:
            known = [Observed(f"{prefix}{name}/position", "m" if name[-1] in "xyz" else "") for name in FRAME]
            return known + [Observed(f"{prefix}unused_{i}/position", "", 0.0) for i in range(UNUSED)]

        goal = [Observed(f"goal_{axis}/position", "m") for axis in "xyz"]
        actions = [Commanded(f"{name}_step", "effort", "") for name in ("hand_x", "hand_y", "hand_z", "fingers")]
        return Names(frame("") + frame("previous_") + goal, actions, 1.0 / env.unwrapped.dt)  # type: ignore[attr-defined]
