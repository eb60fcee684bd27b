"""The critics of fitted Q evaluation (Le et al., 2019): what a policy that somebody else trained is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import AgentConfig, AgentSpec, Batch, Learner, Loss, Metrics


@dataclass(frozen=True)
class FittedQConfig(AgentConfig):
    """Hyper-parameters of fitted Q evaluation."""

    name: ClassVar[str] = "fqe"

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """The last steps are small, so that the estimate does not depend on which of them is the last."""
    polyak: float = 0.05
    """Tau of the target networks: about 20 steps to a backup, 250 backups in 5,000 steps."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""


class FittedQ(Learner):
    """Two layer-normalised critics of one policy, each with its own target network, which differ in their weights only.

    Batches have that policy's `next_actions` [B, act], too. The policy itself is not needed.
    """

    Config = FittedQConfig
    batch_size = 256
    METRICS: ClassVar[dict[str, str]] = {
        "fqe/loss": "sum of both critics' mean squared temporal-difference errors, in scaled rewards",
        "fqe/q_mean": "mean of both critics' Q(s, a) over the batch, in scaled rewards",
    }
    config: FittedQConfig

    def __init__(self, config: FittedQConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        inputs = spec.obs_dim + spec.act_dim
        self.q1, self.target_q1 = self.twin("q1", inputs, 1, normalize=True)
        self.q2, self.target_q2 = self.twin("q2", inputs, 1, normalize=True)
        self.critic_optimizer = self.adam("critic", config.learning_rate, self.q1, self.q2)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """Nothing is random."""
        return {}

    def target_values(self, observations: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Q'(s, a) [B, 1] by each target network, within what rewards like the data's can add up to."""
        pair, horizon = tf.concat([observations, actions], -1), 1.0 / (1.0 - self.config.discount)
        low, high = (horizon * f(r, 0.0) for f, r in ((min, self.reward_range[0]), (max, self.reward_range[1])))
        q1, q2 = (tf.clip_by_value(target(pair), low, high) for target in (self.target_q1, self.target_q2))
        return q1, q2

    @property
    def reward_range(self) -> tuple[float, float]:
        """Smallest and largest scaled reward of the data."""
        return self.spec.scaling.reward_min, self.spec.scaling.reward_max

    def critic_loss(self, batch: Batch, targets: tuple[tf.Tensor, tf.Tensor]) -> Loss:
        """Each critic's mean squared error against its own target (Le et al., algorithm 3)."""
        pair = tf.concat([batch["observations"], batch["actions"]], -1)
        values = self.q1(pair), self.q2(pair)
        loss = tf.add_n([tf.reduce_mean((q - target) ** 2) for q, target in zip(values, targets, strict=True)])
        return loss, {"fqe/loss": loss, "fqe/q_mean": tf.reduce_mean(tf.add_n(values)) / 2.0}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        after = self.target_values(batch["next_observations"], batch["next_actions"])
        first, second = (losses.td_target(batch, self.config.discount, value) for value in after)
        metrics = self.critic_optimizer.minimise(lambda: self.critic_loss(batch, (first, second)))
        self.update_targets()
        return metrics
