"""Curves over training steps, for notebooks and files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from lapo_tf.errors import UserError, unknown
from lapo_tf.plots.style import COLOURS, FAINT, new_axes, tidy


class Recorded(Protocol):
    """A run or its folder."""

    def metrics(self) -> list[dict[str, float]]:
        """The rows of its `metrics.csv`."""


RunLike: TypeAlias = Recorded | Sequence[dict[str, float]]

JUDGED = ("eval/normalized_score", "eval/return", "offline/action_error_best")  # the first that a run has
LABELS = {
    "eval/normalized_score": "normalized score",
    "eval/return": "return",
    "eval/episode_length": "episode length (steps)",
    "offline/action_error_best": "action error on the best\nheld-out episodes",
    "time/seconds": "seconds",
    "critic/q_mean": "mean Q of the data's actions",
}


def plot_curves(
    runs: RunLike | Sequence[RunLike],
    metric: str | None = None,
    ax: Axes | None = None,
    label: str | None = None,
    *,
    band: Literal["std", "range"] = "std",
    paper: float | None = None,
    color: str | None = None,
) -> Axes:
    """A metric over training steps: the mean of several seeds, its spread, and each seed as a thin line.

    Call it again with the same `ax` and another `label` to compare.

    Args:
        runs: one run, or the seeds of one setting.
        metric: a column of `metrics.csv`; default: what the first run is judged by.
        ax: where to draw; default: a new figure.
        label: what the legend calls these runs.
        band: shade one standard deviation around the mean, or all between the lowest and the highest seed.
        paper: a published score, drawn as a dashed line; such as `run.task.paper.get(run.config.agent)`.
        color: of these runs; default: the next one.

    Raises:
        UserError: a run has no such column, or no evaluation yet.
    """
    ax = ax or new_axes((6.0, 3.6))
    seeds = _as_runs(runs)
    metric = metric or judged_by(_rows(seeds[0])[-1])
    curves = [_curve(run, metric) for run in seeds]
    drawn = len({line.get_color() for line in ax.lines if line.get_gid() == "mean"})
    color = color or COLOURS[drawn % len(COLOURS)]
    # Only where all seeds have been is their mean a mean of the same things.
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = np.array([[curve[step] for step in steps] for curve in curves]).reshape(len(curves), -1)
    if len(curves) > 1:
        for curve in curves:
            ax.plot(list(curve), list(curve.values()), color=color, lw=0.7, alpha=0.45)
        low, high = values.min(0), values.max(0)
        if band == "std":
            low, high = values.mean(0) - values.std(0), values.mean(0) + values.std(0)
        ax.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)
    marker = "o" if len(steps) < 2 else None
    ax.plot(steps, values.mean(0), color=color, lw=2.0, label=label, marker=marker, gid="mean")
    if paper is not None:
        _paper_line(ax, paper, color)
    first = next(iter(curves[0].values()))
    ax.update_datalim([(0.0, 0.0 if metric.startswith("eval/") else first)])  # zero is on the axes
    ax.autoscale_view()
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")
    return over_steps(ax, metric)


def over_steps(ax: Axes, metric: str) -> Axes:
    """Axes of curves over training steps: labels, marks and grid."""
    ax.set_xlabel("gradient steps")
    ax.set_ylabel(LABELS.get(metric, metric))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(axis="y", color=FAINT, lw=0.8)
    return tidy(ax)


def _as_runs(runs: RunLike | Sequence[RunLike]) -> list[RunLike]:
    """One run or many, as a list."""
    if isinstance(runs, Sequence) and len(runs) and not isinstance(runs[0], dict):
        return list(runs)  # type: ignore[arg-type]
    return [runs]  # type: ignore[list-item]


def judged_by(row: Mapping[str, float]) -> str:
    """The column of an evaluation that its policy is judged by: a score, else a return, else an error offline."""
    return next((name for name in JUDGED if name in row and not math.isnan(row[name])), JUDGED[0])


def _rows(run: RunLike) -> Sequence[Mapping[str, float]]:
    """The evaluations of a run."""
    rows = run if isinstance(run, Sequence) else run.metrics()
    if not rows:
        raise UserError(f"{getattr(run, 'path', run)} has no evaluation yet: nothing to plot")
    return rows


def _curve(run: RunLike, metric: str) -> dict[int, float]:
    """Step -> value."""
    rows = _rows(run)
    if metric not in rows[0]:
        raise unknown("metric", metric, [name for name in rows[0] if name != "step"])
    return {int(row["step"]): float(row[metric]) for row in rows}


def _paper_line(ax: Axes, score: float, color: str) -> None:
    """The published score, drawn once."""
    mark = f"paper {score}"
    if mark not in [line.get_gid() for line in ax.lines]:
        ax.axhline(score, color=color, lw=1.2, ls=(0, (5, 3)), gid=mark)
        text = ax.text(1.0, score, f"paper: {score:.1f}", ha="right", va="bottom", fontsize="small", color=color)
        text.set_transform(ax.get_yaxis_transform())  # x as a share of the axes' width
