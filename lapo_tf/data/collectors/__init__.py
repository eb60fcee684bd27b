"""Data sets that a script can make, as local Minari data sets: `python -m lapo_tf.collect`.

A data set appears under its id only when it is complete (see `lapo_tf.data.store`). The kitchen's collector is
imported from its own module, because its simulator takes a while to load.
"""

from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.collectors.maze2d import MAZE_STEPS, WaypointController, collect_maze2d, run_maze2d
from lapo_tf.data.collectors.toy import collect_toy, toy_dataset

__all__ = [
    "MAZE_STEPS",
    "Collected",
    "WaypointController",
    "collect_maze2d",
    "collect_toy",
    "run_maze2d",
    "toy_dataset",
]
