"""Finished runs as numbers: read run folders, group seeds of one setting, refuse to mix what differs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError
from lapo_tf.runs.statistics import bootstrap_band
from lapo_tf.runs.trials import differences
from lapo_tf.tasks import Task
from lapo_tf.tasks.task import SCORE, Criterion
from lapo_tf.training.run_folder import RunFolder

PAPER_ORDER = ("bc", "bcq", "plas", "awac", "awac-gmm", "iql", "cql", "lapo")


@dataclass(frozen=True)
class RunResult:
    """One run's evaluations."""

    folder: Path
    config: TrainConfig
    task: Task
    criterion: Criterion
    """What its policies were judged by; only runs with the same one are compared."""
    label: str
    """The agent, and what sets its setting apart: the name of the run's parent folder."""
    provenance: str
    """Where the data came from: official, collected or own."""
    dataset: str
    """The data set's id and the beginning of its checksum, or its version."""
    steps: np.ndarray
    """Steps of the evaluations, int64 [E]."""
    scores: np.ndarray
    """Their normalized scores [E], or other numbers by the run's criterion."""
    seconds: float
    final: float | None = None
    """Score of the last checkpoint by `lapo_tf.evaluate`, if it was asked."""
    episodes: int = 0
    """Of what `last` is the mean."""

    @property
    def last(self) -> float:
        """Score after the last step: by `lapo_tf.evaluate`, or else of the last evaluation during training."""
        return float(self.scores[-1]) if self.final is None else self.final

    @property
    def best(self) -> float:
        """Best score of all evaluations: it flatters."""
        return float(self.scores[self.best_evaluation])

    @property
    def best_evaluation(self) -> int:
        """Which evaluation had it."""
        return int((self.criterion.sign * self.scores).argmax())


@dataclass(frozen=True)
class Group:
    """The seeds of one setting on one task."""

    runs: tuple[RunResult, ...]

    @property
    def task(self) -> Task:
        """Their task."""
        return self.runs[0].task

    @property
    def criterion(self) -> Criterion:
        """What they are judged by."""
        return self.runs[0].criterion

    @property
    def label(self) -> str:
        """What tables and figures call them."""
        return self.runs[0].label

    @property
    def provenance(self) -> str:
        """Where their data came from."""
        return self.runs[0].provenance

    @property
    def paper(self) -> float | None:
        """The paper's score of that task and agent; None for settings that the paper has no column for."""
        return self.task.paper.get(self.label) if self.criterion == SCORE else None

    def values(self, which: str) -> np.ndarray:
        """`last` or `best` scores, [seeds]."""
        return np.array([getattr(run, which) for run in self.runs])

    @property
    def judged(self) -> bool:
        """Whether `last` is by `lapo_tf.evaluate`, for all of them."""
        return all(run.final is not None for run in self.runs)

    def kept(self) -> float:
        """Share of the mean best score, as far as that lies above 0, that the mean last score has kept; 1 below it."""
        last, best = self.values("last").mean(), self.values("best").mean()
        return float(last / best) if best > 0 else 1.0

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps [E] at which all seeds were evaluated, and scores [seeds, E]."""
        common = sorted(set.intersection(*({int(s) for s in run.steps} for run in self.runs)))
        return np.array(common), np.array([[run.scores[run.steps == s][0] for s in common] for run in self.runs])

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """The 95 % bootstrap interval of the mean curve: bounds [E]."""
        return bootstrap_band(self.curve()[1])


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """All run folders at or below the paths.

    Raises:
        UserError: there is none at one of them.
    """
    found: list[Path] = []
    for path in paths:
        below = sorted(p.parent for p in path.rglob("config.yaml") if (p.parent / "metrics.csv").exists())
        if not below:
            raise UserError(f"{path} holds no run with an evaluation: expected folders like runs/<task>/<agent>/seed0")
        found += below
    return list(dict.fromkeys(found))


def read_run(path: Path, step: int | None = None) -> RunResult:
    """A run's evaluations, up to `step` if given.

    Raises:
        UserError: it was not evaluated at that step, or has not come to its own last step.
    """
    folder = RunFolder.open(path)
    values, config, criterion = folder.read(), folder.config(), folder.criterion()
    rows = [row for row in folder.metrics() if np.isfinite(row.get(criterion.metric, np.nan))]
    if not rows:
        raise UserError(f"{path} has no evaluation by its {criterion.label}: train on with --resume {path}")
    steps = np.array([row["step"] for row in rows], np.int64)
    if step is not None:
        if step not in steps:
            raise UserError(f"{path} has no evaluation at step {step:,}: it has {', '.join(f'{s:,}' for s in steps)}")
        rows = rows[: int(np.flatnonzero(steps == step)[0]) + 1]
    elif steps[-1] < config.steps:
        raise UserError(
            f"{path} stands at step {steps[-1]:,} of {config.steps:,}: finish it with python -m lapo_tf.train --resume "
            f"{shlex.quote(str(path))}, or compare at a step that all runs have with --step"
        )
    found = folder.evaluation(int(rows[-1]["step"])) or {"episodes": config.eval_episodes, "metrics": {}}
    data = values["data"]
    sets = [part["data"] for part in values.get("history", [])] + [data]
    return RunResult(
        path,
        config,
        folder.task(),
        criterion,
        _label(path, config),
        str(data.get("provenance", "own")),
        ", then ".join(f"{d.get('id')} {str(d.get('sha256') or d.get('version') or '')[:12]}".strip() for d in sets),
        np.array([row["step"] for row in rows], np.int64),
        np.array([row[criterion.metric] for row in rows]),
        float(rows[-1]["time/seconds"]),
        found["metrics"].get(criterion.metric),
        found["episodes"],
    )


def _label(path: Path, config: TrainConfig) -> str:
    if config.agent == "awac" and config.agent_config.policy == "gmm" and path.parent.name == "awac-policy=gmm":
        return "awac-gmm"  # the paper's name of it
    return path.parent.name if path.parent.name.startswith(config.agent) else config.agent


def group_runs(runs: Sequence[RunResult], step: int | None = None) -> list[Group]:
    """The seeds of each setting together, in the order of the paper's tables.

    Raises:
        UserError: runs that share a task and a label differ in steps, options or data: which, and in what.
    """
    groups: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.config.task, run.label, run.provenance, run.criterion.metric), []).append(run)
    for members in groups.values():
        first = members[0]
        for run in members[1:]:
            differs = differences(first.config, run.config) - ({"steps"} if step else set()) - {"dataset"}
            if first.dataset != run.dataset:
                differs.add("data")
            if differs:
                raise UserError(
                    f"{first.folder} and {run.folder} differ in {', '.join(sorted(differs))}: their mean would be of "
                    "different things; give only runs of one setting, or rename their agent folder"
                )
        seeds = [run.config.seed for run in members]
        if len(set(seeds)) < len(seeds):
            raise UserError(
                f"two runs of {first.config.task}/{first.label} have the same seed ({sorted(seeds)}): give each once"
            )
    order = {name: i for i, name in enumerate(PAPER_ORDER)}
    result = [Group(tuple(sorted(members, key=lambda r: r.config.seed))) for members in groups.values()]
    return sorted(result, key=lambda g: (order.get(g.label, len(order)), g.label))


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
