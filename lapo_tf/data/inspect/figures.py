"""The figures of an inspection: see `lapo_tf.data.inspect.page`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, PercentFormatter

from lapo_tf.data.inspect.model import Inspection
from lapo_tf.errors import unknown
from lapo_tf.plots.mazes import plot_maze_trajectories
from lapo_tf.plots.style import BLUE, INK, VERMILION

Section = Literal["Episodes", "Rewards", "Actions", "States", "Channels"]
WIDTH = 10.5  # inches
HISTOGRAMS = 30  # actions shown at most
STRIPS = 90  # observation channels shown at most
POINTS = 60_000  # of a cloud of states
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "text.color": INK,
    "axes.labelcolor": INK,
}


def plot_inspection(found: Inspection, section: Section) -> Figure:
    """One of the page's figures, by its section's title.

    Raises:
        UserError: there is no such section.
    """
    figures = {title: figure for title, _, figure in sections(found)}
    if section not in figures:
        raise unknown("section", section, figures)
    with mpl.rc_context(STYLE):
        return figures[section](found)


def sections(found: Inspection) -> list[tuple[str, str, Callable[[Inspection], Figure]]]:
    """Titles, explanations and figures."""
    states = (
        "Where the ball was (white: never), and the paths of a few episodes, from circle to square; green: rewarded."
        if _maze(found)
        else "All observation channels that change, standardised, along the two directions in which they vary most "
        "(principal components). Left: how often a state was visited. Right: when within its episode."
    )
    return [
        (
            "Episodes",
            "How much reward episodes collect, how long they are, and how both change over the recording.",
            _episodes,
        ),
        ("Rewards", "How far episodes get, and where within an episode the rewards are.", _rewards),
        (
            "Actions",
            "Each action's values"
            + (f"; dashed: {found.bounded_by}, red: at a bound." if found.low is not None else "."),
            _actions,
        ),
        ("States", states, _maze_states if _maze(found) else _states),
        (
            "Channels",
            "Each observation channel's values from its smallest (left) to its largest (right); dark where often.",
            _channels,
        ),
    ]


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))


def head(found: Inspection) -> Figure:
    """The numbers and findings as a picture."""
    rows = [(label, part, INK) for name, text in found.rows() for label, part in _wrapped(name, text)]
    for finding in found.findings:
        name, colour = ("look at", VERMILION) if finding.grave else ("note", "#666666")
        rows += [(label, part, colour) for label, part in _wrapped(name, finding.text)]
    height = 0.75 + 0.2 * len(rows)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.03, 1 - 0.35 / height, found.dataset.summary.id, fontsize=15, weight="bold", va="center")
    for i, (name, text, colour) in enumerate(rows):
        y = 1 - (0.75 + 0.2 * i) / height
        figure.text(0.03, y, name, color="#888888", va="center")
        figure.text(0.13, y, text, color=colour, va="center")
    return figure


def band(title: str, text: str) -> Figure:
    """A section's title as a picture."""
    lines = textwrap.wrap(text, 150)
    height = 0.62 + 0.18 * len(lines)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.03, 1 - 0.4 / height, title, fontsize=12, weight="bold", va="center")
    for i, line in enumerate(lines):
        figure.text(0.03, 1 - (0.66 + 0.18 * i) / height, line, color="#666666", va="center", fontsize=8.5)
    return figure


def _wrapped(name: str, text: str) -> list[tuple[str, str]]:
    return [(name if i == 0 else "", part) for i, part in enumerate(textwrap.wrap(text, 125))]


def _episodes(found: Inspection) -> Figure:
    figure = _figure(2.9)
    returns, lengths, over = figure.subplots(1, 3, width_ratios=[1, 1, 1.3])
    _histogram(returns, found.returns, "return")
    _histogram(lengths, found.lengths, "steps")
    returns.set_title("returns")
    lengths.set_title("lengths")
    count = len(found.returns)
    over.scatter(
        np.arange(count),
        found.returns,
        s=20 if count < 100 else 6 if count < 2000 else 2,
        alpha=0.5 if count < 2000 else 0.15,
        color=BLUE,
        lw=0,
    )
    if count >= 50:
        edges = np.linspace(0, count, 41).astype(int)
        means = [found.returns[a:b].mean() for a, b in pairwise(edges)]
        over.plot((edges[:-1] + edges[1:]) / 2, means, color=VERMILION, lw=1.6, label="mean")
        over.legend(frameon=False, fontsize="small")
    over.set_xlabel("episode, in the order of the recording")
    over.set_title("returns over the recording")
    over.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _histogram(ax: Axes, values: np.ndarray, label: str) -> None:
    distinct = np.unique(values)
    if len(distinct) == 1:
        ax.bar([distinct[0]], [len(values)], width=max(abs(distinct[0]) * 0.05, 0.1), color=BLUE)
        ax.set_xlim(distinct[0] - max(abs(distinct[0]), 1.0), distinct[0] + max(abs(distinct[0]), 1.0))
    else:
        ax.hist(values, bins=min(40, max(10, len(distinct))), color=BLUE, alpha=0.85)
    middle = float(np.median(values))
    ax.axvline(middle, color=VERMILION, lw=1.2, label=f"median {middle:.4g}")
    ax.legend(frameon=False, fontsize="small")
    ax.set_xlabel(label)
    ax.set_ylabel("episodes")


