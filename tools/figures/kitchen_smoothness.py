"""Draw docs/kitchen-smoothness.png: how far actions change from step to step, by people and by the demonstrator.

python tools/figures/kitchen_smoothness.py mini_kitchen_microwave_kettle_light_slider-v0.hdf5 lapo/kitchen-mixed-v0
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lapo_tf.data import open_recording
from lapo_tf.plots.style import BLUE, VERMILION

DOCS = Path(__file__).parents[2] / "docs"


def changes(spec: str) -> np.ndarray:
    """Changes of the action from one step to the next, [n, 9], within episodes."""
    with open_recording(spec) as recording:
        return np.concatenate([np.diff(np.asarray(episode.actions), axis=0) for episode in recording.episodes])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", help="people's demonstrations: a D4RL file or a Minari id")
    parser.add_argument("demonstrated", help="the demonstrator's: a D4RL file or a Minari id")
    parser.add_argument("--out", type=Path, default=DOCS / "kitchen-smoothness.png")
    options = parser.parse_args()
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sets = (("recorded (19)", options.recorded, BLUE), ("demonstrator", options.demonstrated, VERMILION))
    for name, spec, colour in sets:
        change = changes(spec)
        print(f"{name}: std {change.std():.3f}; by joint {np.round(change.std(0), 3).tolist()}")
        left.hist(change.ravel(), 81, range=(-0.6, 0.6), density=True, histtype="step", color=colour, label=name)
        right.plot(range(1, 10), change.std(0), "o-", color=colour, label=f"{name}, all: {change.std():.3f}")
    left.set(xlabel="change of an action's entry from step to step", ylabel="density", yscale="log")
    right.set(xlabel="joint (8, 9: fingers)", ylabel="standard deviation of the change", ylim=(0, None))
    for ax in (left, right):
        ax.legend(frameon=False)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
