"""Plots of the paper's toy task. Every function draws into `ax` (or a new figure) and returns it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike

from lapo_tf.errors import require
from lapo_tf.plots.style import BLUE, FAINT, GREEN, INK, PINK, new_axes, tidy

BOUND = 2.0  # of actions
REWARDED = ((-1.5, -0.5, 1), (0.5, 1.5, 10))  # actions from, to: reward


class ToyRun(Protocol):
    """A run of an agent with a latent policy, such as `lapo_tf.runs.run.Run`."""

    @property
    def agent(self) -> Any: ...

    @property
    def config(self) -> Any: ...

    def decode(self, observations: np.ndarray, latents: np.ndarray) -> np.ndarray: ...

    def latents(self, observations: np.ndarray) -> np.ndarray: ...


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
    ax = ax or new_axes((6.0, 3.6))
    for low, high, reward in REWARDED:
        ax.axvspan(low, high, color=FAINT, alpha=0.45 if reward == 1 else 0.9, lw=0, zorder=0)
        ax.text((low + high) / 2, 1.1, f"reward +{reward}", ha="center", va="center", color=INK, fontsize="small")
    bins = np.linspace(-BOUND, BOUND, 81)
    series = (
        (data_actions, BLUE, "data", 0.55),
        (generated_actions, GREEN, "generative model", 0.45),
        (policy_actions, PINK, "latent policy", 0.75),
    )
    for actions, colour, label, alpha in series:
        if actions is None:
            continue
        counts, _ = np.histogram(np.clip(np.ravel(actions), -BOUND, BOUND), bins)
        heights = counts / max(counts.max(), 1)
        ax.stairs(heights, bins, fill=True, color=colour, alpha=alpha, label=label, zorder=2)
        ax.stairs(heights, bins, color=colour, lw=1.2, zorder=3)
    ax.set_xlim(-BOUND, BOUND)
    ax.set_ylim(0.0, 1.2)
    ax.set_xlabel("action")
    ax.set_ylabel("frequency (peak = 1)")
    ax.legend(frameon=False, fontsize="small", loc="center", bbox_to_anchor=(0.5, 0.75))
    return tidy(ax)


def plot_figure_2(
    data: np.ndarray, actions: Mapping[str, Sequence[np.ndarray]], axes: np.ndarray | None = None
) -> np.ndarray:
    """The paper's Figure 2: four histograms, actions of all seeds together.

    Args:
        data: actions [N, 1] of the data set.
        actions: of every distribution in Table 1, one array [N, 1] per seed.
        axes: four, where to draw; default: a new figure.

    Returns:
        The axes [2, 2].
    """
    pooled = {name: np.concatenate(values) for name, values in actions.items()}
    panels = (
        ("(a) AWAC, Gaussian policy", None, "AWAC, Gaussian policy"),
        ("(b) AWAC, GMM policy", None, "AWAC, GMM policy"),
        ("(c) PLAS", "PLAS, generative model", "PLAS, latent policy"),
        ("(d) LAPO", "LAPO, generative model", "LAPO, latent policy"),
    )
    if axes is None:
        axes = plt.subplots(2, 2, figsize=(11.0, 6.4), layout="constrained", sharex=True)[1]
    for ax, (title, generated, policy) in zip(axes.flat, panels, strict=True):
        plot_toy_histograms(data, generated and pooled[generated], pooled[policy], ax)
        if generated is None:  # a single distribution over actions
            ax.legend(ax.get_legend_handles_labels()[0], ["data", "policy"], frameon=False, fontsize="small")
        ax.set_title(title, fontsize="medium", loc="left")
        ax.label_outer()
    return axes


def plot_toy_latents(run: ToyRun, ax: Axes | None = None, *, bound: float | None = None, extent: float = 4.0) -> Axes:
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
    dim = getattr(run.agent, "latent_dim", 0)
    require(dim == 2, "dimensions of the latent space", dim, "2, as of lapo and plas on toy-navigation")
    ax = ax or new_axes((4.6, 4.0))
    axis = np.linspace(-extent, extent, 161)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    actions = run.decode(np.zeros((len(grid), 1)), grid).reshape(len(axis), len(axis))
    image: Any = ax.pcolormesh(axis, axis, actions, cmap="coolwarm", vmin=-BOUND, vmax=BOUND, rasterized=True, zorder=0)
    edges = [edge for low, high, _ in REWARDED for edge in (low, high) if actions.min() < edge < actions.max()]
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
