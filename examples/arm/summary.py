"""How often everybody reached the mark, and by which ways: a table, and a picture of the table from above.

python examples/arm/summary.py arm-story
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from reward import MARK, NEAR, STANDS

from lapo_tf.data import open_recording
from lapo_tf.plots.style import BLUE, GREEN, INK, ORANGE, PINK, VERMILION, tidy

COLOURS = {
    "reached": BLUE,
    "the bottle fell": VERMILION,
    "too late": ORANGE,
    "stopped by a guard": PINK,
    "another task": "gray",
}
BOTTLE = 0.035  # m, its radius


def recorded(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The operators' episodes, as `trials.py` writes those of policies."""
    outcomes = json.loads((out / "logs" / "outcomes.json").read_text())
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in outcomes}
    owners = [name for name, some in sorted(outcomes.items()) for _ in some]
    with open_recording("arm/reach-v0", infos=True) as recording:
        for name, episode in zip(owners, recording.episodes, strict=True):
            path, over = np.asarray(episode.infos["tool"]), np.flatnonzero(episode.terminated)
            good = len(over) > 0 and float(episode.rewards[over[0]]) > 0
            failed = "another task" if name == "carl" else "the bottle fell" if len(over) else "too late"
            seconds = float(episode.infos["time"][over[0] if len(over) else -1] - episode.infos["time"][0])
            found[name].append({"ended": "reached" if good else failed, "seconds": seconds, "path": path.tolist()})
    return found


def table(found: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    """A line for everybody."""
    for name, trials in found.items():
        count = {ended: sum(t["ended"] == ended for t in trials) for ended in COLOURS}
        times = [t["seconds"] for t in trials if t["ended"] == "reached"]
        rest = ", ".join(f"{ended} {n}" for ended, n in count.items() if n and ended != "reached")
        mean = f"after {np.mean(times):.1f} s" if times else ""
        reached = f"{count['reached']:3} of {len(trials):3}  {count['reached'] / len(trials):4.0%}"
        yield f"{name:6} {reached}  {mean:12} {rest}"


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Everybody's ways, from above."""
    figure, axes = plt.subplots(1, len(found), figsize=(2.2 * len(found), 5.0), sharey=True, layout="constrained")
    for ax, (name, trials) in zip(axes, found.items(), strict=True):
        for t in trials:
            places = np.array(t["path"])
            ax.plot(places[:, 0], places[:, 1], color=COLOURS[t["ended"]], lw=0.8, alpha=0.7)
        ax.add_patch(plt.Circle(STANDS, BOTTLE, color=GREEN))
        ax.add_patch(plt.Circle(MARK[:2], NEAR, fill=False, color=INK))
        ax.set_title(f"{name}: {sum(t['ended'] == 'reached' for t in trials)} of {len(trials)}", fontsize="medium")
        tidy(ax).set_aspect("equal")
        ax.set_xlim(0.3, 0.75)
        ax.set_ylim(-0.38, 0.38)
        ax.set_xlabel("x / m")
    axes[0].set_ylabel("y / m")
    ends = {t["ended"] for trials in found.values() for t in trials}
    handles = [plt.Line2D([], [], color=colour, label=ended) for ended, colour in COLOURS.items() if ended in ends]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=110)


def main(out: Path) -> None:
    found = recorded(out)
    for path in sorted(out.glob("trials-*.json")):
        found[path.stem.removeprefix("trials-").upper()] = json.loads(path.read_text())
    lines = list(table(found))
    print("\nThe tool at the mark, the bottle where it was:", *lines, sep="\n")
    (out / "summary.txt").write_text("\n".join(lines) + "\n")
    draw(found, out / "ways.png")
    print(f"picture: {out / 'ways.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
