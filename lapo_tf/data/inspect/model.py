"""What an inspection found: numbers, and findings about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.task import DataTask

AT_BOUND = 1e-3  # of the range of actions: so near is at a bound
SAMPLE = 50_000  # rows from which quantiles and typical steps are estimated


@dataclass(frozen=True)
class Finding:
    """Something worth a look. `grave`: it may well spoil training."""

    text: str
    grave: bool = False


@dataclass
class Inspection:
    """What was found. E episodes, N transitions, O observation channels, A action channels.

    Attributes:
        dataset: the data, aligned.
        task: the task it is for, if known.
        observation_names, action_names: of the channels.
        returns, lengths, best: float [E], int [E] and float [E]: return, recorded steps and highest reward.
        successes: bool [E], or None where nothing says what success is; `success_means` says it.
        reward_values: the distinct rewards and how often they occur, if they are few.
        low, high: bounds of actions [A], or None; `bounded_by` says where they are from.
        at_bounds: share of actions at a bound [A].
        action_change: standard deviation of the change of actions from step to step, all channels together.
        quantiles: 0, 1, 25, 50, 75, 99 and 100 % of each observation channel [7, O].
        constant: observation channels that never change [O].
        findings: what is suspicious.
    """

    dataset: OfflineDataset
    task: DataTask | None
    observation_names: list[str]
    action_names: list[str]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    best: NDArray[np.float64]
    successes: NDArray[np.bool_] | None
    success_means: str
    reward_values: dict[float, int] | None
    low: np.ndarray | None
    high: np.ndarray | None
    bounded_by: str
    at_bounds: NDArray[np.float64]
    action_change: float
    quantiles: NDArray[np.float64]
    constant: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)

    @property
    def rewarded(self) -> float:
        """Share of transitions with a reward other than 0."""
        return float((self.dataset.rewards[self.dataset.index] != 0).mean())

    def rows(self) -> list[tuple[str, str]]:
        """The numbers, named."""
        summary = self.dataset.summary
        low, q1, median, q3, high = summary.return_quantiles
        least, most = summary.reward_range
        rows = [
            ("data set", f"{summary.id} ({summary.provenance})"),
            ("task", self.task.name if self.task else "not known (give --task)"),
            ("transitions", f"{summary.transitions:,} in {summary.episodes:,} episodes"),
            (
                "episodes",
                f"{self.lengths.min():,} to {self.lengths.max():,} steps, {summary.mean_length:.1f} on average; "
                f"{summary.terminated_episodes:,} terminated, {summary.dropped:,} steps dropped",
            ),
            ("returns", f"{low:.4g} to {high:.4g}, quartiles {q1:.4g} / {median:.4g} / {q3:.4g}"),
            ("rewards", f"{least:.4g} to {most:.4g}, {self.rewarded:.1%} of the steps have one"),
        ]
        if self.successes is not None:
            rows.append(("successful", f"{self.successes.mean():.1%} of the episodes ({self.success_means})"))
        rows.append(("observation", f"{self.dataset.obs_dim} channels, {int(self.constant.sum())} of them constant"))
        bounds = (
            f"within {self.bounded_by}, {self.at_bounds.mean():.1%} at a bound"
            if self.low is not None
            else "no bounds known"
        )
        rows.append(
            ("action", f"{self.dataset.act_dim} channels, {bounds}; change per step {self.action_change:.3g} (std)")
        )
        return rows

    def __str__(self) -> str:
        lines = [f"{name:<12} {text}" for name, text in self.rows()]
        lines += [f"{'look at' if finding.grave else 'note':<12} {finding.text}" for finding in self.findings]
        return "\n".join(lines if self.findings else [*lines, f"{'note':<12} nothing suspicious found"])


def sample(rows: np.ndarray) -> np.ndarray:
    """Evenly spaced rows."""
    return rows[:: max(len(rows) // SAMPLE, 1)]
