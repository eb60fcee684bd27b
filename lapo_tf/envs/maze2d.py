"""D4RL's Maze2d: a ball pushed through a maze, rewarded while it is near a fixed goal.

The model and its odd numbers are those of `d4rl/pointmaze/maze_model.py` in Farama-Foundation/D4RL. The ball's body
sits at (1.2, 1.2) and the wall of map cell (i, j) at (i + 1, j + 1), so in the observed coordinates a wall's centre is
(i - 0.2, j - 0.2), while goals and starts are at (i, j): 0.2 off the middle of their cells.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

from lapo_tf.errors import unknown

MazeName = Literal["umaze", "medium", "large"]

MAPS: dict[str, str] = {
    "umaze": r"#####\#GOO#\###O#\#OOO#\#####",
    "medium": r"########\#OO##OO#\#OO#OOO#\##OOO###\#OO#OOO#\#O#OO#O#\#OOO#OG#\########",
    "large": (
        r"############\#OOOO#OOOOO#\#O##O#O#O#O#\#OOOOOO#OOO#\#O####O###O#\#OO#O#OOOOO#\##O#O#O#O###\#OO#OOO#OGO#"
        r"\############"
    ),
}
"""`#` wall, `O` free, `G` the evaluation goal; rows are separated by a backslash."""

MAX_SPEED = 5.0  # velocities are clipped to this before each step
GOAL_RADIUS = 0.5  # rewarded distance to the goal
BODY_OFFSET = 1.2  # world position of the ball at observed position 0

_MODEL = """
<mujoco model="point_maze">
  <compiler inertiafromgeom="true" angle="radian"/>
  <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
  <default>
    <joint damping="1" limited="false"/>
    <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
  </default>
  <visual>
    <headlight ambient=".4 .4 .4" diffuse=".8 .8 .8" specular="0.1 0.1 0.1"/>
    <map znear=".01"/>
  </visual>
  <asset>
    <texture type="2d" name="floor" builtin="checker" rgb1=".92 .92 .92" rgb2=".86 .86 .86" width="100" height="100"/>
    <texture type="skybox" builtin="gradient" rgb1=".4 .6 .8" rgb2="0 0 0" width="800" height="800"/>
    <material name="floor" texture="floor" texrepeat="40 40"/>
    <material name="wall" rgba=".3 .35 .4 1" specular="0"/>
    <material name="goal" rgba="0 .62 .45 .5" specular="0"/>
  </asset>
  <worldbody>
    <geom size="40 40 0.25" pos="0 0 -0.1" type="plane" material="floor" contype="0" conaffinity="0"/>
    <body name="ball" pos="1.2 1.2 0">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <geom type="sphere" size="0.1" rgba=".84 .37 0 1" contype="1"/>
    </body>
    <site type="cylinder" pos="{goal_x} {goal_y} -0.08" size="{radius} 0.01" material="goal"/>
    {walls}
  </worldbody>
  <actuator>
    <motor joint="x" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
    <motor joint="y" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
  </actuator>
</mujoco>
"""


def parse_map(maze: str) -> np.ndarray:
    """Characters [rows, columns] of a named maze; cell (i, j) is where x rounds to i and y to j."""
    if maze not in MAPS:
        raise unknown("maze", maze, MAPS)
    return np.array([list(row) for row in MAPS[maze].split("\\")])


def free_cells(maze: str) -> np.ndarray:
    """Cells [n, 2] where the ball can be, the goal's last (D4RL's order)."""
    cells = parse_map(maze)
    return np.concatenate([np.argwhere(cells == "O"), np.argwhere(cells == "G")])


def goal_of(maze: str) -> np.ndarray:
    """The evaluation goal's position [2]."""
    return free_cells(maze)[-1].astype(np.float64)


@dataclass(frozen=True)
class Plan:
    """A maze from above, in observed coordinates (cells)."""

    walls: np.ndarray
    """Centres [n, 2] of the walls' unit squares."""
    size: tuple[float, float]
    """All that matters is between 0 and here; a strip of the outer walls is seen, too."""
    goal: np.ndarray
    """Position [2]."""
    goal_radius: float = GOAL_RADIUS


