"""LAPO as the paper's text has it, where the authors' code, and so `lapo`, does otherwise.

Each difference is an option; with `AUTHORS` and the step weight it is `lapo` with the preset `paper`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from lapo_tf.agents import losses
from lapo_tf.agents.base import AgentSpec, Batch, Loss, Metrics
from lapo_tf.agents.lapo import LAPO, LAPOConfig

AUTHORS = {
    **{"advantage": "td", "value": "network", "clip_value": True, "mask_terminals": True},
    **{"decoder": "polyak", "order": "critic_first"},
}


@dataclass(frozen=True)
class LAPOPaperConfig(LAPOConfig):
    """LAPO's hyper-parameters and the choices in which text and code differ; defaults are the paper's text."""

    name: ClassVar[str] = "lapo-paper"

    latent_norm: float = math.inf
    """Latents of the policy longer than this are shortened to it; neither text nor authors' code has that."""
    critic_norm: Literal["none", "layer"] = "none"
    """Layer normalisation in the critics' hidden layers; neither text nor authors' code has it."""
    weight: Literal["step", "exponential"] = "exponential"
    """Importance weight of the CVAE's loss: exp(A / temperature) (paper, below equation 4), or `expectile` where A > 0,
    else 1 - expectile (authors' code, and `lapo` by default)."""
    advantage: Literal["q", "td"] = "q"
    """A(s, a) = Q(s, a) - V(s) (paper, below equation 2) or r + gamma Q'(s', pi'(s')) - V(s) (authors' code)."""
    value: Literal["policy", "network"] = "policy"
    """V(s) = Q'(s, pi'(s)) itself (paper, equation 8), or a network regressed on it (authors' code)."""
    clip_value: bool = False
    """Clip V's target to [r_min, r_max] / (1 - discount) of the data (authors' code; the paper does not)."""
    mask_terminals: bool = False
    """Do not bootstrap from terminal states (authors' code); the paper's equation 2 leaves the mask out."""
    decoder: Literal["previous", "polyak"] = "previous"
    """theta': the decoder that the policy and the values use is the one of the previous iteration (paper, algorithm 1),
    or a Polyak average (authors' code)."""
    order: Literal["decoder_first", "critic_first"] = "decoder_first"
    """Order within a step: CVAE, critics, policy with weights from the values before the step (paper, algorithm 1), or
    critics, weights, CVAE, policy (authors' code)."""


class LAPOPaper(LAPO):
    """LAPO with the paper's choices in place of the authors'."""

    Config = LAPOPaperConfig
    config: LAPOPaperConfig

    def __init__(self, config: LAPOPaperConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        if config.decoder == "previous":
            self.targets = [(t, online, 1.0 if t is self.target_decoder else tau) for t, online, tau in self.targets]

    def build_value(self) -> None:
        """Nothing where V is the value of the policy's action itself."""
        if self.config.value == "network":
            super().build_value()
        else:
            self.critic_optimizer = self.adam("critic", self.config.critic_learning_rate, self.q1, self.q2)

    @property
    def metric_names(self) -> tuple[str, ...]:
        unused = {"critic/v_loss"} if self.config.value == "policy" else set()
        return tuple(name for name in super().metric_names if name not in unused)

    def clip_value(self, value: tf.Tensor) -> tf.Tensor:
        return super().clip_value(value) if self.config.clip_value else value

    def td_target(self, batch: Batch, next_value: tf.Tensor) -> tf.Tensor:
        """With `mask_terminals` unset V(s') counts after terminal states, too."""
        if not self.config.mask_terminals:
            batch = batch | {"terminals": tf.zeros_like(batch["terminals"])}
        return super().td_target(batch, next_value)

    def critic_loss(self, batch: Batch, target: tf.Tensor, value_target: tf.Tensor) -> Loss:
        """Equation 2; without a regression where V needs no network."""
        if self.config.value == "network":
            return super().critic_loss(batch, target, value_target)
        return losses.td_loss(self.q1, self.q2, batch, target)

    def data_advantage(self, batch: Batch, next_q: tf.Tensor, value_target: tf.Tensor) -> tf.Tensor:
        """A(s, a) [B, 1] of the data's actions, given Q' at the policy's action in s' and V's target in s."""
        if self.config.advantage == "td":
            q = self.td_target(batch, next_q)
        else:
            pair = tf.concat([batch["observations"], batch["actions"]], -1)
            q = tf.minimum(self.q1(pair), self.q2(pair))
        return q - (self.v(batch["observations"]) if self.config.value == "network" else value_target)

    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One iteration of algorithm 1, in the paper's or the authors' order."""
        observations, next_observations = batch["observations"], batch["next_observations"]
        next_q = self.target_q(next_observations, noise.get("next_value"))
        value_target = self.clip_value(self.target_q(observations, noise["value"]))
        target = self.td_target(batch, self.v(next_observations) if self.config.value == "network" else next_q)
        metrics = {"critic/v_mean": tf.reduce_mean(value_target)}

        def update_critics() -> None:
            metrics.update(self.critic_optimizer.minimise(lambda: self.critic_loss(batch, target, value_target)))

        def update_vae() -> None:
            advantage = self.data_advantage(batch, next_q, value_target)
            weight = self.importance_weight(advantage)
            metrics.update(losses.advantage_metrics(advantage))
            metrics.update(self.vae_optimizer.minimise(lambda: self.vae_loss(batch, weight, noise["posterior"])))

        paper = self.config.order == "decoder_first"
        for update in (update_vae, update_critics) if paper else (update_critics, update_vae):
            update()
        if self.policy is not None:
            metrics |= self.policy_optimizer.minimise(lambda: self.policy_loss(batch, noise.get("policy")))
        self.update_targets()
        return metrics

    def advantage(self, batch: Batch) -> tf.Tensor:
        next_q = self.target_q(batch["next_observations"], None)
        return self.data_advantage(batch, next_q, self.clip_value(self.target_q(batch["observations"], None)))
