"""Make a data set that needs no download: `python -m lapo_tf.collect kitchen-mixed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command, require, unknown
from lapo_tf.tasks import TASKS

DESCRIPTION = """Collect a task's data set by a script and store it as a local Minari data set.

{}

A walker's policy is a tanh-Gaussian actor: Stable-Baselines3's zip of SAC or TQC, or an .npz with latent_pi.0,
latent_pi.2, mu and log_std (.weight and .bias each). A checkout's tools/train_sac.py trains one."""


def description() -> str:
    """`DESCRIPTION` with a paragraph for each family of tasks."""
    families = {task.family: task.collecting for task in TASKS.values() if task.collecting}
    names = {name: ", ".join(task.name for task in TASKS.values() if task.family == name) for name in families}
    return DESCRIPTION.format("\n".join(f"- {names[name]}: {text}" for name, text in families.items()))


@dataclass
class Args:
    """Options of the command."""

    task: tyro.conf.Positional[str]
    """Whose data set to collect, e.g. kitchen-mixed or maze2d-umaze."""
    episodes: int | None = None
    """Episodes, in the kitchen: 200 by default; D4RL's data hold about 600."""
    steps: int | None = None
    """Transitions, elsewhere: by default D4RL's number, 1, 2 or 4 million, in the mazes; 1,000 for toy-navigation."""
    policy: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A trained policy to record: FILE, or GOAL=FILE for walker2d-mix; give it once for each policy."""
    seed: int = 0
    """The same seed gives the same data."""
    dataset_id: str | None = None
    """Minari id to store it under. By default lapo/<task>-v0, where training looks for it."""
    force: bool = False
    """Replace a data set of that id."""


@command
def main() -> None:
    """The command."""
    args = parse(Args, description=description())
    known = [name for name, task in TASKS.items() if task.collected_id is not None]
    if args.task not in known:
        raise unknown("task to collect", args.task, known)
    require(args.seed >= 0, "--seed", args.seed, "0 or more")
    task = TASKS[args.task]
    unit, other = ("episodes", "steps") if task.collected_by == "episodes" else ("steps", "episodes")
    if getattr(args, other) is not None:
        raise UserError(f"{task.name} is collected by {unit}: give --{unit} instead of --{other}")
    policies = {goal: Path(file) for goal, _, file in (_split(policy) for policy in args.policy)}
    done = task.collect(getattr(args, unit), args.seed, args.dataset_id, policies=policies, force=args.force)
    if done.note:
        print(done.note)
    chosen = f" --dataset {done.dataset_id}" if args.dataset_id else ""
    print(
        f"{done.dataset_id}: {done.steps:,} steps in {done.episodes:,} episodes, {done.seconds:.0f} s; "
        f"train on it: python -m lapo_tf.train --task {args.task}{chosen}"
    )


def _split(policy: str) -> tuple[str, str, str]:
    """GOAL=FILE; FILE alone has the empty goal. A file's own name may hold a '='."""
    goal, mark, file = policy.partition("=")
    return (goal, mark, file) if mark and "/" not in goal else ("", "", policy)


if __name__ == "__main__":
    main()
