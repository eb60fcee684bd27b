"""What every agent shares: the data's shapes and statistics, acting on raw observations, and the update's signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from lapo_tf.networks import Adam

ACT_ROWS = 16  # observations in one call of the policy, see `Agent.act`

Batch: TypeAlias = dict[str, tf.Tensor]
"""`observations` [B, obs], `actions` [B, act], `next_observations` [B, obs] standardised; `rewards` [B, 1] scaled;
`terminals` [B, 1] of 0 and 1. All float32."""

Metrics: TypeAlias = dict[str, tf.Tensor]
"""Scalar float32 tensors by namespaced name; `lapo_tf.training.metrics` explains each."""


@dataclass(frozen=True)
class Scaling:
    """Standardisation of observations and actions, bounds of actions, and scale of rewards.

    All arrays are float32 of shape [obs] or [act]; actions are bounded in the environment's units.
    """

    obs_mean: np.ndarray
    obs_std: np.ndarray
    act_mean: np.ndarray
    act_std: np.ndarray
    act_low: np.ndarray
    act_high: np.ndarray
    reward_scale: float = 1.0
    """Rewards are multiplied by this."""
    reward_min: float = 0.0
    """Smallest scaled reward in the data."""
    reward_max: float = 1.0
    """Largest scaled reward in the data."""

    @staticmethod
    def identity(obs_dim: int, act_dim: int, bound: float = np.inf) -> Scaling:
        """No standardisation; actions within [-bound, bound]."""
        zeros, ones = (lambda n: np.zeros(n, np.float32)), (lambda n: np.ones(n, np.float32))
        return Scaling(
            zeros(obs_dim), ones(obs_dim), zeros(act_dim), ones(act_dim), -bound * ones(act_dim), bound * ones(act_dim)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for the run's `config.yaml`; float32 values survive the round trip exactly."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Scaling:
        """The inverse of `to_dict`."""
        arrays: dict[str, Any] = {k: np.asarray(v, np.float32) if isinstance(v, list) else v for k, v in values.items()}
        return Scaling(**arrays)


@dataclass(frozen=True)
class AgentSpec:
    """All that an agent needs to know of its task and run besides its own hyper-parameters."""

    obs_dim: int
    act_dim: int
    scaling: Scaling
    seed: int = 0
    precision: str = "float32"
    extra: dict[str, Any] = field(default_factory=dict)


class Agent(keras.Model):
    """Base of all agents. A subclass builds its networks and optimisers and defines `draw`, `step` and `policy_action`.

    It is a Keras model so that Keras callbacks, weights and `tf.train.Checkpoint` work on it as on any other; it is not
    trained with `fit` but by `lapo_tf.training.loop`.
    """

    def __init__(self, spec: AgentSpec, name: str) -> None:
        super().__init__(name=name)
        self.spec = spec
        self.built = True
        self._act = tf.function(self._raw_action, input_signature=[tf.TensorSpec([None, spec.obs_dim], tf.float32)])

    def optimizer(self, learning_rate: float, variables: list) -> Adam:
        """An Adam built for `variables`, so that its slots exist before the first step."""
        optimizer = Adam(learning_rate)
        optimizer.build(variables)
        return optimizer

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """All random numbers of one update, from a stateless seed [2] (int32)."""
        raise NotImplementedError

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One update: changes the agent's variables, returns the step's metrics. Pure TensorFlow ops."""
        raise NotImplementedError

    def update(self, batch: Batch, seed: tf.Tensor) -> Metrics:
        """One update with the random numbers that `seed` gives."""
        return self.step(batch, self.draw(seed, batch["rewards"].shape[0]))

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        """The action [B, act] the trained policy takes, both standardised, without randomness."""
        raise NotImplementedError

    def _raw_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.unscale_action(self.policy_action(self.scale_observation(observations)))

    def scale_observation(self, observations: tf.Tensor) -> tf.Tensor:
        """Raw observations [B, obs] to standardised ones."""
        return (observations - self.spec.scaling.obs_mean) / self.spec.scaling.obs_std

    def unscale_action(self, actions: tf.Tensor) -> tf.Tensor:
        """Standardised actions [B, act] to raw ones within the bounds."""
        scaling = self.spec.scaling
        return tf.clip_by_value(actions * scaling.act_std + scaling.act_mean, scaling.act_low, scaling.act_high)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """The policy's actions [B, act] (or [act]) for raw observations [B, obs] (or [obs]).

        Rows are always computed `ACT_ROWS` at a time: the rounding of a matrix product depends on its number of rows,
        so an action, and with it a chaotic episode, would depend on how many others are computed beside it.
        """
        observations = np.asarray(observations, np.float32)
        rows = np.atleast_2d(observations)
        padded = np.zeros((max(1, -(-len(rows) // ACT_ROWS)) * ACT_ROWS, self.spec.obs_dim), np.float32)
        padded[: len(rows)] = rows
        blocks = [self._act(padded[i : i + ACT_ROWS]).numpy() for i in range(0, len(padded), ACT_ROWS)]
        actions = np.concatenate(blocks)[: len(rows)]
        return actions if observations.ndim == 2 else actions[0]
