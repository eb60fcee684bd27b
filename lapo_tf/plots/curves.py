"""Plots of runs, for notebooks and files. Every function draws into `ax` (or a new figure) and returns it.

Colours are Okabe and Ito's, which people with any kind of colour vision tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Rectangle
from matplotlib.ticker import EngFormatter, MultipleLocator
from numpy.typing import ArrayLike

from lapo_tf.errors import UserError, unknown

if TYPE_CHECKING:
    from lapo_tf.runs.run import Run
    from lapo_tf.training.run_folder import RunFolder

    RunLike: TypeAlias = Run | RunFolder | Path | str | Sequence[dict[str, float]]
"""A run, its folder, or the rows of its `metrics.csv`."""

BLUE, VERMILION, GREEN, PINK, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY)
AGENT_COLOURS = {
    "lapo": BLUE,
    "iql": VERMILION,
    "bc": ORANGE,
    "awac": GREEN,
    "plas": PINK,
    "cql": SKY,
    "awac-gmm": "#7A5195",
    "bcq": "#8C6D31",
}
"""One colour per agent, the same in every figure."""
WALL, INK, FAINT = "#4A5560", "#222222", "#D8DCE0"

LABELS = {
    "eval/normalized_score": "normalized score",
    "eval/return": "return",
    "eval/episode_length": "episode length (steps)",
    "time/seconds": "seconds",
    "critic/q_mean": "mean Q of the data's actions",
}


def plot_curves(
    runs: RunLike | Sequence[RunLike],
    metric: str = "eval/normalized_score",
    ax: Axes | None = None,
    label: str | None = None,
    *,
    band: Literal["std", "range"] = "std",
    paper: bool = False,
    color: str | None = None,
) -> Axes:
    """A metric over training steps: the mean of several seeds, its spread, and each seed as a thin line.

    Call it again with the same `ax` and another `label` to compare.

    Args:
        runs: one run, or the seeds of one setting.
        metric: a column of `metrics.csv`.
        ax: where to draw; default: a new figure.
        label: what the legend calls these runs.
        band: shade one standard deviation around the mean, or all between the lowest and the highest seed.
        paper: draw the paper's score of the same task and agent as a dashed line.
        color: of these runs; default: the next one.

    Raises:
        UserError: a run has no such column, or no evaluation yet.
    """
    ax = ax or new_axes((6.0, 3.6))
    seeds = _as_runs(runs)
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
    if paper and metric == "eval/normalized_score":
        _paper_line(ax, seeds[0], color)
    first = next(iter(curves[0].values()))
    ax.update_datalim([(0.0, 0.0 if metric.startswith("eval/") else first)])  # zero is on the axes
    ax.autoscale_view()
    ax.set_xlabel("gradient steps")
    ax.set_ylabel(LABELS.get(metric, metric))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(axis="y", color=FAINT, lw=0.8)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")
    return tidy(ax)


def plot_maze_trajectories(
    source: Run | tuple[str, Sequence[np.ndarray]],
    ax: Axes | None = None,
    *,
    episodes: int = 10,
    seed: int = 0,
    color: str | None = None,
) -> Axes:
    """Paths of the ball through a maze, each episode in its colour, with walls, starts and the rewarded area.

    Args:
        source: a run, whose policy is then rolled out; or a maze's name and the observations [T, >=2] of episodes.
        ax: where to draw; default: a new figure.
        episodes: of a run, how many to roll out.
        seed: of a run, the first episode's seed.
        color: of all paths; default: each has its own.

    Raises:
        UserError: no such maze, or a run of another kind of task.
    """
    from lapo_tf.envs.maze2d import GOAL_RADIUS, goal_of, parse_map

    maze, paths = source if isinstance(source, tuple) else _roll_out(source, episodes, seed)
    cells = parse_map(maze)
    ax = ax or new_axes((5.0, 5.0))
    ax.add_patch(Circle(tuple(goal_of(maze)), GOAL_RADIUS, color=GREEN, alpha=0.35, lw=0, zorder=1))
    # A wall's centre is 0.2 before its cell's number, see `lapo_tf.envs.maze2d`.
    walls = [Rectangle((i - 0.7, j - 0.7), 1.0, 1.0) for i, j in np.argwhere(cells == "#")]
    ax.add_collection(PatchCollection(walls, facecolor=WALL, edgecolor=WALL, zorder=2))
    few = len(paths) <= len(COLOURS)
    colours = COLOURS if few else mpl.colormaps["viridis"](np.linspace(0.0, 0.95, len(paths)))
    for path, colour in zip(paths, [color] * len(paths) if color else colours, strict=False):
        path = np.asarray(path)
        ax.plot(path[:, 0], path[:, 1], color=colour, lw=1.3, alpha=0.85, zorder=3)
        ax.plot(*path[0, :2], "o", color=colour, mec=INK, mew=0.8, ms=6, zorder=4)
        ax.plot(*path[-1, :2], "s", color=colour, mec="white", mew=0.8, ms=5, zorder=5)
    ax.set_xlim(0.0, len(cells) - 1.4)  # the outer walls' inner parts
    ax.set_ylim(0.0, cells.shape[1] - 1.4)
    ax.set_aspect("equal")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_locator(MultipleLocator(1))
    ax.set_xlabel("x (cells)")
    ax.set_ylabel("y (cells)")
    handles = [
        Line2D([], [], ls="", marker="o", color="white", mec=INK, label="start"),
        Line2D([], [], ls="", marker="s", color="#888888", mec="white", label="end"),
        Patch(color=GREEN, alpha=0.35, lw=0, label="rewarded"),
    ]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize="small")
    return tidy(ax)


def plot_maze_values(run: Run, ax: Axes | None = None, *, episodes: int = 6, seed: int = 0) -> Axes:
    """What a run's critics expect everywhere in the maze, for a ball at rest, with paths of its policy on top.

    The colour is Q(s, pi(s)), the discounted return from there: bright places are thought to be good ones, which need
    not be true. It does not tell agents apart that scale their rewards differently.

    Args:
        run: of a maze2d task, with an agent that has critics (all but bc).
        ax: where to draw; default: a new figure.
        episodes: paths to draw; 0 for the values alone.
        seed: the first episode's seed.

    Raises:
        UserError: a run of another kind of task, or of an agent without critics.
    """
    from lapo_tf.envs.maze2d import GOAL_RADIUS, goal_of, parse_map

    maze, paths = _roll_out(run, episodes, seed)
    cells = parse_map(maze)
    ax = ax or new_axes((5.6, 5.0))
    xs, ys = (np.arange(0.025, size - 1.4, 0.05) for size in cells.shape)
    points = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1)
    # As above: a wall's centre is 0.2 before its cell's number.
    inside = np.floor(points + 0.7).astype(int)
    observations = np.concatenate([points, np.zeros_like(points)], -1).reshape(-1, 4)
    values = run.value(observations).reshape(points.shape[:2])
    values = np.ma.masked_where(cells[inside[..., 0], inside[..., 1]] == "#", values)
    image = ax.pcolormesh(xs, ys, values.T, cmap="viridis", rasterized=True, zorder=0)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="value (discounted return)")
    ax.add_patch(Circle(tuple(goal_of(maze)), GOAL_RADIUS, fill=False, ec="white", ls="--", lw=1.2, zorder=1))
    return plot_maze_trajectories((maze, paths), ax, color="white")


def plot_toy_histograms(
    data_actions: ArrayLike,
    generated_actions: ArrayLike | None = None,
    policy_actions: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Actions of the toy task as in the paper's Figure 2: data, generative model, latent policy, rewarded intervals.

    Every histogram has its own scale (its highest bar is 1): a policy that knows what it wants is a single bar, beside
    which the others could not be seen.

    Args:
        data_actions: the data set's actions [N] or [N, 1].
        generated_actions: the generative model's, decoded from latents of the prior.
        policy_actions: the latent policy's.
        ax: where to draw; default: a new figure.
    """
    from lapo_tf.envs.toy import ACTION_BOUND

    ax = ax or new_axes((6.0, 3.6))
    for low, high, reward in ((-1.5, -0.5, 1), (0.5, 1.5, 10)):
        ax.axvspan(low, high, color=FAINT, alpha=0.45 if reward == 1 else 0.9, lw=0, zorder=0)
        ax.text((low + high) / 2, 1.1, f"reward +{reward}", ha="center", va="center", color=INK, fontsize="small")
    bins = np.linspace(-ACTION_BOUND, ACTION_BOUND, 81)
    series = (
        (data_actions, BLUE, "data", 0.55),
        (generated_actions, GREEN, "generative model", 0.45),
        (policy_actions, PINK, "latent policy", 0.75),
    )
    for actions, colour, label, alpha in series:
        if actions is None:
            continue
        counts, _ = np.histogram(np.clip(np.ravel(actions), -ACTION_BOUND, ACTION_BOUND), bins)
        heights = counts / max(counts.max(), 1)
        ax.stairs(heights, bins, fill=True, color=colour, alpha=alpha, label=label, zorder=2)
        ax.stairs(heights, bins, color=colour, lw=1.2, zorder=3)
    ax.set_xlim(-ACTION_BOUND, ACTION_BOUND)
    ax.set_ylim(0.0, 1.2)
    ax.set_xlabel("action")
    ax.set_ylabel("frequency (peak = 1)")
    ax.legend(frameon=False, fontsize="small", loc="center", bbox_to_anchor=(0.5, 0.75))
    return tidy(ax)


