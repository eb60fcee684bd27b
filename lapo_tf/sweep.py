"""Train a grid: `python -m lapo_tf.sweep --tasks maze2d-umaze --agents lapo,iql --seeds 0-2`.

Every trial is a run folder, `<run-dir>/<task>/<agent>/seed<k>`, made as `lapo_tf.train` makes it, so what is there says
what is left to do: finished trials are skipped, interrupted ones resumed, failed ones reported (their error is in
`error.txt`) and tried again on request. Nothing else is kept, so killing the driver or a worker loses at most the steps
since a trial's last evaluation.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.config import Compile, TrainConfig, read_yaml
from lapo_tf.errors import UserError, command
from lapo_tf.runs.trials import DONE, FAILED, NEW, RESUME, Trial, grid, measured, parse_seeds, remaining, state

if TYPE_CHECKING:
    from lapo_tf.runs.results import Group

DESCRIPTION = """Train every agent on every task with every seed, several at a time, on Ray.

Needs the extra: pip install 'lapo-tf[sweep]'. Run it again to go on where it stopped."""

RAY_PATIENCE = 300.0  # seconds in which to try again to start Ray
CRASHES = 2  # times that a trial whose worker died is resumed


@dataclass(frozen=True)
class SweepCommand:
    """Options of the command."""

    tasks: str
    """Tasks, separated by commas: maze2d-umaze,kitchen-complete."""
    agents: str = "lapo"
    """Agents, separated by commas, their own options after colons: lapo,awac:policy=gmm,lapo:latent-bound=.inf"""
    seeds: str = "0-2"
    """Seeds: 0-4, or 0,3,7."""
    steps: int | None = None
    """Gradient steps of every trial; default: the task's."""
    dataset: str | None = None
    """Data set of all trials; default: each task's own."""
    run_dir: Path = Path("runs")
    """Folder of the run folders."""
    config: Path | None = None
    """YAML file of training options for all trials."""
    batch_size: int | None = None
    """Transitions in a batch; default: each algorithm's published size."""
    eval_every: int | None = None
    """Steps from one evaluation to the next."""
    eval_episodes: int | None = None
    """Episodes of each evaluation."""
    compile: Compile | None = None
    """How the training loop runs."""
    address: str = "local"
    """Ray: local starts it on this machine, auto joins a running cluster, or an address."""
    cpus_per_trial: int = 1
    """Cores of one trial. One is best for many trials: two trials on a core each beat one on two."""
    gpus_per_trial: float = 0.0
    """GPUs of one trial; 0.25 lets four share one."""
    retry_failed: bool = False
    """Try failed trials again."""
    dry_run: bool = False
    """Print the grid and the estimated time, and do nothing."""


# One trial


def run_trial(config: TrainConfig) -> str:
    """Train in this process, from the start or from the last checkpoint; what was printed goes into `train.log`.

    Returns:
        The line that `lapo_tf.train` ends with.

    Raises:
        UserError: with the reason, which is also written to `error.txt`.
    """
    folder = config.folder()
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "train.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        runtime.quiet()
        runtime.configure(config.compile)
        from lapo_tf.training.trainer import Trainer

        resume = (folder / "config.yaml").exists()
        return str(Trainer(config, resume=resume).run())
    except Exception as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        (folder / "error.txt").write_text(" ".join(message.split()) + "\n")
        raise UserError(message) from None


# The sweep


@dataclass
class Progress:
    """Where a sweep stands."""

    trials: list[Trial]
    states: dict[str, str]
    running: dict[str, float] = field(default_factory=dict)
    """Seconds at which a trial was started in this session."""
    errors: dict[str, str] = field(default_factory=dict)
    parallel: int = 1

    def counts(self) -> Counter:
        """Number of trials by what they do: done, running, failed, waiting."""
        kinds = ("running" if t.name in self.running else self.states[t.name] for t in self.trials)
        return Counter("waiting" if kind in (NEW, RESUME) else kind for kind in kinds)

    def seconds_left(self) -> float | None:
        """Estimated time until all is done, from the speed of this and earlier runs; None without any."""
        rest = [remaining(t, self.trials) for t in self.trials if self.states[t.name] in (NEW, RESUME)]
        if not rest or any(r is None for r in rest):
            return None if rest else 0.0
        return max(sum(r or 0.0 for r in rest) / self.parallel, max(r or 0.0 for r in rest))


