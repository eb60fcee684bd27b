"""What agents with a conditional VAE of the data's actions share: LAPO, PLAS and BCQ."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents.base import Agent, Batch, Loss
from lapo_tf.agents.distributions import stateless_normal

tfd = tfp.distributions

# Likelihood of an action given the decoder's mean: the negative log-density of N(mean, 1/2) is the squared error plus
# a constant, so the evidence lower bound is made of the squared error that the authors of BCQ, PLAS and LAPO write.
DECODER_SCALE = math.sqrt(0.5)


class LatentAgent(Agent):
    """An agent that acts through the decoder of a conditional VAE.

    A subclass builds `encoder`, (s, a) -> mean and log variance of the latent's posterior, and `decoder`, (s, z) -> a.
    """

    VAE_METRICS: ClassVar[dict[str, str]] = {
        "vae/reconstruction": "squared error of the decoded action, summed over its dimensions, in the agent's units",
        "vae/kl": "KL divergence of the posterior from N(0, I), summed over the latent's dimensions",
    }
    encoder: keras.Model
    decoder: keras.Model
    latent_dim: int

    @abstractmethod
    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        """The latent [B, latent] that the trained policy takes at observations [B, obs] in the agent's units."""

    def decode(self, observations: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """The decoder's actions [B, act] at observations [B, obs] and latents [B, latent], in the agent's units."""
        return self.decoder(tf.concat([observations, latents], -1))

    def encode(self, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Means [B, latent] of the latents' posterior given observations [B, obs] and actions [B, act], all in the
        agent's units."""
        return tf.split(self.encoder(tf.concat([observations, actions], -1)), 2, axis=-1)[0]

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Decoded from z ~ N(0, I): the generative model alone."""
        return self.decode(observations, stateless_normal((observations.shape[0], self.latent_dim), seed))

    def elbo(
        self, batch: Batch, noise: tf.Tensor, log_variance: tuple[float, float] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The two parts of the VAE's negative evidence lower bound of the data's actions.

        Args:
            noise: standard normal [B, latent].
            log_variance: bounds of the posterior's log variance.

        Returns:
            Reconstruction [B]: squared error summed over the action's dimensions. KL divergence [B] of the posterior
            from N(0, I), summed over the latent's.
        """
        observations, actions = batch["observations"], batch["actions"]
        prior = tfd.MultivariateNormalDiag(tf.zeros_like(noise), tf.ones_like(noise))
        mean, log_var = tf.split(self.encoder(tf.concat([observations, actions], -1)), 2, axis=-1)
        if log_variance is not None:
            log_var = tf.clip_by_value(log_var, *log_variance)
        posterior = tfd.MultivariateNormalDiag(mean, tf.exp(0.5 * log_var))
        decoded = self.decoder(tf.concat([observations, mean + posterior.stddev() * noise], -1))
        likelihood = tfd.MultivariateNormalDiag(decoded, DECODER_SCALE * tf.ones_like(decoded))
        # Relative to the density's peak, so that it is the squared error and a perfect decoder scores zero.
        reconstruction = likelihood.log_prob(likelihood.mode()) - likelihood.log_prob(actions)
        return reconstruction, tfd.kl_divergence(posterior, prior)

    def mean_elbo(self, batch: Batch, noise: tf.Tensor) -> Loss:
        """The VAE's loss in BCQ's and PLAS' code: means over dimensions, log standard deviation in [-4, 15]."""
        parts = self.elbo(batch, noise, log_variance=(-8.0, 30.0))
        reconstruction, kl = (tf.reduce_mean(part) for part in parts)
        config: Any = self.config
        loss = reconstruction / self.spec.act_dim + config.kl_weight * kl / self.latent_dim
        return loss, {"vae/loss": loss, "vae/reconstruction": reconstruction, "vae/kl": kl}
