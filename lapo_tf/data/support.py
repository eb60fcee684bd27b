"""How far actions are from what a data set's episodes did at similar moments.

moments = similar_moments(data, rows, 30)
distance = action_distance(data, moments, actions)
"""

from __future__ import annotations

import numpy as np

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import require

_BLOCK = 256  # moments compared with all others at a time


def similar_moments(data: OfflineDataset, moments: np.ndarray, count: int) -> np.ndarray:
    """The moments of other episodes whose observations are nearest.

    Distances are Euclidean, of observations divided by their standard deviations; those that never change do not count.

    Args:
        data: two episodes or more.
        moments: numbers [n] of transitions in it, from 0.
        count: how many to find for each.

    Returns:
        Numbers of transitions, int64 [n, count], in no order.

    Raises:
        UserError: the data set has fewer moments in other episodes.
    """
    moments = np.asarray(moments)
    episode = np.repeat(np.arange(len(data.episodes)), data.episodes[:, 1])
    fewest = len(data) - int(data.episodes[:, 1].max())
    require(1 <= count <= fewest, "count", count, f"1 to {fewest}, the moments of all episodes but the longest")
    observations = _standardised(data.observations[data.index])
    squares = np.sum(observations**2, axis=1)
    found = []
    for first in range(0, len(moments), _BLOCK):
        some = moments[first : first + _BLOCK]
        distance = squares - 2.0 * observations[some] @ observations.T  # but for a constant of each row
        distance[episode[some][:, None] == episode] = np.inf
        found.append(np.argpartition(distance, count - 1, axis=1)[:, :count])
    return np.concatenate(found)


def action_distance(data: OfflineDataset, moments: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Distance [n] from actions [n, act] to the nearest of those taken at `moments` [n, count].

    The root of the mean square over the action's dimensions, in standard deviations of the data's actions.
    """
    taken = data.actions[data.index]
    unit = _unit(taken)
    differences = (taken[moments] - np.asarray(actions)[:, None]) / unit
    return np.sqrt(np.mean(differences**2, axis=-1)).min(axis=1)


def _unit(values: np.ndarray) -> np.ndarray:
    std = values.std(axis=0, dtype=np.float64)
    return np.where(std < 1e-6, 1.0, std).astype(np.float32)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / _unit(values)
