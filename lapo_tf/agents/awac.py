"""AWAC: advantage-weighted actor-critic (Nair et al., 2020), offline part, with a Gaussian or a mixture policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Metrics
from lapo_tf.agents.policies import GaussianPolicy, MixturePolicy, action_noise


@dataclass(frozen=True)
class AWACConfig(AgentConfig):
    """Hyper-parameters of AWAC; defaults are d3rlpy's, with which LAPO's authors made their numbers."""

    policy: Literal["gaussian", "gmm"] = "gaussian"
    """One Gaussian per state, or a mixture of them (`AWAC (GMM)` of LAPO's tables)."""
    components: int = 5
    """Gaussians in the mixture. LAPO's paper does not say how many it used."""
    temperature: float = 1.0
    """Lambda in exp(A / lambda)."""
    weight: Literal["softmax", "exponential"] = "softmax"
    """exp(A / lambda) divided by its mean over the batch (authors' code), or as it is (the paper's equation)."""
    weight_max: float = 100.0
    """Upper bound of the exponential weight."""
    log_std_min: float = -6.0
    """Smallest logarithm of the policy's standard deviation, which begins in the middle."""
    log_std_max: float = 0.0
    """Largest one."""
    critic_learning_rate: float = 3e-4
    """Adam's learning rate for Q1 and Q2."""
    policy_learning_rate: float = 3e-4
    """Adam's learning rate for the policy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("components", self.components > 0, "at least 1")
        for name in ("temperature", "weight_max"):
            self.check(name, getattr(self, name) > 0, "a number above 0")
        self.check("log_std_min", self.log_std_min <= self.log_std_max, "at most log_std_max")


class AWAC(Agent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = AWACConfig
    batch_size = 1024
    config: AWACConfig

    def __init__(self, config: AWACConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        bounds = (config.log_std_min, config.log_std_max)
        std: dict[str, Any] = {"log_std": sum(bounds) / 2, "log_std_range": bounds, "name": "policy"}
        if config.policy == "gmm":
            heads = self.network("policy_network", obs, config.components * (1 + act))
            self.policy = MixturePolicy(heads, act, config.components, **std)
        else:
            self.policy = GaussianPolicy(self.network("policy_network", obs, act), act, **std)
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.critic_variables = self.q1.trainable_variables + self.q2.trainable_variables
        self.critic_optimizer = self.optimizer(config.critic_learning_rate, self.critic_variables)
        self.policy_optimizer = self.optimizer(config.policy_learning_rate, self.policy.trainable_variables)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`next_…` and `value_…`: noise of the policy's action at s' and s."""
        seeds, shape = tf.random.split(seed, 2, alg="philox"), (batch_size, self.spec.act_dim)
        parts = {"next": action_noise(shape, seeds[0]), "value": action_noise(shape, seeds[1])}
        return {f"{part}_{name}": values for part, noise in parts.items() for name, values in noise.items()}

    def sample(self, part: str, observations: tf.Tensor, noise: dict[str, tf.Tensor]) -> tf.Tensor:
        """The policy's actions [B, act] with the noise that `draw` made for `part`."""
        return self.policy.sample(observations, {k: noise[f"{part}_{k}"] for k in ("normal", "uniform")})

    def update_critics(self, batch: Batch, next_actions: tf.Tensor) -> Metrics:
        """Policy evaluation: r + gamma min Q'(s', a'), a' from the policy (section 4)."""
        pair = tf.concat([batch["next_observations"], next_actions], -1)
        target = losses.td_target(batch, self.config.discount, tf.minimum(self.target_q1(pair), self.target_q2(pair)))
        with tf.GradientTape() as tape:
            loss, metrics = losses.td_loss(self.q1, self.q2, batch, target)
        self.critic_optimizer.apply(tape.gradient(loss, self.critic_variables), self.critic_variables)
        return metrics | {"critic/loss": loss}

    def advantage_and_value(self, batch: Batch, policy_actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A(s, a) = Q(s, a) - V(s), and V(s) = Q(s, a_pi), [B] each; Q the smaller of both."""
        s = batch["observations"]
        pairs = tf.concat([s, batch["actions"]], -1), tf.concat([s, policy_actions], -1)
        q, v = (tf.minimum(self.q1(pair), self.q2(pair))[:, 0] for pair in pairs)
        return q - v, v

    def weight(self, advantage: tf.Tensor) -> tf.Tensor:
        """exp(A / lambda) [B], over the batch's mean or below `weight_max`."""
        scaled = advantage / self.config.temperature
        if self.config.weight == "softmax":
            return tf.nn.softmax(scaled) * tf.cast(tf.size(scaled), scaled.dtype)
        return tf.minimum(tf.exp(scaled), self.config.weight_max)

    def update_policy(self, batch: Batch, weight: tf.Tensor) -> Metrics:
        """Policy improvement: the advantage-weighted likelihood of the data's actions (equation 13)."""
        variables = self.policy.trainable_variables
        with tf.GradientTape() as tape:
            log_prob = self.policy.distribution(batch["observations"]).log_prob(batch["actions"])
            loss = -tf.reduce_mean(weight * log_prob)
        self.policy_optimizer.apply(tape.gradient(loss, variables), variables)
        return {
            "policy/loss": loss,
            "policy/log_prob": tf.reduce_mean(log_prob),
            "policy/weight_mean": tf.reduce_mean(weight),
        }

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """Algorithm 1: critics, then the policy with the new critics' advantages, then targets."""
        metrics = self.update_critics(batch, self.sample("next", batch["next_observations"], noise))
        advantage, value = self.advantage_and_value(batch, self.sample("value", batch["observations"], noise))
        metrics |= self.update_policy(batch, self.weight(advantage))
        self.update_targets()
        return metrics | losses.advantage_metrics(advantage) | {"critic/v_mean": tf.reduce_mean(value)}

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy.mode(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A sample of the policy."""
        return self.policy.sample(observations, action_noise((observations.shape[0], self.spec.act_dim), seed))
