"""D4RL's Franka kitchen, on gymnasium-robotics' model of the same scene.

D4RL's environment needs software of 2019. Its scene lives on in gymnasium-robotics' `FrankaKitchen-v1`, whose robot
class this module uses for the model, the meshes and rendering. All around the simulation is D4RL's: observation layout,
sensor noise, velocity control from the noisy reading, reward, and reset. Sources, in Farama-Foundation/D4RL's
`d4rl/kitchen`: `kitchen_envs.py`, `adept_envs/franka/kitchen_multitask_v0.py` and `robot/franka_robot.py`.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from lapo_tf.envs import COMPLETE_TASKS
from lapo_tf.errors import unknown

with contextlib.redirect_stderr(io.StringIO()):  # it prints news of its other environments
    from gymnasium_robotics.envs.franka_kitchen.franka_env import FrankaRobot

ELEMENT_INDICES: dict[str, list[int]] = {
    "bottom burner": [11, 12],
    "top burner": [15, 16],
    "light switch": [17, 18],
    "slide cabinet": [19],
    "hinge cabinet": [20, 21],
    "microwave": [22],
    "kettle": [23, 24, 25, 26, 27, 28, 29],
}
"""Where each element's joints sit in qpos, and so in the observation."""

ELEMENT_GOALS: dict[str, list[float]] = {
    "bottom burner": [-0.88, -0.01],
    "top burner": [-0.92, -0.01],
    "light switch": [-0.69, -0.05],
    "slide cabinet": [0.37],
    "hinge cabinet": [0.0, 1.45],
    "microwave": [-0.75],
    "kettle": [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06],
}
"""Joint values (m, rad, unit quaternion) each element should reach."""

DONE_WITHIN = 0.3  # Euclidean distance to the goal at which an element counts as done
FRAME_SKIP = 40  # simulation steps of 0.002 s in one control step
SUBSTEPS = 4  # of 0.02 s in a control step, for `KitchenEnv.substep`
MAX_SPEED = 2.0  # rad/s (fingers: m/s) commanded by an action of 1

ROBOT_START = np.array(
    [0.148388023, -1.76848573, 1.84390296, -2.4768576, 0.260252026, 0.712533105, 1.59515394, 0.0479267505, 0.0371350919]
)
"""Joint angles (rad) and finger positions (m) at reset: D4RL's `init_qpos`, a noisy reading it once took."""

# fmt: off
OBJECT_START = np.array(
    [-2.6627985e-4, -5.18043486e-5, 3.1287722e-5, -4.51199853e-5, -3.90842156e-6, -4.22629655e-5, 6.28065475e-5,
     4.04984708e-5, 4.62730939e-4, -2.26906415e-4, -4.65501369e-4, -6.44129196e-3, -1.77048263e-3, 1.08009684e-3,
     -0.26939744, 0.350383255, 1.61944683, 1.00618764, 4.0639512e-3, -6.62095997e-3, -2.68278933e-4]
)
"""Object joints at reset: the same reading, so its sensor noise is part of D4RL's (and FrankaKitchen-v1's) start."""
# fmt: on

CAMERA = {"distance": 2.2, "azimuth": 68.0, "elevation": -26.0, "lookat": np.array([-0.2, 0.4, 2.03])}
"""Free camera from which all seven elements and the arm are seen."""

NOISE_RATIO = 0.1  # D4RL's `robot_noise_ratio`, which it applies to the objects too
ROBOT_NOISE = np.full(9, 0.1)
OBJECT_NOISE = np.repeat([0.005, 0.0005, 0.005, 0.1, 0.005, 0.1, 0.005], [2, 6, 3, 3, 3, 3, 1])
"""Largest sensor error per joint at a noise ratio of 1 (scene's `franka_config.xml`)."""


def task_goal(tasks: Sequence[str]) -> np.ndarray:
    """Goal part [30] of the observation: the elements' goals at their qpos indices, 0 elsewhere."""
    goal = np.zeros(30)
    for task in tasks:
        goal[ELEMENT_INDICES[task]] = ELEMENT_GOALS[task]
    return goal


