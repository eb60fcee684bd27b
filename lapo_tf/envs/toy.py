"""The paper's toy navigation task (Table 1, Figure 2): one action, left of an obstacle, right of it, or into it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ACTION_BOUND = 2.0


def toy_reward(actions: np.ndarray) -> np.ndarray:
    """Reward [...] of actions [...]: +1 to the left, in [-1.5, -0.5]; +10 to the right, in [0.5, 1.5]; else 0."""
    left = (actions >= -1.5) & (actions <= -0.5)
    right = (actions >= 0.5) & (actions <= 1.5)
    return 1.0 * left + 10.0 * right


class ToyNavigationEnv(gym.Env[np.ndarray, np.ndarray]):
    """One step: observation [1] always 0, action [1] in [-2, 2], reward `toy_reward`; then the episode terminates."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-ACTION_BOUND, ACTION_BOUND, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        action = np.clip(action, -ACTION_BOUND, ACTION_BOUND)
        return np.zeros(1, np.float32), float(toy_reward(action)[0]), True, False, {}
