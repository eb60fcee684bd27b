"""Draws docs/kitchen-smoothness.png: how far actions change from step to step, by people and by the demonstrator.

python docs/kitchen_smoothness.py mini_kitchen_microwave_kettle_light_slider-v0.hdf5 lapo/kitchen-mixed-v0
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from lapo_tf.data.readers import open_recording

mpl.use("agg")
import matplotlib.pyplot as plt


def changes(spec: str) -> np.ndarray:
    """Changes of the action from one step to the next, [n, 9], within episodes."""
    with open_recording(spec) as recording:
        return np.concatenate([np.diff(np.asarray(episode.actions), axis=0) for episode in recording.episodes])


figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for name, spec, colour in zip(("recorded (19)", "demonstrator"), sys.argv[1:3], ("#0072b2", "#d55e00"), strict=True):
    change = changes(spec)
    print(f"{name}: std {change.std():.3f}; by joint {np.round(change.std(0), 3).tolist()}")
    axes[0].hist(change.ravel(), 81, range=(-0.6, 0.6), density=True, histtype="step", color=colour, label=name)
    axes[1].plot(range(1, 10), change.std(0), "o-", color=colour, label=f"{name}, all: {change.std():.3f}")
axes[0].set(xlabel="change of an action's entry from step to step", ylabel="density", yscale="log")
axes[1].set(xlabel="joint (8, 9: fingers)", ylabel="standard deviation of the change", ylim=(0, None))
for ax in axes:
    ax.legend(frameon=False)
figure.savefig(Path(__file__).with_name("kitchen-smoothness.png"), dpi=110)
