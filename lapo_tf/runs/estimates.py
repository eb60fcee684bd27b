"""What can be known of a policy without a simulator: fitted Q evaluation, and the numbers to compare it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lapo_tf.agents.fitted_q import FittedQConfig
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.split import split
from lapo_tf.errors import UserError, require
from lapo_tf.runs.evaluation import bootstrap_interval
from lapo_tf.runs.run import Run
from lapo_tf.training.fqe import READINGS, FittedQEvaluation, policy_actions
from lapo_tf.training.judges import HeldOut

STARTS = 1_000  # first observations of at most so many episodes, evenly taken
CHECKED = 20_000  # errors are taken from about so many transitions, of whole episodes evenly taken

NUMBERS: dict[str, str] = {
    "fqe": "discounted return from the episodes' starts by fitted Q evaluation, in raw rewards",
    "fqe_low": "lower end of its 95 % bootstrap interval over episodes",
    "fqe_high": "upper end",
    "fqe_critics_apart": "difference between the estimates of its two critics",
    "fqe_drift": "how far the estimate still moved in the last fifth of the fit",
    "critic_value": "what the training's own critics promise from there: mean of the smaller Q(s, pi(s)), raw rewards",
    "action_error": "mean squared difference of the policy's and the data's actions, in the data's standard deviations",
    "action_error_best": "the same in the best tenth of the episodes, by return",
    "td_error": "root mean squared temporal-difference error of the training's critics, in raw rewards",
}
"""What `Judge` finds of a policy, explained; what needs the training's critics only where the agent has some."""


@dataclass(frozen=True)
class FitSettings:
    """How policies are compared."""

    steps: int
    """Gradient steps of each fit."""
    seed: int
    """Fixes each fit's first weights and batches, which are the same for all policies."""
    discount: float
    """Gamma."""

    def __post_init__(self) -> None:
        """Raises `UserError` for a number out of range."""
        require(self.steps >= READINGS, "steps", self.steps, f"at least {READINGS}")
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 or more, below 2^31")
        require(0 <= self.discount < 1, "discount", self.discount, "at least 0 and below 1")


class Judge:
    """Judges policies on one data set."""

    def __init__(self, fitted: OfflineDataset, judged: OfflineDataset, settings: FitSettings) -> None:
        """
        Args:
            fitted: transitions that critics are fitted to.
            judged: episodes that starts and errors are taken from, at best others than the policies were trained on.
            settings: of the fits.

        Raises:
            UserError: the rewards tell no policy from another.
        """
        rewards = fitted.rewards[fitted.index]
        if np.ptp(rewards) == 0 and (rewards[0] == 0 or not fitted.terminals.any()):
            raise UserError(
                f"all rewards of {fitted.summary.id} are {rewards[0]:g}, so fitted Q evaluation says nothing: expected "
                "rewards that tell good from bad; see python -m lapo_tf.data relabel"
            )
        self._fitted = fitted
        self.starts = judged.observations[_evenly(judged.episodes[:, 0], STARTS)]
        every = -(-len(judged) // CHECKED)
        self._checked = split(judged, range(0, len(judged.episodes), every))[1]
        self._actions = self._checked.actions[self._checked.index]
        lengths = self._checked.episodes[:, 1]
        episode = np.repeat(np.arange(len(lengths)), lengths)
        returns = np.bincount(episode, weights=self._checked.rewards[self._checked.index])
        tenth = np.argsort(-returns, kind="stable")[: max(1, round(0.1 * len(returns)))]
        self._best = np.isin(episode, tenth)
        self._unit = np.maximum(fitted.actions[fitted.index].std(axis=0, dtype=np.float64), 1e-6)
        config = FittedQConfig(discount=settings.discount)
        self._fit = FittedQEvaluation(fitted, self.starts, config, steps=settings.steps, seed=settings.seed)

    def numbers(self, run: Run, on_steps: Callable[[int], object] = lambda steps: None) -> dict[str, float]:
        """Those of `NUMBERS` that a run has as of its checkpoint.

        Args:
            run: of an agent for such data.
            on_steps: called with the number of steps fitted since the last call.
        """
        agent = run.agent
        actions, first = (policy_actions(agent, o) for o in (self._fitted.observations, self.starts))
        value = self._fit.evaluate(actions, first, on_steps)
        low, high = bootstrap_interval(value.starts, resamples=2_000)
        chosen = policy_actions(agent, self._checked.observations[self._checked.index])
        error = (((chosen - self._actions) / self._unit) ** 2).mean(axis=1)
        numbers = {
            "fqe": value.mean,
            "fqe_low": low,
            "fqe_high": high,
            "fqe_critics_apart": abs(value.critics[0] - value.critics[1]),
            "fqe_drift": value.drift,
            "action_error": float(error.mean()),
            "action_error_best": float(error[self._best].mean()),
        }
        if hasattr(agent, "q1"):
            scaling, discount = agent.spec.scaling, agent.config.discount
            promised = float(run.value(self.starts).mean()) - scaling.reward_shift / (1.0 - discount)
            numbers["critic_value"] = promised / scaling.reward_scale
            squared = HeldOut(agent, self._checked).numbers()["offline/td_error"]
            numbers["td_error"] = squared**0.5 / scaling.reward_scale
        return {name: numbers[name] for name in NUMBERS if name in numbers}


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of values [n], at equal distances."""
    return values[:: -(-len(values) // most)]
