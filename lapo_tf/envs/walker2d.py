"""Multi-task Walker2d: the walker of gymnasium's Walker2d-v4, rewarded for going forward or backward, or jumping."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.spaces import Box

from lapo_tf.errors import unknown

Goal = Literal["forward", "backward", "jump"]
GOALS: tuple[Goal, ...] = ("forward", "backward", "jump")

FRAME_SKIP = 4  # simulation steps of 0.002 s in one control step
RESET_NOISE = 0.005  # half-range of the uniform noise on positions and velocities at reset
LOW, HIGH = 0.8, 2.0  # m, torso heights between which the walker stands
LEAN = 1.0  # rad, torso angle within which it stands
CONTROL_COST = 1e-3
RISE_WEIGHT = 10.0  # 1/m
CAMERA: dict[str, Any] = {"trackbodyid": 2, "distance": 4.0, "lookat": np.array((0.0, 0.0, 1.15)), "elevation": -20.0}


def goal_reward(goal: str, velocity: Any, control: Any, rise: Any) -> Any:
    """Reward of a step, or of many.

    Args:
        goal: `forward`, `backward` or `jump`.
        velocity: of the torso along x over the step, m/s.
        control: -0.001 times the action's squared norm.
        rise: height of the torso after the step above that at reset, m.
    """
    if goal == "forward":
        return 1.0 + velocity + control
    if goal == "backward":
        return 1.0 - velocity + control
    if goal == "jump":
        return 1.0 + RISE_WEIGHT * rise + control - np.abs(velocity)
    raise unknown("goal of the walker", goal, GOALS)


def fallen(goal: str, height: Any, angle: Any) -> Any:
    """Whether the episode ends, for the torso's height (m) and angle (rad): a jump may go as high as it can."""
    return (height <= LOW) | ((height >= HIGH) & (goal != "jump")) | (np.abs(angle) >= LEAN)


class Walker2dGoalEnv(MujocoEnv):
    """Walker2d with one of three goals; all else is the same, so that runs of one can be relabelled for another.

    Observation, float64 [17]: torso height (m) and angle (rad), six joint angles, and their velocities and the torso's,
    clipped to ±10. Action, [6] in [-1, 1]: joint torques in units of 100 N m, held for 0.008 s. Reward: `goal_reward`,
    whose terms are in the step's info. The episode ends when the walker has `fallen`.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 125}  # noqa: RUF012

    def __init__(self, goal: Goal = "forward", **options: Any) -> None:
        """
        Args:
            goal: `forward`, `backward` or `jump`.
            options: `render_mode`, `width`, `height`, ... of gymnasium's `MujocoEnv`.
        """
        if goal not in GOALS:
            raise unknown("goal of the walker", goal, GOALS)
        self.goal = goal
        self._first_height = 0.0
        space = Box(-np.inf, np.inf, (17,), np.float64)
        super().__init__("walker2d.xml", FRAME_SKIP, space, default_camera_config=CAMERA, **options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.float64, bool, bool, dict[str, np.float64]]:
        before = self.data.qpos[0]
        self.do_simulation(action, self.frame_skip)
        position, height, angle = self.data.qpos[:3]
        terms = {
            "velocity": (position - before) / self.dt,
            "control": -CONTROL_COST * np.float64(np.square(action).sum()),
            "rise": height - self._first_height,
        }
        if self.render_mode == "human":
            self.render()
        reward = goal_reward(self.goal, **terms)
        return self._observe(), reward, bool(fallen(self.goal, height, angle)), False, terms

    def reset_model(self) -> np.ndarray:
        def noise(size: int) -> np.ndarray:
            return self.np_random.uniform(-RESET_NOISE, RESET_NOISE, size)

        self.set_state(self.init_qpos + noise(self.model.nq), self.init_qvel + noise(self.model.nv))
        self._first_height = float(self.data.qpos[1])
        return self._observe()

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.data.qpos[1:], np.clip(self.data.qvel, -10.0, 10.0)])
