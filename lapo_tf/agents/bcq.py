"""BCQ: batch-constrained Q-learning for continuous actions (Fujimoto et al., 2019).

A conditional VAE proposes actions like the data's, a small network perturbs them, and the best by Q is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import stateless_normal
from lapo_tf.agents.latent import LatentAgent


@dataclass(frozen=True)
class BCQConfig(AgentConfig):
    """Hyper-parameters of BCQ; defaults are those of the authors' code."""

    name: ClassVar[str] = "bcq"

    hidden: tuple[int, ...] = (400, 300)
    """Widths of the hidden layers of critics and perturbation."""
    vae_hidden: tuple[int, ...] = (750, 750)
    """Widths of the VAE's hidden layers."""
    latent_ratio: int = 2
    """Dimensions of the latent space per dimension of the action."""
    latent_clip: float = 0.5
    """Latents drawn for proposals are clipped to [-clip, clip]."""
    perturbation: float = 0.05
    """Phi: largest change of a proposed action, in actions scaled to [-1, 1]."""
    target_samples: int = 10
    """Proposals among which the target takes the best."""
    act_samples: int = 100
    """Proposals among which the policy takes the best."""
    kl_weight: float = 0.5
    """Weight of the mean KL divergence per latent dimension beside the mean squared error per action dimension."""
    doubleq_min: float = 0.75
    """Lambda in lambda min(Q1', Q2') + (1 - lambda) max(Q1', Q2') (equation 13)."""
    vae_learning_rate: float = 1e-3
    """Adam's learning rate for the VAE."""
    critic_learning_rate: float = 1e-3
    """Adam's learning rate for Q1 and Q2."""
    policy_learning_rate: float = 1e-3
    """Adam's learning rate for the perturbation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_ratio", "target_samples", "act_samples"):
            self.check(name, getattr(self, name) > 0, "at least 1")
        for name in ("latent_clip", "perturbation", "kl_weight"):
            self.check(name, getattr(self, name) >= 0, "0 or more")
        self.check("doubleq_min", 0 <= self.doubleq_min <= 1, "0 to 1")


class BCQ(LatentAgent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = BCQConfig
    batch_size = 100
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "vae/loss": "mean squared error of the decoded action plus `kl_weight` times the mean divergence",
        **LatentAgent.VAE_METRICS,
        "policy/loss": "negative mean Q1 of the perturbed actions (equation 12)",
    }
    config: BCQConfig

    def __init__(self, config: BCQConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.latent_dim = config.latent_ratio * act
        self.encoder = self.network("encoder", obs + act, 2 * self.latent_dim, config.vae_hidden)
        self.decoder = self.network("decoder", obs + self.latent_dim, act, config.vae_hidden, "tanh")
        self.shift, self.target_shift = self.twin("shift", obs + act, act, activation="tanh")
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.vae_optimizer = self.adam("vae", config.vae_learning_rate, self.encoder, self.decoder)
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.shift)
        # The authors draw new latents at every step. These serve all steps, so that acting is a function of the
        # observation: it repeats, acts alone as in a batch, and can be exported.
        drawn = np.random.default_rng(spec.seed).standard_normal((config.act_samples, self.latent_dim))
        self._act_latents = drawn.clip(-config.latent_clip, config.latent_clip).astype(np.float32)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """Normal: `posterior`, `proposal` [B, latent], `next_proposals` [target_samples, B, latent]."""
        seeds = tf.random.split(seed, 3, alg="philox")
        shape = (batch_size, self.latent_dim)
        return {
            "posterior": stateless_normal(shape, seeds[0]),
            "proposal": stateless_normal(shape, seeds[1]),
            "next_proposals": stateless_normal((self.config.target_samples, *shape), seeds[2]),
        }

    def propose(self, observations: tf.Tensor, latents: tf.Tensor, shift: keras.Model) -> tf.Tensor:
        """Perturbed decoded actions [B, act] (equation 11) for latents [B, latent] at [B, obs]."""
        latents = tf.clip_by_value(latents, -self.config.latent_clip, self.config.latent_clip)
        actions = self.decoder(tf.concat([observations, latents], -1))
        change = self.config.perturbation * shift(tf.concat([observations, actions], -1))
        return tf.clip_by_value(actions + change, -1.0, 1.0)

    def critic_target(self, batch: Batch, latents: tf.Tensor) -> tf.Tensor:
        """Equation 13: the best of several proposals at s', by both target critics mixed, [B, 1]."""
        count = self.config.target_samples
        repeated = tf.tile(batch["next_observations"], (count, 1))
        actions = self.propose(repeated, tf.reshape(latents, (-1, self.latent_dim)), self.target_shift)
        pairs = tf.concat([repeated, actions], -1)
        next_q = losses.mixed(self.target_q1(pairs), self.target_q2(pairs), self.config.doubleq_min)
        best = tf.reduce_max(tf.reshape(next_q, (count, -1, 1)), axis=0)
        return losses.td_target(batch, self.config.discount, best)

    def policy_loss(self, batch: Batch, latents: tf.Tensor) -> Loss:
        """Equation 12: the perturbation climbs Q1."""
        actions = self.propose(batch["observations"], latents, self.shift)
        loss = -tf.reduce_mean(self.q1(tf.concat([batch["observations"], actions], -1)))
        return loss, {"policy/loss": loss}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """Algorithm 1 in the order of the authors' code: VAE, critics, perturbation, targets."""
        metrics = self.vae_optimizer.minimise(lambda: self.mean_elbo(batch, noise["posterior"]))
        target = self.critic_target(batch, noise["next_proposals"])
        metrics |= self.critic_optimizer.minimise(lambda: losses.td_loss(self.q1, self.q2, batch, target))
        metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, noise["proposal"]))
        self.update_targets()
        return metrics

    def best_proposal(self, observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The latents [B, latent] and the action [B, act] of the best of `act_samples` proposals by Q1."""
        count, rows = self.config.act_samples, tf.shape(observations)[0]
        latents = tf.repeat(self._act_latents, rows, axis=0)
        repeated = tf.tile(observations, (count, 1))
        actions = self.propose(repeated, latents, self.shift)
        values = tf.reshape(self.q1(tf.concat([repeated, actions], -1)), (count, rows))
        chosen = tf.one_hot(tf.argmax(values, axis=0), count, axis=0)[:, :, None]
        best = lambda t: tf.reduce_sum(chosen * tf.reshape(t, (count, rows, t.shape[-1])), axis=0)  # noqa: E731
        return best(latents), best(actions)

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.best_proposal(observations)[1]

    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        return self.best_proposal(observations)[0]
