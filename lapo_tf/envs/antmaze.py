"""D4RL's AntMaze on current gymnasium and MuJoCo: a four-legged robot that has to walk to a goal through a maze.

The robot is gymnasium's Ant with D4RL's changes (steps of 0.02 s, torques of up to 30 Nm, softer contacts); the walls
are boxes 4 m wide and 2 m high. Positions are in metres from the cell where the robot starts.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

from lapo_tf.errors import unknown

AntMazeName = Literal["umaze", "medium", "large"]
SCALE = 4.0
"""Width of a cell, metres."""
WALL_HEIGHT = 0.5 * SCALE
GOAL_RADIUS = 0.5
"""An episode succeeds, and ends, within this distance of the goal, metres."""
TORQUE = 30.0
"""Of an action of 1, newton metres."""
FRAME_SKIP = 5
"""Steps of 0.02 s per action."""

# `#` wall, `O` free, `R` start of evaluation episodes, `g` cells that the data's goals are drawn from, `E` the
# evaluation's goal, `G` both. Rows run along y, columns along x.
MAPS: dict[str, str] = {
    "umaze": r"#####\#ROO#\###O#\#GOO#\#####",
    "medium": r"########\#RO##OO#\#OO#OOg#\##OOO###\#OO#OOO#\#g#OO#O#\#OOO#gE#\########",
    "large": r"############\#ROOO#gOOOO#\#O##O#O#O#O#\#OOOOgO#OOg#\#O####O###O#\#Og#O#OOOOO#\##O#O#O#O###"
    r"\#OO#gOg#OGO#\############",
}
GOAL_OFFSET = 0.75
"""Of the evaluation's goal from its cell's origin, per axis, metres: the mean of D4RL's random offset, which there is
drawn once per environment and so differs between runs."""


def parse_map(maze: str) -> np.ndarray:
    """Characters [rows, columns] of a named maze."""
    if maze not in MAPS:
        raise unknown("ant maze", maze, MAPS)
    return np.array([list(row) for row in MAPS[maze].split("\\")])


def cell_origin(maze: str, cell: tuple[int, int] | np.ndarray) -> np.ndarray:
    """Position [2] (x, y) in metres of a cell (row, column); the start's is (0, 0)."""
    start = np.argwhere(parse_map(maze) == "R")[0]
    row, column = np.asarray(cell) - start
    return SCALE * np.array([column, row], np.float64)


def cell_of(position: np.ndarray) -> tuple[int, int]:
    """The cell (row, column) that D4RL's planner takes a position [2] to be in: from its origin to the next one's."""
    x, y = np.maximum(position, 1e-4)
    return int(1 + y / SCALE), int(1 + x / SCALE)


def goal_of(maze: str) -> np.ndarray:
    """The evaluation goal's position [2], metres."""
    return cell_origin(maze, np.argwhere(np.isin(parse_map(maze), ("E", "G")))[0]) + GOAL_OFFSET


def reached(positions: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Whether positions [..., >=2] lie within the goal's radius, bool [...]."""
    return np.linalg.norm(positions[..., :2] - goal, axis=-1) <= GOAL_RADIUS


def build_model(maze: str) -> mujoco.MjModel:
    """The maze's MuJoCo model."""
    spec = mujoco.MjSpec.from_file(str(Path(gym.__file__).parent / "envs" / "mujoco" / "assets" / "ant.xml"))
    spec.option.timestep = 0.02
    for geom in spec.geoms:
        geom.solref = [0.02, 1.0]
        geom.solimp[:3] = [0.8, 0.8, 0.01]
    for actuator in spec.actuators:  # their controls are limited to ±1
        actuator.gear[0] = TORQUE
    half = [SCALE / 2, SCALE / 2, WALL_HEIGHT / 2]
    for cell in np.argwhere(parse_map(maze) == "#"):
        x, y = cell_origin(maze, cell)
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[x, y, WALL_HEIGHT / 2],
            size=half,
            contype=1,
            conaffinity=1,
            condim=3,
            margin=0.01,
            friction=[1.0, 0.5, 0.5],
            solref=[0.02, 1.0],
            solimp=[0.8, 0.8, 0.01, 0.5, 2.0],
            rgba=[0.7, 0.5, 0.3, 1.0],
        )
    goal = goal_of(maze)
    spec.worldbody.add_site(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[*goal, 0.01], size=[GOAL_RADIUS, 0.01, 0.0], rgba=[0, 0.62, 0.45, 0.6]
    )
    return spec.compile()


class AntMazeEnv(gym.Env[np.ndarray, np.ndarray]):
    """D4RL's AntMaze with one goal.

    Observation, float64 [29]: positions [15] (x, y, height, orientation, joints) and velocities [14], not the goal.
    Action, [8] in [-1, 1]: torques in units of 30 Nm. Reward 1, and the episode terminates, when the robot comes
    within 0.5 m of the goal; else 0.
    """

    metadata = {"render_modes": ["rgb_array", "human", "depth_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self, maze: AntMazeName = "umaze", render_mode: str | None = None, width: int = 480, height: int = 480
    ) -> None:
        """
        Args:
            maze: a name in `MAPS`.
            render_mode: `rgb_array`, `depth_array`, `human` or None.
            width: of rendered images, pixels.
            height: of rendered images, pixels.
        """
        self.maze, self.goal = maze, goal_of(maze)
        self.model = build_model(maze)
        self.data = mujoco.MjData(self.model)
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (8,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (29,), np.float64)
        cells = np.argwhere(parse_map(maze) != "")
        middle = (cell_origin(maze, cells[0]) + cell_origin(maze, cells[-1])) / 2
        extent = SCALE * max(parse_map(maze).shape)
        camera = {"lookat": np.array([*middle, 0.0]), "distance": 1.2 * extent, "elevation": -70.0, "azimuth": 90.0}
        self._renderer = MujocoRenderer(self.model, self.data, camera, width, height)

    @property
    def dt(self) -> float:
        """Seconds in one control step."""
        return FRAME_SKIP * self.model.opt.timestep

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """`options={"position": (x, y)}` starts there instead of near the start cell's origin."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] += self.np_random.uniform(-0.1, 0.1, self.model.nq)
        self.data.qvel[:] = 0.1 * self.np_random.standard_normal(self.model.nv)
        if options and "position" in options:
            self.data.qpos[:2] = options["position"]
        mujoco.mj_forward(self.model, self.data)
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.data.ctrl[:] = np.clip(action, -1.0, 1.0)
        mujoco.mj_step(self.model, self.data, FRAME_SKIP)
        success = bool(reached(self.data.qpos, self.goal))
        if self.render_mode == "human":
            self.render()
        return self.observe(), float(success), success, False, {"success": success}

    def observe(self) -> np.ndarray:
        """The observation [29] of the present state."""
        return np.concatenate([self.data.qpos, self.data.qvel])

    def render(self) -> Any:
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        self._renderer.close()
