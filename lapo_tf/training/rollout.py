"""Roll a policy out in the simulator."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from lapo_tf import runtime

Policy = Callable[[np.ndarray], np.ndarray]
"""Raw observations float32 [B, obs] -> raw actions [B, act]."""


@dataclass(frozen=True)
class Episodes:
    """What happened in `n` evaluation episodes; arrays of length n."""

    returns: np.ndarray
    """Undiscounted returns, float64."""
    lengths: np.ndarray
    """Steps, int64."""
    infos: list[dict[str, Any]] = field(default_factory=list)
    """What the environment said with each episode's last step."""


class Evaluator:
    """Runs episodes side by side: one batched policy call per step, simulators stepped in threads.

    MuJoCo releases Python's interpreter lock while it simulates, so threads use all cores without the cost of
    processes. Episode i depends only on `seed + i`, not on how many run at once.
    """

    def __init__(self, make_env: Callable[[], gym.Env], episodes: int, parallel: int | None = None) -> None:
        self.episodes = episodes
        self.envs = [make_env() for _ in range(min(episodes, parallel or 10))]
        self._pool = ThreadPoolExecutor(runtime.cores())

    def run(
        self,
        policy: Policy,
        seed: int,
        *,
        on_step: Callable[[int, np.ndarray], None] | None = None,
        on_end: Callable[[int], None] | None = None,
    ) -> Episodes:
        """`episodes` episodes from seeds `seed`, `seed + 1`, …

        `on_step(episode, observation)` is called before every step, `on_end(episode)` after an episode's last one.
        """
        returns, lengths = np.zeros(self.episodes), np.zeros(self.episodes, np.int64)
        infos: list[dict[str, Any]] = [{} for _ in range(self.episodes)]
        waiting = iter(range(self.episodes))
        episode = [-1] * len(self.envs)  # -1 where none is left to run
        observations = np.zeros((len(self.envs), *_shape(self.envs[0].observation_space)), np.float32)

        def start(slot: int) -> None:
            episode[slot] = next(waiting, -1)
            if episode[slot] >= 0:
                observations[slot] = self.envs[slot].reset(seed=seed + episode[slot])[0]

        def step(slot: int, action: np.ndarray) -> bool:
            observation, reward, terminated, truncated, infos[episode[slot]] = self.envs[slot].step(action)
            observations[slot] = observation
            returns[episode[slot]] += float(reward)
            lengths[episode[slot]] += 1
            return terminated or truncated

        for slot in range(len(self.envs)):
            start(slot)
        while running := [slot for slot, number in enumerate(episode) if number >= 0]:
            if on_step:
                for slot in running:
                    on_step(episode[slot], observations[slot].copy())
            actions = policy(observations)
            done = self._pool.map(step, running, actions[running])
            for slot, finished in zip(running, done, strict=True):
                if finished:
                    if on_end:
                        on_end(episode[slot])
                    start(slot)
        return Episodes(returns, lengths, infos)

    def close(self) -> None:
        """Close the environments."""
        self._pool.shutdown()
        for env in self.envs:
            env.close()


def repeatable(env: gym.Env) -> bool:
    """Whether the seed of `reset` decides how an episode begins, as gymnasium asks of environments."""
    return np.array_equal(env.reset(seed=0)[0], env.reset(seed=0)[0])


def _shape(space: gym.Space) -> tuple[int, ...]:
    assert space.shape is not None
    return space.shape
