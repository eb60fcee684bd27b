"""A picture of a rehearsal on the simulated robot; see `robot_bridge.simulation.rehearsal`."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lapo_tf.plots.style import BLUE, FAINT, GREEN, INK, ORANGE, VERMILION, new_axes, tidy

Quantity = Literal["velocity", "position"]
STATES = {"inactive": FAINT, "active": GREEN, "stopping": ORANGE, "fault": VERMILION}
SILENCE = 0.2  # s without a command from which on the line is broken


class Record(Protocol):
    """What happened in a rehearsal, such as `robot_bridge.simulation.rehearsal.Record`. Times are in seconds."""

    @property
    def states(self) -> list[tuple[float, str, str]]: ...

    @property
    def events(self) -> list[tuple[float, str]]: ...

    @property
    def end(self) -> float: ...

    def speeds(self, begin: float, end: float) -> dict[str, float]: ...

    def moved(self, joint: str, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]: ...

    def commanded(self, joint: str) -> tuple[np.ndarray, np.ndarray]: ...


def plot_rehearsal(
    record: Record,
    joint: str | None = None,
    ax: Axes | None = None,
    *,
    quantity: Quantity = "velocity",
    begin: float = 0.0,
    end: float | None = None,
) -> Axes:
    """How fast a joint was told to move and moved, the node's states (coloured), and what was done to the robot.

    The line of commands is broken where none came.

    Args:
        record: what happened.
        joint: its name; default: the one that moved fastest in the part that is shown.
        ax: where to draw; default: a new figure.
        quantity: velocity, with the commands, or position.
        begin, end: the part to show, in seconds of the record; default: all.
    """
    ax = ax or new_axes((9.0, 3.4))
    end = record.end if end is None else end
    speeds = record.speeds(begin, end)
    joint = joint or max(speeds, key=lambda name: speeds[name])
    changes = [*record.states, (max(record.end, end), "", "")]
    for (since, state, _), (until, _, _) in pairwise(changes):
        ax.axvspan(max(since, begin), min(until, end), color=STATES.get(state, FAINT), alpha=0.22, lw=0, zorder=0)
    shown = _part(*record.moved(joint, quantity), begin, end)
    ax.plot(*shown, color=INK, lw=1.2, zorder=3)
    lines = [Line2D([], [], color=INK, lw=1.2, label="moves" if quantity == "velocity" else "position")]
    if quantity == "velocity":
        ax.plot(*_broken(*_part(*record.commanded(joint), begin, end)), color=BLUE, lw=1.8, zorder=4)
        lines.append(Line2D([], [], color=BLUE, lw=1.8, label="commanded"))
    for time, what in record.events:
        if begin <= time <= end:
            ax.axvline(time, color=INK, lw=0.9, ls=(0, (2, 2)), zorder=2)
            text = ax.text(time, 1.02, what, ha="left", va="bottom", fontsize="small", rotation=15)
            text.set_transform(ax.get_xaxis_transform())  # y as a share of the axes' height
    ax.set_xlim(begin, end)
    ax.set_xlabel("seconds")
    unit = "m" if "finger" in joint else "rad"
    ax.set_ylabel(f"{joint} ({unit}/s)" if quantity == "velocity" else f"{joint} ({unit})")
    present = [s for s in STATES if any(s == state for _, state, _ in record.states)]
    patches = [Patch(color=STATES[state], alpha=0.3, lw=0, label=state) for state in present]
    ax.legend(handles=[*lines, *patches], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    return tidy(ax)


def _part(times: np.ndarray, values: np.ndarray, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Between two times, and a bit around, so that the axes fit what is seen."""
    inside = (times >= begin - 0.1) & (times <= end + 0.1)
    return times[inside], values[inside]


def _broken(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With NaN where nothing came for `SILENCE` seconds."""
    after = np.flatnonzero(np.diff(times) > SILENCE) + 1
    return np.insert(times, after, times[after] - 1e-3), np.insert(values, after, np.nan)
