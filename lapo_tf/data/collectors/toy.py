"""The data of the paper's toy navigation task."""

from __future__ import annotations

import time

import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.dataset import Episode
from lapo_tf.data.store import write_dataset
from lapo_tf.envs.toy import ACTION_BOUND, toy_reward

SAMPLES = 1000  # by default, the paper's number
TOY_RIGHT = 0.06  # share of the high-reward mode
TOY_STD = 0.15  # standard deviation within a mode


def toy_dataset(samples: int = SAMPLES, seed: int = 0, right: float = TOY_RIGHT) -> tuple[np.ndarray, np.ndarray]:
    """Actions [samples, 1] and rewards [samples] of the toy task, float32.

    The share `right` of them is near +1 (reward 10), the rest near -1 (reward 1).

    The paper gives no proportions. By its Table 1, the weight exp(A / lambda) lifts the better mode to 36 or 38 %:
    LAPO's decoder and AWAC's mixture earn 4.24 and 4.39, where nothing falls between the modes. 6 % and lambda = 0.4
    (rewards divided by 10) give that; so do 1 % and 0.22, but of ten samples the critics learn too little of where the
    interval ends, and LAPO's latent policy missed it in three seeds of five. PLAS' 1.03 says nothing of the share: its
    VAE ignores the latent and decodes the mean of the data, with 1 % as with 6 %. The standard deviation of 0.15 keeps
    (almost) every sample inside its rewarded interval.
    """
    rng = np.random.default_rng(seed)
    better = rng.permutation(samples) < round(right * samples)  # exactly this many, whatever the seed
    actions = np.where(better, 1.0, -1.0) + TOY_STD * rng.standard_normal(samples)
    actions = np.clip(actions, -ACTION_BOUND, ACTION_BOUND).astype(np.float32)
    return actions[:, None], toy_reward(actions).astype(np.float32)


def collect_toy(
    samples: int = SAMPLES,
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
