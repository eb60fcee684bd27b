"""AWAC: advantage-weighted actor-critic (Nair et al., 2020), offline part, with a Gaussian or a mixture policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.policies import GaussianPolicy, MixturePolicy, action_noise


@dataclass(frozen=True)
class AWACConfig(AgentConfig):
    """Hyper-parameters of AWAC; defaults are d3rlpy's, with which LAPO's authors made their numbers."""

    name: ClassVar[str] = "awac"

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
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "critic/v_mean": "mean V(s) over the batch: the value of the policy's own action",
        **losses.ADVANTAGE_METRICS,
        "policy/loss": "negative mean of the weighted log-densities (equation 13)",
        "policy/log_prob": "mean log-density of the data's actions under the policy",
        "policy/weight_mean": "mean weight of the data's actions in the policy's likelihood",
    }
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
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`next_…` and `value_…`: noise of the policy's action at s' and s."""
        seeds, shape = tf.random.split(seed, 2, alg="philox"), (batch_size, self.spec.act_dim)
        parts = {"next": action_noise(shape, seeds[0]), "value": action_noise(shape, seeds[1])}
        return {f"{part}_{name}": values for part, noise in parts.items() for name, values in noise.items()}

    def sample(self, part: str, observations: tf.Tensor, noise: dict[str, tf.Tensor]) -> tf.Tensor:
        """The policy's actions [B, act] with the noise that `draw` made for `part`."""
        return self.policy.sample(observations, {k: noise[f"{part}_{k}"] for k in ("normal", "uniform")})

    def critic_target(self, batch: Batch, next_actions: tf.Tensor) -> tf.Tensor:
        """Policy evaluation: r + gamma min Q'(s', a') [B, 1], a' from the policy (section 4)."""
        pair = tf.concat([batch["next_observations"], next_actions], -1)
        return losses.td_target(batch, self.config.discount, tf.minimum(self.target_q1(pair), self.target_q2(pair)))

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

    def policy_loss(self, batch: Batch, weight: tf.Tensor) -> Loss:
        """Policy improvement: the advantage-weighted likelihood of the data's actions (equation 13)."""
        log_prob = self.policy.distribution(batch["observations"]).log_prob(batch["actions"])
        loss = -tf.reduce_mean(weight * log_prob)
        means = {"policy/log_prob": tf.reduce_mean(log_prob), "policy/weight_mean": tf.reduce_mean(weight)}
        return loss, {"policy/loss": loss} | means

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """Algorithm 1: critics, then the policy with the new critics' advantages, then targets."""
        target = self.critic_target(batch, self.sample("next", batch["next_observations"], noise))
        metrics = self.critic_optimizer.minimise(lambda: losses.td_loss(self.q1, self.q2, batch, target))
        advantage, value = self.advantage_and_value(batch, self.sample("value", batch["observations"], noise))
        weight = self.weight(advantage)
        metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, weight))
        self.update_targets()
        return metrics | losses.advantage_metrics(advantage) | {"critic/v_mean": tf.reduce_mean(value)}

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy.mode(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A sample of the policy."""
        return self.policy.sample(observations, action_noise((observations.shape[0], self.spec.act_dim), seed))