def all_trials(options: SweepCommand) -> list[Trial]:
    """The grid that the options describe."""
    names = ("steps", "dataset", "batch_size", "eval_every", "eval_episodes", "compile")
    flags = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    file = read_yaml(options.config) if options.config else {}
    tasks, agents = ([name for name in text.split(",") if name] for text in (options.tasks, options.agents))
    return grid(tasks, agents, parse_seeds(options.seeds), options.run_dir, flags, file)


def sweep(
    tasks: Iterable[str],
    agents: Sequence[str],
    seeds: Iterable[int] = range(3),
    run_dir: Path | str = "runs",
    *,
    address: str = "local",
    cpus_per_trial: int = 1,
    gpus_per_trial: float = 0.0,
    retry_failed: bool = False,
    progress: bool = True,
    **options: Any,
) -> list[Group]:
    """Train every agent on every task with every seed, as far as their run folders are not there yet.

    groups = sweep(["maze2d-umaze"], ["iql", "lapo"], range(3), steps=20_000, lapo={"kl_weight": 0.3})

    Args:
        tasks, seeds: of the grid.
        agents: names, their own options after colons to compare settings: `lapo:latent-policy=prior`.
        run_dir: folder of the run folders.
        address: of Ray: local starts it on this machine, auto joins a running cluster.
        cpus_per_trial, gpus_per_trial: share of one trial.
        retry_failed: try failed trials again.
        progress: show a bar of all trials' steps.
        options: fields of `TrainConfig` for all trials, and agents' under their names, as for `lapo_tf.train`.

    Returns:
        The seeds of each setting together, for `lapo_tf.report`'s tables and plots.

    Raises:
        UserError: a trial failed, Ray is not to be had, or a folder holds something else.
    """
    from tqdm.auto import tqdm

    from lapo_tf.runs.results import group_runs, read_run

    own = {k: v for k, v in options.items() if isinstance(v, dict)}
    trials = grid(tasks, agents, seeds, Path(run_dir), {k: v for k, v in options.items() if k not in own}, own)
    total = sum(t.config.steps for t in trials)
    with tqdm(total=total, unit="step", desc="sweep", disable=not progress) as bar:

        def show(now: Progress) -> None:
            counts = now.counts()
            bar.set_postfix_str(", ".join(f"{counts[k]} {k}" for k in ("running", "waiting", "done")), refresh=False)
            bar.update(min(sum(measured(t.folder)[0] for t in trials), total) - bar.n)

        ended = run_trials(trials, address, cpus_per_trial, gpus_per_trial, retry_failed, show)
    if ended.errors:
        raise UserError("; ".join(f"{name} failed: {message}" for name, message in ended.errors.items()))
    return group_runs([read_run(t.folder) for t in trials])


def run_sweep(options: SweepCommand, report: Callable[[Progress], None] = lambda progress: None) -> Progress:
    """Train all trials that are not done; see `run_trials`."""
    shares = options.cpus_per_trial, options.gpus_per_trial
    return run_trials(all_trials(options), options.address, *shares, options.retry_failed, report)


