"""Make a data set that needs no download: D4RL's Maze2d runs, or the paper's toy task.

python -m lapo_tf.collect maze2d-umaze
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from lapo_tf.errors import UserError, command, unknown

MAZES = {"maze2d-umaze": "umaze", "maze2d-medium": "medium", "maze2d-large": "large"}
TOY = "toy-navigation"


@dataclass
class Args:
    """Collect a data set by a script and store it as a local Minari data set."""

    task: tyro.conf.Positional[str]
    """What to collect: maze2d-umaze, maze2d-medium, maze2d-large or toy-navigation."""
    steps: int | None = None
    """Transitions. By default D4RL's number, 1, 2 or 4 million for umaze, medium or large; 1,000 for toy-navigation."""
    seed: int = 0
    """The same seed gives the same data."""
    dataset_id: str | None = None
    """Minari id to store it under. By default lapo/<task>-v0, where training looks for it."""
    force: bool = False
    """Replace a data set of that id."""


@command
def main() -> None:
    args = tyro.cli(Args, prog="python -m lapo_tf.collect", description=Args.__doc__)
    if args.task not in (*MAZES, TOY):
        raise unknown("task to collect", args.task, (*MAZES, TOY))
    if args.seed < 0:
        raise UserError(f"seed is {args.seed}: expected 0 or more")
    from lapo_tf.data import collectors  # here, so that --help and wrong names answer at once

    dataset_id = args.dataset_id or f"lapo/{args.task}-v0"
    if args.task == TOY:
        done = collectors.collect_toy(
            1000 if args.steps is None else args.steps, args.seed, dataset_id, force=args.force
        )
        length = ""
    else:
        done = collectors.collect_maze2d(MAZES[args.task], args.steps, args.seed, dataset_id, force=args.force)
        length = f", {done.mean_episode_steps:.1f} steps between goals"
    chosen = f" --dataset {dataset_id}" if args.dataset_id else ""
    print(
        f"{done.dataset_id}: {done.steps:,} steps in {done.episodes:,} episodes{length}, {done.seconds:.0f} s; "
        f"train on it: python -m lapo_tf.train --task {args.task}{chosen}"
    )


if __name__ == "__main__":
    main()
