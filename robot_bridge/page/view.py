"""What the operator's page shows of a policy node, as plain values for JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robot_bridge.node.policy_node import RECENT, PolicyNode


def view(node: PolicyNode) -> dict[str, Any]:
    """The present moment of a node. May be called from any thread.

    Positions are in rad (m), velocities in rad/s (m/s), ages in s; None stands for what is not known.
    """
    values: dict[str, Any] = {
        "name": node.name,
        "task": node.policy.description.task,
        "robot": node.robot.name,
        "mode": node.mode,
        "state": node.state,
        "reason": node.reason,
        "connected": node.transport.connected,
        "counts": {**node.counts, "faults": node.states.faults},
        "timing": {key: value for key, value in node.timing.summary(RECENT).items() if key.endswith("_ms")},
        "deadline_misses": node.timing.summary(RECENT).get("deadline_misses"),
        "permits": [{"name": name, "reason": why} for name, why in node.permits.told(node.clock())],
        "guards": [],
        "joints": [],
    }
    if node.latest is None:
        return values
    outcome, state = node.latest
    values["guards"] = [
        {"name": v.guard, "level": v.level.name, "reason": v.reason, "monitored": v.monitored} for v in outcome.verdicts
    ]
    values |= {
        "age": _number(state.age),
        "max_age": _number(state.max_age),
        "oldest": state.oldest,
        "novelty": _number(state.novelty),
        "outside": list(state.outside)[:5],
        "start": node.start_pose.far(state.position) if node.start_pose.known else None,
    }
    limits = node.robot.limits
    for i, name in enumerate(node.robot.joints):
        joint = {"name": name, "position": _number(state.position[i]), "command": _number(outcome.command[i])}
        if limits is not None:
            joint |= {"low": _number(limits.low[i]), "high": _number(limits.high[i])}
            joint |= {"most": _number(limits.velocity[i])}
            if not limits.bounded[i]:  # an axis that nobody measures
                joint["position"] = None
        values["joints"].append(joint)
    return values


def _number(value: float | np.floating) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