def run_trials(
    trials: list[Trial],
    address: str,
    cpus_per_trial: int,
    gpus_per_trial: float,
    retry_failed: bool,
    report: Callable[[Progress], None],
) -> Progress:
    """Train all trials that are not done.

    Args:
        report: called about once a second, and whenever a trial ends.

    Raises:
        UserError: Ray is not installed or not to be reached, or a folder holds something else.
    """
    ray = start_ray(address)
    progress = Progress(trials, {t.name: state(t) for t in trials})
    resources = ray.cluster_resources()
    slots = [resources.get("CPU", 1) // cpus_per_trial]
    if gpus_per_trial:
        slots.append(resources.get("GPU", 0) // gpus_per_trial)
    progress.parallel = int(min(slots))
    if progress.parallel < 1:
        raise UserError(
            f"a trial needs {cpus_per_trial} cores and {gpus_per_trial} GPUs, Ray has "
            f"{resources.get('CPU', 0):.0f} and {resources.get('GPU', 0):.0f}: ask for less with --cpus-per-trial"
        )
    for trial in trials:
        if progress.states[trial.name] == FAILED:
            if retry_failed:
                (trial.folder / "error.txt").unlink()
                progress.states[trial.name] = state(trial)
            else:
                progress.errors[trial.name] = (trial.folder / "error.txt").read_text().strip()
    # A process of its own for each trial: TensorFlow keeps memory, and its threads are fixed once.
    remote = ray.remote(max_calls=1, max_retries=0, num_cpus=cpus_per_trial, num_gpus=gpus_per_trial)(run_trial)
    waiting = [t for t in trials if progress.states[t.name] in (NEW, RESUME)]
    crashes: Counter = Counter()
    futures: dict[Any, Trial] = {}
    try:
        while waiting or futures:
            while waiting and len(futures) < progress.parallel:
                trial = waiting.pop(0)
                config = dataclasses.replace(trial.config, run_dir=trial.folder.resolve())
                futures[remote.remote(config)] = trial
                progress.running[trial.name] = time.time()
            ready, _ = ray.wait(list(futures), timeout=1.0)
            for future in ready:
                trial = futures.pop(future)
                del progress.running[trial.name]
                outcome = finish(ray, future, trial, progress)
                if outcome == RESUME and crashes[trial.name] < CRASHES:
                    crashes[trial.name] += 1
                    waiting.insert(0, trial)
                elif outcome == RESUME:
                    fail(trial, progress, f"its process died {CRASHES + 1} times; see {trial.folder / 'train.log'}")
            report(progress)
    finally:
        ray.shutdown()
    return progress


def finish(ray: Any, future: Any, trial: Trial, progress: Progress) -> str:
    """Take a trial's result; its new state."""
    try:
        ray.get(future)
        progress.states[trial.name] = DONE
    except ray.exceptions.RayTaskError as error:
        fail(trial, progress, str(error.cause or error))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        progress.states[trial.name] = RESUME
    return progress.states[trial.name]


def fail(trial: Trial, progress: Progress, message: str) -> None:
    """Note a trial's failure, in its folder, too."""
    message = " ".join(message.split())
    progress.states[trial.name], progress.errors[trial.name] = FAILED, message
    if not (trial.folder / "error.txt").exists():
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "error.txt").write_text(message + "\n")


def start_ray(address: str) -> Any:
    """Ray, started on this machine or joined at `address`."""
    try:
        import ray
    except ImportError:
        raise UserError("a sweep needs Ray: pip install 'lapo-tf[sweep]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would starve trials beside anything else that runs
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
    else:
        options["address"] = address
    # Ray's node ends itself when its helpers take more than 15 s to start, as they do on a busy machine, and Ray has no
    # option to wait longer (ray-project/ray issue 65983).
    patience = time.monotonic() + (RAY_PATIENCE if address == "local" else 0.0)
    while True:
        try:
            ray.init(**options)
            return ray
        except Exception as error:  # Ray's own are of many kinds
            ray.shutdown()
            if time.monotonic() >= patience:
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"Ray at '{address}' does not answer ({reason}): give --address local, or try again"
                ) from None


# What people see


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
    from lapo_tf.training.run_folder import RunFolder

    kind = progress.states[trial.name]
    if kind == FAILED:
        return "[red]failed[/]"
    rows = RunFolder(trial.folder).metrics()
    score = f"{rows[-1]['eval/normalized_score']:.1f}" if rows else ""
    if kind == DONE:
        return f"[green]{score}[/]"
    if trial.name in progress.running:
        share = 100 * rows[-1]["step"] / trial.config.steps if rows else 0
        return f"[cyan]{score} ({share:.0f} %)[/]"
    return f"[dim]{score or '-'}[/]"


def describe(options: SweepCommand) -> str:
    """What a dry run prints: every trial, what is to be done of it, and how long it may take."""
    trials = all_trials(options)
    progress = Progress(trials, {t.name: state(t) for t in trials})
    progress.parallel = max(1, len(os.sched_getaffinity(0)) // options.cpus_per_trial)
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


@command
def main() -> None:
    """The command."""
    options = parse(SweepCommand, description=DESCRIPTION)
    runtime.quiet()
    if options.cpus_per_trial < 1 or options.gpus_per_trial < 0:
        raise UserError("--cpus-per-trial and --gpus-per-trial: expected at least 1 and 0")
    if options.dry_run:
        print(describe(options))
        return
    progress = watch(options)
    print(summary(progress))
    for name, message in progress.errors.items():
        print(f"failed: {name}: {message}", file=sys.stderr)
    if progress.errors:
        raise UserError(f"{len(progress.errors)} trials failed: mend the cause and run again with --retry-failed")


def watch(options: SweepCommand) -> Progress:
    """Run the sweep with a live table, or with a line now and then where the output is no terminal."""
    if not sys.stdout.isatty():
        last = ""

        def line(progress: Progress) -> None:
            nonlocal last
            counts = str(sorted(progress.counts().items()))
            if counts != last:
                print(summary(progress), flush=True)
            last = counts

        return run_sweep(options, line)
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        return run_sweep(options, lambda progress: live.update(table(progress), refresh=True))


if __name__ == "__main__":
    main()
