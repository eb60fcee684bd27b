"""A sweep: many trainings, several at a time, on Ray.

Every trial is a run folder, `<run-dir>/<task>/<agent>/seed<k>`, made as `lapo_tf.train` makes it, so what is there says
what is left to do: finished trials are skipped, interrupted ones resumed, failed ones reported (their error is in
`error.txt`) and tried again on request. Nothing else is kept, so killing the driver or a worker loses at most the steps
since a trial's last checkpoint.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapo_tf import runtime
from lapo_tf.errors import UserError
from lapo_tf.progress import progress_bar
from lapo_tf.runs.results import Group, group_runs, read_run
from lapo_tf.runs.trials import DONE, FAILED, NEW, RESUME, Cluster, Trial, grid, measured, remaining, state, to_evaluate
from lapo_tf.tasks import Task, register
from lapo_tf.training.lock import InUseError
from lapo_tf.training.options import resolved
from lapo_tf.training.trainer import Interrupted, Trainer

RAY_PATIENCE = 300.0  # seconds in which to try again to start Ray
CRASHES = 2  # times that a trial whose worker died is resumed


def run_trial(trial: Trial, on: Sequence[int] = ()) -> str:
    """Train in this process, from the start or from the last checkpoint, and evaluate what came of it.

    What was printed goes into `train.log`.

    Args:
        on: cores to stay on; without them, where the system likes.

    Returns:
        The line that `lapo_tf.train` ends with.

    Raises:
        InUseError: another process trains it.
        UserError: with the reason, which is also written to `error.txt`.
    """
    if on:
        os.sched_setaffinity(0, on)
    config, folder = trial.config, trial.folder
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "train.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        runtime.quiet()
        runtime.configure(config.compile)
        resume = (folder / "config.yaml").exists()
        register(trial.task)  # this process may not know it
        said = ""
        if measured(folder)[0] < config.steps:
            said = str(Trainer(config, resume=resume).run())
        if episodes := to_evaluate(trial):
            from lapo_tf.runs.evaluation import evaluate  # its figures are of no use to the driver

            found = evaluate(folder, episodes)
            out = folder / "evaluation"
            out.mkdir(exist_ok=True)
            found.write(out, "last")
            said = str(found)
        return said
    except InUseError:
        raise
    except Interrupted as saved:  # the worker was asked to end: the driver, if it lives, sees to it as after a crash
        print(saved, flush=True)
        os._exit(saved.code)
    except Exception as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        (folder / "error.txt").write_text(" ".join(message.split()) + "\n")
        raise UserError(message) from None


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


def sweep(
    tasks: Iterable[str | Task],
    agents: Sequence[str],
    seeds: Iterable[int] = range(3),
    run_dir: Path | str = "runs",
    *,
    address: str = "local",
    cpus_per_trial: int = 1,
    gpus_per_trial: float = 0.0,
    retry_failed: bool = False,
    evaluate: int = 0,
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
        evaluate: episodes of an evaluation of each last policy, by which reports then judge it; 0: none.
        progress: show a bar of all trials' steps.
        options: fields of `TrainConfig` for all trials, and agents' under their names, as for `lapo_tf.train`.

    Returns:
        The seeds of each setting together, for `lapo_tf.report`'s tables and plots.

    Raises:
        UserError: a trial failed, Ray is not to be had, or a folder holds something else.
    """
    own = {k: v for k, v in options.items() if isinstance(v, dict)}
    trials = grid(
        tasks, agents, seeds, Path(run_dir), {k: v for k, v in options.items() if k not in own}, own, evaluate
    )
    total = sum(t.config.steps for t in trials)
    with progress_bar(total=total, unit="step", desc="sweep", disable=not progress) as steps:

        def show(now: Progress) -> None:
            counts = now.counts()
            steps.set_postfix_str(", ".join(f"{counts[k]} {k}" for k in ("running", "waiting", "done")), refresh=False)
            steps.update(min(sum(measured(t.folder)[0] for t in trials), total) - steps.n)

        ended = run_trials(trials, Cluster(address, cpus_per_trial, gpus_per_trial), retry_failed, show)
    if ended.errors:
        raise UserError("; ".join(f"{name} failed: {message}" for name, message in ended.errors.items()))
    return group_runs([read_run(t.folder) for t in trials])


