"""Where training episodes began, as a bundle says it."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from robot_bridge.robot.description import StartEntry

STARTS = (0.05, 0.5, 0.95)  # quantiles of where episodes began


def start_entries(
    first: np.ndarray, names: Sequence[str], units: Sequence[str], joints: Container[str | None]
) -> tuple[StartEntry, ...]:
    """Of all `joints` whose positions are observed.

    The pose is that of one episode, the one nearest to the medians: medians of several ways to begin may be none.

    Args:
        first: the episodes' first observations, [E, obs].
        names, units: of the observations.
        joints: that are commanded, or named by messages.
    """
    split = [name.rpartition("/") for name in names]
    chosen = [i for i, (joint, _, quantity) in enumerate(split) if joint in joints and quantity == "position"]
    if not chosen:
        return ()
    first = first[:, chosen].astype(np.float64)
    low, middle, high = np.quantile(first, STARTS, axis=0)
    pose = first[np.argmin(np.max(np.abs(first - middle) / np.maximum(high - low, 1e-6), axis=1))]
    low, high = np.minimum(low, pose), np.maximum(high, pose)
    return tuple(
        StartEntry(split[i][0], units[i], float(pose[k]), float(low[k]), float(high[k])) for k, i in enumerate(chosen)
    )
