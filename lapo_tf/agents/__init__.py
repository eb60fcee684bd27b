"""The algorithms, one file each."""

from __future__ import annotations

from lapo_tf.agents.awac import AWAC
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Scaling
from lapo_tf.agents.bc import BC
from lapo_tf.agents.bcq import BCQ
from lapo_tf.agents.cql import CQL
from lapo_tf.agents.iql import IQL
from lapo_tf.agents.lapo import LAPO
from lapo_tf.agents.plas import PLAS

AGENTS: dict[str, type[Agent]] = {
    "lapo": LAPO,
    "bc": BC,
    "bcq": BCQ,
    "plas": PLAS,
    "awac": AWAC,
    "iql": IQL,
    "cql": CQL,
}

__all__ = ["AGENTS", "AWAC", "BC", "BCQ", "CQL", "IQL", "LAPO", "PLAS", "Agent", "AgentConfig", "AgentSpec", "Scaling"]
