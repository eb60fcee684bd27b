"""Several agents beside each other: learning curves, interquartile means, profiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

from lapo_tf.plots.curves import over_steps
from lapo_tf.plots.style import AGENT_COLOURS, FAINT, new_axes, tidy


class Seeds(Protocol):
    """The seeds of one setting, as `lapo_tf.runs.results.Group` holds them."""

    @property
    def label(self) -> str:
        """What the legend calls them."""

    @property
    def judged(self) -> bool:
        """Whether their last scores are `lapo_tf.evaluate`'s, and so no part of the curve."""

    def values(self, which: str) -> np.ndarray:
        """Their `last` scores [seeds]."""

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps [E] and scores [seeds, E]."""

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds [E] of the mean score."""


def plot_group_curves(
    groups: Sequence[Seeds], ax: Axes | None = None, *, metric: str = "eval/normalized_score"
) -> Axes:
    """Learning curves of one task's agents: mean over seeds and its 95 % bootstrap band, and as a dot their last score
    where `lapo_tf.evaluate` was asked for it.

    Args:
        groups: the seeds of each setting, from `lapo_tf.runs.sweep.sweep` or `lapo_tf.runs.results.group_runs`.
        ax: where to draw; default: a new figure.
        metric: what the scores are, for the axis: a column of `metrics.csv`.
    """
    ax = ax or new_axes((6.0, 3.6))
    colours = colours_of(g.label for g in groups)
    for group in groups:
        steps, scores = group.curve()
        ax.plot(steps, scores.mean(0), color=colours[group.label], lw=1.8, label=group.label)
        if group.judged:
            ax.plot(steps[-1], group.values("last").mean(), "o", color=colours[group.label], ms=5, clip_on=False)
        if len(scores) > 1:
            ax.fill_between(steps, *group.band(), color=colours[group.label], alpha=0.15, lw=0)
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return over_steps(ax, metric)


def plot_iqm(means: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Interquartile mean over tasks and seeds (line) with its 95 % stratified bootstrap interval (bar), per agent.

    Args:
        means, intervals: of each agent, from `lapo_tf.runs.statistics.aggregates`.
        ax: where to draw; default: a new figure.
    """
    colours = colours_of(means)
    ax = ax or new_axes((5.0, 0.9 + 0.4 * len(means)))
    for row, label in enumerate(reversed(list(means))):
        low, high = intervals[label]
        ax.barh(row, high - low, left=low, height=0.55, color=colours[label], alpha=0.65)
        ax.plot([means[label]] * 2, [row - 0.28, row + 0.28], color="black", lw=1.5)
    ax.use_sticky_edges = False  # an interval's end is not the edge of the picture
    ax.margins(x=0.06)
    ax.set_yticks(range(len(means)), list(reversed(list(means))))
    ax.set_xlabel("interquartile mean of the normalized score / 100")
    ax.grid(axis="x", color=FAINT, lw=0.8)
    return tidy(ax)


def plot_profiles(
    grid: np.ndarray,
    profiles: Mapping[str, np.ndarray],
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ax: Axes | None = None,
) -> Axes:
    """Performance profiles: the share of runs that score more, over the score; with 95 % bootstrap bands.

    Args:
        grid, profiles, bands: from `lapo_tf.runs.statistics.performance_profiles`.
        ax: where to draw; default: a new figure.
    """
    colours = colours_of(profiles)
    ax = ax or new_axes((5.0, 3.4))
    for label in profiles:
        ax.plot(grid, profiles[label], color=colours[label], label=label)
        ax.fill_between(grid, *bands[label], color=colours[label], alpha=0.12, lw=0)
    ax.set_xlabel("normalized score / 100")
    ax.set_ylabel("share of runs above it")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    ax.grid(axis="x", color=FAINT, lw=0.8)
    return tidy(ax)


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """Each agent's own colour; settings that have none get those that the others leave."""
    labels = list(dict.fromkeys(labels))
    free = cycle([c for name, c in AGENT_COLOURS.items() if name not in labels] or AGENT_COLOURS.values())
    return {label: AGENT_COLOURS.get(label) or next(free) for label in labels}
