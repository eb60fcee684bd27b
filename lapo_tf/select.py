"""Choose among checkpoints and runs without a simulator: `python -m lapo_tf.select runs/arm-reach-v0`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command
from lapo_tf.runs.trust import STEPS

DESCRIPTION = """Rank all checkpoints of runs by what their policies are worth, without a simulator.

Fitted Q evaluation (FQE) fits fresh critics to each policy on the data, and reads the discounted return that they
expect from the episodes' starts: held-out episodes, if the runs held any out. Beside it stand what the training's own
critics promise, the error of the actions and of the temporal differences. All are estimates: the output says how far
each was right where true scores are known, docs/select.md more of it.

Needs the runs' data, and no simulator. What was found of a checkpoint is kept beside it, in RUN/evaluation: another
call with the same settings does no work twice. Training keeps the last three checkpoints and the best;
--keep-checkpoints of lapo_tf.train keeps more to choose from."""


@dataclass(frozen=True)
class SelectCommand:
    """Options of the command."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of one data set, or folders that hold some, such as runs/arm-reach-v0."""
    steps: int = STEPS
    """Gradient steps of each fit. The output says where they did not suffice."""
    seed: int = 0
    """Fixes the fits' first weights and batches; another one shows what of the order is chance."""
    discount: float | None = None
    """Gamma of the return that is estimated; default: the largest that the runs were trained with."""
    held_out: str | None = None
    """A data set of episodes that no run has seen, to take starts and errors from, where the runs held none out."""
    out: Path | None = None
    """Table of all numbers; default: selection.csv in the first folder given."""


@command
def main() -> None:
    """The command."""
    args = parse(SelectCommand, description=DESCRIPTION)
    if not args.runs:
        raise UserError("no run given: expected run folders, or folders that hold some, such as runs/arm-reach-v0")
    for path in args.runs:
        if not path.is_dir():
            raise UserError(f"no such folder: {path}; expected run folders, or one that holds some, such as runs/")
    runtime.quiet()
    runtime.configure("xla")
    from lapo_tf.runs.selection import select

    selection = select(
        args.runs, steps=args.steps, seed=args.seed, discount=args.discount, held_out=args.held_out, progress=True
    )
    out = args.out or args.runs[0] / "selection.csv"
    selection.write(out)
    print(f"{selection}\n\nwritten: {out}")


if __name__ == "__main__":
    main()
