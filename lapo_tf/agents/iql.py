"""IQL: implicit Q-learning (Kostrikov et al., 2021). Expectile values, a policy by advantage-weighted regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import tensorflow as tf
from typing_extensions import Self

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import stateless_uniform
from lapo_tf.agents.networks import rate_schedule
from lapo_tf.agents.policies import GaussianPolicy, action_noise

LOG_STD_RANGE = (-5.0, 2.0)


@dataclass(frozen=True)
class IQLConfig(AgentConfig):
    """Hyper-parameters of IQL; defaults are the authors' for locomotion, `configs/` has those of other domains."""

    name: ClassVar[str] = "iql"

    expectile: float = 0.7
    """Tau of the expectile regression of V (0.9 in antmaze)."""
    temperature: float = 3.0
    """Beta in exp(beta A), an inverse temperature (10 in antmaze, 0.5 in the kitchen)."""
    weight_max: float = 100.0
    """Upper bound of exp(beta A)."""
    dropout: float = 0.0
    """Share of the policy's hidden units left out in training (0.1 in the kitchen)."""
    decay_steps: int | None = None
    """Steps in which the policy's learning rate falls to 0, as a cosine if `schedule` has all others constant; by
    default the run's (authors: 1 million)."""
    critic_learning_rate: float = 3e-4
    """Adam's learning rate for Q1 and Q2."""
    value_learning_rate: float = 3e-4
    """Adam's learning rate for V."""
    policy_learning_rate: float = 3e-4
    """Adam's learning rate for the policy, at first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("expectile", 0 < self.expectile < 1, "above 0 and below 1")
        self.check("temperature", self.temperature >= 0, "0 or more")
        self.check("weight_max", self.weight_max > 0, "a number above 0")
        self.check("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")

    def for_run(self, steps: int) -> Self:
        return replace(self, decay_steps=steps) if self.decay_steps is None else self


class IQL(Agent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = IQLConfig
    batch_size = 256
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "critic/v_loss": "expectile loss of V (equation 5)",
        "critic/v_mean": "mean V(s) over the batch",
        **losses.ADVANTAGE_METRICS,
        "policy/loss": "negative mean of the weighted log-densities (equation 7)",
        "policy/log_prob": "mean log-density of the data's actions under the policy",
        "policy/weight_mean": "mean weight of the data's actions in the policy's likelihood",
    }
    config: IQLConfig

    def __init__(self, config: IQLConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.policy = GaussianPolicy(
            self.network("policy_network", obs, act), act, log_std=0.0, log_std_range=LOG_STD_RANGE, name="policy"
        )
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.v = self.network("v", obs, 1)
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.value_optimizer = self.adam("value", config.value_learning_rate, self.v)
        kind = "cosine" if config.schedule == "constant" else config.schedule  # the authors' policy always decays
        decay = rate_schedule(kind, config.decay_steps, config.warmup_steps)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy, schedule=decay)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """With dropout `dropout_0`, … [B, width] uniform for the hidden layers."""
        if not self.config.dropout:
            return {}
        seeds = tf.random.split(seed, len(self.config.hidden), alg="philox")
        widths = enumerate(self.config.hidden)
        return {f"dropout_{i}": stateless_uniform((batch_size, width), seeds[i]) for i, width in widths}

    def target_q(self, batch: Batch) -> tf.Tensor:
        """min Q'(s, a) of the data's actions, [B, 1]."""
        pair = tf.concat([batch["observations"], batch["actions"]], -1)
        return tf.minimum(self.target_q1(pair), self.target_q2(pair))

    def value_loss(self, batch: Batch, q: tf.Tensor) -> Loss:
        """Equation 5: expectile regression of V on Q'(s, a)."""
        error = q - self.v(batch["observations"])
        asymmetry = tf.where(error > 0.0, self.config.expectile, 1.0 - self.config.expectile)
        loss = tf.reduce_mean(asymmetry * error**2)
        return loss, {"critic/v_loss": loss, "critic/v_mean": tf.reduce_mean(q - error)}

    def policy_loss(self, batch: Batch, advantage: tf.Tensor, masks: list[tf.Tensor]) -> Loss:
        """Equation 7: advantage-weighted regression."""
        weight = tf.minimum(tf.exp(self.config.temperature * advantage), self.config.weight_max)
        log_prob = self.policy.distribution(batch["observations"], masks).log_prob(batch["actions"])
        loss = -tf.reduce_mean(weight * log_prob)
        means = {"policy/log_prob": tf.reduce_mean(log_prob), "policy/weight_mean": tf.reduce_mean(weight)}
        return loss, {"policy/loss": loss} | means

    def critic_target(self, batch: Batch) -> tf.Tensor:
        """Equation 6: r + gamma V(s') [B, 1]."""
        return losses.td_target(batch, self.config.discount, self.v(batch["next_observations"]))

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One step in the order of the authors' code: V, policy with the new V, critics with the new V, targets."""
        keep = 1.0 - self.config.dropout
        masks = [tf.cast(noise[name] < keep, tf.float32) / keep for name in sorted(noise)]
        q = self.target_q(batch)
        metrics = self.value_optimizer.minimise(lambda: self.value_loss(batch, q))
        advantage = (q - self.v(batch["observations"]))[:, 0]
        metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, advantage, masks))
        target = self.critic_target(batch)
        metrics |= self.critic_optimizer.minimise(lambda: losses.td_loss(self.q1, self.q2, batch, target))
        self.update_targets()
        return metrics | losses.advantage_metrics(advantage)

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy.mode(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A sample of the policy."""
        return self.policy.sample(observations, action_noise((observations.shape[0], self.spec.act_dim), seed))
