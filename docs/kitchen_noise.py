"""Draws D4RL's sensor noise anew on top of a kitchen file, episode by episode: python docs/kitchen_noise.py IN OUT.hdf5

OUT holds 20 copies of the data, the first as it is. Training on it shows how much of what a policy learns from few
demonstrations is the noise they happen to contain (docs/results.md, kitchen-complete).
"""

import argparse

import h5py
import numpy as np

from lapo_tf.envs.kitchen import OBJECT_NOISE, ROBOT_NOISE

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("out")
parser.add_argument("--copies", type=int, default=20)
options = parser.parse_args()
random = np.random.default_rng(0)
scale = 0.1 * np.concatenate([ROBOT_NOISE, OBJECT_NOISE])
with h5py.File(options.source) as source, h5py.File(options.out, "w") as out:
    for key in ("observations", "actions", "rewards", "terminals", "timeouts"):
        copies = [source[key][()] for _ in range(options.copies)]
        if key == "observations":
            for copy in copies[1:]:
                copy[:, :30] += scale * random.uniform(-1.0, 1.0, (len(copy), 30))
        out[key] = np.concatenate(copies)