def run_trials(
    trials: list[Trial], cluster: Cluster, retry_failed: bool, report: Callable[[Progress], None]
) -> Progress:
    """Train all trials that are not done.

    Args:
        report: called about once a second, and whenever a trial ends.

    Raises:
        UserError: Ray is not installed or not to be reached, or a folder holds something else.
    """
    ray = start_ray(cluster.address)
    progress = Progress(trials, {t.name: state(t) for t in trials})
    progress.parallel = places(cluster, ray.cluster_resources())
    for trial in trials:
        if progress.states[trial.name] == FAILED:
            if retry_failed:
                (trial.folder / "error.txt").unlink()
                progress.states[trial.name] = state(trial)
            else:
                progress.errors[trial.name] = (trial.folder / "error.txt").read_text().strip()
    # A process of its own for each trial: TensorFlow keeps memory, and its threads are fixed once.
    remote = ray.remote(max_calls=1, max_retries=0, num_cpus=cluster.cpus_per_trial, num_gpus=cluster.gpus_per_trial)(
        run_trial
    )
    waiting = [t for t in trials if progress.states[t.name] in (NEW, RESUME)]
    crashes: Counter = Counter()
    futures: dict[Any, Trial] = {}
    free = core_shares(cluster, progress.parallel)
    taken: dict[str, list[int]] = {}
    try:
        while waiting or futures:
            while waiting and len(futures) < progress.parallel:
                trial = waiting.pop(0)
                config = resolved(dataclasses.replace(trial.config, run_dir=trial.folder.resolve()))
                taken[trial.name] = free.pop(0)
                futures[remote.remote(dataclasses.replace(trial, config=config), taken[trial.name])] = trial
                progress.running[trial.name] = time.time()
            ready, _ = ray.wait(list(futures), timeout=1.0)
            for future in ready:
                trial = futures.pop(future)
                del progress.running[trial.name]
                free.append(taken.pop(trial.name))
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


def places(cluster: Cluster, resources: Mapping[str, float]) -> int:
    """How many trials run at a time on what Ray has.

    Raises:
        UserError: not even one.
    """
    slots = [resources.get("CPU", 1) // cluster.cpus_per_trial]
    if cluster.gpus_per_trial:
        slots.append(resources.get("GPU", 0) // cluster.gpus_per_trial)
    if min(slots) < 1:
        raise UserError(
            f"a trial needs {cluster.cpus_per_trial} cores and {cluster.gpus_per_trial} GPUs, Ray has "
            f"{resources.get('CPU', 0):.0f} and {resources.get('GPU', 0):.0f}: ask for less with --cpus-per-trial"
        )
    return int(min(slots))


def core_shares(cluster: Cluster, parallel: int) -> list[list[int]]:
    """The cores of each trial that runs at a time, so that no two share one.

    Empty lists where the system cannot pin, or the trials run on other machines.
    """
    if cluster.address != "local" or not hasattr(os, "sched_setaffinity"):
        return [[] for _ in range(parallel)]
    cores = sorted(os.sched_getaffinity(0))
    return [cores[i * cluster.cpus_per_trial : (i + 1) * cluster.cpus_per_trial] for i in range(parallel)]


def finish(ray: Any, future: Any, trial: Trial, progress: Progress) -> str:
    """Take a trial's result; its new state."""
    try:
        ray.get(future)
        progress.states[trial.name] = DONE
    except ray.exceptions.RayTaskError as error:
        fail(trial, progress, str(error.cause or error), keep=not isinstance(error.cause, InUseError))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        progress.states[trial.name] = RESUME
    return progress.states[trial.name]


def fail(trial: Trial, progress: Progress, message: str, *, keep: bool = True) -> None:
    """Note a trial's failure; `keep`: in its folder, too."""
    message = " ".join(message.split())
    progress.states[trial.name], progress.errors[trial.name] = FAILED, message
    if keep and not (trial.folder / "error.txt").exists():
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
        options |= {"num_cpus": runtime.cores(), "include_dashboard": False}
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