def _rewards(found: Inspection) -> Figure:
    figure = _figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    rewards = found.dataset.rewards[found.dataset.index]
    if found.reward_values is not None:
        values = sorted(found.reward_values)
        shares = [float((found.best == value).mean()) for value in values]
        bars = left.bar([f"{value:.4g}" for value in values], shares, color=BLUE, alpha=0.85)
        left.bar_label(
            bars, [f"{share:.0%}" if share >= 0.005 or not share else "<1%" for share in shares], fontsize="small"
        )
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        left.set_xlabel("highest reward of the episode")
        left.set_ylabel("episodes")
        left.set_title("how far episodes get")
        left.margins(y=0.15)
    else:
        left.hist(rewards, bins=60, color=BLUE, alpha=0.85)
        left.set_yscale("log")
        left.set_xlabel("reward")
        left.set_ylabel("steps")
        left.set_title("rewards of single steps")
    when = relative_time(found)
    bins = np.linspace(0, 1, 51)
    which = np.clip(np.digitize(when, bins) - 1, 0, 49)
    counts = np.maximum(np.bincount(which, minlength=50), 1)
    right.stairs(np.bincount(which, rewards, minlength=50) / counts, bins, color=BLUE, lw=1.8, baseline=None)
    right.axhline(float(rewards.mean()), color="#999999", lw=1, ls=(0, (4, 3)))
    right.text(
        0,
        float(rewards.mean()),
        f"mean {rewards.mean():.3g}",
        ha="left",
        va="bottom",
        fontsize="small",
        color="#666666",
    )
    right.set_xlabel("part of the episode")
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_ylabel("mean reward of a step")
    right.set_title("when rewards come")
    return figure


def relative_time(found: Inspection) -> np.ndarray:
    """Where within its episode each transition is, from 0 to 1, [N]."""
    first, steps = found.dataset.episodes.T
    which = np.searchsorted(first, found.dataset.index, side="right") - 1
    return (found.dataset.index - first[which]) / np.maximum(steps[which] - 1, 1)


def _actions(found: Inspection) -> Figure:
    actions = found.dataset.actions[found.dataset.index]
    shown = min(found.dataset.act_dim, HISTOGRAMS)
    columns = min(5, shown)
    rows = math.ceil(shown / columns)
    figure = _figure(1.75 * rows + 0.2)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for i, ax in enumerate(axes):
        if i >= shown:
            ax.set_visible(False)
            continue
        values = actions[:, i]
        bounds = None if found.low is None or found.high is None else (float(found.low[i]), float(found.high[i]))
        low, high = (float(values.min()), float(values.max())) if bounds is None else bounds
        low, high = (low, high) if high > low else (low - 1, high + 1)
        margin = 0.06 * (high - low)
        counts, edges = np.histogram(np.clip(values, low - margin, high + margin), 60, (low - margin, high + margin))
        shares = counts / len(values)
        centres = (edges[:-1] + edges[1:]) / 2
        width = edges[1] - edges[0]
        at_bound = np.zeros(60, bool)
        if bounds is not None:
            at_bound = (edges[1:] > high - 0.001 * (high - low)) | (edges[:-1] < low + 0.001 * (high - low))
        ax.bar(centres, shares, width, color=np.where(at_bound, VERMILION, BLUE), lw=0)
        if bounds is not None:
            for bound in bounds:
                ax.axvline(bound, color="#999999", lw=0.8, ls=(0, (4, 3)))
        note = f"   {found.at_bounds[i]:.0%} at a bound" if found.at_bounds[i] >= 0.005 else ""
        ax.set_title(f"{found.action_names[i]}{note}", fontsize=8)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.tick_params(labelsize=7)
    if found.dataset.act_dim > shown:
        figure.supxlabel(f"{found.dataset.act_dim - shown} more are not shown", fontsize=8, color="#666666")
    return figure


def _maze(found: Inspection) -> Any:
    return found.task.maze if found.task and found.dataset.obs_dim == 4 else None


