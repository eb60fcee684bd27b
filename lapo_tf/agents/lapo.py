"""LAPO: latent-variable advantage-weighted policy optimization (Chen et al., 2022).

Where the paper's text and the authors' code disagree this is the code, which made the published tables; the text's
choices are in `lapo_paper`. One choice is the text's: the latent policy is a truncated Gaussian by default. Two are
neither's: the critics' layer normalisation and the bound on the latents' norm, which keep the policy where the data are
(docs/results.md); `configs/presets/paper.yaml` is without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents import losses
from lapo_tf.agents.base import AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import TruncatedNormal, observation_normal, stateless_normal, stateless_uniform
from lapo_tf.agents.latent import LatentAgent

tfd = tfp.distributions


@dataclass(frozen=True)
class LAPOConfig(AgentConfig):
    """Hyper-parameters of LAPO."""

    name: ClassVar[str] = "lapo"

    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers, the same in every network."""
    rewards: Literal["raw", "max", "return_range"] = "max"
    """Rewards as they are, or divided by the largest one (authors' code), or by the difference between the best and the
    worst return of the data's episodes."""
    latent_ratio: int = 2
    """Dimensions of the latent space per dimension of the action."""
    latent_bound: float = 2.0
    """z_max: the latent policy stays within [-z_max, z_max] in every dimension (paper, section 4); inf leaves it free
    (the ablation of Figure 5): a Gaussian, or a deterministic policy without tanh."""
    latent_norm: float = 2.0
    """Latents of the policy longer than this (Euclidean norm) are shortened to it; inf (the authors') leaves the box
    alone. Half of its square is the most that log p(z) under the prior may fall below its peak, whatever the
    dimensions; in a corner of the box of +-2 it falls by 2 for each."""
    latent_policy: Literal["truncated_gaussian", "tanh", "prior"] = "truncated_gaussian"
    """A truncated Gaussian (paper, below equation 8), the deterministic tanh policy of the authors' code, or none: z is
    drawn from N(0, I), in V and in acting (the ablation of Figure 4)."""
    latent_scale_min: float = 0.05
    """Smallest standard deviation of the truncated Gaussian, before truncation. The paper gives none."""
    latent_scale_max: float = 1.0
    """Largest standard deviation of the truncated Gaussian, before truncation. The paper gives none."""
    latent_noise: float = 0.1
    """Standard deviation of the noise on the target latent in V's target (tanh policy only; authors' code)."""
    latent_noise_clip: float = 0.2
    """Bound of that noise."""
    weight: Literal["step", "exponential"] = "step"
    """Importance weight of the CVAE's loss: `expectile` where A > 0, else 1 - expectile (authors' code), or
    exp(A / temperature) (paper, below equation 4)."""
    expectile: float = 0.9
    """Step weight of actions with positive advantage."""
    temperature: float = 1.0
    """Lambda of the exponential weight. The paper gives no value."""
    weight_max: float = 100.0
    """Upper bound of the exponential weight, as in AWAC's and IQL's code; the paper has none."""
    doubleq_min: float = 1.0
    """Weight d in d min(Q1', Q2') + (1 - d) max(Q1', Q2') (authors' code; 0.7 on antmaze)."""
    value_horizon: float | None = None
    """V's target is clipped to this many of the data's smallest and largest rewards; default: 1 / (1 - discount). It is
    1 where an episode ends with its first reward (antmaze, authors' code)."""
    critic_norm: Literal["none", "layer"] = "layer"
    """Layer normalisation in the hidden layers of Q1, Q2 and V, which bounds what they extrapolate to actions that the
    data lack (Ball et al., 2023, section 4.2); the authors have none."""
    kl_weight: float = 1.0
    """Beta of equation 7 (authors' code: 1; 0.3 on maze2d)."""
    critic_learning_rate: float = 2e-4
    """Adam's learning rate for Q1, Q2 and V."""
    vae_learning_rate: float = 2e-4
    """Adam's learning rate for the CVAE."""
    policy_learning_rate: float = 2e-4
    """Adam's learning rate for the latent policy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("latent_ratio", self.latent_ratio > 0, "at least 1")
        for name in ("latent_bound", "latent_norm", "temperature", "weight_max"):
            self.check(name, getattr(self, name) > 0, "a number above 0")
        self.check("value_horizon", self.value_horizon is None or self.value_horizon >= 1, "at least 1")
        self.check(
            "latent_scale_min", 0 < self.latent_scale_min <= self.latent_scale_max, "0 < min <= latent_scale_max"
        )
        for name in ("latent_noise", "latent_noise_clip", "kl_weight"):
            self.check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("expectile", "doubleq_min"):
            self.check(name, 0 <= getattr(self, name) <= 1, "0 to 1")


class LAPO(LatentAgent):
    """Networks, losses and one update step. Observations and actions are standardised unless said otherwise."""

    Config = LAPOConfig
    batch_size = 512
    action_units = "std"
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "critic/loss": "what the critics minimise: the sum of the losses of Q1, Q2 and V",
        "critic/v_loss": "mean squared error of V against its target (equation 8)",
        "critic/v_mean": "mean of V's target: the value of the latent policy's own action, in scaled rewards",
        **losses.ADVANTAGE_METRICS,
        "vae/loss": "importance-weighted negative evidence lower bound (equation 7)",
        **LatentAgent.VAE_METRICS,
        "vae/weight_mean": "mean importance weight",
        "policy/loss": "negative mean Q1 of the latent policy's actions (equation 9)",
        "policy/latent_abs": "mean absolute value of the latent policy's latents",
    }
    config: LAPOConfig

    def __init__(self, config: LAPOConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.latent_dim = config.latent_ratio * act
        self.encoder = self.network("encoder", obs + act, 2 * self.latent_dim)
        self.decoder = self.network("decoder", obs + self.latent_dim, act)
        self.policy = self.target_policy = None
        if config.latent_policy != "prior":
            heads = 2 if config.latent_policy == "truncated_gaussian" else 1
            self.policy, self.target_policy = self.twin("policy", obs, heads * self.latent_dim)
            self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy)
        self.normalize = config.critic_norm == "layer"
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1, normalize=self.normalize)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1, normalize=self.normalize)
        self.target_decoder = self.network("target_decoder", obs + self.latent_dim, act)
        self.follow(self.target_decoder, self.decoder, config.polyak)
        self.build_value()
        self.vae_optimizer = self.adam("vae", config.vae_learning_rate, self.encoder, self.decoder)

    def build_value(self) -> None:
        """V, a network that is trained with the critics (authors' code)."""
        self.v = self.network("v", self.spec.obs_dim, 1, normalize=self.normalize)
        self.critic_optimizer = self.adam("critic", self.config.critic_learning_rate, self.q1, self.q2, self.v)

    @property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.METRICS if self.policy is not None or not name.startswith("policy/"))

    # The latent policy

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`posterior` [B, latent] normal; `value`, `next_value`, `policy`: for the latents of the policy's actions,
        normal, or uniform for the truncated Gaussian. What is missing is not random."""
        seeds = tf.random.split(seed, num=4, alg="philox")
        shape = (batch_size, self.latent_dim)
        normal = lambda k: stateless_normal(shape, seeds[k])  # noqa: E731
        if self.config.latent_policy == "tanh":
            return {"posterior": normal(0), "value": normal(1)}
        if self.config.latent_policy == "prior":
            return {"posterior": normal(0), "value": normal(1), "next_value": normal(2)}
        uniform = lambda k: stateless_uniform(shape, seeds[k])  # noqa: E731
        return {"posterior": normal(0), "value": uniform(1), "next_value": uniform(2), "policy": uniform(3)}

    def latent(self, policy: keras.Model | None, observations: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Latents [B, latent] at observations [B, obs], sampled with the noise of `draw`; without it, the mode."""
        latents, norm = self.unshortened_latent(policy, observations, noise), self.config.latent_norm
        free = policy is None or math.isinf(norm)  # draws of the prior are what the decoder was trained on
        return latents if free else losses.within_ball(latents, norm)

    def unshortened_latent(
        self, policy: keras.Model | None, observations: tf.Tensor, noise: tf.Tensor | None
    ) -> tf.Tensor:
        """As `latent`, before it is shortened to `latent_norm`."""
        c = self.config
        if policy is None:
            return observation_normal(observations, self.latent_dim) if noise is None else noise
        if c.latent_policy == "tanh":
            mode = policy(observations)
            mode = mode if math.isinf(c.latent_bound) else c.latent_bound * tf.tanh(mode)
            if noise is None:
                return mode
            # Target smoothing as in TD3, in the latent space.
            return mode + tf.clip_by_value(c.latent_noise * noise, -c.latent_noise_clip, c.latent_noise_clip)
        distribution = self.latent_distribution(policy, observations)
        return distribution.mode() if noise is None else distribution.quantile(noise)

    def latent_distribution(self, policy: keras.Model, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """The Gaussian latent policy at observations [B, obs], truncated; its location lies within the bounds."""
        c = self.config
        loc, scale = tf.split(policy(observations), 2, axis=-1)
        scale = c.latent_scale_min + (c.latent_scale_max - c.latent_scale_min) * tf.sigmoid(scale)
        if math.isinf(c.latent_bound):
            return tfd.Normal(loc, scale)
        return TruncatedNormal(c.latent_bound * tf.tanh(loc), scale, -c.latent_bound, c.latent_bound)

    # Values

    def target_q(self, observations: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Q'(s, decoder'(s, z)) [B, 1] at the target policy's latents; both critics mixed by `doubleq_min`."""
        latents = self.latent(self.target_policy, observations, noise)
        pair = tf.concat([observations, self.decode(observations, latents)], -1)
        return losses.mixed(self.target_q1(pair), self.target_q2(pair), self.config.doubleq_min)

    def clip_value(self, value: tf.Tensor) -> tf.Tensor:
        """V's target within what an episode can return (authors' code).

        An episode may also be one step long: so the bounds hold that one reward, too. (The authors' code lacks this;
        its tasks have rewards of 0, for which it makes no difference.)
        """
        low, high, horizon = self.spec.scaling.reward_min, self.spec.scaling.reward_max, self.config.value_horizon
        horizon = 1.0 / (1.0 - self.config.discount) if horizon is None else horizon
        return tf.clip_by_value(value, min(low, low * horizon), max(high, high * horizon))

    def td_target(self, batch: Batch, next_value: tf.Tensor) -> tf.Tensor:
        """r + gamma V(s') [B, 1]."""
        return losses.td_target(batch, self.config.discount, next_value)

    def importance_weight(self, advantage: tf.Tensor) -> tf.Tensor:
        """omega of equation 7 from A(s, a), [B, 1] each."""
        c = self.config
        if c.weight == "step":
            return tf.where(advantage > 0.0, c.expectile, 1.0 - c.expectile)
        return tf.minimum(tf.exp(advantage / c.temperature), c.weight_max)

    # Losses

    def critic_loss(self, batch: Batch, target: tf.Tensor, value_target: tf.Tensor) -> Loss:
        """Equation 2 for both critics, and the regression of V on the target policy's value (equation 8)."""
        loss, metrics = losses.td_loss(self.q1, self.q2, batch, target)
        v_loss = tf.reduce_mean((self.v(batch["observations"]) - value_target) ** 2)
        loss += v_loss
        return loss, metrics | {"critic/loss": loss, "critic/v_loss": v_loss}

    def vae_loss(self, batch: Batch, weight: tf.Tensor, noise: tf.Tensor) -> Loss:
        """Equation 7: the importance-weighted evidence lower bound of the data's actions."""
        reconstruction, kl = self.elbo(batch, noise)
        loss = tf.reduce_mean(weight[:, 0] * (reconstruction + self.config.kl_weight * kl))
        means = {"vae/reconstruction": reconstruction, "vae/kl": kl, "vae/weight_mean": weight}
        return loss, {"vae/loss": loss} | {name: tf.reduce_mean(values) for name, values in means.items()}

    def policy_loss(self, batch: Batch, noise: tf.Tensor | None) -> Loss:
        """Equation 9: the latent policy climbs Q through the decoder theta'."""
        observations = batch["observations"]
        latents = self.latent(self.policy, observations, noise)
        loss = -tf.reduce_mean(self.q1(tf.concat([observations, self.decode(observations, latents)], -1)))
        return loss, {"policy/loss": loss, "policy/latent_abs": tf.reduce_mean(tf.abs(latents))}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One iteration of algorithm 1 in the order of the authors' code: critics, weights, CVAE, policy, targets."""
        observations, next_observations = batch["observations"], batch["next_observations"]
        next_q = self.target_q(next_observations, noise.get("next_value"))
        value_target = self.clip_value(self.target_q(observations, noise["value"]))
        target = self.td_target(batch, self.v(next_observations))
        metrics = self.critic_optimizer.minimise(lambda: self.critic_loss(batch, target, value_target))
        advantage = self.td_target(batch, next_q) - self.v(observations)
        weight = self.importance_weight(advantage)
        metrics |= self.vae_optimizer.minimise(lambda: self.vae_loss(batch, weight, noise["posterior"]))
        if self.policy is not None:
            metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, noise.get("policy")))
        self.update_targets()
        return metrics | {"critic/v_mean": tf.reduce_mean(value_target)} | losses.advantage_metrics(advantage)

    # Acting

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        """decoder'(s, mode of the latent policy), standardised."""
        return self.decode(observations, self.policy_latent(observations))

    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent(self.policy, observations)

    def decode(self, observations: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """By theta', the decoder's Polyak average, which values and policy see, too (authors' code)."""
        return self.target_decoder(tf.concat([observations, latents], -1))

    def advantage(self, batch: Batch) -> tf.Tensor:
        """A(s, a) [B, 1] of a batch's actions as training weighs them, but with the policy's modes, not samples."""
        next_q = self.target_q(batch["next_observations"], None)
        return self.td_target(batch, next_q) - self.v(batch["observations"])
