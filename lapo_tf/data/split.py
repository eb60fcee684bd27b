"""Episodes that training does not see, to judge policies by where there is no simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError

SEED = 0  # one for all runs: those of several training seeds are judged on the same episodes
FEWEST = 5  # episodes of a data set that can be split


def held_out_episodes(dataset: OfflineDataset, share: float) -> list[int]:
    """Numbers of the episodes to hold out, ascending: always the same for the same number of episodes and share.

    Args:
        share: of the episodes; at least one is held out, and one is left.

    Raises:
        UserError: too few episodes.
    """
    count = len(dataset.episodes)
    if count < FEWEST:
        raise UserError(
            f"{dataset.summary.id} has {count} episodes: expected at least {FEWEST}, for some are held out to judge "
            "the policy by; record more, cut long ones (max_episode_steps), or give an environment with --env"
        )
    held = min(max(round(share * count), 1), count - 1)
    return sorted(np.random.default_rng(SEED).permutation(count)[:held].tolist())


def split(dataset: OfflineDataset, held_out: Sequence[int]) -> tuple[OfflineDataset, OfflineDataset]:
    """The data without the episodes `held_out`, and these alone. Both share the arrays and the summary; either may be
    empty."""
    out = np.zeros(len(dataset.episodes), bool)
    out[list(held_out)] = True
    return _of(dataset, ~out), _of(dataset, out)


def _of(dataset: OfflineDataset, episodes: np.ndarray) -> OfflineDataset:
    spans = dataset.episodes[episodes]
    rows = [np.arange(first, first + length, dtype=np.int32) for first, length in spans]
    index = np.concatenate([np.zeros(0, np.int32), *rows])
    return replace(dataset, index=index, episodes=spans)
