"""A sweep for people: a live table, plain lines, and the plan of a dry run."""

from __future__ import annotations

import sys
from typing import Any

from lapo_tf import runtime
from lapo_tf.runs.sweep import Progress, run_trials
from lapo_tf.runs.trials import DONE, FAILED, NEW, RESUME, Cluster, Trial, remaining, state
from lapo_tf.tasks.task import HELD_OUT
from lapo_tf.training.run_folder import RunFolder


def duration(seconds: float | None) -> str:
    """Such as 2 h 05 min; unknown for None."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(progress: Progress) -> str:
    """One line: done, running, failed, waiting, time left."""
    counts = progress.counts()
    parts = [f"{counts[k]} {k}" for k in ("done", "running", "waiting", "failed")]
    return f"{', '.join(parts)} of {len(progress.trials)} trials; left: {duration(progress.seconds_left())}"


def table(progress: Progress) -> Any:
    """A rich table: one row per task and agent, the seeds side by side."""
    from rich.table import Table

    seeds = sorted({t.config.seed for t in progress.trials})
    result = Table(title=summary(progress), title_justify="left", title_style="bold")
    for column in ("task", "agent", *(f"seed {s}" for s in seeds)):
        result.add_column(column)
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for trial in progress.trials:
        rows.setdefault((trial.config.task, trial.label), {})[trial.config.seed] = cell(trial, progress)
    for (task, label), cells in rows.items():
        result.add_row(task, label, *(cells.get(seed, "") for seed in seeds))
    return result


def cell(trial: Trial, progress: Progress) -> str:
    """A trial in the table: its last score and how far it is."""
    kind = progress.states[trial.name]
    if kind == FAILED:
        return "[red]failed[/]"
    rows = RunFolder(trial.folder).metrics()
    metric = trial.criterion.metric
    score = (
        f"{rows[-1][metric]:{'.3g' if trial.criterion == HELD_OUT else '.1f'}}" if rows and metric in rows[-1] else ""
    )
    if kind == DONE:
        return f"[green]{score}[/]"
    if trial.name in progress.running:
        share = 100 * rows[-1]["step"] / trial.config.steps if rows else 0
        return f"[cyan]{score} ({share:.0f} %)[/]"
    return f"[dim]{score or '-'}[/]"


def describe(trials: list[Trial], cluster: Cluster) -> str:
    """What a dry run prints: every trial, what is to be done of it, and how long it may take."""
    progress = Progress(trials, {t.name: state(t) for t in trials})
    progress.parallel = max(1, runtime.cores() // cluster.cpus_per_trial)
    lines = []
    for trial in trials:
        left = remaining(trial, trials) if progress.states[trial.name] in (NEW, RESUME) else 0.0
        line = f"{progress.states[trial.name]:7} {trial.name:45} {trial.config.steps:>10,} steps"
        lines.append(line if left == 0 else f"{line}  {duration(left)}")
    total = progress.seconds_left()
    lines.append(f"{summary(progress)}, {progress.parallel} at a time on this machine")
    if total is None:
        lines.append(
            "no run of every agent to estimate from yet: python -m lapo_tf.benchmark --agents all measures them"
        )
    return "\n".join(lines)


def watch(trials: list[Trial], cluster: Cluster, *, retry_failed: bool = False) -> Progress:
    """Train all trials that are not done, with a live table, or with lines where the output is no terminal."""
    if not sys.stdout.isatty():
        last = ""

        def line(progress: Progress) -> None:
            nonlocal last
            counts = str(sorted(progress.counts().items()))
            if counts != last:
                print(summary(progress), flush=True)
            last = counts

        return run_trials(trials, cluster, retry_failed, line)
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        return run_trials(trials, cluster, retry_failed, lambda progress: live.update(table(progress), refresh=True))