def plan_of(maze: str) -> Plan:
    """The plan of a named maze, to be drawn."""
    cells = parse_map(maze)
    corner = 1.0 - BODY_OFFSET  # a wall's centre is there from its cell's number
    rows, columns = cells.shape
    return Plan(np.argwhere(cells == "#") + corner, (rows - 1.2 + corner, columns - 1.2 + corner), goal_of(maze))


def goal_reward(observations: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Reward [...] for observations [..., >=2]: 1 where the position is within 0.5 of the goal, else 0."""
    return (np.linalg.norm(observations[..., :2] - goal, axis=-1) <= GOAL_RADIUS).astype(np.float64)


def build_model(maze: str) -> mujoco.MjModel:
    """The maze's MuJoCo model: a ball of 4.19 kg on two damped slides, pushed with up to 100 N, steps of 0.01 s."""
    goal = goal_of(maze) + BODY_OFFSET
    walls = "\n".join(
        f'<geom type="box" material="wall" pos="{i + 1} {j + 1} 0" size="0.5 0.5 0.2"/>'
        for i, j in np.argwhere(parse_map(maze) == "#")
    )
    xml = _MODEL.format(goal_x=goal[0], goal_y=goal[1], radius=GOAL_RADIUS, walls=walls)
    return mujoco.MjModel.from_xml_string(xml)


class Maze2dEnv(gym.Env[np.ndarray, np.ndarray]):
    """D4RL's Maze2d.

    Observation, float64 [4]: x, y (cells), their velocities (cells/s). Action, [2] in [-1, 1]: force in units of 100 N.
    Reward: 1 if the position *before* the step is within 0.5 of the goal, else 0, as in D4RL's data sets (D4RL's own
    environment judges the position after the step, which shifts a return by at most 1). Episodes never terminate.
    """

    metadata = {"render_modes": ["rgb_array", "human", "depth_array"], "render_fps": 100}  # noqa: RUF012

    def __init__(
        self, maze: MazeName = "umaze", render_mode: str | None = None, width: int = 480, height: int = 480
    ) -> None:
        """
        Args:
            maze: A name in `MAPS`.
            render_mode: `rgb_array`, `depth_array`, `human` or None.
            width: Of rendered images, pixels.
            height: Of rendered images, pixels.
        """
        self.model = build_model(maze)
        self.data = mujoco.MjData(self.model)
        self.goal = goal_of(maze)
        self.free_cells = free_cells(maze)
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        shape = np.array(parse_map(maze).shape)
        camera = {
            "lookat": np.array([*(shape / 2 + 0.5), 0.0]),
            "distance": 1.2 * shape.max(),  # the whole map, from wall to wall, at MuJoCo's 45 degrees
            "elevation": -90.0,
            "azimuth": 90.0,
        }
        self._renderer = MujocoRenderer(self.model, self.data, camera, width, height)

    def joint_state(self) -> tuple[np.ndarray, np.ndarray]:
        """The ball's position [2] (cells) and velocity [2] (cells/s), for simulations."""
        return self.data.qpos.copy(), self.data.qvel.copy()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        cell = self.free_cells[self.np_random.integers(len(self.free_cells))]
        self.data.qpos[:] = cell + self.np_random.uniform(-0.1, 0.1, 2)
        self.data.qvel[:] = 0.1 * self.np_random.standard_normal(2)
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(goal_reward(self.data.qpos, self.goal))
        self.data.qvel[:] = np.clip(self.data.qvel, -MAX_SPEED, MAX_SPEED)
        self.data.ctrl[:] = np.clip(action, -1.0, 1.0)
        mujoco.mj_step(self.model, self.data)
        if self.render_mode == "human":
            self.render()
        return self._observe(), reward, False, False, {}

    def render(self) -> Any:
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        self._renderer.close()

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])
