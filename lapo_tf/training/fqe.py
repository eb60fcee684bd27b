"""Fitted Q evaluation: what a policy is worth on the data set it was learned from, without a simulator.

fqe = FittedQEvaluation(dataset, starts, FittedQConfig(discount=0.99), steps=5_000, seed=0)
value = fqe.evaluate(policy_actions(agent, dataset.observations), policy_actions(agent, starts))

Le et al., 2019 (algorithm 3); Paine et al., 2020, choose among policies by it. A critic is trained on the data's
transitions towards r + gamma Q'(s', pi(s')), and read at the episodes' first observations. The compiled loop is that of
training. The policy's actions are computed once for the whole data set, so the loop never runs the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import tensorflow as tf

from lapo_tf.agents import Agent, AgentSpec
from lapo_tf.agents.base import Batch, Learner
from lapo_tf.agents.fitted_q import FittedQ, FittedQConfig
from lapo_tf.config import Compile
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.training.loop import TrainingLoop, scaling_of

ROWS = 4096  # observations in one call of a policy
READINGS = 10  # of the estimate while it is being fitted


@dataclass(frozen=True)
class PolicyValue:
    """A policy's discounted return by fitted Q evaluation, in raw rewards."""

    starts: np.ndarray
    """Q(s, pi(s)) at each start, the mean of both critics, float64 [S]."""
    critics: tuple[float, float]
    """Each critic's mean over the starts."""
    readings: np.ndarray
    """The estimate as the fit went on, float64 [10]; the last one counts."""

    @property
    def mean(self) -> float:
        """The estimate."""
        return float(self.starts.mean())

    @property
    def drift(self) -> float:
        """How far the estimate still moved in the last fifth of the fit."""
        return float(self.readings[-1] - self.readings[-1 - READINGS // 5])


class FittedQEvaluation:
    """Evaluates one policy after the other on the same batches, from the same first weights."""

    def __init__(
        self,
        dataset: OfflineDataset,
        starts: np.ndarray,
        config: FittedQConfig,
        *,
        steps: int,
        seed: int,
        compile: Compile = "xla",
    ) -> None:
        """
        Args:
            dataset: transitions to fit the critics to.
            starts: observations [S, obs] to read them at.
            config: of the critics; their rewards are scaled by the data, so that returns are of size 1.
            steps: gradient steps for a policy, at least `READINGS`.
            seed: fixes first weights and batches.
        """
        largest = float(np.abs(returns_to_go(dataset, config.discount)).max())
        config = replace(config, rewards="raw", reward_scale=1.0 / largest if largest > 0 else 1.0).for_run(steps)
        unbounded = np.full(dataset.act_dim, np.inf, np.float32)
        scaling = scaling_of(dataset, -unbounded, unbounded, config, "std")
        self.critics = FittedQ(config, AgentSpec(dataset.obs_dim, dataset.act_dim, scaling, seed))
        self.steps = steps
        self._loop = PolicyLoop(self.critics, dataset, batch_size=FittedQ.batch_size, seed=seed, compile=compile)
        self._beginning = self._loop.snapshot()
        self._starts = tf.constant((starts - scaling.obs_mean) / scaling.obs_std)

    def evaluate(
        self,
        actions: np.ndarray,
        start_actions: np.ndarray,
        on_steps: Callable[[int], object] = lambda steps: None,
    ) -> PolicyValue:
        """Fit fresh critics to a policy.

        Args:
            actions: the policy's raw actions [M, act] at all observations of the data set.
            start_actions: at the starts, [S, act].
            on_steps: called with the number of steps done since the last call.
        """
        self._loop.restore(self._beginning)
        self._loop.follow(actions)
        ends = np.linspace(0, self.steps, READINGS + 1).astype(int)
        readings = []
        for count in np.diff(ends).tolist():
            self._loop.run(count)
            on_steps(count)
            readings.append(self._read(start_actions))
        q1, q2 = readings[-1]
        means = np.array([float((a + b).mean()) / 2.0 for a, b in readings])
        return PolicyValue((q1 + q2) / 2.0, (float(q1.mean()), float(q2.mean())), means)

    def _read(self, start_actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both critics' values at the starts, float64 [S], in raw rewards."""
        scaling = self.critics.spec.scaling
        scaled = tf.constant((start_actions - scaling.act_mean) / scaling.act_std)
        first, second = self.critics.target_values(self._starts, scaled)
        q1, q2 = (value.numpy()[:, 0].astype(np.float64) / scaling.reward_scale for value in (first, second))
        return q1, q2


class PolicyLoop(TrainingLoop):
    """The compiled loop on transitions that have a policy's next actions, too."""

    def __init__(
        self, learner: Learner, dataset: OfflineDataset, *, batch_size: int, seed: int, compile: Compile
    ) -> None:
        super().__init__(learner, dataset, batch_size=batch_size, seed=seed, compile=compile)
        self._policy = tf.Variable(tf.zeros_like(self._actions), trainable=False, name="policy_actions")

    def follow(self, actions: np.ndarray) -> None:
        """From now on take these raw actions [M, act], one per observation of the data set."""
        scaling = self.agent.spec.scaling
        self._policy.assign((actions - scaling.act_mean) / scaling.act_std)

    def transitions(self, rows: tf.Tensor, seed: tf.Tensor) -> Batch:
        return super().transitions(rows, seed) | {"next_actions": tf.gather(self._policy, rows + 1)}


def policy_actions(agent: Agent, observations: np.ndarray) -> np.ndarray:
    """The actions [N, act] that an agent's policy takes at raw observations [N, obs], raw and within the bounds."""

    @tf.function(input_signature=[tf.TensorSpec([ROWS, agent.spec.obs_dim], tf.float32)])
    def act(rows: tf.Tensor) -> tf.Tensor:
        return agent.unscale_action(agent.policy_action(agent.scale_observation(rows)))

    actions = np.empty((len(observations), agent.spec.act_dim), np.float32)
    for first in range(0, len(observations), ROWS):
        rows = observations[first : first + ROWS]
        padded = np.pad(rows, [(0, ROWS - len(rows)), (0, 0)])
        actions[first : first + ROWS] = act(padded).numpy()[: len(rows)]
    return actions


def returns_to_go(dataset: OfflineDataset, discount: float) -> np.ndarray:
    """Discounted sum [N] of each transition's reward and those that follow it in its recorded episode."""
    parts = []
    for first, length in dataset.episodes.tolist():
        backwards = dataset.rewards[first : first + length][::-1].astype(np.float64).tolist()
        parts.append(np.array(list(accumulate(backwards, lambda later, r: r + discount * later)))[::-1])
    return np.concatenate(parts)
