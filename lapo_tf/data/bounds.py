"""Between which actions a policy may choose, where no environment says it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.spaces import Box
from minari.serialization import deserialize_space

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError

ENVIRONMENT = "those of the environment"
CONSTANT = 1e-3  # on either side of an action that never changes, by its size or 1


def action_bounds(dataset: OfflineDataset, space: Box | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Lower and upper bounds [act] of a data set's actions, float32, and where they are from, in words.

    They are those of the environment, else those of the action space that a Minari data set was written with, else the
    smallest and largest actions in the data: the first of these that bounds all of them.

    Args:
        space: the environment's.
    """
    recorded = deserialize_space(dataset.metadata["action_space"]) if "action_space" in dataset.metadata else None
    for known, whose in ((space, ENVIRONMENT), (recorded, "those of the data set's action space")):
        if isinstance(known, Box) and np.isfinite(known.low).all() and np.isfinite(known.high).all():
            return known.low.astype(np.float32), known.high.astype(np.float32), whose
    actions = dataset.actions[dataset.index]
    low, high = actions.min(axis=0), actions.max(axis=0)
    same = np.where(low == high, CONSTANT * np.maximum(np.abs(low), 1.0), 0.0).astype(np.float32)
    return low - same, high + same, "the smallest and largest actions in the data"


def box(low: Sequence[float], high: Sequence[float], size: int) -> Box:
    """An action space of bounds that are given once for all actions, or one by one.

    Raises:
        UserError: another number of them, or a lower one that is not below its upper one.
    """
    for name, given in (("low", low), ("high", high)):
        if len(given) not in (1, size):
            raise UserError(f"{name} has {len(given)} values: expected 1 or {size}")
    lower, upper = (np.full(size, given, np.float32) for given in (low, high))
    if (lower >= upper).any():
        raise UserError(f"low is {lower[np.argmax(lower >= upper)]:g}: not below its `high`; correct the bounds")
    return Box(lower, upper, dtype=np.float32)
