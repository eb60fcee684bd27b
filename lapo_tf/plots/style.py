"""How all figures look: colours, axes.

Colours are Okabe and Ito's, which people with any kind of colour vision tell apart.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

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
    "td3-bc": "#6B7280",
}
"""One colour per agent, the same in every figure."""
WALL, INK, FAINT = "#4A5560", "#222222", "#D8DCE0"


def new_axes(size: tuple[float, float]) -> Axes:
    """Axes in a new figure of that many inches."""
    return plt.subplots(figsize=size, layout="constrained")[1]


def tidy(ax: Axes) -> Axes:
    """Without the upper and the right edge."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    return ax
