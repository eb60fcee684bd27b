"""Means and intervals of few runs: Student's t, bootstrap, and rliable's aggregates over tasks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from lapo_tf.errors import UserError


def interval(values: np.ndarray, level: float = 0.95) -> float:
    """Half the width of Student's t interval of the mean of `values` [n]; nan for n < 2."""
    from scipy import stats

    n = len(values)
    return float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of values [n] and [n], ties ranked by their mean; nan where one's are all alike."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2.0)[which]

    first, second = ranks(np.asarray(a)), ranks(np.asarray(b))
    if not (np.ptp(first) and np.ptp(second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def bootstrap_band(values: np.ndarray, level: float = 0.95, draws: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap of the mean over seeds: bounds [E] for values [seeds, E]."""
    drawn = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def aggregates(
    scores: Mapping[str, np.ndarray], which: Literal["iqm", "mean"]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Interquartile mean or mean of scores [seeds, tasks] by agent, and its 95 % interval (Agarwal et al., 2021).

    The interval is a bootstrap stratified by task; of few seeds it is too narrow.
    """
    library, metrics = _rliable()
    aggregate = {"iqm": metrics.aggregate_iqm, "mean": metrics.aggregate_mean}[which]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the bootstrap's own `random_state`, which rliable passes on
        means, intervals = library.get_interval_estimates(
            scores, lambda x: np.array([aggregate(x)]), reps=2000, random_state=np.random.RandomState(0)
        )
    bounds = {label: (float(low), float(high)) for label, ((low,), (high,)) in intervals.items()}
    return {label: float(mean[0]) for label, mean in means.items()}, bounds


def performance_profiles(scores: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Scores [G]; by agent, the share of its runs above each [G]; and bootstrap bounds of that share, two of [G]."""
    library, _ = _rliable()
    low, high = min(s.min() for s in scores.values()), max(s.max() for s in scores.values())
    grid = np.linspace(min(low, 0.0), high + 0.05, 81)
    profiles, bands = library.create_performance_profile(scores, grid, reps=1000)
    return grid, profiles, bands


def _rliable() -> tuple[Any, Any]:
    """Its modules `library` and `metrics`."""
    try:
        from rliable import library, metrics
    except ImportError as error:
        raise UserError(f"a report needs rliable ({error}): pip install 'lapo-tf[sweep]'") from None
    return library, metrics
