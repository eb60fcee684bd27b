"""What several agents' losses are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents.base import Batch, Metrics
from lapo_tf.agents.distributions import stateless_normal

tfd = tfp.distributions

# Likelihood of an action given the decoder's mean: the negative log-density of N(mean, 1/2) is the squared error plus
# a constant, so the evidence lower bound is made of the squared error that the authors of BCQ, PLAS and LAPO write.
DECODER_SCALE = math.sqrt(0.5)


def mixed(q1: tf.Tensor, q2: tf.Tensor, minimum: float) -> tf.Tensor:
    """d min(Q1, Q2) + (1 - d) max(Q1, Q2) (BCQ, equation 13), d = `minimum`."""
    return minimum * tf.minimum(q1, q2) + (1.0 - minimum) * tf.maximum(q1, q2)


def td_target(batch: Batch, discount: float, next_value: tf.Tensor) -> tf.Tensor:
    """r + gamma V(s'), without V(s') at terminal states, [B, 1]."""
    return batch["rewards"] + (1.0 - batch["terminals"]) * discount * next_value


def td_loss(q1: keras.Model, q2: keras.Model, batch: Batch, target: tf.Tensor) -> tuple[tf.Tensor, Metrics]:
    """Sum of the mean squared errors of both critics at the data's actions, and the metrics that go with it."""
    pair = tf.concat([batch["observations"], batch["actions"]], -1)
    values1, values2 = q1(pair), q2(pair)
    loss1, loss2 = tf.reduce_mean((values1 - target) ** 2), tf.reduce_mean((values2 - target) ** 2)
    metrics = {"critic/q1_loss": loss1, "critic/q2_loss": loss2, "critic/q_mean": tf.reduce_mean(values1)}
    return loss1 + loss2, metrics


def elbo(
    encoder: keras.Model,
    decoder: keras.Model,
    batch: Batch,
    noise: tf.Tensor,
    log_variance: tuple[float, float] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two parts of a conditional VAE's negative evidence lower bound of the data's actions.

    Args:
        encoder: (s, a) -> mean and log variance of the posterior; decoder: (s, z) -> action.
        noise: standard normal [B, latent].
        log_variance: bounds of the posterior's log variance.

    Returns:
        Reconstruction [B]: squared error summed over the action's dimensions. KL divergence [B] of the posterior from
        N(0, I), summed over the latent's.
    """
    observations, actions = batch["observations"], batch["actions"]
    prior = tfd.MultivariateNormalDiag(tf.zeros_like(noise), tf.ones_like(noise))
    mean, log_var = tf.split(encoder(tf.concat([observations, actions], -1)), 2, axis=-1)
    if log_variance is not None:
        log_var = tf.clip_by_value(log_var, *log_variance)
    posterior = tfd.MultivariateNormalDiag(mean, tf.exp(0.5 * log_var))
    latents = mean + posterior.stddev() * noise
    decoded = decoder(tf.concat([observations, latents], -1))
    likelihood = tfd.MultivariateNormalDiag(decoded, DECODER_SCALE * tf.ones_like(decoded))
    # Relative to the density's peak, so that it is the squared error and a perfect decoder scores zero.
    reconstruction = likelihood.log_prob(likelihood.mode()) - likelihood.log_prob(actions)
    return reconstruction, tfd.kl_divergence(posterior, prior)


def update_vae(agent: Any, batch: Batch, noise: tf.Tensor) -> Metrics:
    """A step of the VAE in BCQ's and PLAS' code: means over dimensions, log standard deviation in [-4, 15]."""
    with tf.GradientTape() as tape:
        parts = elbo(agent.encoder, agent.decoder, batch, noise, log_variance=(-8.0, 30.0))
        reconstruction, kl = (tf.reduce_mean(part) for part in parts)
        loss = reconstruction / agent.spec.act_dim + agent.config.kl_weight * kl / agent.latent_dim
    agent.vae_optimizer.apply(tape.gradient(loss, agent.vae_variables), agent.vae_variables)
    return {"vae/loss": loss, "vae/reconstruction": reconstruction, "vae/kl": kl}


def decode_prior(decoder: keras.Model, observations: tf.Tensor, latent_dim: int, seed: tf.Tensor) -> tf.Tensor:
    """Actions [B, act] of a generative model alone: decoded from z ~ N(0, I)."""
    z = stateless_normal((observations.shape[0], latent_dim), seed)
    return decoder(tf.concat([observations, z], -1))


def pair_all(observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Inputs [N B, obs + act] of a critic: observations [B, obs], each with its N actions of [N, B, act]."""
    repeated = tf.tile(observations, (actions.shape[0], 1))
    return tf.concat([repeated, tf.reshape(actions, (-1, actions.shape[-1]))], -1)


def advantage_metrics(advantage: tf.Tensor) -> Metrics:
    """Mean of advantages and share of positive ones."""
    positive = tf.reduce_mean(tf.cast(advantage > 0.0, tf.float32))
    return {"advantage/mean": tf.reduce_mean(advantage), "advantage/positive": positive}


def either(
    condition: tf.Tensor, first: Callable[[], Metrics], second: Callable[[], Metrics], names: tuple[str, ...]
) -> Metrics:
    """The metrics `names` of `first()` or `second()`, whichever `condition` lets run; 0 where it has no such metric."""

    def complete(update: Callable[[], Metrics]) -> Callable[[], Metrics]:
        def run() -> Metrics:
            metrics = update()
            return {name: metrics.get(name, tf.constant(0.0)) for name in names}

        return run

    return tf.cond(condition, complete(first), complete(second))
