"""The options of a run from plain values: checked, completed, and told what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any

from lapo_tf.agents import AGENTS
from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError, unknown
from lapo_tf.yaml_files import validated


def build_config(values: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """A `TrainConfig` from plain values, such as a YAML file's or a caller's, on top of `base`.

    Raises:
        UserError: unknown agent or field (with the nearest name), or a value of the wrong type.
    """
    agent = str(values.get("agent", base.agent if base else "lapo"))
    if agent not in AGENTS:
        raise unknown("agent", agent, AGENTS)
    top = {} if base is None else {k: v for k, v in base.to_dict().items() if k != base.agent}
    top |= {k: v for k, v in values.items() if k not in AGENTS}
    if "task" not in top:
        raise UserError("no task given: expected --task NAME, e.g. --task maze2d-umaze (--task list names all)")
    known = [f.name for f in dataclasses.fields(TrainConfig) if f.name != "agent_config"]
    for name in top:
        if name not in known:
            raise unknown("option", str(name), [*known, agent])
    own = dataclasses.asdict(base.agent_config) if base and base.agent == agent else {}
    section = values.get(agent) or {}
    section = own | dict(section) if isinstance(section, Mapping) else section
    kind: Any = GenericAlias(dict, (str, AGENTS[agent].Config))  # a mapping, so that mistakes are told with the name
    checked = validated(kind, {agent: section})
    return dataclasses.replace(validated(TrainConfig, top), agent_config=checked[agent])


def resolved(config: TrainConfig) -> TrainConfig:
    """The config with the values filled in that depend on the algorithm, the length of the run and the folder."""
    batch_size = AGENTS[config.agent].batch_size if config.batch_size is None else config.batch_size
    agent_config, dataset = config.agent_config.for_run(config.steps), config.dataset
    if dataset is not None and _is_file(dataset):
        dataset = str(Path(dataset).expanduser().absolute())
    return dataclasses.replace(config, batch_size=batch_size, agent_config=agent_config, dataset=dataset)


def _is_file(dataset: str) -> bool:
    """Whether a data set is a file, not a Minari id."""
    path = Path(dataset).expanduser()
    return path.suffix in (".hdf5", ".h5") or path.is_file()
