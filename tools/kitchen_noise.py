"""Draw D4RL's sensor noise anew on top of a kitchen file, episode by episode.

python tools/kitchen_noise.py IN.hdf5 OUT.hdf5

OUT holds 20 copies of the data, the first as it is. Training on it shows how much of what a policy learns from few
demonstrations is the noise they happen to contain (docs/experiments.md, kitchen-complete).
"""

import argparse

import h5py
import numpy as np


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a D4RL kitchen file")
    parser.add_argument("out", help="file to write")
    parser.add_argument("--copies", type=int, default=20)
    options = parser.parse_args()
    from lapo_tf.envs.kitchen import OBJECT_NOISE, ROBOT_NOISE

    random = np.random.default_rng(0)
    scale = 0.1 * np.concatenate([ROBOT_NOISE, OBJECT_NOISE])
    with h5py.File(options.source) as source, h5py.File(options.out, "w") as out:
        for key in ("observations", "actions", "rewards", "terminals", "timeouts"):
            copies = [source[key][()] for _ in range(options.copies)]
            if key == "observations":
                for copy in copies[1:]:
                    copy[:, :30] += scale * random.uniform(-1.0, 1.0, (len(copy), 30))
            out[key] = np.concatenate(copies)


if __name__ == "__main__":
    main()
