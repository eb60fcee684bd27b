"""The algorithms, one file each."""

from __future__ import annotations

from lapo_tf.agents.awac import AWAC
from lapo_tf.agents.base import Agent, AgentConfig, AgentSpec, Scaling
from lapo_tf.agents.bc import BC
from lapo_tf.agents.bcq import BCQ
from lapo_tf.agents.cql import CQL
from lapo_tf.agents.iql import IQL
from lapo_tf.agents.lapo import LAPO
from lapo_tf.agents.lapo_paper import LAPOPaper
from lapo_tf.agents.latent import LatentAgent
from lapo_tf.agents.plas import PLAS
from lapo_tf.agents.td3_bc import TD3BC

KINDS = (LAPO, LAPOPaper, BC, BCQ, PLAS, AWAC, IQL, CQL, TD3BC)

AGENTS: dict[str, type[Agent]] = {kind.Config.name: kind for kind in KINDS}
"""Every agent by its name on the command line."""

__all__ = ["AGENTS", "LAPO", "Agent", "AgentConfig", "AgentSpec", "LatentAgent", "Scaling"]
