"""Tables and figures of finished runs, as files:

report.md       all tasks together, if they are of several families; a table per family of tasks and origin of the data,
                in the paper's layout; how every number was made
runs.csv        one row per run
summary.csv     one row per task and agent
curves-*.png    learning curves, mean over seeds with a bootstrap band
aggregate-*.png interquartile mean over tasks and seeds, and performance profiles (rliable)
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lapo_tf.plots.comparison import plot_group_curves, plot_iqm, plot_profiles
from lapo_tf.runs.results import Group, RunResult, common_scores, find_runs, group_runs, read_run
from lapo_tf.runs.statistics import aggregates, interval, performance_profiles
from lapo_tf.tasks import FAMILIES, TASKS
from lapo_tf.tasks.task import HELD_OUT, RETURN, SCORE

PROVENANCES = ("official", "collected", "own")
"""Origins of data in the order of the report."""


def write_report(paths: Sequence[Path], out: Path, step: int | None = None) -> Path:
    """Read the runs below `paths` and write the report into `out`.

    Returns:
        The path of `report.md`.

    Raises:
        UserError: no runs, unfinished ones, or ones that must not be averaged.
    """
    runs = [read_run(path, step) for path in find_runs(paths)]
    groups = group_runs(runs, step)
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "runs.csv", [_run_row(run) for run in runs])
    _write_csv(out / "summary.csv", [_summary_row(group) for group in groups])
    parts = ["# Results", _how(groups, step)]
    titles = {family.family: family.title for family in (*FAMILIES.values(), *(type(g.task) for g in groups))}
    for family, title in titles.items():
        for criterion in (SCORE, RETURN, HELD_OUT):
            for provenance in PROVENANCES:
                which = (family, criterion, provenance)
                if members := [g for g in groups if (g.task.family, g.criterion, g.provenance) == which]:
                    parts += _section(members, title, provenance, out)
    if all_tasks := overall([g for g in groups if g.criterion == SCORE]):
        draw_curves([g for g in groups if g.criterion == SCORE], out / "curves.png")
        parts.insert(2, all_tasks + "\n\n![Learning curves](curves.png)")
    path = out / "report.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _section(groups: Sequence[Group], title: str, provenance: str, out: Path) -> list[str]:
    """Heading, table and figures of one family and one origin of the data."""
    criterion = groups[0].criterion
    name = f"{title.split(',')[0].lower().replace(' ', '-')}-{provenance}"
    heading = f"## {title}, {provenance} data"
    if criterion != SCORE:
        name, heading = f"{name}-{criterion.metric.split('/')[1]}", f"{heading}: {criterion.label}"
    parts = [heading, table(groups), f"![Learning curves](curves-{name}.png)"]
    draw_curves(groups, out / f"curves-{name}.png")
    if criterion == SCORE and draw_aggregate(groups, out / f"aggregate-{name}.png"):
        parts.append(
            f"![Interquartile mean over tasks and seeds with 95 % stratified bootstrap intervals, and share of runs "
            f"above a score](aggregate-{name}.png)"
        )
    return parts


def overall(groups: Sequence[Group]) -> str:
    """A Markdown section: each agent over all tasks, whatever their families; empty where these are one, or no two
    agents have all tasks.

    The intervals are bootstraps over seeds, stratified by task: they say how the tasks' own mean varies with the seeds,
    not what other tasks would give.
    """
    scores = common_scores(groups)
    if len({g.task.family for g in groups}) < 2 or len(scores) < 2:
        return ""
    tasks = sorted({g.task.name for g in groups})
    mean, mean_bounds = aggregates(scores, "mean")
    iqm, iqm_bounds = aggregates(scores, "iqm")
    task_means = np.array([values.mean(0) for values in scores.values()])  # [agents, tasks]
    first = dict(zip(scores, (task_means == task_means.max(0)).sum(1), strict=True))
    lines = ["| agent | mean | interquartile mean | best on | lowest last / best | seeds |", "|---" * 6 + "|"]
    for label in sorted(scores, key=lambda name: -mean[name]):
        kept, task = min((g.kept(), g.task.name) for g in groups if g.label == label)
        cells = [f"{100 * m[label]:.1f}" for m in (mean, iqm)]
        if len(scores[label]) > 1:
            for i, bounds in enumerate((mean_bounds, iqm_bounds)):
                cells[i] += f" [{100 * bounds[label][0]:.1f}, {100 * bounds[label][1]:.1f}]"
        lines.append(f"| {label} | {' | '.join(cells)} | {first[label]} | {kept:.2f} ({task}) | {len(scores[label])} |")
    missing = sorted({g.label for g in groups} - scores.keys())
    left_out = f" Not there, for want of some task or seed: {', '.join(missing)}." if missing else ""
    return (
        f"## All {len(tasks)} tasks together\n\n"
        "Last scores; 95 % bootstrap intervals over seeds, stratified by task. *Best on*: tasks with the highest mean. "
        f"*Lowest last / best*: of the task whose mean score fell most from the mean of its best.{left_out}\n\n"
        + "\n".join(lines)
    )


def _how(groups: Sequence[Group], step: int | None) -> str:
    """How the numbers were made."""
    ends = sorted({int(run.steps[-1]) for g in groups for run in g.runs})
    episodes = sorted({run.config.eval_episodes for g in groups for run in g.runs})
    last = sorted({run.episodes for g in groups for run in g.runs})
    data = sorted({f"{run.config.task}: {run.dataset} ({run.provenance})" for g in groups for run in g.runs})
    numbers = [", ".join(f"{n:,}" for n in values) for values in (ends, episodes, last)]
    criteria = [g.criterion for g in groups]
    what = "Numbers"
    if criteria.count(SCORE) == len(criteria):
        what = "Normalized scores (0: D4RL's random policy, 100: its expert)"
    simulated = criteria.count(HELD_OUT) < len(criteria)
    each = f"; an evaluation in training is the mean of {numbers[1]} episodes, the last one of {numbers[2]}"
    each = each if simulated else ""
    lines = [
        f"{what} after {numbers[0]} gradient steps{' (cut there)' if step else ''}{each}. "
        "In the tables: mean of the last evaluation over seeds ± half of Student's 95 % interval [mean of each seed's "
        "best evaluation in training, which is biased upwards] (paper's number, 1 million steps on D4RL's data); seeds "
        "in the last column.",
        "Data: " + "; ".join(data) + ".",
    ]
    if HELD_OUT in criteria:
        lines.insert(1, "Errors on held-out episodes are no scores. Less is better, among policies of one task.")
    return "\n\n".join(lines)


def table(groups: Sequence[Group]) -> str:
    """A Markdown table: tasks down, agents across."""
    labels = list(dict.fromkeys(g.label for g in groups))
    shown = dict.fromkeys(g.task.name for g in groups)
    tasks = [*(name for name in TASKS if name in shown), *(name for name in shown if name not in TASKS)]
    number = ".1f" if groups[0].criterion != HELD_OUT else ".3g"
    lines = ["| task | " + " | ".join(labels) + " | seeds |", "|---" * (len(labels) + 2) + "|"]
    for task in tasks:
        cells = []
        for label in labels:
            group = next((g for g in groups if (g.task.name, g.label) == (task, label)), None)
            if group is None:
                cells.append("")
                continue
            last, best = group.values("last"), group.values("best")
            spread = f" ± {interval(last):{number}}" if len(last) > 1 else ""
            paper = f" ({group.paper:.1f})" if group.paper is not None else ""
            cells.append(f"{last.mean():{number}}{spread} [{best.mean():{number}}]{paper}")
        seeds = sorted({len(g.runs) for g in groups if g.task.name == task})
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {', '.join(map(str, seeds))} |")
    return "\n".join(lines)


def _run_row(run: RunResult) -> dict[str, Any]:
    return {
        "task": run.config.task,
        "agent": run.label,
        "seed": run.config.seed,
        "steps": int(run.steps[-1]),
        "criterion": run.criterion.metric,
        "last": round(run.last, 3),
        "last_episodes": run.episodes,
        "best": round(run.best, 3),
        "best_step": int(run.steps[run.best_evaluation]),
        "provenance": run.provenance,
        "dataset": run.dataset,
        "seconds": round(run.seconds),
        "folder": str(run.folder),
    }


def _summary_row(group: Group) -> dict[str, Any]:
    last, best = group.values("last"), group.values("best")
    return {
        "task": group.task.name,
        "agent": group.label,
        "criterion": group.criterion.metric,
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


def draw_curves(groups: Sequence[Group], path: Path) -> None:
    """Learning curves, a panel per task, each with a scale of its own: see `plot_group_curves`."""
    tasks = list(dict.fromkeys(g.task.name for g in groups))
    columns = min(len(tasks), 4)
    rows = -(-len(tasks) // columns)
    size = (1.6 + 3.6 * columns, 0.2 + 2.8 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for i, ax in enumerate(axes.flat):
        if i >= len(tasks):
            ax.remove()
            continue
        plot_group_curves([g for g in groups if g.task.name == tasks[i]], ax, metric=groups[0].criterion.metric)
        ax.get_legend().remove()
        ax.set_title(tasks[i], fontsize="medium")
        if i % columns:
            ax.set_ylabel("")
        if i + columns < len(tasks):
            ax.set_xlabel("")
    handles = {label: line for ax in figure.axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_aggregate(groups: Sequence[Group], path: Path) -> bool:
    """Interquartile mean and performance profiles over tasks and seeds; False if agents have too little in common."""
    scores = common_scores(groups)
    if len(scores) < 2 or min(len(s) for s in scores.values()) < 2:
        return False
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    plot_iqm(*aggregates(scores, "iqm"), left)
    plot_profiles(*performance_profiles(scores), right)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True
