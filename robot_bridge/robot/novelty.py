"""How unlike the training data an observation is: its whitened distance.

sqrt(mean over whitened dimensions of the squared observation). Its threshold is the 99.9 % quantile over episodes held
out in turn (5 folds), none of which its statistics have seen.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from robot_bridge.errors import UserError

NOVEL = 0.999  # quantile of the held-out scores beyond which a moment is novel
FOLDS = 5
RIDGE = 0.01  # added to the correlation matrix, so that directions without variance do not blow up noise


@dataclass(frozen=True)
class Whitening:
    """score(s) = sqrt(mean(((s - mean) @ matrix)²)); the matrix is [obs, live], of dimensions that vary in the data."""

    mean: np.ndarray
    matrix: np.ndarray

    def score(self, observations: np.ndarray) -> np.ndarray:
        """Scores [N] of raw observations [N, obs]."""
        return np.sqrt(np.mean(((observations - self.mean) @ self.matrix) ** 2, axis=1))

    def to_bytes(self) -> bytes:
        """As NumPy's `.npz`."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, matrix=self.matrix)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(content: bytes) -> Whitening:
        """What `to_bytes` made."""
        arrays = np.load(io.BytesIO(content), allow_pickle=False)
        return Whitening(arrays["mean"], arrays["matrix"])


def fit_whitening(observations: np.ndarray, live: np.ndarray) -> Whitening:
    """Fit to raw observations [N, obs], of which the dimensions `live` are used."""
    values = observations[:, live].astype(np.float64)
    mean, std = values.mean(0), np.maximum(values.std(0), 1e-9)
    correlation = np.atleast_2d(np.cov(((values - mean) / std).T)) + RIDGE * np.eye(len(live))
    matrix = np.zeros((observations.shape[1], len(live)))
    matrix[live] = np.linalg.inv(np.linalg.cholesky(correlation)).T / std[:, None]
    full = np.zeros(observations.shape[1])
    full[live] = mean
    return Whitening(full, matrix)


def held_out_scores(observations: np.ndarray, episode: np.ndarray, live: np.ndarray) -> np.ndarray:
    """The score [N] of every observation by statistics that have not seen its episode.

    Raises:
        UserError: there is a single episode.
    """
    folds = min(FOLDS, int(episode.max()) + 1)
    if folds < 2:
        raise UserError("the data set has a single episode: expected two or more, as novelty is calibrated on others")
    scores = np.zeros(len(observations))
    for fold in range(folds):
        out = episode % folds == fold
        scores[out] = fit_whitening(observations[~out], live).score(observations[out])
    return scores


def varying(observations: np.ndarray) -> np.ndarray:
    """The dimensions [live] of observations [N, obs] that vary; all where none does, as in the toy task."""
    least = 1e-6 * np.maximum(1.0, np.abs(observations).max(axis=0))
    varies = np.flatnonzero(np.ptp(observations, axis=0) > least)
    return varies if len(varies) else np.arange(observations.shape[1])
