"""Tables and figures of finished runs: `python -m lapo_tf.report runs --out report`.

report.md       a table per family of tasks and origin of the data, in the paper's layout; how every number was made
runs.csv        one row per run
summary.csv     one row per task and agent
curves-*.png    learning curves, mean over seeds with a bootstrap band
aggregate-*.png interquartile mean over tasks and seeds, and performance profiles (rliable)

`python -m lapo_tf.report toy` trains what is missing of the paper's toy task and writes its Table 1 and Figure 2.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command

DESCRIPTION = """Write tables and figures of runs: means with intervals over seeds, beside the paper's numbers.

`python -m lapo_tf.report toy` makes the paper's Table 1 and Figure 2."""


@dataclass(frozen=True)
class ReportCommand:
    """Options of the command."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or folders that hold some, such as runs/."""
    out: Path = Path("report")
    """Folder to write to."""
    step: int | None = None
    """Compare at this step, which all runs must have been evaluated at, instead of at their ends."""


def write_report(paths: Sequence[Path], out: Path, step: int | None = None) -> Path:
    """Read the runs below `paths` and write the report into `out`.

    Returns:
        The path of `report.md`.

    Raises:
        UserError: no runs, unfinished ones, or ones that must not be averaged.
    """
    from lapo_tf import results

    runs = [results.read_run(path, step) for path in results.find_runs(paths)]
    groups = results.group_runs(runs, step)
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "runs.csv", [_run_row(run) for run in runs])
    _write_csv(out / "summary.csv", [_summary_row(group) for group in groups])
    parts = ["# Results", _how(groups, step)]
    for title in dict.fromkeys(results.FAMILIES.values()):
        for provenance in ("official", "minari", "collected", "own"):
            members = [g for g in groups if results.family(g.task.name) == title and g.provenance == provenance]
            if members:
                parts += _section(members, title, provenance, out)
    path = out / "report.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _section(groups: Sequence[Any], title: str, provenance: str, out: Path) -> list[str]:
    """Heading, table and figures of one family and one origin of the data."""
    name = f"{title.split(',')[0].lower().replace(' ', '-')}-{provenance}"
    parts = [f"## {title}, {provenance} data", table(groups), f"![Learning curves](curves-{name}.png)"]
    draw_curves(groups, out / f"curves-{name}.png")
    if draw_aggregate(groups, out / f"aggregate-{name}.png"):
        parts.append(
            f"![Interquartile mean over tasks and seeds with 95 % stratified bootstrap intervals, and share of runs "
            f"above a score](aggregate-{name}.png)"
        )
    return parts


def _how(groups: Sequence[Any], step: int | None) -> str:
    """How the numbers were made."""
    ends = sorted({int(run.steps[-1]) for g in groups for run in g.runs})
    episodes = sorted({run.config.eval_episodes for g in groups for run in g.runs})
    data = sorted({f"{run.config.task}: {run.dataset} ({run.provenance})" for g in groups for run in g.runs})
    numbers = [", ".join(f"{n:,}" for n in values) for values in (ends, episodes)]
    lines = [
        f"Normalized scores (0: D4RL's random policy, 100: its expert) after {numbers[0]} gradient steps"
        f"{' (cut there)' if step else ''}; each evaluation is the mean of {numbers[1]} episodes. "
        "In the tables: mean of the last evaluation over seeds ± half of Student's 95 % interval [mean of each seed's "
        "best evaluation, which is biased upwards] (paper's number, 1 million steps on D4RL's data); seeds in the last "
        "column.",
        "Data: " + "; ".join(data) + ".",
    ]
    return "\n\n".join(lines)


def table(groups: Sequence[Any]) -> str:
    """A Markdown table: tasks down, agents across."""
    from lapo_tf.results import interval
    from lapo_tf.tasks import TASKS

    labels = list(dict.fromkeys(g.label for g in groups))
    tasks = [name for name in TASKS if any(g.task.name == name for g in groups)]
    lines = ["| task | " + " | ".join(labels) + " | seeds |", "|---" * (len(labels) + 2) + "|"]
    for task in tasks:
        cells = []
        for label in labels:
            group = next((g for g in groups if (g.task.name, g.label) == (task, label)), None)
            if group is None:
                cells.append("")
                continue
            last, best = group.values("last"), group.values("best")
            spread = f" ± {interval(last):.1f}" if len(last) > 1 else ""
            paper = f" ({group.paper:.1f})" if group.paper is not None else ""
            cells.append(f"{last.mean():.1f}{spread} [{best.mean():.1f}]{paper}")
        seeds = sorted({len(g.runs) for g in groups if g.task.name == task})
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {', '.join(map(str, seeds))} |")
    return "\n".join(lines)


def _run_row(run: Any) -> dict[str, Any]:
    return {
        "task": run.config.task,
        "agent": run.label,
        "seed": run.config.seed,
        "steps": int(run.steps[-1]),
        "last": round(run.last, 3),
        "best": round(run.best, 3),
        "best_step": int(run.steps[run.scores.argmax()]),
        "provenance": run.provenance,
        "dataset": run.dataset,
        "seconds": round(run.seconds),
        "folder": str(run.folder),
    }


