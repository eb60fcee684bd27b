"""Plots of latent spaces, for notebooks and files. Every function draws into `ax` (or a new figure) and returns it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from lapo_tf.errors import require
from lapo_tf.plotting import INK, PINK, new_axes, tidy

if TYPE_CHECKING:
    from lapo_tf.run import Run


def plot_toy_latents(run: Run, ax: Axes | None = None, *, bound: float | None = None, extent: float = 4.0) -> Axes:
    """What the decoder of a toy run makes of every latent in a square: a map of actions over the two latent dimensions.

    Dotted circles hold 39, 86 and 99 % of the prior N(0, I). The square is the bound of the latent policy, the star the
    latent that it takes. Lines are the edges of the rewarded intervals.

    Args:
        run: of the toy task, with an agent that has a latent policy (lapo, plas).
        ax: where to draw; default: a new figure.
        bound: half the width of the square; default: the run's own. With inf there is none.
        extent: of the map, in both directions from 0.

    Raises:
        UserError: the run's latent space has not two dimensions.
    """
    from lapo_tf.envs.toy import ACTION_BOUND

    dim = getattr(run.agent, "latent_dim", 0)
    require(dim == 2, "dimensions of the latent space", dim, "2, as of lapo and plas on toy-navigation")
    ax = ax or new_axes((4.6, 4.0))
    axis = np.linspace(-extent, extent, 161)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    actions = run.decode(np.zeros((len(grid), 1)), grid).reshape(len(axis), len(axis))
    image: Any = ax.pcolormesh(
        axis, axis, actions, cmap="coolwarm", vmin=-ACTION_BOUND, vmax=ACTION_BOUND, rasterized=True, zorder=0
    )
    edges = [edge for edge in (-1.5, -0.5, 0.5, 1.5) if actions.min() < edge < actions.max()]
    if edges:
        ax.contour(axis, axis, actions, edges, colors=INK, linewidths=0.7, linestyles="-", zorder=1)
    for radius in (1, 2, 3):
        ax.add_patch(Circle((0, 0), radius, fill=False, ls=":", lw=0.9, color="white", zorder=2))
    bound = float(run.config.agent_config.latent_bound) if bound is None else bound
    if not math.isinf(bound):
        square = Rectangle((-bound, -bound), 2 * bound, 2 * bound, fill=False, lw=1.8, ec="black", zorder=3)
        ax.add_patch(square)
    z = np.clip(run.latents(np.zeros((1, 1)))[0], -extent, extent)
    ax.plot(*z, marker="*", ms=15, color=PINK, mec="black", mew=0.9, ls="", zorder=4, clip_on=False)
    ax.set_xlim(-extent, extent)
    ax.set_ylim(-extent, extent)
    ax.set_aspect("equal")
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, label="decoded action")
    bar.set_ticks([-2, -1, 0, 1, 2])
    return tidy(ax)