def _maze_states(found: Inspection) -> Figure:
    maze = _maze(found)
    width, height = maze.size
    figure = _figure(min(5.2 * height / width + 0.4, 6.5))
    left, right = figure.subplots(1, 2)
    xy = found.dataset.observations[:, :2]
    plot_maze_trajectories(maze, [], left)
    bins = [np.arange(-0.7, size + 1.1 + 1e-9, 0.1) for size in maze.size]
    counts, xe, ye = np.histogram2d(xy[:, 0], xy[:, 1], bins)
    mesh = left.pcolormesh(xe, ye, np.where(counts > 0, counts, np.nan).T, norm=LogNorm(), cmap="viridis_r", zorder=1.5)
    figure.colorbar(mesh, ax=left, label="visits of a tenth of a cell", shrink=0.7, location="bottom", pad=0.02)
    left.set_title("visits")
    chosen = np.linspace(0, len(found.dataset.episodes) - 1, min(6, len(found.dataset.episodes))).astype(int)
    spans = found.dataset.episodes[chosen]
    plot_maze_trajectories(maze, [found.dataset.observations[a : a + n + 1] for a, n in spans], right)
    right.set_title("some episodes")
    for ax in (left, right):
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    return figure


def _states(found: Inspection) -> Figure:
    figure = _figure(4.4)
    left, right = figure.subplots(1, 2)
    moving = np.flatnonzero(~found.constant)
    index = found.dataset.index
    chosen = np.arange(0, len(index), max(len(index) // POINTS, 1))
    states = found.dataset.observations[index[chosen]][:, moving].astype(np.float64)
    states = (states - states.mean(axis=0)) / np.maximum(states.std(axis=0), 1e-9)
    if states.shape[1] >= 2:
        _, values, axes = np.linalg.svd(states.T @ states / len(states))
        plane = states @ axes[:2].T
        shares = values[:2] / values.sum()
        names = [f"component {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares)]
    else:
        plane = np.stack(
            [states[:, 0] if states.shape[1] else np.zeros(len(states)), found.dataset.rewards[index[chosen]]], 1
        )
        names = [found.observation_names[moving[0]] if len(moving) else "nothing changes", "reward"]
    low, high = np.quantile(plane, (0.001, 0.999), axis=0)
    pad = 0.05 * np.maximum(high - low, 1e-6)
    window = (low[0] - pad[0], high[0] + pad[0], low[1] - pad[1], high[1] + pad[1])
    image = left.hexbin(
        plane[:, 0], plane[:, 1], gridsize=60, extent=window, mincnt=1, norm=LogNorm(), cmap="viridis_r", lw=0
    )
    figure.colorbar(image, ax=left, label="states")
    left.set_title("density")
    order = np.random.default_rng(0).permutation(len(plane))[:20_000]
    when = relative_time(found)[chosen][order]
    cloud = right.scatter(plane[order, 0], plane[order, 1], c=when, s=3, lw=0, alpha=0.6, cmap="plasma")
    bar = figure.colorbar(cloud, ax=right, label="part of the episode", format=PercentFormatter(1.0))
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    right.set_title("progress")
    for ax in (left, right):
        ax.set_xlabel(names[0])
        ax.set_xlim(window[:2])
        ax.set_ylim(window[2:])
    left.set_ylabel(names[1])
    return figure


def _channels(found: Inspection) -> Figure:
    moving = np.flatnonzero(~found.constant)
    shown = moving[:STRIPS]
    fixed = {found.observation_names[i]: found.quantiles[0, i] for i in np.flatnonzero(found.constant)}
    named = [f"{name} = {value:.4g}" for name, value in fixed.items() if value]
    zeros = len(fixed) - len(named)
    named += [f"{zeros} others are always 0" if named else f"{zeros} channels are always 0"] if zeros else []
    notes = textwrap.wrap("never change: " + ", ".join(named), 165)[:8] if fixed else []
    if len(moving) > len(shown):
        notes.append(f"{len(moving) - len(shown)} more channels are not shown")
    figure = _figure(0.19 * max(len(shown), 1) + 0.5 + 0.16 * len(notes))
    ax = figure.subplots()
    observations = found.dataset.observations
    some = observations[:: max(len(observations) // POINTS, 1)][:, shown]
    strips = np.zeros((max(len(shown), 1), 80))
    for row, i in enumerate(shown):
        density = np.histogram(some[:, row], 80, (found.quantiles[0, i], found.quantiles[-1, i]))[0]
        strips[row] = np.sqrt(density / max(density.max(), 1))
    extent = (0, 1, len(strips) - 0.5, -0.5)
    ax.imshow(strips, aspect="auto", cmap="Blues", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    ax.set_yticks(range(len(shown)), [found.observation_names[i] for i in shown], fontsize=7.5)
    ax.set_xticks([])
    for row, i in enumerate(shown):
        low, median, high = found.quantiles[[0, 3, -1], i]
        ax.plot([(median - low) / (high - low)] * 2, [row - 0.42, row + 0.42], color=VERMILION, lw=1.2)
        reach = f"{low:.4g}  to  {high:.4g}"
        ax.text(1.01, row, reach, fontsize=7, va="center", transform=ax.get_yaxis_transform(), color="#555555")
    for row in range(1, len(shown)):
        ax.axhline(row - 0.5, color="white", lw=0.8)
    ax.set_title("least to largest; red: median", fontsize=8)
    ax.set_xlabel("\n".join(notes), fontsize=7.5, loc="left", color="#555555")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    return figure
