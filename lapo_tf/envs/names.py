"""What the numbers of an observation and an action are called, task by task, and what they measure.

A policy bundle carries these names, so that a robot's observation is put together by name and not by position. A name
is `<joint>/<quantity>`; entries of the goal are constants of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

PANDA_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
PANDA_FINGERS = ("panda_finger_joint1", "panda_finger_joint2")

# The joints of gymnasium-robotics' kitchen in the order of its qpos, after the robot's nine.
_KITCHEN_OBJECTS = (
    ("knob_Joint_1", "rad"),
    ("bottom_right_burner", "m"),
    ("knob_Joint_2", "rad"),
    ("bottom_left_burner", "m"),
    ("knob_Joint_3", "rad"),
    ("top_right_burner", "m"),
    ("knob_Joint_4", "rad"),
    ("top_left_burner", "m"),
    ("light_switch", "rad"),
    ("light_joint", "m"),
    ("slide_cabinet", "m"),
    ("left_hinge_cabinet", "rad"),
    ("right_hinge_cabinet", "rad"),
    ("microwave", "rad"),
    *((f"kettle_{axis}", "m") for axis in "xyz"),
    *((f"kettle_q{axis}", "") for axis in "wxyz"),
)


@dataclass(frozen=True)
class Observed:
    """One number of an observation: `<joint>/position` and so on, in `unit` ("" for a pure number)."""

    name: str
    unit: str = ""
    constant: float | None = None
    """Its value, where the task fixes it."""


@dataclass(frozen=True)
class Commanded:
    """One number of an action: `action * scale` is the joint's `quantity` in `unit`."""

    joint: str
    quantity: str
    unit: str
    scale: float = 1.0


@dataclass(frozen=True)
class Names:
    """The layout of a task's observations and actions, and its control rate in Hz."""

    observations: Sequence[Observed]
    actions: Sequence[Commanded]
    control_rate: float


def names_of(env_id: str, env: gym.Env) -> Names:
    """The names of a task's environment; numbered ones where it has none of its own."""
    if env_id.startswith("lapo/Kitchen"):
        return _kitchen(env.unwrapped)
    if env_id.startswith("lapo/Maze2d"):
        return Names(
            [Observed(f"{j}/position", "m") for j in "xy"] + [Observed(f"{j}/velocity", "m/s") for j in "xy"],
            [Commanded(j, "effort", "N", 100.0) for j in "xy"],
            100.0,
        )
    obs, act = env.observation_space.shape, env.action_space.shape
    assert obs is not None
    assert act is not None
    if (model := getattr(env.unwrapped, "model", None)) is not None and (names := _legged(model, obs[0], env)):
        return names
    return Names(
        [Observed(f"observation_{i}/position") for i in range(obs[0])],
        [Commanded(f"action_{i}", "position", "") for i in range(act[0])],
        1.0 / getattr(env.unwrapped, "dt", 1.0),
    )


def _legged(model: Any, obs_dim: int, env: gym.Env) -> Names | None:
    """gymnasium's walkers and D4RL's ant: positions (perhaps not the first ones) and velocities. None for others."""
    positions: list[Observed] = []
    velocities: list[Observed] = []
    for i, kind in enumerate(model.jnt_type):
        name, unit = model.joint(i).name, ("", "", "m", "rad")[kind]  # mjtJoint: free, ball, slide, hinge
        if unit:
            positions.append(Observed(f"{name}/position", unit))
            velocities.append(Observed(f"{name}/velocity", f"{unit}/s"))
        elif kind == 0:
            positions += [Observed(f"{name}_{axis}/position", "m") for axis in "xyz"]
            positions += [Observed(f"{name}_q{axis}/position") for axis in "wxyz"]
            velocities += [Observed(f"{name}_{axis}/velocity", "m/s") for axis in "xyz"]
            velocities += [Observed(f"{name}_r{axis}/velocity", "rad/s") for axis in "xyz"]
    left_out = len(positions) + len(velocities) - obs_dim
    if not 0 <= left_out < len(positions) or (model.actuator_trntype != 0).any():  # mjTRN_JOINT
        return None
    joints = [model.joint(i).name for i in model.actuator_trnid[:, 0]]
    gears = model.actuator_gear[:, 0].tolist()
    actions = [Commanded(name, "effort", "N m", gear) for name, gear in zip(joints, gears, strict=True)]
    return Names(positions[left_out:] + velocities, actions, 1.0 / env.unwrapped.dt)  # type: ignore[attr-defined]


def _kitchen(env: Any) -> Names:
    """D4RL's 60 numbers: robot 9, objects 21, goal 30. Actions are joint velocities in units of 2 rad/s (or m/s)."""
    from lapo_tf.envs.kitchen import MAX_SPEED

    joints = [(name, "rad") for name in PANDA_JOINTS] + [(name, "m") for name in PANDA_FINGERS]
    measured = [*joints, *_KITCHEN_OBJECTS]
    goals = np.asarray(env.goal, np.float32)
    observations = [Observed(f"{name}/position", unit) for name, unit in measured]
    observations += [
        Observed(f"goal/{name}", unit, float(goal)) for (name, unit), goal in zip(measured, goals, strict=True)
    ]
    actions = [Commanded(name, "velocity", f"{unit}/s", MAX_SPEED) for name, unit in joints]
    return Names(observations, actions, round(1.0 / env.dt, 6))
