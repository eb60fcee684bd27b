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
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command

if TYPE_CHECKING:
    from lapo_tf.runs.results import Group

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
    from lapo_tf.runs import results

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
    from lapo_tf.runs.results import interval
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
    from lapo_tf.runs.results import interval

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

    tasks = list(dict.fromkeys(g.task.name for g in groups))
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(1.6 + 4.0 * len(tasks), 3.4), layout="constrained", squeeze=False, sharey=False
    )
    for ax, task in zip(axes[0], tasks, strict=True):
        plot_group_curves([g for g in groups if g.task.name == task], ax)
        ax.get_legend().remove()
        ax.set_title(task, fontsize="medium")
        ax.label_outer()
    handles = {label: line for ax in axes[0] for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_group_curves(groups: Sequence[Group], ax: Axes | None = None) -> Axes:
    """Learning curves of one task's agents: mean over seeds and its 95 % bootstrap band.

    Args:
        groups: the seeds of each setting, from `lapo_tf.sweep.sweep` or `lapo_tf.runs.results.group_runs`.
        ax: where to draw; default: a new figure.
    """
    from matplotlib.ticker import EngFormatter

    from lapo_tf.plots.curves import FAINT, new_axes, tidy
    from lapo_tf.runs.results import bootstrap_band

    ax = ax or new_axes((6.0, 3.6))
    colours = colours_of(g.label for g in groups)
    for group in groups:
        steps, scores = group.curve()
        ax.plot(steps, scores.mean(0), color=colours[group.label], lw=1.8, label=group.label)
        if len(scores) > 1:
            ax.fill_between(steps, *bootstrap_band(scores), color=colours[group.label], alpha=0.15, lw=0)
    ax.set_xlabel("gradient steps")
    ax.set_ylabel("normalized score")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(axis="y", color=FAINT, lw=0.8)
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return tidy(ax)


def draw_aggregate(groups: Sequence[Group], path: Path) -> bool:
    """Interquartile mean and performance profiles over tasks and seeds; False if agents have too little in common."""
    scores = common_scores(groups)
    if len(scores) < 2 or min(len(s) for s in scores.values()) < 2:
        return False
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    plot_iqm(groups, left)
    plot_profiles(groups, right)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def common_scores(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """Last normalized scores / 100, [seeds, tasks], of the agents that have all tasks with the same number of seeds."""
    labels = list(dict.fromkeys(g.label for g in groups))
    scores: dict[str, np.ndarray] = {}
    tasks = sorted({g.task.name for g in groups})
    for label in labels:
        values = [g.values("last") for task in tasks for g in groups if (g.task.name, g.label) == (task, label)]
        if len(values) == len(tasks) and len({len(v) for v in values}) == 1:
            scores[label] = np.stack(values, 1) / 100.0  # [seeds, tasks]
    return scores


def plot_iqm(groups: Sequence[Group], ax: Axes | None = None) -> Axes:
    """Interquartile mean over tasks and seeds (line) with its 95 % stratified bootstrap interval (bar), per agent.

    Args:
        groups: the seeds of each setting; agents that lack a task or a seed are left out.
        ax: where to draw; default: a new figure.
    """
    from lapo_tf.plots.curves import FAINT, new_axes, tidy

    scores = common_scores(groups)
    means, intervals = interquartile_means(scores)
    colours = colours_of(scores)
    ax = ax or new_axes((5.0, 0.9 + 0.4 * len(scores)))
    for row, label in enumerate(reversed(scores)):
        low, high = intervals[label]
        ax.barh(row, high - low, left=low, height=0.55, color=colours[label], alpha=0.65)
        ax.plot([means[label]] * 2, [row - 0.28, row + 0.28], color="black", lw=1.5)
    ax.use_sticky_edges = False  # an interval's end is not the edge of the picture
    ax.margins(x=0.06)
    ax.set_yticks(range(len(scores)), list(reversed(scores)))
    ax.set_xlabel("interquartile mean of the normalized score / 100")
    ax.grid(axis="x", color=FAINT, lw=0.8)
    return tidy(ax)


def plot_profiles(groups: Sequence[Group], ax: Axes | None = None) -> Axes:
    """Performance profiles: the share of runs that score more, over the score; with 95 % bootstrap bands.

    Args:
        groups: the seeds of each setting; agents that lack a task or a seed are left out.
        ax: where to draw; default: a new figure.
    """
    from lapo_tf.plots.curves import FAINT, new_axes, tidy

    scores = common_scores(groups)
    grid, profiles, bands = performance_profiles(scores)
    colours = colours_of(scores)
    ax = ax or new_axes((5.0, 3.4))
    for label in scores:
        ax.plot(grid, profiles[label], color=colours[label], label=label)
        ax.fill_between(grid, *bands[label], color=colours[label], alpha=0.12, lw=0)
    ax.set_xlabel("normalized score / 100")
    ax.set_ylabel("share of runs above it")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    ax.grid(axis="x", color=FAINT, lw=0.8)
    return tidy(ax)


def interquartile_means(scores: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Interquartile mean of scores [seeds, tasks] by agent, and its 95 % interval (Agarwal et al., 2021).

    The interval is a bootstrap stratified by task; of few seeds it is too narrow.
    """
    library, metrics = _rliable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the bootstrap's own `random_state`, which rliable passes on
        means, intervals = library.get_interval_estimates(
            scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000, random_state=np.random.RandomState(0)
        )
    bounds = {label: (float(low), float(high)) for label, ((low,), (high,)) in intervals.items()}
    return {label: float(mean[0]) for label, mean in means.items()}, bounds


def performance_profiles(scores: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Scores [G]; by agent, the share of its runs above each [G]; and bootstrap bounds of that share, two of [G]."""
    library, _ = _rliable()
    low, high = min(s.min() for s in scores.values()), max(s.max() for s in scores.values())
    grid = np.linspace(min(low, 0.0), high + 0.05, 81)
    profiles, bands = library.create_performance_profile(scores, grid, reps=1000)
    return grid, profiles, bands


def _rliable() -> tuple[Any, Any]:
    """Its modules `library` and `metrics`."""
    try:
        from rliable import library, metrics
    except ImportError as error:
        raise UserError(f"a report needs rliable ({error}): pip install 'lapo-tf[sweep]'") from None
    return library, metrics


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """Each agent's own colour; settings that have none get those that the others leave."""
    from lapo_tf.plots.curves import AGENT_COLOURS

    labels = list(dict.fromkeys(labels))
    free = cycle([c for name, c in AGENT_COLOURS.items() if name not in labels] or AGENT_COLOURS.values())
    return {label: AGENT_COLOURS.get(label) or next(free) for label in labels}


@command
def main() -> None:
    """The command."""
    if sys.argv[1:2] == ["toy"]:
        from lapo_tf.runs.toy import main as toy

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
