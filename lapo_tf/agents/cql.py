"""CQL: conservative Q-learning (Kumar et al., 2020), CQL(H) with importance sampling on top of SAC."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import keras
import tensorflow as tf
from typing_extensions import Self

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import stateless_normal, stateless_uniform
from lapo_tf.agents.policies import TanhGaussianPolicy


@dataclass(frozen=True)
class CQLConfig(AgentConfig):
    """Hyper-parameters of CQL; defaults are the authors' scripts', `configs/` has their advice by domain."""

    name: ClassVar[str] = "cql"

    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers of critics and policy."""
    penalty: float = 1.0
    """Alpha of equation 4, the authors' `min_q_weight` (5 or 10 without Lagrange in locomotion, 5 in antmaze)."""
    lagrange: bool = True
    """Tune a factor of the penalty so that it stays near `lagrange_threshold` (appendix A, equation 30)."""
    lagrange_threshold: float = 5.0
    """Tau of the Lagrange version."""
    samples: int = 10
    """Actions drawn for the log-sum-exp: from a uniform distribution, the policy at s and the policy at s', each."""
    bc_steps: int | None = None
    """Steps in which the policy clones the data instead of climbing Q; by default 4 % of the run's (authors: 40,000 of
    1 million)."""
    backup_entropy: bool = False
    """Whether Q's target holds the policy's entropy, as SAC's does (authors' code: no)."""
    critic_learning_rate: float = 3e-4
    """Adam's learning rate for Q1, Q2 and the Lagrange factor."""
    policy_learning_rate: float = 1e-4
    """Adam's learning rate for the policy and the entropy's weight."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("samples", self.samples > 0, "at least 1")
        for name in ("penalty", "lagrange_threshold"):
            self.check(name, getattr(self, name) >= 0, "0 or more")

    def for_run(self, steps: int) -> Self:
        config = super().for_run(steps)
        return replace(config, bc_steps=steps // 25) if self.bc_steps is None else config


class CQL(Agent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = CQLConfig
    batch_size = 256
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "critic/loss": "what the critics minimise: the sum of both losses with the penalty (equation 4)",
        "policy/loss": "mean of alpha log pi - min(Q1, Q2); at first with the data's log-density for Q",
        "policy/log_prob": "mean log-density of the data's actions under the policy",
        "policy/entropy": "mean of -log pi of the policy's own actions",
        "cql/gap": "log sum exp Q(s, .) - Q(s, a), the mean of both critics (equation 4)",
        "cql/factor": "Lagrange factor of the penalty",
        "cql/excess": "alpha times the gap, less the threshold of the Lagrange version, summed over both critics",
        "cql/alpha": "weight of the entropy",
    }
    config: CQLConfig

    def __init__(self, config: CQLConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.policy = TanhGaussianPolicy(self.network("policy_network", obs, 2 * act), name="policy")
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy)
        self.log_alpha = self.add_weight(name="log_alpha", shape=(), initializer="zeros")
        self.alpha_optimizer = self.adam("alpha", config.policy_learning_rate, self.log_alpha)
        if config.lagrange:
            self.log_factor = self.add_weight(name="log_factor", shape=(), initializer="zeros")
            self.factor_optimizer = self.adam("factor", config.critic_learning_rate, self.log_factor)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`random` [samples, B, act] uniform in (0, 1); `policy_here`, `policy_next` of that shape, `policy` and `next`
        [B, act] normal."""
        seeds, shape = tf.random.split(seed, 5, alg="philox"), (batch_size, self.spec.act_dim)
        many = (self.config.samples, *shape)
        return {
            "random": stateless_uniform(many, seeds[0]),
            "policy_here": stateless_normal(many, seeds[1]),
            "policy_next": stateless_normal(many, seeds[2]),
            "policy": stateless_normal(shape, seeds[3]),
            "next": stateless_normal(shape, seeds[4]),
        }

    def critic_target(self, batch: Batch, noise: tf.Tensor) -> tf.Tensor:
        """r + gamma min Q'(s', a'), a' from the policy, [B, 1]."""
        actions, log_prob = self.policy.sample(batch["next_observations"], {"normal": noise})
        pair = tf.concat([batch["next_observations"], actions], -1)
        value = tf.minimum(self.target_q1(pair), self.target_q2(pair))
        if self.config.backup_entropy:
            value -= tf.exp(self.log_alpha.value) * log_prob[:, None]
        return losses.td_target(batch, self.config.discount, value)

    def proposals(self, batch: Batch, noise: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """The actions [3 samples, B, act] of the log-sum-exp and their log-densities [3 samples, B] (appendix F)."""
        uniform = 2.0 * noise["random"] - 1.0
        density = tf.fill(tf.shape(uniform)[:2], -self.spec.act_dim * math.log(2.0))
        here = self.policy.sample(batch["observations"], {"normal": noise["policy_here"]})
        after = self.policy.sample(batch["next_observations"], {"normal": noise["policy_next"]})
        return tf.concat([uniform, after[0], here[0]], 0), tf.concat([density, after[1], here[1]], 0)

    def gap(self, q: keras.Model, batch: Batch, actions: tf.Tensor, log_prob: tf.Tensor) -> tf.Tensor:
        """Equation 4 without alpha: log sum exp Q(s, .) - Q(s, a), the mean over the batch.

        The sum over actions is estimated by importance sampling, up to the number of samples, as in the authors' code.
        """
        values = tf.reshape(q(losses.pair_all(batch["observations"], actions)), tf.shape(log_prob))
        data = q(tf.concat([batch["observations"], batch["actions"]], -1))
        return tf.reduce_mean(tf.reduce_logsumexp(values - log_prob, axis=0)) - tf.reduce_mean(data)

    def factor(self) -> tf.Tensor:
        """The Lagrange factor of the penalty."""
        return tf.clip_by_value(tf.exp(self.log_factor.value), 0.0, 1e6) if self.config.lagrange else tf.constant(1.0)

    def critic_loss(self, batch: Batch, target: tf.Tensor, actions: tf.Tensor, log_prob: tf.Tensor) -> Loss:
        """Equation 4, or its Lagrange version (equation 30)."""
        c, factor = self.config, self.factor()
        margin = c.lagrange_threshold if c.lagrange else 0.0
        td, metrics = losses.td_loss(self.q1, self.q2, batch, target)
        gaps = [self.gap(q, batch, actions, log_prob) for q in (self.q1, self.q2)]
        excess = tf.add_n([c.penalty * gap - margin for gap in gaps])
        loss = td + factor * excess
        own = {"cql/gap": tf.add_n(gaps) / 2.0, "cql/factor": factor, "cql/excess": excess}
        return loss, metrics | {"critic/loss": loss} | own

    def factor_loss(self, excess: tf.Tensor) -> Loss:
        """Equation 30 for the Lagrange factor: it grows while the penalty is above its threshold."""
        return -0.5 * self.factor() * excess, {}

    def alpha_loss(self, log_prob: tf.Tensor) -> Loss:
        """SAC's weight of the entropy: towards an entropy of -act."""
        loss = -self.log_alpha.value * tf.reduce_mean(log_prob - self.spec.act_dim)
        return loss, {"policy/entropy": -tf.reduce_mean(log_prob)}

    def policy_loss(self, batch: Batch, noise: tf.Tensor) -> Loss:
        """SAC's loss, alpha log pi - min(Q1, Q2); in the first `bc_steps` with the data's log-likelihood for Q."""
        observations = batch["observations"]
        cloning = self.policy_optimizer.iterations.value < (self.config.bc_steps or 0)
        actions, log_prob = self.policy.sample(observations, {"normal": noise})
        pair = tf.concat([observations, actions], -1)
        q = tf.minimum(self.q1(pair), self.q2(pair))[:, 0]
        data = self.policy.log_prob(observations, batch["actions"])
        loss = tf.reduce_mean(tf.exp(self.log_alpha.value) * log_prob - tf.where(cloning, data, q))
        return loss, {"policy/loss": loss, "policy/log_prob": tf.reduce_mean(data)}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One step as in the authors' code: policy and critics are updated against each other's old weights."""
        _, log_prob = self.policy.sample(batch["observations"], {"normal": noise["policy"]})
        metrics = self.alpha_optimizer.minimise(lambda: self.alpha_loss(log_prob))
        metrics["cql/alpha"] = tf.exp(self.log_alpha.value)
        target, proposals = self.critic_target(batch, noise["next"]), self.proposals(batch, noise)
        metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, noise["policy"]))
        metrics |= self.critic_optimizer.minimise(lambda: self.critic_loss(batch, target, *proposals))
        if self.config.lagrange:
            self.factor_optimizer.minimise(lambda: self.factor_loss(metrics["cql/excess"]))
        self.update_targets()
        return metrics

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy.mode(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A sample of the policy."""
        normal = stateless_normal((observations.shape[0], self.spec.act_dim), seed)
        return self.policy.sample(observations, {"normal": normal})[0]
