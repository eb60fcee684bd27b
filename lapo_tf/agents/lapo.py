"""LAPO: latent-variable advantage-weighted policy optimization (Chen et al., 2022).

Where the paper's text and the authors' code, which made the published tables, disagree, both choices are fields of
`LAPOConfig`; the defaults follow the code, except for the latent policy, which is the paper's truncated Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Metrics
from lapo_tf.agents.distributions import TruncatedNormal, observation_normal, stateless_normal, stateless_uniform

tfd = tfp.distributions


@dataclass(frozen=True)
class LAPOConfig(AgentConfig):
    """Hyper-parameters of LAPO."""

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
    advantage: Literal["td", "q"] = "td"
    """A(s, a) = r + gamma Q'(s', pi'(s')) - V(s) (authors' code) or Q(s, a) - V(s) (paper, below equation 2)."""
    value: Literal["network", "policy"] = "network"
    """V(s) from a network regressed on Q'(s, pi'(s)) (authors' code), or Q'(s, pi'(s)) itself (paper, equation 8)."""
    doubleq_min: float = 1.0
    """Weight d in d min(Q1', Q2') + (1 - d) max(Q1', Q2') (authors' code; 0.7 on antmaze)."""
    clip_value: bool = True
    """Clip V's target to [r_min, r_max] / (1 - discount) of the data (authors' code; the paper does not)."""
    value_horizon: float | None = None
    """The bounds of that clipping are this many of the largest and smallest rewards; default: 1 / (1 - discount).
    It is 1 where an episode ends with its first reward (antmaze, authors' code)."""
    mask_terminals: bool = True
    """Do not bootstrap from terminal states (authors' code); the paper's equation 2 leaves the mask out."""
    decoder: Literal["polyak", "previous"] = "polyak"
    """theta': the decoder that the policy and the values use is a Polyak average (authors' code) or the decoder of the
    previous iteration (paper, algorithm 1)."""
    order: Literal["critic_first", "decoder_first"] = "critic_first"
    """Order within a step: critics, weights, CVAE, policy (authors' code) or CVAE, critics, policy with weights from
    the values before the step (paper, algorithm 1)."""
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
        for name in ("latent_bound", "temperature", "weight_max"):
            self.check(name, getattr(self, name) > 0, "a number above 0")
        self.check("value_horizon", self.value_horizon is None or self.value_horizon >= 1, "at least 1")
        self.check(
            "latent_scale_min", 0 < self.latent_scale_min <= self.latent_scale_max, "0 < min <= latent_scale_max"
        )
        for name in ("latent_noise", "latent_noise_clip", "kl_weight"):
            self.check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("expectile", "doubleq_min"):
            self.check(name, 0 <= getattr(self, name) <= 1, "0 to 1")


class LAPO(Agent):
    """Networks, losses and one update step. Observations and actions are standardised unless said otherwise."""

    Config = LAPOConfig
    batch_size = 512
    action_units = "std"
    config: LAPOConfig

    def __init__(self, config: LAPOConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.latent_dim = config.latent_ratio * act
        self.encoder = self.network("encoder", obs + act, 2 * self.latent_dim)  # (s, a) -> mean, log variance
        self.decoder = self.network("decoder", obs + self.latent_dim, act)  # (s, z) -> action
        if config.latent_policy != "prior":
            head = 2 if config.latent_policy == "truncated_gaussian" else 1
            self.policy, self.target_policy = self.twin("policy", obs, head * self.latent_dim)
            self.policy_optimizer = self.optimizer(config.policy_learning_rate, self.policy.trainable_variables)
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.target_decoder = self.network("target_decoder", obs + self.latent_dim, act)
        self.follow(self.target_decoder, self.decoder, config.polyak if config.decoder == "polyak" else 1.0)
        critics = [self.q1, self.q2]
        if config.value == "network":
            self.v = self.network("v", obs, 1)
            critics.append(self.v)
        self.critic_variables = [w for net in critics for w in net.trainable_variables]
        self.vae_variables = self.encoder.trainable_variables + self.decoder.trainable_variables
        self.critic_optimizer = self.optimizer(config.critic_learning_rate, self.critic_variables)
        self.vae_optimizer = self.optimizer(config.vae_learning_rate, self.vae_variables)

    # Random numbers

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`posterior` [B, latent] normal; `value`, `next_value`, `policy`: for the latents of the policy's actions,
        normal, or uniform for the truncated Gaussian."""
        seeds = tf.random.split(seed, num=4, alg="philox")
        shape = (batch_size, self.latent_dim)
        normal = lambda k: stateless_normal(shape, seeds[k])  # noqa: E731
        if self.config.latent_policy == "tanh":
            return {"posterior": normal(0), "value": normal(1)}
        if self.config.latent_policy == "prior":
            return {"posterior": normal(0), "value": normal(1), "next_value": normal(2)}
        uniform = lambda k: stateless_uniform(shape, seeds[k])  # noqa: E731
        return {"posterior": normal(0), "value": uniform(1), "next_value": uniform(2), "policy": uniform(3)}

    # Pieces

    def latent_distribution(self, policy: keras.Model, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """The Gaussian latent policy at observations [B, obs], truncated; its location lies within the bounds."""
        c = self.config
        loc, scale = tf.split(policy(observations), 2, axis=-1)
        scale = c.latent_scale_min + (c.latent_scale_max - c.latent_scale_min) * tf.sigmoid(scale)
        if math.isinf(c.latent_bound):
            return tfd.Normal(loc, scale)
        return TruncatedNormal(c.latent_bound * tf.tanh(loc), scale, -c.latent_bound, c.latent_bound)

    def latent(self, which: str, observations: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Latents [B, latent] of the latent policy, `which` is "policy" or "target_policy".

        Args:
            noise: what `draw` gives for a sample; without it, the mode.
        """
        c = self.config
        if c.latent_policy == "prior":
            return observation_normal(observations, self.latent_dim) if noise is None else noise
        policy = getattr(self, which)
        if c.latent_policy == "tanh":
            return (
                policy(observations) if math.isinf(c.latent_bound) else c.latent_bound * tf.tanh(policy(observations))
            )
        distribution = self.latent_distribution(policy, observations)
        return distribution.mode() if noise is None else distribution.quantile(noise)

    def target_q(self, observations: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """Q'(s, decoder'(s, z)) [B, 1], the two critics mixed by `doubleq_min`."""
        pair = tf.concat([observations, self.target_decoder(tf.concat([observations, latents], -1))], -1)
        return losses.mixed(self.target_q1(pair), self.target_q2(pair), self.config.doubleq_min)

    def value_target(self, observations: tf.Tensor, noise: dict[str, tf.Tensor] | None) -> tf.Tensor:
        """Equation 8: Q' at the target policy's action, [B, 1]; without noise, at its mode."""
        c = self.config
        latents = self.latent("target_policy", observations, None if noise is None else noise["value"])
        if noise is not None and c.latent_policy == "tanh":  # target smoothing as in TD3, in the latent space
            latents += tf.clip_by_value(c.latent_noise * noise["value"], -c.latent_noise_clip, c.latent_noise_clip)
        value = self.target_q(observations, latents)
        if c.clip_value:
            # An episode may also be one step long: so the bounds hold that one reward, too. (The authors' code lacks
            # this; its tasks have rewards of 0, for which it makes no difference.)
            low, high, horizon = self.spec.scaling.reward_min, self.spec.scaling.reward_max, c.value_horizon
            horizon = 1.0 / (1.0 - c.discount) if horizon is None else horizon
            value = tf.clip_by_value(value, min(low, low * horizon), max(high, high * horizon))
        return value

    def data_advantage(self, batch: Batch, next_q: tf.Tensor, value_target: tf.Tensor) -> tf.Tensor:
        """A(s, a) of the data's actions, [B, 1], given Q' at the policy's action in s' and `value_target` of s."""
        c = self.config
        if c.advantage == "td":
            q = batch["rewards"] + self.continues(batch) * c.discount * next_q
        else:
            pair = tf.concat([batch["observations"], batch["actions"]], -1)
            q = tf.minimum(self.q1(pair), self.q2(pair))
        return q - (self.v(batch["observations"]) if c.value == "network" else value_target)

    def importance_weight(self, advantage: tf.Tensor) -> tf.Tensor:
        """omega of equation 7 from A(s, a), [B, 1] each."""
        c = self.config
        if c.weight == "step":
            return tf.where(advantage > 0.0, c.expectile, 1.0 - c.expectile)
        return tf.minimum(tf.exp(advantage / c.temperature), c.weight_max)

    # Updates

    def update_critics(self, batch: Batch, value_target: tf.Tensor, next_value: tf.Tensor) -> Metrics:
        """Equation 2 for both critics and, if there is one, the regression of V on `value_target`."""
        target = batch["rewards"] + self.continues(batch) * self.config.discount * next_value
        with tf.GradientTape() as tape:
            loss, metrics = losses.td_loss(self.q1, self.q2, batch, target)
            if self.config.value == "network":
                v_loss = tf.reduce_mean((self.v(batch["observations"]) - value_target) ** 2)
                loss += v_loss
                metrics["critic/v_loss"] = v_loss
        self.critic_optimizer.apply(tape.gradient(loss, self.critic_variables), self.critic_variables)
        return metrics | {"critic/loss": loss, "critic/v_mean": tf.reduce_mean(value_target)}

    def update_vae(self, batch: Batch, weight: tf.Tensor, noise: tf.Tensor) -> Metrics:
        """Equation 7: the importance-weighted evidence lower bound of the data's actions."""
        with tf.GradientTape() as tape:
            reconstruction, kl = losses.elbo(self.encoder, self.decoder, batch, noise)
            loss = tf.reduce_mean(weight[:, 0] * (reconstruction + self.config.kl_weight * kl))
        self.vae_optimizer.apply(tape.gradient(loss, self.vae_variables), self.vae_variables)
        return {
            "vae/loss": loss,
            "vae/reconstruction": tf.reduce_mean(reconstruction),
            "vae/kl": tf.reduce_mean(kl),
            "vae/weight_mean": tf.reduce_mean(weight),
        }

    def update_policy(self, batch: Batch, uniform: tf.Tensor | None) -> Metrics:
        """Equation 9: the latent policy climbs Q through the decoder theta'."""
        observations = batch["observations"]
        variables = self.policy.trainable_variables
        with tf.GradientTape() as tape:
            latents = self.latent("policy", observations, uniform)
            actions = self.target_decoder(tf.concat([observations, latents], -1))
            loss = -tf.reduce_mean(self.q1(tf.concat([observations, actions], -1)))
        self.policy_optimizer.apply(tape.gradient(loss, variables), variables)
        return {"policy/loss": loss, "policy/latent_abs": tf.reduce_mean(tf.abs(latents))}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One iteration of algorithm 1, in the paper's or the authors' order."""
        c = self.config
        observations, next_observations = batch["observations"], batch["next_observations"]
        next_latents = self.latent("target_policy", next_observations, noise.get("next_value"))
        next_q = self.target_q(next_observations, next_latents)
        value_target = self.value_target(observations, noise)
        next_value = self.v(next_observations) if c.value == "network" else next_q

        def weights() -> tuple[tf.Tensor, tf.Tensor]:
            advantage = self.data_advantage(batch, next_q, value_target)
            return self.importance_weight(advantage), advantage

        if c.order == "decoder_first":
            weight, advantage = weights()
            metrics = self.update_vae(batch, weight, noise["posterior"])
            metrics |= self.update_critics(batch, value_target, next_value)
        else:
            metrics = self.update_critics(batch, value_target, next_value)
            weight, advantage = weights()
            metrics |= self.update_vae(batch, weight, noise["posterior"])
        if c.latent_policy != "prior":
            metrics |= self.update_policy(batch, noise.get("policy"))
        self.update_targets()
        return metrics | losses.advantage_metrics(advantage)

    def continues(self, batch: Batch) -> tf.Tensor:
        """1 where the next state's value counts, [B, 1]."""
        return 1.0 - batch["terminals"] if self.config.mask_terminals else tf.ones_like(batch["terminals"])

    # Acting

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        """decoder'(s, mode of the latent policy), standardised."""
        return self.decode(observations, self.policy_latent(observations))

    def policy_latent(self, observations: tf.Tensor) -> tf.Tensor:
        return self.latent("policy", observations, None)

    def decode(self, observations: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        return self.target_decoder(tf.concat([observations, latents], -1))

    def encode(self, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        return tf.split(self.encoder(tf.concat([observations, actions], -1)), 2, axis=-1)[0]

    def advantage(self, batch: Batch) -> tf.Tensor:
        next_latents = self.latent("target_policy", batch["next_observations"], None)
        next_q = self.target_q(batch["next_observations"], next_latents)
        return self.data_advantage(batch, next_q, self.value_target(batch["observations"], None))

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Decoded from z ~ N(0, I): the generative model alone."""
        return losses.decode_prior(self.target_decoder, observations, self.latent_dim, seed)
