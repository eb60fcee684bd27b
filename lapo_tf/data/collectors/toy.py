"""The data of the paper's toy navigation task."""

from __future__ import annotations

import time

import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.dataset import Episode
from lapo_tf.data.store import write_dataset
from lapo_tf.envs.toy import ACTION_BOUND, toy_reward

TOY_RIGHT = 0.01  # share of the high-reward mode
TOY_STD = 0.15  # standard deviation within a mode


def toy_dataset(samples: int = 1000, seed: int = 0, right: float = TOY_RIGHT) -> tuple[np.ndarray, np.ndarray]:
    """Actions [samples, 1] and rewards [samples] of the toy task, float32.

    The share `right` of them is near +1 (reward 10), the rest near -1 (reward 1).

    The paper gives no proportions, but its Table 1 has them: PLAS' VAE, which models the data as they are, earns 1.03,
    so the better mode has a share of a percent at most (1 % would earn 1.09, 6 % already 1.54). LAPO's decoder and
    AWAC's mixture earn 4.24 and 4.39, that is 36 and 38 % right where nothing falls between the modes: the weight
    exp(A / lambda) lifts 1 % to that where lambda = 0.22 (rewards divided by 10). The standard deviation of 0.15 keeps
    (almost) every sample inside its rewarded interval.
    """
    rng = np.random.default_rng(seed)
    better = rng.permutation(samples) < round(right * samples)  # exactly this many, whatever the seed
    actions = np.where(better, 1.0, -1.0) + TOY_STD * rng.standard_normal(samples)
    actions = np.clip(actions, -ACTION_BOUND, ACTION_BOUND).astype(np.float32)
    return actions[:, None], toy_reward(actions).astype(np.float32)


def collect_toy(
    samples: int = 1000,
    seed: int = 0,
    dataset_id: str = "lapo/toy-navigation-v0",
    *,
    right: float = TOY_RIGHT,
    force: bool = False,
) -> Collected:
    """Write `toy_dataset` as a local Minari data set of one-step episodes."""
    check(dataset_id, samples, "--steps", force)
    started = time.perf_counter()
    actions, rewards = toy_dataset(samples, seed, right)
    observations = np.zeros((2, 1), np.float32)
    written = write_dataset(
        dataset_id,
        (Episode(observations, actions[i : i + 1], rewards[i : i + 1], True) for i in range(samples)),
        action_space=Box(-ACTION_BOUND, ACTION_BOUND, (1,), np.float32),
        env_id="lapo/ToyNavigation-v0",
        algorithm="bimodal sampler",
        description=f"{samples} actions of the LAPO paper's toy navigation task (Table 1), seed {seed}; by lapo_tf.",
    )
    return Collected(dataset_id, written.steps, written.episodes, time.perf_counter() - started)
