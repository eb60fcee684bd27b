"""The environment of a simulated robot: any that gymnasium can make, whose numbers a policy bundle names.

Two more methods help, where an environment has them:

    substep(action)   a part of a control step, `substep_dt` seconds long, for commands that come at any moment: the
                      observation, the reward, whether all is done, whether this ended a control step. Without an action
                      (None) the set-points stay.
    joint_state()     true positions and velocities of the commanded joints, without the sensor's noise.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.guards.limits import Array
from robot_bridge.paths import with_numbers
from robot_bridge.robot.description import Description
from robot_bridge.robot.robot import Input, Robot
from robot_bridge.simulation.controller import Reference
from robot_bridge.simulation.graphics import choose_gl, no_drawing
from robot_bridge.simulation.world import Step
from robot_bridge.transport import Message


@runtime_checkable
class Substeps(Protocol):
    """An environment with steps finer than its control step."""

    @property
    def substep_dt(self) -> float:
        """Seconds in one call of `substep`."""

    def substep(self, action: np.ndarray | None) -> tuple[np.ndarray, float, bool, bool]:
        """Observation, reward, whether all is done, whether this ended a control step."""


@runtime_checkable
class JointState(Protocol):
    """An environment that tells where its joints really are."""

    def joint_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n] and velocities [n] of the commanded joints, in the order of actions."""


class Environment:
    """A gymnasium environment as the world of a simulated robot."""

    def __init__(self, env: Any, policy: Description, robot: Robot, *, lock_step: bool = False) -> None:
        """
        Args:
            env: from `make_environment`; drawn, if pictures are wanted.
            policy: names its numbers.
            robot: the names of its joints and their order.
            lock_step: steps are whole control steps.
        """
        self.env, self.policy, self.name = env, policy, policy.task
        self._robot = robot
        self._inner = env.unwrapped
        self._fine: Substeps | None = self._inner if isinstance(self._inner, Substeps) and not lock_step else None
        self._true: JointState | None = self._inner if isinstance(self._inner, JointState) else None
        self._success = policy.environment.get("success")
        self.max_steps = (env.spec.max_episode_steps if env.spec else None) or 1000
        self.dt = self.ahead = 1.0 / policy.control_rate
        self.step_dt = self._fine.substep_dt if self._fine else self.dt
        joints, actions = list(robot.joints), policy.actions
        self._order = np.array([joints.index(action.joint) for action in actions])  # the joint that each action moves
        self._actions = np.argsort(self._order)
        self._scale = np.array([action.scale for action in actions])
        self._kinds = np.array([action.quantity for action in actions])
        self._numbers: dict[str, int] = {}
        self._measured: list[tuple[int, int]] = []
        for i, entry in enumerate(policy.observations):
            joint, _, quantity = entry.name.rpartition("/")
            if entry.constant is None:
                self._numbers[f"{robot.joints.get(joint, joint)}/{quantity}"] = i
                if quantity == "position" and joint in joints:
                    self._measured.append((joints.index(joint), i))
        self._places = {entry.name: i for i, entry in enumerate(policy.observations)}
        self._units = np.array([entry.scale for entry in policy.observations])  # of the policy's units, by SI
        self.position = np.zeros(len(joints))
        self._observation: Array = np.zeros(len(policy.observations))

    def reset(self, seed: int) -> None:
        self._observation, _ = self.env.reset(seed=seed)
        self._measure()

    def step(self, reference: Reference) -> Step:
        action = self._action(reference)
        if self._fine is not None:
            self._observation, reward, done, ended = self._fine.substep(action)
            step = Step(float(reward), done, ended)
        else:
            if action is None:
                action = np.zeros(len(self._scale), np.float32)
            self._observation, reward, terminated, truncated, info = self.env.step(action)
            completions = list(info.get("episode_task_completions", []))
            success = bool(np.any(info[self._success])) if self._success in info else None
            step = Step(float(reward), bool(terminated or truncated), True, completions, success)
        self._measure()
        return step

    def _measure(self) -> None:
        for joint, i in self._measured:
            self.position[joint] = self._value(i)

    def _action(self, reference: Reference) -> Array | None:
        """The action [act] that does what is asked, None if nothing is. Joints of which nothing is asked stand."""
        if reference.empty:
            return None
        asked, here = reference, self.position
        led = np.where(np.isnan(asked.position), asked.velocity, (asked.position - here) / self.dt)
        values = {
            "velocity": led,
            "position": here + led * self.dt,
            "effort": asked.effort,
        }
        standing = {"velocity": np.zeros(len(here)), "position": here, "effort": np.zeros(len(here))}
        chosen = np.zeros(len(self._scale))
        for kind, wanted in values.items():
            mine = self._kinds == kind
            filled = np.where(np.isnan(wanted), standing[kind], wanted)[self._order]
            chosen[mine] = filled[mine]
        return (chosen / self._scale).astype(np.float32)

    def numbers(self) -> dict[str, float]:
        return {name: self._value(i) for name, i in self._numbers.items()}

    def _value(self, i: int) -> float:
        """A number of the observation in SI units."""
        return float(self._observation[i] / self._units[i])

    def message(self, source: Input) -> Message | None:
        if not all(name in self._places for name in source.fields):
            return None
        known = {name: self._value(self._places[name]) for name in source.fields}
        return with_numbers(
            {}, {path: self._robot.unit(name, source).said(known[name]) for name, path in source.fields.items()}
        )

    def truth(self) -> tuple[Array, Array] | None:
        if self._true is None:
            return None
        position, velocity = self._true.joint_state()
        return position[self._actions], velocity[self._actions]

    def score(self, total: float) -> float:
        return self.policy.normalized(total)

    @property
    def scene(self) -> Any:
        return self._inner

    def frame(self, *, now: bool) -> Array:
        return np.asarray(self.env.render()) if now else self._inner.data.qpos.copy()

    def draw(self, frame: Array) -> Array:
        if frame.ndim > 1:
            return frame
        import mujoco

        self._inner.data.qpos[:] = frame
        mujoco.mj_forward(self._inner.model, self._inner.data)
        return np.asarray(self.env.render())

    def close(self) -> None:
        self.env.close()


