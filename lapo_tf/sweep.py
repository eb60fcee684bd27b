"""Train a grid: `python -m lapo_tf.sweep --tasks maze2d-umaze --agents lapo,iql --seeds 0-2`, or `--table FILE`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.config import Compile, options_file
from lapo_tf.errors import UserError, command, require
from lapo_tf.runs.tables import table_trials
from lapo_tf.runs.trials import Cluster, Trial, grid, parse_seeds
from lapo_tf.yaml_files import read_yaml

DESCRIPTION = """Train every agent on every task with every seed, several at a time, on Ray.

A grid comes of --tasks, --agents and --seeds, or of a table's file.
Needs the extra: pip install 'lapo-tf[sweep]'. Run it again to go on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class SweepCommand(Cluster):
    """Options of the command."""

    table: Path | None = None
    """YAML file of tasks, agents, seeds and options, such as configs/tables/heterogeneous.yaml; --tasks, --agents and
    --seeds then choose a part of it."""
    tasks: str = ""
    """Tasks, separated by commas: maze2d-umaze,kitchen-complete."""
    agents: str = ""
    """Agents (lapo by default), separated by commas, their own options after colons:
    lapo,awac:policy=gmm,lapo:latent-bound=.inf"""
    seeds: str = ""
    """Seeds: 0-4, or 0,3,7; default: 0-2."""
    steps: int | None = None
    """Gradient steps of every trial; default: the task's."""
    dataset: str | None = None
    """Data set of all trials; default: each task's own."""
    layout: tuple[str, ...] | None = None
    """How its dictionary observations become a vector, see `python -m lapo_tf.train --help`."""
    max_episode_steps: int | None = None
    """Where episodes of a D4RL file without `timeouts` are cut; default: the environment's time limit."""
    run_dir: Path | None = None
    """Folder of the run folders; default: runs, or runs/<name of the table>."""
    config: str | None = None
    """Training options of all trials: cpu, gpu, paper, or a YAML file."""
    batch_size: int | None = None
    """Transitions in a batch; default: each algorithm's published size."""
    eval_every: int | None = None
    """Steps from one evaluation to the next."""
    eval_episodes: int | None = None
    """Episodes of each evaluation during training."""
    evaluate: int | None = None
    """Episodes of one more of each last policy, by which reports then judge it; default: the table's, or none."""
    compile: Compile | None = None
    """How the training loop runs."""
    retry_failed: bool = False
    """Try failed trials again."""
    dry_run: bool = False
    """Print the grid and the estimated time, and do nothing."""


def all_trials(options: SweepCommand) -> list[Trial]:
    """The grid that the options describe."""
    names = ("steps", "dataset", "layout", "max_episode_steps", "batch_size", "eval_every", "eval_episodes", "compile")
    flags = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    # At commas, but for those within a list, as in bc:hidden=[64,64].
    tasks, agents = (
        [name for name in re.split(r",(?![^\[]*\])", text) if name] for text in (options.tasks, options.agents)
    )
    if options.table:
        if options.config:
            raise UserError(f"--config {options.config} and --table: name the file in {options.table}, as its `config`")
        seeds = parse_seeds(options.seeds) if options.seeds else []
        return table_trials(
            options.table,
            options.run_dir,
            tasks=tasks,
            agents=agents,
            seeds=seeds,
            flags=flags,
            evaluate=options.evaluate,
        )
    if not tasks:
        raise UserError("no tasks given: expected --tasks maze2d-umaze,kitchen-complete, or --table FILE.yaml")
    file = read_yaml(options_file(options.config), "steps: 10000") if options.config else {}
    seeds = parse_seeds(options.seeds or "0-2")
    return grid(tasks, agents or ["lapo"], seeds, options.run_dir or Path("runs"), flags, file, options.evaluate or 0)


@command
def main() -> None:
    """The command."""
    options = parse(SweepCommand, description=DESCRIPTION)
    require(options.cpus_per_trial >= 1, "--cpus-per-trial", options.cpus_per_trial, "1 or more")
    require((options.evaluate or 0) >= 0, "--evaluate", options.evaluate, "0 or more")
    require(options.gpus_per_trial >= 0, "--gpus-per-trial", options.gpus_per_trial, "0 or more")
    runtime.quiet()
    from lapo_tf.runs.watch import describe, summary, watch

    trials = all_trials(options)
    if options.dry_run:
        print(describe(trials, options))
        return
    progress = watch(trials, options, retry_failed=options.retry_failed)
    print(summary(progress))
    for name, message in progress.errors.items():
        print(f"failed: {name}: {message}", file=sys.stderr)
    if progress.errors:
        raise UserError(f"{len(progress.errors)} trials failed: mend the cause and run again with --retry-failed")


if __name__ == "__main__":
    main()
