"""PLAS: policy in the latent action space (Zhou et al., 2020).

First a conditional VAE learns the data's actions, all alike; then a deterministic latent policy climbs Q through the
frozen decoder, with an optional small perturbation of the decoded action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import tensorflow as tf
from typing_extensions import Self

from lapo_tf.agents import losses
from lapo_tf.agents.base import AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import stateless_normal
from lapo_tf.agents.latent import LatentAgent


@dataclass(frozen=True)
class PLASConfig(AgentConfig):
    """Hyper-parameters of PLAS; defaults are those of the authors' code."""

    name: ClassVar[str] = "plas"

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
        config = super().for_run(steps)
        return replace(config, vae_steps=steps // 2) if self.vae_steps is None else config


class PLAS(LatentAgent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = PLASConfig
    batch_size = 100
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "vae/loss": "mean squared error of the decoded action plus `kl_weight` times the mean divergence",
        **LatentAgent.VAE_METRICS,
        "policy/loss": "negative mean Q1 of the policy's actions",
        "policy/latent_abs": "mean absolute value of the policy's latents",
    }
    """Those that the present phase lacks are 0."""
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
        policies = [self.policy]
        if config.perturbation:
            self.shift, self.target_shift = self.twin("shift", obs + act, act, activation="tanh")
            policies.append(self.shift)
        self.vae_optimizer = self.adam("vae", config.vae_learning_rate, self.encoder, self.decoder)
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, *policies)

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

    def critic_target(self, batch: Batch) -> tf.Tensor:
        """TD learning with the target policy's action [B, 1]; both critics mixed as in BCQ (algorithm 1)."""
        next_observations = batch["next_observations"]
        pair = tf.concat([next_observations, self.latent_action(next_observations, target=True)[1]], -1)
        next_q = losses.mixed(self.target_q1(pair), self.target_q2(pair), self.config.doubleq_min)
        return losses.td_target(batch, self.config.discount, next_q)

    def policy_loss(self, batch: Batch) -> Loss:
        """-Q1(s, decoder(s, pi(s))): the deterministic policy gradient in the latent space (algorithm 1)."""
        latents, actions = self.latent_action(batch["observations"])
        loss = -tf.reduce_mean(self.q1(tf.concat([batch["observations"], actions], -1)))
        return loss, {"policy/loss": loss, "policy/latent_abs": tf.reduce_mean(tf.abs(latents))}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """A step of the VAE, or, after `vae_steps` of them, of critics and policy."""

        def first() -> Metrics:
            return self.vae_optimizer.minimise(lambda: self.mean_elbo(batch, noise["posterior"]))

        def second() -> Metrics:
            target = self.critic_target(batch)
            metrics = self.critic_optimizer.minimise(lambda: losses.td_loss(self.q1, self.q2, batch, target))
            metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch))
            self.update_targets()
            return metrics

        cloning = self.vae_optimizer.iterations.value < (self.config.vae_steps or 0)
        return losses.either(cloning, first, second, self.metric_names)

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent_action(observations)[1]

    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent_action(observations)[0]