def new_axes(size: tuple[float, float]) -> Axes:
    """Axes in a new figure of that many inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def tidy(ax: Axes) -> Axes:
    """Without the upper and the right edge."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    return ax


def _as_runs(runs: Any) -> list[Any]:
    """One run or many, as a list."""
    rows = isinstance(runs, Sequence) and not isinstance(runs, str) and len(runs) and isinstance(runs[0], dict)
    several = isinstance(runs, Sequence) and not isinstance(runs, str) and not rows
    return list(runs) if several else [runs]


def _curve(run: Any, metric: str) -> dict[int, float]:
    """Step -> value."""
    rows = run
    if isinstance(run, str | Path):
        from lapo_tf.training.run_folder import RunFolder

        rows = RunFolder.open(Path(run)).metrics()
    elif hasattr(run, "metrics"):
        rows = run.metrics()
    if not rows:
        raise UserError(f"{getattr(run, 'path', run)} has no evaluation yet: nothing to plot")
    if metric not in rows[0]:
        raise unknown("metric", metric, [name for name in rows[0] if name != "step"])
    return {int(row["step"]): float(row[metric]) for row in rows}


def _paper_line(ax: Axes, run: Any, color: str) -> None:
    """The published score, if the run is known to be of a task and an agent that have one; drawn once."""
    from lapo_tf.tasks import load_task
    from lapo_tf.training.run_folder import RunFolder

    if isinstance(run, str | Path):
        run = RunFolder.open(Path(run))
    config = getattr(run, "config", None)
    config = config() if callable(config) else config
    score = load_task(config.task).paper.get(config.agent) if config else None
    if config is None or score is None:
        return
    mark = f"paper {config.task} {config.agent}"
    if mark not in [line.get_gid() for line in ax.lines]:
        ax.axhline(score, color=color, lw=1.2, ls=(0, (5, 3)), gid=mark)
        label = f"paper, {config.agent}: {score:.1f}"
        text = ax.text(1.0, score, label, ha="right", va="bottom", fontsize="small", color=color)
        text.set_transform(ax.get_yaxis_transform())  # x as a share of the axes' width


def _roll_out(run: Run, episodes: int, seed: int) -> tuple[str, list[np.ndarray]]:
    if run.task.maze is None:
        raise UserError(f"task '{run.task.name}' has no maze to draw: give a run of a maze2d task")
    return run.task.maze, run.rollout(episodes, seed).observations if episodes else []
