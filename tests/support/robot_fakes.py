"""A policy without a network, for tests of what runs policies."""

from __future__ import annotations

from typing import Any

import numpy as np

from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import Robot


class LinearPolicy:
    """What `robot_bridge.robot.bundle.Policy` is to its users: action = clip(W s + b, ±1), in float32."""

    def __init__(self, description: Description, weights: np.ndarray, bias: np.ndarray | float = 0.0) -> None:
        self.description = description
        self.weights, self.bias = np.float32(weights), np.float32(bias)
        self.score = np.zeros(1)
        self.beyond: list[str] = []

    def infer(self, observation: np.ndarray) -> np.ndarray:
        return np.clip(self.weights @ np.float32(observation) + self.bias, -1, 1).astype(np.float32)

    def repeated(self, observation: np.ndarray) -> np.ndarray:
        return observation

    def novelty(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        return self.score

    def outside(self, observation: np.ndarray) -> list[str]:
        return self.beyond

    def observation(self) -> np.ndarray:
        constants = [entry.constant for entry in self.description.observations]
        return np.array([np.nan if constant is None else constant for constant in constants])


def for_task(task: str, seed: int = 0) -> Any:
    """A policy of random weights that fits a task's environment."""
    from lapo_tf.tasks import load_task

    known = load_task(task)
    env = known.make_env()
    names = known.names(env)
    env.close()
    rng = np.random.default_rng(seed)
    description = Description(
        task=task,
        control_rate=names.control_rate,
        observations=tuple(ObservationEntry(o.name, o.unit, -9, 9, (), o.constant) for o in names.observations),
        actions=tuple(ActionEntry(a.joint, a.quantity, a.unit, a.scale, -1, 1) for a in names.actions),
        novelty=(),
        sha256={},
        environment={"id": f"lapo_tf.envs:{known.env_id}", "score_min": known.score_min, "score_max": known.score_max},
    )
    return LinearPolicy(description, rng.normal(size=(len(names.actions), len(names.observations))) * 0.3)


def simulate(transport: Any, task: str, robot: Robot | None = None, **options: Any) -> Any:
    """A simulation of a task's environment, as a robot of a config or of none."""
    from robot_bridge.simulation.environment import Environment, make_environment
    from robot_bridge.simulation.simulation import Simulation, plain

    policy = for_task(task).description
    robot = robot or plain(policy)
    world = Environment(make_environment(policy), policy, robot, lock_step=options.get("lock_step", False))
    return Simulation(transport, world, robot, **{"say": lambda line: None} | options)


def arm_policy(joints: tuple[str, ...] = ("a", "b"), target: float = 0.5, rate: float = 50.0, **entries: Any) -> Any:
    """Moves each joint of an arm towards `target`, at up to 1 rad/s."""
    n = len(joints)
    description = Description(
        task="arm",
        control_rate=rate,
        observations=tuple(ObservationEntry(f"{j}/position", "rad", -2, 2, ()) for j in joints),
        actions=tuple(ActionEntry(j, "velocity", "rad/s", 1.0, -1, 1) for j in joints),
        novelty=(),
        sha256={},
        **entries,
    )
    return LinearPolicy(description, -3.0 * np.eye(n), 3.0 * target * np.ones(n))


def arm_robot(**changes: Any) -> Robot:
    """A robot of two joints that takes velocities; settings of its guards go by their own names."""
    from dataclasses import fields

    from robot_bridge.guards.limits import JointLimits
    from robot_bridge.guards.settings import GuardSettings
    from robot_bridge.robot.robot import Input, Output

    limits = JointLimits([-1, -1], [1, 1], [1, 1], [5, 5], [500, 500])
    guards = {f.name: changes.pop(f.name) for f in fields(GuardSettings) if f.name in changes}
    values: dict[str, Any] = {
        "name": "arm",
        "joints": {"a": "a", "b": "b"},
        "rate": 50.0,
        "inputs": (Input("/joint_states"),),
        "outputs": (Output("velocity", "/commands", ("a", "b")),),
        "limits": limits,
        "guards": GuardSettings(**guards),
    }
    return Robot(**values | changes)
