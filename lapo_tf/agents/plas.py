"""PLAS: policy in the latent action space (Zhou et al., 2020).

First a conditional VAE learns the data's actions, all alike; then a deterministic latent policy climbs Q through the
frozen decoder, with an optional small perturbation of the decoded action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import tensorflow as tf
from typing_extensions import Self

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Metrics
from lapo_tf.agents.distributions import stateless_normal

METRICS = (
    *("vae/loss", "vae/reconstruction", "vae/kl", "critic/loss", "critic/q1_loss", "critic/q2_loss", "critic/q_mean"),
    *("policy/loss", "policy/latent_abs"),
)


@dataclass(frozen=True)
class PLASConfig(AgentConfig):
    """Hyper-parameters of PLAS; defaults are those of the authors' code."""

    hidden: tuple[int, ...] = (400, 300)
    """Widths of the hidden layers of critics, latent policy and perturbation."""
    vae_hidden: tuple[int, ...] = (750, 750)
    """Widths of the VAE's hidden layers."""
    latent_ratio: int = 2
    """Dimensions of the latent space per dimension of the action."""
    latent_bound: float = 2.0
    """The latent policy stays within [-bound, bound] in every dimension (paper, section 4.1)."""
    perturbation: float = 0.0
    """Largest change of the decoded action, of actions scaled to [-1, 1] (0: none, the authors' default; or 0.05)."""
    vae_steps: int | None = None
    """Steps of the VAE before the policy's begin; by default half of the run's (authors: 500,000 of 1 million)."""
    kl_weight: float = 0.5
    """Weight of the mean KL divergence per latent dimension beside the mean squared error per action dimension."""
    doubleq_min: float = 0.75
    """Lambda in lambda min(Q1', Q2') + (1 - lambda) max(Q1', Q2')."""
    vae_learning_rate: float = 1e-4
    """Adam's learning rate for the VAE."""
    critic_learning_rate: float = 1e-3
    """Adam's learning rate for Q1 and Q2."""
    policy_learning_rate: float = 1e-4
    """Adam's learning rate for the latent policy and the perturbation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("latent_ratio", self.latent_ratio > 0, "at least 1")
        self.check("latent_bound", self.latent_bound > 0, "a number above 0")
        for name in ("perturbation", "kl_weight"):
            self.check(name, getattr(self, name) >= 0, "0 or more")
        self.check("doubleq_min", 0 <= self.doubleq_min <= 1, "0 to 1")

    def for_run(self, steps: int) -> Self:
        return replace(self, vae_steps=steps // 2) if self.vae_steps is None else self


class PLAS(Agent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = PLASConfig
    batch_size = 100
    config: PLASConfig

    def __init__(self, config: PLASConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.latent_dim = config.latent_ratio * act
        self.encoder = self.network("encoder", obs + act, 2 * self.latent_dim, config.vae_hidden)
        self.decoder = self.network("decoder", obs + self.latent_dim, act, config.vae_hidden, "tanh")
        self.policy, self.target_policy = self.twin("policy", obs, self.latent_dim, activation="tanh")
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.policy_variables = self.policy.trainable_variables
        if config.perturbation:
            self.shift, self.target_shift = self.twin("shift", obs + act, act, activation="tanh")
            self.policy_variables = self.policy_variables + self.shift.trainable_variables
        self.critic_variables = self.q1.trainable_variables + self.q2.trainable_variables
        self.vae_variables = self.encoder.trainable_variables + self.decoder.trainable_variables
        self.vae_optimizer = self.optimizer(config.vae_learning_rate, self.vae_variables)
        self.critic_optimizer = self.optimizer(config.critic_learning_rate, self.critic_variables)
        self.policy_optimizer = self.optimizer(config.policy_learning_rate, self.policy_variables)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`posterior` [B, latent] normal."""
        return {"posterior": stateless_normal((batch_size, self.latent_dim), seed)}

    def latent_action(self, observations: tf.Tensor, *, target: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """The policy's latents [B, latent] and its actions [B, act]."""
        policy = self.target_policy if target else self.policy
        latents = self.config.latent_bound * policy(observations)
        actions = self.decoder(tf.concat([observations, latents], -1))
        if self.config.perturbation:
            shift = self.target_shift if target else self.shift
            change = self.config.perturbation * shift(tf.concat([observations, actions], -1))
            actions = tf.clip_by_value(actions + change, -1.0, 1.0)
        return latents, actions

    def update_vae(self, batch: Batch, noise: tf.Tensor) -> Metrics:
        """The evidence lower bound of the data's actions (algorithm 1), with the authors' means over dimensions."""
        return losses.update_vae(self, batch, noise)

    def update_critics(self, batch: Batch) -> Metrics:
        """TD learning with the target policy's action; both critics mixed as in BCQ (algorithm 1)."""
        next_observations = batch["next_observations"]
        pair = tf.concat([next_observations, self.latent_action(next_observations, target=True)[1]], -1)
        next_q = losses.mixed(self.target_q1(pair), self.target_q2(pair), self.config.doubleq_min)
        target = losses.td_target(batch, self.config.discount, next_q)
        with tf.GradientTape() as tape:
            loss, metrics = losses.td_loss(self.q1, self.q2, batch, target)
        self.critic_optimizer.apply(tape.gradient(loss, self.critic_variables), self.critic_variables)
        return metrics | {"critic/loss": loss}

    def update_policy(self, batch: Batch) -> Metrics:
        """-Q1(s, decoder(s, pi(s))): the deterministic policy gradient in the latent space (algorithm 1)."""
        observations = batch["observations"]
        with tf.GradientTape() as tape:
            latents, actions = self.latent_action(observations)
            loss = -tf.reduce_mean(self.q1(tf.concat([observations, actions], -1)))
        self.policy_optimizer.apply(tape.gradient(loss, self.policy_variables), self.policy_variables)
        return {"policy/loss": loss, "policy/latent_abs": tf.reduce_mean(tf.abs(latents))}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """A step of the VAE, or, after `vae_steps` of them, of critics and policy."""

        def first() -> Metrics:
            return self.update_vae(batch, noise["posterior"])

        def second() -> Metrics:
            metrics = self.update_critics(batch) | self.update_policy(batch)
            self.update_targets()
            return metrics

        cloning = self.vae_optimizer.iterations.value < (self.config.vae_steps or 0)
        return losses.either(cloning, first, second, METRICS)

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent_action(observations)[1]

    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent_action(observations)[0]

    def decode(self, observations: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        return self.decoder(tf.concat([observations, latents], -1))

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Decoded from z ~ N(0, I)."""
        return losses.decode_prior(self.decoder, observations, self.latent_dim, seed)
