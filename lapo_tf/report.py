"""Tables and figures of finished runs: `python -m lapo_tf.report runs --out report`.

`python -m lapo_tf.report toy` trains what is missing of the paper's toy task and writes its Table 1 and Figure 2.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import command

DESCRIPTION = """Write tables and figures of runs: means with intervals over seeds, beside the paper's numbers.

`python -m lapo_tf.report toy` makes the paper's Table 1 and Figure 2."""
TOY = """The paper's Table 1 and Figure 2: what each method makes of 1,000 actions with a rare, better mode.

Trains what is missing below --run-dir; needs the extra: pip install 'lapo-tf[sweep]'."""


@dataclass(frozen=True)
class ReportCommand:
    """Options of the command."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or folders that hold some, such as runs/."""
    out: Path = Path("report")
    """Folder to write to."""
    step: int | None = None
    """Compare at this step, which all runs must have been evaluated at, instead of at their ends."""


@dataclass(frozen=True)
class ToyCommand:
    """Options of `report toy`."""

    seeds: str = "0-4"
    """Seeds: 0-4, or 0,3,7."""
    run_dir: Path = Path("runs")
    """Folder of the run folders."""
    out: Path = Path("report")
    """Folder to write to."""


@command
def main() -> None:
    """The command."""
    words = sys.argv[1:]
    options: ToyCommand | ReportCommand
    if words[:1] == ["toy"]:
        options = parse(ToyCommand, words[1:], description=TOY, name="toy")
    else:
        options = parse(ReportCommand, description=DESCRIPTION)
    runtime.quiet()
    mpl.use("agg")
    if isinstance(options, ToyCommand):
        from lapo_tf.runs.toy import write_toy

        path = write_toy(options.seeds, options.run_dir, options.out)
    else:
        from lapo_tf.runs.report import write_report

        path = write_report(options.runs, options.out, options.step)
    print(path.read_text())
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
