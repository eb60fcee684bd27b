"""Data in NumPy arrays, kept as a file in D4RL's layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike

from lapo_tf.errors import UserError


def write_arrays(
    path: Path,
    *,
    observations: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    terminals: ArrayLike,
    timeouts: ArrayLike | None = None,
    next_observations: ArrayLike | None = None,
) -> None:
    """Write S steps, episode after episode, as a data set that every command reads (`lapo_tf.data.readers`).

    Args:
        path: of the file; its folder is made.
        observations: [S, obs].
        actions: [S, act], continuous.
        rewards: [S].
        terminals: [S], 1 where the task ended with that step.
        timeouts: [S], 1 where the recording of an episode ended; default: nowhere but at the end.
        next_observations: [S, obs], where the observation after an episode's last step is known.

    Raises:
        UserError: no numbers, or whole numbers as actions. Wrong shapes are told when the file is read.
    """
    given = {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "terminals": terminals,
        "timeouts": timeouts,
        "next_observations": next_observations,
    }
    arrays = {name: np.asarray(values) for name, values in given.items() if values is not None}
    for name, values in arrays.items():
        if values.dtype.kind not in "biuf":
            raise UserError(f"{name} are of type {values.dtype}: expected numbers")
    kind = arrays["actions"]
    if kind.dtype.kind != "f" and kind.ndim == 1:
        raise UserError(
            f"actions are whole numbers {kind.shape}: expected continuous ones [steps, act]; agents here cannot choose "
            "among discrete actions"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            flags = name in ("terminals", "timeouts")
            file[name] = values.astype(bool) if flags and np.isin(values, (0, 1)).all() else values
