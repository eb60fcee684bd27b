"""Train an agent: `python -m lapo_tf.train --task kitchen-mixed`."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.config import TrainConfig, options_file
from lapo_tf.errors import UserError, command, exit_with, require
from lapo_tf.yaml_files import read_yaml

DESCRIPTION = """Train an agent offline. The simulator judges its policy, or held-out episodes where there is none.

Values come from configs/tasks/<family>.yaml, then --config, then flags. Everything goes into the run folder,
runs/<task>/<agent>/seed<k> by default; Ctrl-C saves and says how to resume."""


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Options of the command besides the run's own."""

    env: str | None = None
    """Gymnasium id of an environment to judge policies of --dataset in, such as my_package:MyArm-v0."""
    config: str | None = None
    """Options that flags override: a preset (cpu: 30,000 small steps, minutes; gpu: 250,000; paper: LAPO as
    published) or a YAML file, such as another run's config.yaml."""
    resume: Path | None = None
    """Continue the run in this folder; flags override its options (a larger --steps extends it)."""
    other_data: bool = False
    """Let a resumed run go on with other data than it was begun with."""


class _Early(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def parse_config(argv: list[str] | None = None) -> tuple[TrainConfig, TrainCommand]:
    """The run's config from the command line, and all of the command's options."""
    from lapo_tf.agents import AGENTS
    from lapo_tf.tasks import TASKS, read_task
    from lapo_tf.training.migration import migrated
    from lapo_tf.training.start import run_config

    # First what decides the defaults of everything else.
    early = _Early(add_help=False, allow_abbrev=False)
    for name in ("task", "agent", "config", "resume", "dataset", "env"):
        early.add_argument(f"--{name}")
    first, _ = early.parse_known_args(argv)
    if first.task == "list":
        raise UserError(f"known tasks: {', '.join(TASKS)}; choose one with --task")
    file = read_yaml(options_file(first.config), "steps: 10000") if first.config else {}
    if "config" in file:  # a run's config.yaml will do, too, but not to write into its folder
        require(isinstance(file["config"], dict), f"'config' in {first.config}", file["config"], "a mapping of options")
        own = {"task": read_task(file["task"], f"{first.config}: task.")} if "task" in file else {}
        file = {k: v for k, v in migrated(file["config"]).items() if k != "run_dir"} | own
    chosen = {name: getattr(first, name) for name in ("task", "agent", "dataset", "env")} | {"run_dir": first.resume}
    base = run_config(file | {k: v for k, v in chosen.items() if v is not None}, resume=bool(first.resume))
    section: Any = Annotated[AGENTS[base.agent].Config, tyro.conf.arg(name=base.agent)]
    cls = dataclasses.make_dataclass("Train", [("agent_config", section)], bases=(TrainCommand,), frozen=True)
    default = cls(**{f.name: getattr(base, f.name) for f in dataclasses.fields(base)})
    options: Any = parse(cls, argv, default=default, description=DESCRIPTION)
    if not options.task:
        raise UserError(
            "no task given: expected --task NAME, e.g. --task maze2d-umaze (--task list names all), or --dataset with "
            "data of your own"
        )
    config = TrainConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(TrainConfig)})
    return dataclasses.replace(config, task=base.task), options


@command
def main() -> None:
    """The command."""
    runtime.quiet()
    config, options = parse_config()
    runtime.configure(config.compile)
    from lapo_tf.training.trainer import Interrupted, Trainer

    try:
        print(Trainer(config, resume=options.resume is not None, other_data=options.other_data).run())
    except Interrupted as saved:
        exit_with(f"interrupted: {saved}", code=saved.code)


if __name__ == "__main__":
    main()
