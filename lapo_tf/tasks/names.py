"""What the numbers of an observation and an action are called, and what they measure.

A policy bundle carries these names, so that a robot's observation is put together by name and not by position. A name
is `<joint>/<quantity>`; entries of the goal are constants of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.store import METADATA
from lapo_tf.errors import UserError


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


def recorded_names(data: OfflineDataset, control_rate: float | None = None) -> Names:
    """Names, units and control rate as a data set has them from its layout; numbers where it says nothing.

    Args:
        data: whose `metadata` say it (`lapo_tf.data.store.METADATA`).
        control_rate: Hz, in place of the recorded one.

    Raises:
        UserError: no control rate is known.
    """
    known = data.metadata.get(METADATA) or {}
    rate = control_rate or known.get("control_hz")
    if rate is None:
        raise UserError(
            f"{data.summary.id} does not say how many steps a second it has: give --control-rate, in Hz, at which the "
            "robot is to be commanded"
        )

    def channels(section: str, size: int) -> list[dict[str, Any]]:
        found = (known.get("channels") or {}).get(section) or [{"name": name} for name in known.get(section) or ()]
        return list(found) if len(found) == size else [{"name": f"{section}_{i}"} for i in range(size)]

    def observed(joints: bool) -> list[Observed]:
        return [
            Observed(f"{(joints and c.get('joint')) or c['name']}/{_quantity(c)}", c.get("unit") or "")
            for c in channels("observation", data.obs_dim)
        ]

    observations = observed(joints=True)
    if len({entry.name for entry in observations}) < len(observations):  # a joint's reading and its set-point, say
        observations = observed(joints=False)
    actions = [
        Commanded(channel.get("joint") or channel["name"], _quantity(channel), channel.get("unit") or "")
        for channel in channels("action", data.act_dim)
    ]
    return Names(observations, actions, float(rate))


def _quantity(channel: Mapping[str, Any]) -> str:
    """Position, velocity or effort: by the message's field that a channel is from, else by its name."""
    told = f"{channel.get('path') or ''} {channel['name']}".lower()
    return next((quantity for quantity in ("velocity", "effort") if quantity in told), "position")


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
    joints = [model.joint(i).name for i in model.actuator_trnid[:, 0]]
    gears = model.actuator_gear[:, 0].tolist()
    actions = [Commanded(name, "effort", "N m", gear) for name, gear in zip(joints, gears, strict=True)]
    return Names(positions[left_out:] + velocities, actions, 1.0 / env.unwrapped.dt)  # type: ignore[attr-defined]