def completed(qpos: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
    """Which elements are at their goal: bool [..., len(tasks)] for joint positions qpos [..., >=30]."""
    at_goal = np.zeros((*qpos.shape[:-1], len(tasks)), bool)
    for i, task in enumerate(tasks):
        at_goal[..., i] = np.linalg.norm(qpos[..., ELEMENT_INDICES[task]] - ELEMENT_GOALS[task], axis=-1) < DONE_WITHIN
    return at_goal


def dataset_reward(observations: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
    """Reward [T] that D4RL's data sets hold: number of elements at their goal in obs_t [T, 60], none ever removed."""
    return completed(observations, tasks).sum(-1).astype(np.float32)


def _light(model: mujoco.MjModel) -> None:
    """Even light on a plain background. Looks only: the physics does not know of it.

    Without shadows and multisampling a frame takes a twentieth of the time where a CPU renders.
    """
    model.vis.quality.offsamples = 0
    model.light_castshadow[:] = 0
    model.light_specular[:] = 0.0
    model.light_diffuse[:] *= 0.6
    model.vis.headlight.ambient[:] = 0.25
    for i in np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX):
        first = model.tex_adr[i]
        model.tex_data[first : first + model.tex_height[i] * model.tex_width[i] * model.tex_nchannel[i]] = 200


class KitchenEnv(gym.Env[np.ndarray, np.ndarray]):
    """D4RL's kitchen: 9 joint velocities open doors, move a kettle and flip switches; +1 for each element done.

    Observation, float64 [60]: noisy robot qpos [9] (rad, fingers m), noisy object qpos [21], goal [30].
    Action, [9] in [-1, 1]: joint velocity in units of 2 rad/s, held for 0.08 s. The position set-point is the *noisy*
    joint reading of the present observation plus velocity times time, clipped to the joints' limits.
    Reward: number of elements that came within 0.3 of their goal for the first time; done when none is left.

    The keyword options switch single differences from FrankaKitchen-v1 back on, to study what they do.
    """

    metadata = {"render_modes": ["rgb_array", "human", "depth_array"], "render_fps": 12}  # noqa: RUF012 (gymnasium's name)

    def __init__(
        self,
        tasks_to_complete: Sequence[str] = COMPLETE_TASKS,
        *,
        noise: Literal["d4rl", "franka", "none"] = "d4rl",
        object_start: Literal["d4rl", "zero"] = "d4rl",
        reward_from: Literal["noisy", "true"] = "noisy",
        render_mode: str | None = None,
        **render_options: Any,
    ) -> None:
        """
        Args:
            tasks_to_complete: Elements to bring to their goals, names of `ELEMENT_GOALS`.
            noise: Sensor noise: D4RL's; FrankaKitchen-v1's (robot a tenth of it, objects 1/200 and shifted by one
                joint); or none.
            object_start: Objects where D4RL's reset puts them (a noisy reading), or at the model's zero pose, where the
                recorded demonstrations began.
            reward_from: Judge elements by the noisy reading as D4RL does, or by the true state.
            render_mode: `rgb_array`, `depth_array`, `human` or None.
            render_options: `width`, `height`, `camera_name`, ... of gymnasium's `MujocoEnv`; 640 x 480 by default.
        """
        for task in tasks_to_complete:
            if task not in ELEMENT_GOALS:
                raise unknown("kitchen task", task, ELEMENT_GOALS)
        self.tasks = tuple(tasks_to_complete)
        self.goal = task_goal(self.tasks)
        self.object_start = object_start
        self.reward_from = reward_from
        amplitudes = {
            "d4rl": NOISE_RATIO * np.concatenate([ROBOT_NOISE, OBJECT_NOISE]),
            "franka": np.concatenate([0.01 * ROBOT_NOISE, 0.0005 * ROBOT_NOISE[:1], 0.0005 * OBJECT_NOISE[:-1]]),
            "none": np.zeros(30),
        }
        self.noise_amplitude = amplitudes[noise]
        self.render_mode = render_mode
        self._robot = FrankaRobot(
            "../assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml",
            frame_skip=FRAME_SKIP,
            render_mode=render_mode,
            **({"width": 640, "height": 480, "default_camera_config": CAMERA} | render_options),
        )
        self.model, self.data = self._robot.model, self._robot.data
        _light(self.model)
        self._position_low, self._position_high = self._robot.robot_pos_bound[:9].T
        self.action_space = spaces.Box(-1.0, 1.0, (9,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (60,), np.float64)
        self._reading = np.zeros(30)  # last noisy qpos
        self._left: list[str] = list(self.tasks)
        self._substep = 0  # of the present control step
        self._anchor = np.zeros(9)  # joint reading at its beginning

    @property
    def dt(self) -> float:
        """Seconds in one control step."""
        return self._robot.dt

    @property
    def substep_dt(self) -> float:
        """Seconds in one call of `substep`."""
        return self.dt / SUBSTEPS

    def joint_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions [9] and velocities [9] of the robot's joints without the sensor's noise, for simulations."""
        return self.data.qpos[:9].copy(), self.data.qvel[:9].copy()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)  # velocities, controls and solver warm start too
        self.data.qpos[:9] = ROBOT_START
        if self.object_start == "d4rl":
            self.data.qpos[9:] = OBJECT_START
            mujoco.mj_normalizeQuat(self.model, self.data.qpos)  # MuJoCo 2, D4RL's, did so in mj_forward
        mujoco.mj_forward(self.model, self.data)
        self._left, self._substep = list(self.tasks), 0
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._command(action, self._reading[:9])
        mujoco.mj_step(self.model, self.data, nstep=FRAME_SKIP)
        observation, reward = self._observe(), self._judge()
        if self.render_mode == "human":
            self.render()
        return observation, reward, not self._left, False, self._info()

    def substep(self, action: np.ndarray | None) -> tuple[np.ndarray, float, bool, bool]:
        """A quarter of a control step, for simulations in real time in which commands come at any moment.

        The set-point stays anchored in the reading at the control step's beginning, while the velocity may change; with
        one action for all of its substeps the control step is that of `step`.

        Args:
            action: [9] as for `step`. Without one the servos keep their set-points: an action of zeros would set them
                to the reading again and again, and the arm would sink slowly under its weight.

        Returns:
            Observation [60], reward, whether all is done, whether this ended a control step. Elements are judged at
            the end of a control step.
        """
        if self._substep == 0:
            self._anchor = self._reading[:9].copy()
        if action is not None:
            self._command(action, self._anchor)
        mujoco.mj_step(self.model, self.data, nstep=FRAME_SKIP // SUBSTEPS)
        self._substep = (self._substep + 1) % SUBSTEPS
        observation = self._observe()
        if self._substep:
            return observation, 0.0, False, False
        return observation, self._judge(), not self._left, True

    def _command(self, action: np.ndarray, position: np.ndarray) -> None:
        """Set the servos' set-points for an action at joint positions [9]."""
        velocity = MAX_SPEED * np.clip(action, -1.0, 1.0)
        self.data.ctrl[:] = np.clip(position + velocity * self.dt, self._position_low, self._position_high)

    def _judge(self) -> float:
        """The number of elements that have come to their goal now; they are left no more."""
        judged = self._reading if self.reward_from == "noisy" else self.data.qpos
        done = [task for task, at_goal in zip(self._left, completed(judged, self._left), strict=True) if at_goal]
        self._left = [task for task in self._left if task not in done]
        return float(len(done))

    def render(self) -> Any:
        return self._robot.render()

    def close(self) -> None:
        self._robot.close()

    def _observe(self) -> np.ndarray:
        self._reading = self.data.qpos + self.noise_amplitude * self.np_random.uniform(-1.0, 1.0, 30)
        return np.concatenate([self._reading, self.goal])

    def _info(self) -> dict[str, Any]:
        return {
            "episode_task_completions": [task for task in self.tasks if task not in self._left],
            "is_success": not self._left,
        }
