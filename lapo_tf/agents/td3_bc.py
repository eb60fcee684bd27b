"""TD3+BC: TD3 whose policy also clones the data (Fujimoto & Gu, 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.distributions import stateless_normal


@dataclass(frozen=True)
class TD3BCConfig(AgentConfig):
    """Hyper-parameters of TD3+BC; defaults are the paper's (its table of hyper-parameters), the same in all domains."""

    name: ClassVar[str] = "td3-bc"

    alpha: float = 2.5
    """Weight of Q, whose mean magnitude is brought to 1, beside the squared error of the clone (equation 5)."""
    policy_noise: float = 0.2
    """Standard deviation of the noise on the target policy's actions, which are -1 to 1."""
    noise_clip: float = 0.5
    """Bound of that noise."""
    policy_delay: int = 2
    """Steps of the critics to one of the policy and of all targets."""
    critic_learning_rate: float = 3e-4
    """Adam's learning rate for Q1 and Q2."""
    policy_learning_rate: float = 3e-4
    """Adam's learning rate for the policy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("policy_delay", self.policy_delay > 0, "at least 1")
        for name in ("alpha", "policy_noise", "noise_clip"):
            self.check(name, getattr(self, name) >= 0, "0 or more")


class TD3BC(Agent):
    """Networks, losses and one update step. Actions are scaled to [-1, 1]."""

    Config = TD3BCConfig
    batch_size = 256
    METRICS: ClassVar[dict[str, str]] = {
        **losses.TD_METRICS,
        "policy/loss": "what the policy minimises: the clone's error less lambda times mean Q1 (equation 3)",
        "policy/clone_error": "mean squared error of the policy's actions",
        "policy/q_weight": "lambda, the weight of Q in the policy's loss (equation 5)",
    }
    """The policy's are means over its updates."""
    config: TD3BCConfig

    def __init__(self, config: TD3BCConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        obs, act = spec.obs_dim, spec.act_dim
        self.policy, self.target_policy = self.twin("policy", obs, act, activation="tanh")
        self.q1, self.target_q1 = self.twin("q1", obs + act, 1)
        self.q2, self.target_q2 = self.twin("q2", obs + act, 1)
        self.critic_optimizer = self.adam("critic", config.critic_learning_rate, self.q1, self.q2)
        self.policy_optimizer = self.adam("policy", config.policy_learning_rate, self.policy)

    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """`target` [B, act] normal."""
        return {"target": stateless_normal((batch_size, self.spec.act_dim), seed)}

    def critic_target(self, batch: Batch, noise: tf.Tensor) -> tf.Tensor:
        """r + gamma min Q'(s', a') [B, 1], a' the target policy's action with clipped noise (TD3)."""
        c, observations = self.config, batch["next_observations"]
        noise = tf.clip_by_value(c.policy_noise * noise, -c.noise_clip, c.noise_clip)
        actions = tf.clip_by_value(self.target_policy(observations) + noise, -1.0, 1.0)
        pair = tf.concat([observations, actions], -1)
        return losses.td_target(batch, c.discount, tf.minimum(self.target_q1(pair), self.target_q2(pair)))

    def policy_loss(self, batch: Batch) -> Loss:
        """Equation 3: lambda Q1(s, pi(s)) against (pi(s) - a)^2; lambda's Q is that of pi(s), too (authors' code)."""
        actions = self.policy(batch["observations"])
        q = self.q1(tf.concat([batch["observations"], actions], -1))
        weight = tf.stop_gradient(self.config.alpha / tf.reduce_mean(tf.abs(q)))
        error = tf.reduce_mean((actions - batch["actions"]) ** 2)
        loss = error - weight * tf.reduce_mean(q)
        return loss, {"policy/loss": loss, "policy/clone_error": error, "policy/q_weight": weight}

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One step in the order of the authors' code: critics; every `policy_delay` steps policy and targets."""
        target = self.critic_target(batch, noise["target"])
        metrics = self.critic_optimizer.minimise(lambda: losses.td_loss(self.q1, self.q2, batch, target))

        def update_policy() -> Metrics:
            policy = self.policy_optimizer.minimise(lambda: self.policy_loss(batch))
            self.update_targets()
            # The other steps report 0, so that the mean over all steps is the mean over updates.
            return {name: self.config.policy_delay * value for name, value in policy.items()}

        due = self.critic_optimizer.iterations.value % self.config.policy_delay == 0
        names = tuple(name for name in self.METRICS if name.startswith("policy/"))
        return metrics | losses.either(due, update_policy, dict, names)

    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.policy(observations)

    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.policy(observations)
