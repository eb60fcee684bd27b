"""The reward of the story: the tool to the mark, and the bottle stays where it is.

python -m lapo_tf.data relabel arm/logs-v0 --function examples/arm/reward.py:reach --id arm/reach-v0
"""

import numpy as np

MARK, STANDS = np.array([0.5, 0.25, 0.1]), np.array([0.5, 0.0])  # m: where to go, and where the bottle stands
NEAR, SHIFTED = 0.05, 0.005  # m: of the tool from the mark, and of the bottle
STRIDE, END = 0.05, 5.0  # m that earn 1, and what the end earns or costs
CLOSE = 0.12  # m from the bottle's middle, nearer than which a step costs
STEEP = 2.0 / 0.03  # what it costs for each m of that
UPRIGHT = 0.9  # cosine of the bottle's tilt


def fallen(bottle):
    """Whether the bottle was touched, by its poses [..., 7]: x, y, z and a quaternion x, y, z, w."""
    shifted = np.linalg.norm(bottle[..., :2] - STANDS, axis=-1) > SHIFTED
    return shifted | (1.0 - 2.0 * (bottle[..., 3:5] ** 2).sum(axis=-1) < UPRIGHT)


def reach(episode):
    """Rewards [T] of a recorded episode, and where the task was over [T]: at the mark, or with the bottle fallen.

    A step earns 1 for every 5 cm that it brought the tool nearer, less what it costs to be close to the bottle; 5 at
    the mark, and -5 where the bottle falls.
    """
    tool, bottle = (np.asarray(episode.infos[name]) for name in ("tool", "bottle"))
    distance = np.linalg.norm(tool - MARK, axis=1)
    lost = np.logical_or.accumulate(fallen(bottle))[1:]
    reached = (distance[1:] <= NEAR) & ~lost
    close = np.maximum(0.0, CLOSE - np.linalg.norm(tool[1:, :2] - STANDS, axis=1))
    rewards = (distance[:-1] - distance[1:]) / STRIDE - STEEP * close + END * reached - END * lost
    return rewards, reached | lost
