"""What the numbers of an observation and an action are called, and what they measure.

A policy bundle carries these names, so that a robot's observation is put together by name and not by position. A name
is `<joint>/<quantity>`; entries of the goal are constants of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from lapo_tf.data.dataset import METADATA, OfflineDataset
from lapo_tf.errors import UserError

SI = {
    "rad": "position",
    "m": "position",
    "rad/s": "velocity",
    "m/s": "velocity",
    **dict.fromkeys(("N m", "N*m", "N·m", "Nm", "N"), "effort"),
}
"""Units of a robot's numbers, which need no conversion, and what they measure."""
WORDS = {
    "velocit": "velocity",
    "twist": "velocity",
    "linear.": "velocity",
    "angular.": "velocity",
    "effort": "effort",
    "torque": "effort",
    "position": "position",
}
"""What parts of names tell."""


@dataclass(frozen=True)
class Observed:
    """One number of an observation: `<joint>/position` and so on, in `unit` ("" for a pure number)."""

    name: str
    unit: str = ""
    constant: float | None = None
    """Its value, where the task fixes it."""
    scale: float = 1.0
    """What is observed is `scale` times what the robot says."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Where it was recorded, of what `robot_bridge.robot.description.Recorded` has; empty if that is not known."""


@dataclass(frozen=True)
class Commanded:
    """One number of an action: `action * scale` is the joint's `quantity` in `unit`."""

    joint: str
    quantity: str
    unit: str
    scale: float = 1.0
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Where it was recorded, as of what is observed."""


@dataclass(frozen=True)
class Names:
    """The layout of a task's observations and actions, and its control rate in Hz."""

    observations: Sequence[Observed]
    actions: Sequence[Commanded]
    control_rate: float


def environment_names(env: gym.Env) -> Names:
    """Names by the joints of a MuJoCo model whose positions and velocities are observed, else numbers."""
    obs, act = env.observation_space.shape, env.action_space.shape
    assert obs is not None
    assert act is not None
    if (model := getattr(env.unwrapped, "model", None)) is not None and (names := _joints(model, obs[0], env)):
        return names
    return Names(
        [Observed(f"observation_{i}/position") for i in range(obs[0])],
        [Commanded(f"action_{i}", "position", "") for i in range(act[0])],
        1.0 / getattr(env.unwrapped, "dt", 1.0),
    )


NAMED = ("observation", "action", "channels", "control_hz")


def told_names(data: OfflineDataset) -> dict[str, Any]:
    """What a data set's layout said of its numbers, for the run folder: entries of `lapo_tf.data.dataset.METADATA`."""
    known = data.metadata.get(METADATA) or {}
    return {name: known[name] for name in NAMED if known.get(name) is not None}


def recorded_names(
    known: Mapping[str, Any], sizes: tuple[int, int], whose: str, control_rate: float | None = None
) -> Names:
    """Names, units, origin and control rate as a layout said them; numbers where it says nothing.

    A robot's numbers are SI (REP 103). Where the layout says that its own are, its factors are how the recorded topic
    differs from the robot, and no business of the policy; else they are how the policy differs from the robot, but for
    their sign.

    Args:
        known: from `told_names`.
        sizes: of the observation and the action.
        whose: the data set's id, for messages.
        control_rate: Hz, in place of the recorded one.

    Raises:
        UserError: no control rate is known.
    """
    rate = control_rate or known.get("control_hz")
    if rate is None:
        raise UserError(
            f"{whose} does not say how many steps a second it has: give --control-rate, in Hz, at which the robot is "
            "to be commanded"
        )

    def channels(section: str, size: int) -> list[dict[str, Any]]:
        found = (known.get("channels") or {}).get(section) or [{"name": name} for name in known.get(section) or ()]
        return list(found) if len(found) == size else [{"name": f"{section}_{i}"} for i in range(size)]

    observations: dict[str, Observed] = {}
    for channel in channels("observation", sizes[0]):
        name = f"{channel.get('joint') or channel['name']}/{_quantity(channel)}"
        if name in observations:  # a joint's reading and its set-point, say
            name = f"{channel['name']}/{_quantity(channel)}"
        observations[name] = Observed(
            name,
            channel.get("unit") or "",
            scale=_factor(channel),
            recorded=_recorded(channel),
        )
    actions = [
        Commanded(
            channel.get("joint") or channel["name"],
            _quantity(channel),
            channel.get("unit") or "",
            1.0 / _factor(channel),
            _recorded(channel),
        )
        for channel in channels("action", sizes[1])
    ]
    return Names(list(observations.values()), actions, float(rate))


def _factor(channel: Mapping[str, Any]) -> float:
    """What the robot's number is multiplied by to be the policy's."""
    return 1.0 if channel.get("unit") in SI else abs(float(channel.get("scale") or 1.0))


def _recorded(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Where a channel is from, of one that a bag's layout names."""
    if not channel.get("topic"):
        return {}
    known = {name: channel.get(name) for name in ("topic", "type", "frame", "path", "joint", "time", "scale")}
    return {name: value for name, value in known.items() if value} | {"max_age": channel.get("max_age")}


def _quantity(channel: Mapping[str, Any]) -> str:
    """Position, velocity or effort: by the message's field that a channel is from, its unit, its name, its topic."""

    def named(text: str | None) -> str | None:
        return next((quantity for word, quantity in WORDS.items() if word in (text or "").lower()), None)

    by_unit = SI.get(channel.get("unit") or "")
    return named(channel.get("path")) or by_unit or named(channel["name"]) or named(channel.get("topic")) or "position"


def _joints(model: Any, obs_dim: int, env: gym.Env) -> Names | None:
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
    observation, data = env.reset(seed=0)[0], env.unwrapped.data  # type: ignore[attr-defined]
    if not np.allclose(observation, np.concatenate([data.qpos[left_out:], data.qvel]), atol=1e-4):
        return None  # as many numbers, but others
    joints = [model.joint(i).name for i in model.actuator_trnid[:, 0]]
    gears = model.actuator_gear[:, 0].tolist()
    actions = [Commanded(name, "effort", "N m", gear) for name, gear in zip(joints, gears, strict=True)]
    return Names(positions[left_out:] + velocities, actions, 1.0 / env.unwrapped.dt)  # type: ignore[attr-defined]
