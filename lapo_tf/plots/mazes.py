"""Plots of mazes, for notebooks and files. Every function draws into `ax` (or a new figure) and returns it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Rectangle
from matplotlib.ticker import MultipleLocator

from lapo_tf.plots.style import COLOURS, GREEN, INK, WALL, new_axes, tidy


class Plan(Protocol):
    """A maze from above, such as `load_task("maze2d-umaze").maze`."""

    @property
    def walls(self) -> np.ndarray:
        """Centres [n, 2] of the walls' unit squares."""

    @property
    def size(self) -> tuple[float, float]:
        """All that matters is between 0 and here; a strip of the outer walls is seen, too."""

    @property
    def goal(self) -> np.ndarray:
        """Position [2]."""

    @property
    def goal_radius(self) -> float:
        """Distance from the goal that is rewarded."""


def plot_maze_trajectories(
    maze: Plan, paths: Sequence[np.ndarray], ax: Axes | None = None, *, color: str | None = None
) -> Axes:
    """Paths through a maze, each in its colour, with walls, starts and the rewarded area.

    Args:
        maze: its plan.
        paths: of each episode, observations [T, >=2] that begin with x and y.
        ax: where to draw; default: a new figure.
        color: of all paths; default: each has its own.
    """
    ax = ax or new_axes((5.0, 5.0))
    ax.add_patch(Circle(tuple(maze.goal), maze.goal_radius, color=GREEN, alpha=0.35, lw=0, zorder=1))
    walls = [Rectangle((x - 0.5, y - 0.5), 1.0, 1.0) for x, y in maze.walls]
    ax.add_collection(PatchCollection(walls, facecolor=WALL, edgecolor=WALL, zorder=2))
    few = len(paths) <= len(COLOURS)
    colours = COLOURS if few else mpl.colormaps["viridis"](np.linspace(0.0, 0.95, len(paths)))
    for path, colour in zip(paths, [color] * len(paths) if color else colours, strict=False):
        path = np.asarray(path)
        ax.plot(path[:, 0], path[:, 1], color=colour, lw=1.3, alpha=0.85, zorder=3)
        ax.plot(*path[0, :2], "o", color=colour, mec=INK, mew=0.8, ms=6, zorder=4)
        ax.plot(*path[-1, :2], "s", color=colour, mec="white", mew=0.8, ms=5, zorder=5)
    ax.set_xlim(0.0, maze.size[0])
    ax.set_ylim(0.0, maze.size[1])
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


def plot_maze_values(
    maze: Plan,
    value: Callable[[np.ndarray], np.ndarray],
    paths: Sequence[np.ndarray] = (),
    ax: Axes | None = None,
) -> Axes:
    """What critics expect everywhere in a maze, for a ball at rest, with paths on top.

    The colour is the discounted return from there: bright places are thought to be good ones, which need not be true.
    It does not tell agents apart that scale their rewards differently.

    Args:
        maze: its plan.
        value: of observations [N, 4], [N]; such as `run.value`.
        paths: of each episode, observations [T, >=2].
        ax: where to draw; default: a new figure.
    """
    ax = ax or new_axes((5.6, 5.0))
    xs, ys = (np.arange(0.025, size, 0.05) for size in maze.size)
    points = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1)
    observations = np.concatenate([points, np.zeros_like(points)], -1).reshape(-1, 4)
    values = np.asarray(value(observations)).reshape(points.shape[:2])
    walled = (np.abs(points[..., None, :] - maze.walls) < 0.5).all(-1).any(-1)
    image = ax.pcolormesh(xs, ys, np.ma.masked_where(walled, values).T, cmap="viridis", rasterized=True, zorder=0)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="value (discounted return)")
    ax.add_patch(Circle(tuple(maze.goal), maze.goal_radius, fill=False, ec="white", ls="--", lw=1.2, zorder=1))
    return plot_maze_trajectories(maze, paths, ax, color="white")
