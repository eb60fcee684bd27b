"""An arm of one's own, as a user's module has it: `own_arm:OwnArm-v0`, and data of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lapo_tf.data.arrays import write_arrays

STEPS = 8


class OwnArm(gym.Env):
    """Observation [4], action [2] in [-1, 1]; the nearer the action is to the first two numbers, the better."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observe(self) -> np.ndarray:
        self.state = self.np_random.uniform(-1, 1, 4)
        return self.state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = 1.0 - float(np.abs(action - self.state[:2]).mean())
        return self._observe(), reward, False, False, {"reached": reward > 0.5}


class DeafArm(OwnArm):
    """It takes an option, and ignores the seed of `reset`, as environments of other people do."""

    def __init__(self, reach: float) -> None:
        self.reach = reach

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return super().reset()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, _, _, _ = super().step(action)
        return observation, reward, False, False, {"reached": float(reward > self.reach)}


class Seeded(gym.Wrapper):
    """What its user puts around it."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self.unwrapped.np_random = np.random.default_rng(seed)
        return super().reset()


gym.register("OwnArm-v0", OwnArm, max_episode_steps=STEPS)
gym.register("DeafArm-v0", DeafArm)


def arrays(episodes: int = 30, seed: int = 0) -> dict[str, np.ndarray]:
    """Episodes that come near the right action, some nearer than others."""
    rng = np.random.default_rng(seed)
    steps = episodes * STEPS
    observations = rng.uniform(-1, 1, (steps, 4))
    noise = np.repeat(rng.uniform(0.05, 0.8, episodes), STEPS)[:, None]
    actions = np.clip(observations[:, :2] + noise * rng.normal(size=(steps, 2)), -1, 1)
    ends = np.arange(steps) % STEPS == STEPS - 1
    rewards = 1.0 - np.abs(actions - observations[:, :2]).mean(axis=1)
    return {
        "observations": observations.astype(np.float32),
        "actions": actions.astype(np.float32),
        "rewards": rewards.astype(np.float32),
        "terminals": np.zeros(steps, bool),
        "timeouts": ends,
    }


def write(path: Path, **change: np.ndarray) -> Path:
    """The data as a file in D4RL's layout."""
    write_arrays(path, **(arrays() | change))  # type: ignore[arg-type]
    return path
