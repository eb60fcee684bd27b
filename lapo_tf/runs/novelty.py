"""How unlike the training data a moment is: two scores that a policy bundle carries.

observation   whitened distance: sqrt(mean over whitened dimensions of the squared observation). Its threshold is
              the 99.9 % quantile over episodes held out in turn (5 folds), none of which its statistics have seen.
action        for agents with a CVAE: reconstruction error of the policy's action plus the posterior's divergence
              from the prior. Its threshold is the same quantile over trial episodes in the simulator, which the
              CVAE has never seen, as far as their observations are not novel themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lapo_tf.agents import LAPO, Agent
from lapo_tf.errors import UserError

NOVEL = 0.999  # quantile of the held-out scores beyond which a moment is novel
FOLDS = 5
RIDGE = 0.01  # added to the correlation matrix, so that directions without variance do not blow up noise
MARGIN = 1.5  # on the CVAE's threshold: few trial episodes see few of the scores that are normal


@dataclass(frozen=True)
class Whitening:
    """score(s) = sqrt(mean(((s - mean) @ matrix)²)); the matrix is [obs, live], of dimensions that vary in the data."""

    mean: np.ndarray
    matrix: np.ndarray

    def score(self, observations: np.ndarray) -> np.ndarray:
        """Scores [N] of raw observations [N, obs]."""
        return np.sqrt(np.mean(((observations - self.mean) @ self.matrix) ** 2, axis=1))


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
    """The score [N] of every observation by statistics that have not seen its episode."""
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


def has_cvae(agent: Agent) -> bool:
    """Whether a bundle of the agent scores actions by its conditional VAE."""
    return isinstance(agent, LAPO)


def novelty_function(agent: Agent, whitening: Whitening, with_cvae: bool) -> Any:
    """The graph `observation` [1, obs], `action` [1, act] -> `novelty` [1, 1 or 2], all raw."""
    mean, matrix = whitening.mean.astype(np.float32), whitening.matrix.astype(np.float32)
    scaling = agent.spec.scaling

    def novelty(observation: Any, action: Any) -> Any:
        scores = [tf.sqrt(tf.reduce_mean(tf.matmul(observation - mean, matrix) ** 2, -1, keepdims=True))]
        if with_cvae:
            networks: Any = agent
            states, actions = agent.scale_observation(observation), (action - scaling.act_mean) / scaling.act_std
            mode, log_var = tf.split(networks.encoder(tf.concat([states, actions], -1)), 2, axis=-1)
            decoded = networks.target_decoder(tf.concat([states, mode], -1))
            divergence = 0.5 * tf.reduce_sum(mode**2 + tf.exp(log_var) - log_var - 1.0, -1, keepdims=True)
            scores.append(tf.reduce_sum((decoded - actions) ** 2, -1, keepdims=True) + divergence)
        return {"novelty": tf.concat(scores, -1)}

    inputs = (("observation", agent.spec.obs_dim), ("action", agent.spec.act_dim))
    return tf.function(novelty, input_signature=[tf.TensorSpec([1, n], tf.float32, name=name) for name, n in inputs])