def make_environment(policy: Description, env_id: str | None = None, *, drawn: bool = False) -> Any:
    """The environment that a bundle was trained for, or another one of the same numbers.

    Args:
        policy: names the environment and its numbers.
        env_id: a gymnasium id instead, `module:Name-v0` where importing the module registers it.
        drawn: pictures are wanted.

    Raises:
        UserError: no id is known, it cannot be made, or its spaces are not those of the bundle.
    """
    same = env_id in (None, policy.environment.get("id"))
    known: dict[str, Any] = policy.environment if same else {"id": env_id}
    env_id = known.get("id")
    if env_id is None:
        raise UserError(
            f"the bundle of '{policy.task}' names no environment: give --env, e.g. --env my_package:MyArm-v0, "
            "or export the run again"
        )
    if drawn:
        choose_gl()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # advice on environments that nobody asked for
            import gymnasium as gym

            options = known.get("env_options", {}) | ({"render_mode": "rgb_array"} if drawn else {})
            env: Any = gym.make(env_id, max_episode_steps=known.get("max_episode_steps"), **options)
            if wrapper := known.get("wrapper"):
                module, _, name = wrapper.partition(":")
                env = getattr(importlib.import_module(module), name)(env)
    except ImportError as error:
        missing = error.name or env_id.partition(":")[0]
        hint = "pip install 'lapo-tf[robot]', or the package of the environment"
        raise UserError(f"the environment '{env_id}' needs the module {missing}, which is not here: {hint}") from None
    except Exception as error:  # whatever a foreign module, constructor or wrapper raises
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot make the environment '{env_id}': {first}") from None
    for what, space, expected in (
        ("observations", env.observation_space, len(policy.observations)),
        ("actions", env.action_space, len(policy.actions)),
    ):
        if space.shape != (expected,):
            raise UserError(f"{env_id} has {what} of shape {space.shape}: expected the bundle's ({expected},)")
    if drawn:
        _try_to_draw(env)
    return env


def _try_to_draw(env: Any) -> None:
    env.reset(seed=0)
    try:
        env.render()
    except Exception as error:  # each of MuJoCo's backends fails in its own way
        raise no_drawing(error) from None