def _summary_row(group: Any) -> dict[str, Any]:
    from lapo_tf.results import interval

    last, best = group.values("last"), group.values("best")
    return {
        "task": group.task.name,
        "agent": group.label,
        "provenance": group.provenance,
        "seeds": len(last),
        "last_mean": round(float(last.mean()), 3),
        "last_interval95": round(interval(last), 3),
        "best_mean": round(float(best.mean()), 3),
        "paper": group.paper,
    }


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# Figures


def draw_curves(groups: Sequence[Any], path: Path) -> None:
    """Learning curves, a panel per task: mean over seeds, its 95 % bootstrap band, the paper's LAPO score dashed."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    from lapo_tf.plotting import FAINT
    from lapo_tf.results import bootstrap_band

    tasks = list(dict.fromkeys(g.task.name for g in groups))
    colours = _colours(g.label for g in groups)
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(1.6 + 4.0 * len(tasks), 3.4), layout="constrained", squeeze=False, sharey=False
    )
    for ax, task in zip(axes[0], tasks, strict=True):
        for group in (g for g in groups if g.task.name == task):
            steps, scores = group.curve()
            ax.plot(steps, scores.mean(0), color=colours[group.label], lw=1.8, label=group.label)
            if len(scores) > 1:
                ax.fill_between(steps, *bootstrap_band(scores), color=colours[group.label], alpha=0.15, lw=0)
        ax.set_title(task, fontsize="medium")
        ax.set_xlabel("gradient steps")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.grid(axis="y", color=FAINT, lw=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("normalized score")
    handles = {label: line for ax in axes[0] for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_aggregate(groups: Sequence[Any], path: Path) -> bool:
    """Interquartile mean and performance profiles over tasks and seeds; False if agents have too little in common."""
    labels = list(dict.fromkeys(g.label for g in groups))
    scores: dict[str, np.ndarray] = {}
    tasks = sorted({g.task.name for g in groups})
    for label in labels:
        values = [g.values("last") for task in tasks for g in groups if (g.task.name, g.label) == (task, label)]
        if len(values) == len(tasks) and len({len(v) for v in values}) == 1:
            scores[label] = np.stack(values, 1) / 100.0  # [seeds, tasks]
    if len(scores) < 2 or min(len(s) for s in scores.values()) < 2:
        return False
    import matplotlib.pyplot as plt

    from lapo_tf.plotting import FAINT

    iqm, intervals, grid, profiles, bands = _rliable(scores)
    colours = _colours(labels)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    for row, label in enumerate(reversed(scores)):
        low, high = intervals[label][:, 0]
        left.barh(row, high - low, left=low, height=0.55, color=colours[label], alpha=0.65)
        left.plot([iqm[label][0]] * 2, [row - 0.28, row + 0.28], color="black", lw=1.5)
    left.set_yticks(range(len(scores)), list(reversed(scores)))
    left.set_xlabel("interquartile mean of the normalized score / 100")
    for label in scores:
        right.plot(grid, profiles[label], color=colours[label], label=label)
        right.fill_between(grid, *bands[label], color=colours[label], alpha=0.12, lw=0)
    right.set_xlabel("normalized score / 100")
    right.set_ylabel("share of runs above it")
    right.legend(frameon=False, fontsize="small")
    for ax in (left, right):
        ax.grid(axis="x", color=FAINT, lw=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def _rliable(scores: dict[str, np.ndarray]) -> tuple[Any, Any, np.ndarray, Any, Any]:
    """Interquartile means and performance profiles with stratified bootstrap intervals (Agarwal et al., 2021)."""
    try:
        from rliable import library, metrics
    except ImportError as error:
        raise UserError(f"a report needs rliable ({error}): pip install 'lapo-tf[sweep]'") from None
    iqm, intervals = library.get_interval_estimates(
        scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000, random_state=np.random.RandomState(0)
    )
    low, high = min(s.min() for s in scores.values()), max(s.max() for s in scores.values())
    grid = np.linspace(min(low, 0.0), high + 0.05, 81)
    profiles, bands = library.create_performance_profile(scores, grid, reps=1000)
    return iqm, intervals, grid, profiles, bands


def _colours(labels: Iterable[str]) -> dict[str, Any]:
    """One colour per agent, the same in every figure."""
    from lapo_tf.results import PAPER_ORDER

    palette = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    order = [*reversed(PAPER_ORDER), *sorted(set(labels) - set(PAPER_ORDER))]
    return {label: palette[i % len(palette)] for i, label in enumerate(order)}


@command
def main() -> None:
    """The command."""
    if sys.argv[1:2] == ["toy"]:
        from lapo_tf.toy import main as toy

        toy(sys.argv[2:])
        return
    options = parse(ReportCommand, description=DESCRIPTION)
    runtime.quiet()
    mpl.use("agg")
    path = write_report(options.runs, options.out, options.step)
    print(path.read_text())
    print(f"written: {path}")


if __name__ == "__main__":
    main()
