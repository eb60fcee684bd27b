"""Tables as files: which tasks, agents and seeds are compared, with which options, so that one command repeats it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lapo_tf.config import options_file
from lapo_tf.errors import require, unknown
from lapo_tf.runs.trials import Setting, Trial, parse_seeds, trials_of
from lapo_tf.yaml_files import STRICT, read_yaml, validated


@dataclass(frozen=True)
class Column:
    """An agent of the table."""

    __pydantic_config__: ClassVar = STRICT

    agent: str | None = None
    """Its algorithm; by default, what the column is called."""
    seeds: str = "0-2"
    """Such as 0-2 or 0,3,7."""
    options: dict[str, Any] = field(default_factory=dict)
    """The algorithm's own, as `kl_weight: 0.3`."""


@dataclass(frozen=True)
class Table:
    """What a table's file holds."""

    __pydantic_config__: ClassVar = STRICT

    tasks: tuple[str, ...]
    """Rows: tasks' names, or YAML files that describe them."""
    agents: dict[str, Column]
    """Columns, by their names in run folders and reports."""
    config: str | None = None
    """Training options of all trials: cpu, gpu, paper, or a file, seen from the table's folder."""
    options: dict[str, Any] = field(default_factory=dict)
    """Training options of all trials, before those of `config`."""
    evaluate: int = 0
    """Episodes of an evaluation of each last policy, by which reports then judge it; 0: none."""


def table_trials(
    path: Path,
    run_dir: Path | None = None,
    *,
    tasks: Collection[str] = (),
    agents: Collection[str] = (),
    seeds: Collection[int] = (),
    flags: dict[str, Any] | None = None,
    evaluate: int | None = None,
) -> list[Trial]:
    """The trials of a table's file, seed by seed.

    Args:
        path: of the file.
        run_dir: folder of the run folders; default: `runs/<the file's name>`.
        tasks, agents, seeds: train only these; default: all.
        flags: training options that come before the file's.
        evaluate: in place of the file's.

    Raises:
        UserError: a file that cannot be read, or names that it does not have.
    """
    table = validated(Table, read_yaml(path, "tasks: [maze2d-umaze]"), f"{path.name}: ")
    require(table.evaluate >= 0, f"{path.name}: evaluate", table.evaluate, "0 or more")
    file = read_yaml(path.parent / options_file(table.config), "batch_size: 128") if table.config else {}
    for name, wanted, known in (("task", tasks, table.tasks), ("agent", agents, tuple(table.agents))):
        for one in wanted:
            if one not in known:
                raise unknown(f"{name} of {path.name}", one, known)
    settings = [
        Setting(name, column.agent or name, dict(column.options), _chosen(parse_seeds(column.seeds), seeds))
        for name, column in table.agents.items()
        if not agents or name in agents
    ]
    rows = [task for task in table.tasks if not tasks or task in tasks]
    folder = run_dir or Path("runs") / path.stem
    return trials_of(
        rows, settings, folder, table.options | (flags or {}), file, table.evaluate if evaluate is None else evaluate
    )


def _chosen(seeds: list[int], wanted: Collection[int]) -> list[int]:
    return [seed for seed in seeds if not wanted or seed in wanted]
