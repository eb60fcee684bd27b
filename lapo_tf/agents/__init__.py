"""The algorithms, one file each."""

from __future__ import annotations

from lapo_tf.agents.base import Agent, AgentSpec, Scaling
from lapo_tf.agents.lapo import LAPO

AGENTS = {"lapo": LAPO}

__all__ = ["AGENTS", "LAPO", "Agent", "AgentSpec", "Scaling"]
