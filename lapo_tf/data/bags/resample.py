"""Recorded samples at irregular times -> values on the grid of control steps.

Times are int64 nanoseconds. Every function returns the values [K, n] and which of them can be trusted [K].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapo_tf.data.bags.layout import Resample

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Samples:
    """What one topic said of one field: stamps [S] in strictly rising order, values [S, n]."""

    stamps: Times
    values: NDArray[np.float64]


def resample(
    samples: Samples, times: Times, how: Resample, max_age: float | None, default: tuple[float, ...] | None = None
) -> tuple[NDArray[np.float64], Flags]:
    """Values at `times`.

    Args:
        how: `hold` the last value, or interpolate `linear`ly or by `slerp` between two.
        max_age: seconds; a value is trusted if the sample held, or both samples interpolated, are at most this far
            away; `None`: whatever the distance.
        default: value before the first sample.
    """
    stamps, values = samples.stamps, samples.values
    limit = np.iinfo(np.int64).max if max_age is None else round(max_age * 1e9)
    if not len(stamps):
        empty = np.zeros((len(times), values.shape[1])) if default is None else np.tile(default, (len(times), 1))
        return empty, np.full(len(times), default is not None)
    before = np.searchsorted(stamps, times, side="right") - 1
    early = before < 0
    before = np.maximum(before, 0)
    if how == "hold":
        out, fresh = values[before], times - stamps[before] <= limit
    else:
        exact = stamps[before] == times
        late = before == len(stamps) - 1
        after = np.minimum(before + 1, len(stamps) - 1)
        span = np.maximum(stamps[after] - stamps[before], 1)
        share = np.where(exact, 0.0, (times - stamps[before]) / span)[:, None]
        mix = _slerp if how == "slerp" else _lerp
        out = mix(values[before], values[after], share)
        near = (times - stamps[before] <= limit) & (stamps[after] - times <= limit)
        fresh = exact | (near & ~late)
    if default is not None:
        out = np.where(early[:, None], np.asarray(default), out)
        return out, fresh | early
    return out, fresh & ~early


def mean_over(samples: Samples, times: Times, max_age: float | None) -> tuple[NDArray[np.float64], Flags]:
    """Means over (times[k], times[k + 1]], [K - 1, n]; where an interval has no sample, the value held at its end."""
    held, fresh = resample(samples, times[1:], "hold", max_age)
    edges = np.searchsorted(samples.stamps, times, side="right")
    sums = np.concatenate([np.zeros((1, samples.values.shape[1])), np.cumsum(samples.values, axis=0)])
    counts = np.diff(edges)[:, None]
    means = np.diff(sums[edges], axis=0) / np.maximum(counts, 1)
    return np.where(counts > 0, means, held), fresh


def grid(first: int, last: int, rate: float) -> Times:
    """Control steps from `first` to at most `last`, without accumulated rounding."""
    count = max(int((last - first) * rate / 1e9 + 1e-6) + 1, 0)
    return first + np.round(np.arange(count) * (1e9 / rate)).astype(np.int64)


def runs(usable: Flags) -> list[tuple[int, int]]:
    """Ranges [a, b) of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _lerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + share * (b - a)


def _slerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Between unit quaternions, the short way round."""
    a, b = (q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12) for q in (a, b))
    cosine = (a * b).sum(axis=1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.abs(cosine)
    angle = np.arccos(np.minimum(cosine, 1.0))
    sine = np.sin(angle)
    close = sine < 1e-6
    safe = np.where(close, 1.0, sine)
    mixed = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / safe
    return np.where(close, _lerp(a, b, share), mixed)
