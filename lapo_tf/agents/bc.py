"""Behaviour cloning: the action of the data, whatever came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Loss, Metrics


@dataclass(frozen=True)
class BCConfig(AgentConfig):
    """Hyper-parameters of behaviour cloning; those of the clone in BCQ's code (Fujimoto et al., 2019)."""

    name: ClassVar[str] = "bc"

    hidden: tuple[int, ...] = (400, 300)
    """Widths of the policy's hidden layers."""
    policy_learning_rate: float = 1e-3
    """Adam's learning rate."""


class BC(Agent):
    """A deterministic policy a = tanh(f(s)), fitted by least squares."""

    Config = BCConfig
    batch_size = 100
    METRICS: ClassVar[dict[str, str]] = {"policy/loss": "mean squared error of the policy's actions"}
    config: BCConfig

    def __init__(self, config: BCConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        self.policy = self.network("policy", spec.obs_dim, spec.act_dim, activation="tanh")
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """Nothing is random."""
        return {}

    def policy_loss(self, batch: Batch) -> Loss:
        """Maximum likelihood under a Gaussian of constant width: the mean squared error."""
        loss = tf.reduce_mean((self.policy(batch["observations"]) - batch["actions"]) ** 2)
        return loss, {"policy/loss": loss}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        return self.policy_optimizer.minimise(lambda: self.policy_loss(batch))

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.policy(observations)
