"""Keras models whose output is a TFP distribution over actions in [-1, 1].

Samples are made of noise given from outside, so that one seed gives one sample eagerly, in a graph and under XLA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents.distributions import stateless_normal, stateless_uniform
from lapo_tf.agents.networks import dropout

tfd, tfb = tfp.distributions, tfp.bijectors

Noise: TypeAlias = dict[str, tf.Tensor]
"""`normal` [B, act]; a mixture's also `uniform` [B, 1]."""


def action_noise(shape: tuple[int, int], seed: tf.Tensor) -> Noise:
    """Noise for `sample` of shape [B, act], from a stateless seed [2]."""
    seeds = tf.random.split(seed, 2, alg="philox")
    return {"normal": stateless_normal(shape, seeds[0]), "uniform": stateless_uniform((shape[0], 1), seeds[1])}


class GaussianPolicy(keras.Model):
    """N(tanh(mean(s)), std): one standard deviation per dimension for all states, as in AWAC's and IQL's code."""

    def __init__(
        self, network: keras.Model, act_dim: int, *, log_std: float, log_std_range: tuple[float, float], name: str
    ) -> None:
        """
        Args:
            network: observations [B, obs] -> [B, act].
            log_std: logarithm of the standard deviation at first; it stays within `log_std_range`.
        """
        super().__init__(name=name)
        self.network, self.log_std_range = network, log_std_range
        self.log_std = self.add_weight(
            name="log_std", shape=(act_dim,), initializer=keras.initializers.Constant(log_std)
        )
        self.built = True

    def distribution(self, observations: tf.Tensor, masks: Sequence[tf.Tensor] = ()) -> tfp.distributions.Distribution:
        """The policy at observations [B, obs]; `masks`: of the hidden layers' outputs, see `networks.dropout`."""
        mean = tf.tanh(dropout(self.network, observations, masks) if masks else self.network(observations))
        std = tf.exp(tf.clip_by_value(self.log_std.value, *self.log_std_range))
        return tfd.MultivariateNormalDiag(mean, std * tf.ones_like(mean))

    def sample(self, observations: tf.Tensor, noise: Noise) -> tf.Tensor:
        """Actions [B, act]; the Gaussian is not cut off at [-1, 1]."""
        distribution = self.distribution(observations)
        return distribution.mean() + distribution.stddev() * noise["normal"]

    def mode(self, observations: tf.Tensor) -> tf.Tensor:
        """The most probable actions [B, act]."""
        return self.distribution(observations).mode()


class MixturePolicy(keras.Model):
    """A mixture of `components` such Gaussians, whose weights depend on the state."""

    def __init__(
        self,
        network: keras.Model,
        act_dim: int,
        components: int,
        *,
        log_std: float,
        log_std_range: tuple[float, float],
        name: str,
    ) -> None:
        """
        Args:
            network: observations [B, obs] -> [B, components * (1 + act)], logits first.
        """
        super().__init__(name=name)
        self.network, self.components, self.log_std_range = network, components, log_std_range
        self.log_std = self.add_weight(
            name="log_std", shape=(components, act_dim), initializer=keras.initializers.Constant(log_std)
        )
        self.built = True

    def distribution(self, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """The policy at observations [B, obs]."""
        logits, means = tf.split(self.network(observations), [self.components, -1], axis=-1)
        means = tf.tanh(tf.reshape(means, (-1, *self.log_std.shape)))
        std = tf.exp(tf.clip_by_value(self.log_std.value, *self.log_std_range))
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=logits), tfd.MultivariateNormalDiag(means, std * tf.ones_like(means))
        )

    def sample(self, observations: tf.Tensor, noise: Noise) -> tf.Tensor:
        """Actions [B, act]."""
        distribution = self.distribution(observations)
        below = tf.cumsum(distribution.mixture_distribution.probs_parameter(), axis=-1)[:, :-1] < noise["uniform"]
        return self._of(distribution, tf.reduce_sum(tf.cast(below, tf.int32), -1), noise["normal"])

    def mode(self, observations: tf.Tensor) -> tf.Tensor:
        """The mean [B, act] of the component with the largest weight."""
        distribution = self.distribution(observations)
        best = tf.argmax(distribution.mixture_distribution.logits_parameter(), -1, output_type=tf.int32)
        return self._of(distribution, best, None)

    def _of(self, distribution: tfp.distributions.Distribution, which: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        parts = distribution.components_distribution
        chosen = tf.one_hot(which, self.components)[:, :, None]  # XLA gathers slowly
        mean = tf.reduce_sum(chosen * parts.mean(), 1)
        return mean if noise is None else mean + tf.reduce_sum(chosen * parts.stddev(), 1) * noise


class TanhGaussianPolicy(keras.Model):
    """tanh(N(mean(s), std(s))), SAC's and CQL's."""

    LOG_STD_RANGE = (-20.0, 2.0)

    def __init__(self, network: keras.Model, name: str) -> None:
        """
        Args:
            network: observations [B, obs] -> [B, 2 act], means first.
        """
        super().__init__(name=name)
        self.network = network
        self.built = True

    def base(self, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """The Gaussian before tanh."""
        mean, log_std = tf.split(self.network(observations), 2, axis=-1)
        return tfd.MultivariateNormalDiag(mean, tf.exp(tf.clip_by_value(log_std, *self.LOG_STD_RANGE)))

    def sample(self, observations: tf.Tensor, noise: Noise) -> tuple[tf.Tensor, tf.Tensor]:
        """Actions [..., B, act] and their log-densities [..., B] for normal noise [..., B, act]."""
        base = self.base(observations)
        before = base.mean() + base.stddev() * noise["normal"]
        correction = tfb.Tanh().forward_log_det_jacobian(before, event_ndims=1)
        return tf.tanh(before), base.log_prob(before) - correction

    def log_prob(self, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Log-densities [B] of actions [B, act]; actions at the bounds, where it is infinite, are moved inside."""
        limit = 1.0 - 1e-6
        before = tf.math.atanh(tf.clip_by_value(actions, -limit, limit))
        correction = tfb.Tanh().forward_log_det_jacobian(before, event_ndims=1)
        return self.base(observations).log_prob(before) - correction

    def mode(self, observations: tf.Tensor) -> tf.Tensor:
        """tanh of the mean [B, act]."""
        return tf.tanh(self.base(observations).mean())
