"""Plots of latent spaces, for notebooks and files. Every function draws into `ax` (or a new figure) and returns it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import PercentFormatter

from lapo_tf.plots.style import BLUE, COLOURS, FAINT, INK, PINK, VERMILION, new_axes, tidy

DIVERGING = LinearSegmentedColormap.from_list("blue to vermilion", (BLUE, "#C4C8CC", VERMILION))
"""For values about zero, in the palette's colours."""


class LatentRun(Protocol):
    """A run of an agent with a decoder over latents, such as `lapo_tf.runs.run.Run`."""

    @property
    def config(self) -> Any: ...

    def decode(self, observations: np.ndarray, latents: np.ndarray) -> np.ndarray: ...


def principal_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal component analysis.

    Args:
        values: [N, d].

    Returns:
        Unit vectors [min(N, d), d], the one along which `values` vary most first, and the share of their variance
        along each.
    """
    _, singular, axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return axes, singular**2 / max(np.sum(singular**2), 1e-12)


def plot_latents(latents: np.ndarray, values: np.ndarray, ax: Axes | None = None, *, label: str = "") -> Axes:
    """Latents along their two principal axes, each a point coloured by a value; 0 is grey.

    The colours reach to the value whose magnitude 98 % of the others do not pass.

    Args:
        latents: [N, latent].
        values: [N].
        ax: where to draw; default: a new figure.
        label: what the values are.
    """
    ax = ax or new_axes((5.6, 4.2))
    axes, shares = principal_axes(latents)
    x, y = (latents @ axes[:2].T).T
    reach = float(np.quantile(np.abs(values), 0.98))
    order = np.argsort(np.abs(values))  # the telling ones on top
    points = ax.scatter(
        x[order], y[order], c=values[order], s=7, lw=0, alpha=0.8, cmap=DIVERGING, vmin=-reach, vmax=reach
    )
    ax.figure.colorbar(points, ax=ax, label=label, extend="both", shrink=0.85)
    ax.set_xlabel(f"first principal axis ({shares[0]:.0%} of the variance)")
    ax.set_ylabel(f"second principal axis ({shares[1]:.0%})")
    ax.set_aspect("equal")
    return tidy(ax)


def plot_latent_walk(
    run: LatentRun,
    observation: np.ndarray,
    directions: np.ndarray,
    joint: int,
    ax: Axes | None = None,
    *,
    taken: np.ndarray | None = None,
    extent: float = 6.0,
    scale: float = 1.0,
) -> Axes:
    """One entry of the decoded action at one observation, while the latent moves from 0 along each direction.

    Dotted lines are the bound of the run's latent policy, where a direction is one latent dimension.

    Args:
        run: with an agent that has a decoder over latents (lapo, plas).
        observation: raw, [obs].
        directions: unit vectors [k, latent]; at most six can be told apart.
        joint: which entry of the action.
        ax: where to draw; default: a new figure.
        taken: actions [n, act] to compare with, as a band from their least to their greatest.
        extent: how far to move, both ways.
        scale: what the entry is multiplied by, for instance to be a velocity.
    """
    ax = ax or new_axes((4.0, 2.6))
    steps = np.linspace(-extent, extent, 121)
    if taken is not None:
        low, high = scale * taken[:, joint].min(), scale * taken[:, joint].max()
        ax.axhspan(low, high, color=FAINT, alpha=0.8, lw=0, zorder=0, label="data, similar moments")
    for i, (direction, color) in enumerate(zip(directions, COLOURS, strict=False), 1):
        latents = steps[:, None] * direction
        actions = run.decode(np.repeat(np.asarray(observation)[None], len(steps), 0), latents)
        ax.plot(steps, scale * actions[:, joint], color=color, lw=1.6, label=f"direction {i}")
    bound = float(run.config.agent_config.latent_bound)
    for edge in (-bound, bound):
        if abs(edge) < extent:
            ax.axvline(edge, color=INK, lw=0.9, ls=":")
    ax.set_xlim(-extent, extent)
    return tidy(ax)


def plot_outside(
    bounds: Sequence[float],
    shares: Sequence[float],
    policies: Mapping[float, float],
    ax: Axes | None = None,
    *,
    own: float = 0.05,
) -> Axes:
    """How often actions leave the data, over the bound of the latents they are decoded from.

    Args:
        bounds: of random latents, finite and ascending.
        shares: of their actions that are outside, 0 to 1, one per bound.
        policies: the same share for trained latent policies, by their bound, which may be inf.
        ax: where to draw; default: a new figure.
        own: the share of the data's own actions, a dashed line.
    """
    ax = ax or new_axes((6.0, 3.8))
    free = 1.15 * max(bounds)  # where inf stands
    ax.axhline(own, color=INK, lw=1.0, ls=(0, (5, 3)), label="data's own actions")
    ax.plot(bounds, shares, color=BLUE, lw=2.0, marker="o", ms=4, label="random latents within the bound")
    x = [free if math.isinf(bound) else bound for bound in policies]
    ax.plot(
        x, list(policies.values()), "*", color=PINK, mec=INK, mew=0.8, ms=15, label="trained latent policy", zorder=4
    )
    ax.axvline((max(bounds) + free) / 2, color=FAINT, lw=1.2)
    ticks = list(range(0, math.floor(max(bounds)) + 1, 2))
    ax.set_xticks([*ticks, free], [*map(str, ticks), "none"])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlim(0.0, free * 1.04)
    ax.set_ylim(0.0, 1.05)
    ax.set_xlabel("bound of the latents")
    ax.set_ylabel("actions outside the data")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return tidy(ax)
