"""Judging policies: in the simulator, or by numbers on episodes that training has not seen.

None of the latter is a score. They tell whether the critics and the policy hold on new data, not how the policy would
fare where the data never went.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lapo_tf.agents import Agent
from lapo_tf.agents.latent import LatentAgent
from lapo_tf.config import TrainConfig
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.tasks.task import HELD_OUT, SCORE, Task
from lapo_tf.training.rollout import Episodes, Evaluator

ROWS = 1024  # transitions in one call
LARGEST_WEIGHT = 5.0  # of exp(A / std A), in standard deviations


class Simulator:
    """Judges an agent by its returns in the task's environment."""

    def __init__(self, agent: Agent, task: Task, config: TrainConfig) -> None:
        """
        Args:
            agent: whose policy acts.
            task: gives the environment and the score.
            config: gives the number of episodes, and their seeds.
        """
        self.agent, self.task, self.config = agent, task, config
        self.criterion = task.criterion
        self.episodes: Episodes | None = None
        """Of the last judgement."""
        self.evaluator = Evaluator(task.make_env, config.eval_episodes)

    def numbers(self, step: int) -> dict[str, float]:
        """The `eval/` columns of `lapo_tf.training.metrics.EVALUATION` after so many steps."""
        # Seeds do not overlap between runs' seeds, nor between evaluations.
        seed = 1_000_003 * (self.config.seed + 1) + 1_009 * -(-step // self.config.eval_every)
        self.episodes = episodes = self.evaluator.run(self.agent.act, seed)
        logs = {"eval/return": float(episodes.returns.mean()), "eval/episode_length": float(episodes.lengths.mean())}
        if self.criterion == SCORE:
            scores = self.task.normalized(episodes.returns)
            logs |= {"eval/normalized_score": float(scores.mean()), "eval/normalized_score_std": float(scores.std())}
        if self.task.success is not None:
            logs["eval/success"] = self.task.success_numbers(episodes.returns, episodes.infos)["success/episodes"]
        return logs

    def close(self) -> None:
        """Close the environments."""
        self.evaluator.close()


class HeldOut:
    """Judges an agent by held-out episodes."""

    criterion = HELD_OUT
    episodes = None
    """None are run."""

    def __init__(self, agent: Agent, dataset: OfflineDataset) -> None:
        """
        Args:
            agent: whose units and critics count.
            dataset: the held-out episodes.
        """
        self.agent = agent
        scaling, values = agent.spec.scaling, dataset.transitions()
        rewards = values["rewards"][:, None] * np.float32(scaling.reward_scale) + np.float32(scaling.reward_shift)
        self._batch = {
            "observations": (values["observations"] - scaling.obs_mean) / scaling.obs_std,
            "actions": (values["actions"] - scaling.act_mean) / scaling.act_std,
            "rewards": rewards,
            "next_observations": (values["next_observations"] - scaling.obs_mean) / scaling.obs_std,
            "terminals": values["terminals"][:, None],
        }
        lengths = dataset.episodes[:, 1]
        episode = np.repeat(np.arange(len(lengths)), lengths)
        self.returns = np.bincount(episode, weights=values["rewards"], minlength=len(lengths))
        tenth = np.argsort(-self.returns, kind="stable")[: max(1, round(0.1 * len(lengths)))]
        self._best = np.isin(episode, tenth)
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._numbers_of = tf.function(self._rows, reduce_retracing=True)

    def numbers(self, step: int = 0) -> dict[str, float]:
        """The columns of `lapo_tf.training.metrics.HELD_OUT` that the agent has, as it is now."""
        rows = self._all_rows()
        error = rows["error"]
        result = {
            "offline/action_error": float(error.mean()),
            "offline/action_error_best": float(error[self._best].mean()),
        }
        if "value" in rows:
            advantage = rows["advantage"]
            spread = float(advantage.std())
            weight = (
                np.exp(np.clip(advantage / spread, -LARGEST_WEIGHT, LARGEST_WEIGHT)) if spread else np.ones(len(error))
            )
            result |= {
                "offline/action_error_weighted": float((weight * error).sum() / weight.sum()),
                "offline/td_error": float((rows["td"] ** 2).mean()),
                "offline/value_start": float(rows["value"][self._first].mean()),
            }
        if "unlike" in rows:
            result["offline/unlike_data"] = float((rows["unlike"] > np.quantile(rows["unlike_own"], 0.99)).mean())
        if "at_bound" in rows:
            result["offline/latent_at_bound"] = float(rows["at_bound"].mean())
        return result

    def close(self) -> None:
        """Nothing is open."""

    def _all_rows(self) -> dict[str, np.ndarray]:
        """`_rows` of all transitions, float64 [N]."""
        count = len(self._batch["rewards"])
        parts: dict[str, list[np.ndarray]] = {}
        for first in range(0, count, ROWS):
            some = {name: values[first : first + ROWS] for name, values in self._batch.items()}
            size = len(some["rewards"])
            padded = {k: np.pad(v, [(0, ROWS - size), (0, 0)]).astype(np.float32) for k, v in some.items()}
            for name, values in self._numbers_of(padded).items():
                parts.setdefault(name, []).append(values.numpy()[:size].astype(np.float64))
        return {name: np.concatenate(values) for name, values in parts.items()}

    def _rows(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Each transition's numbers [B]."""
        agent: Any = self.agent
        observations, actions = batch["observations"], batch["actions"]
        chosen = agent.scale_action(agent.unscale_action(agent.policy_action(observations)))  # within the bounds
        rows = {"error": tf.reduce_mean((chosen - actions) ** 2, -1)}
        if hasattr(agent, "q1"):
            pair = tf.concat([observations, actions], -1)
            q = tf.minimum(agent.q1(pair), agent.q2(pair))[:, 0]
            after = agent.policy_value(batch["next_observations"])
            target = batch["rewards"][:, 0] + (1.0 - batch["terminals"][:, 0]) * agent.config.discount * after
            value = agent.policy_value(observations)
            rows |= {"td": target - q, "value": value, "advantage": q - value}
        if isinstance(agent, LatentAgent):
            rows |= {"unlike": _unlikeness(agent, observations, chosen)}
            rows |= {"unlike_own": _unlikeness(agent, observations, actions)}
            bound, norm = (getattr(agent.config, name, float("inf")) for name in ("latent_bound", "latent_norm"))
            if np.isfinite([bound, norm]).any():
                latents = agent.policy_latent(observations)
                at_bound = (tf.abs(latents) >= 0.99 * bound) | (tf.norm(latents, axis=-1, keepdims=True) >= 0.99 * norm)
                rows["at_bound"] = tf.reduce_mean(tf.cast(at_bound, tf.float32), -1)
        return rows


def _unlikeness(agent: LatentAgent, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """How ill the CVAE explains actions [B, act]: squared error of what it decodes, plus divergence of the latent."""
    mean, log_var = tf.split(agent.encoder(tf.concat([observations, actions], -1)), 2, axis=-1)
    divergence = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - log_var - 1.0, -1)
    return tf.reduce_sum((agent.decode(observations, mean) - actions) ** 2, -1) + divergence
