"""Which checkpoint of which run to take: all that are kept, ranked by fitted Q evaluation.

selection = select(["runs/arm-reach-v0"])
print(selection)

What was found of a checkpoint is kept in RUN/evaluation/step-N-fqe.json, and taken from there as long as the
checkpoint, the data and the settings are the same.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf.data.split import split
from lapo_tf.errors import UserError
from lapo_tf.progress import progress_bar
from lapo_tf.runs.estimates import NUMBERS, FitSettings, Judge
from lapo_tf.runs.evaluation import write_numbers
from lapo_tf.runs.results import find_runs
from lapo_tf.runs.run import Run, load_run
from lapo_tf.runs.statistics import rank_correlation
from lapo_tf.runs.trust import STEPS, describe_trust, read_trust
from lapo_tf.tasks.task import HELD_OUT, Criterion
from lapo_tf.training.run_folder import Checkpoints, RunFolder, replacing

FEWEST_SCORES = 5  # of a simulator, to say how FQE ranks beside them


@dataclass(frozen=True)
class Candidate:
    """A checkpoint, and what was found of it."""

    run: Path
    agent: str
    seed: int
    step: int
    numbers: dict[str, float]
    """Those of `NUMBERS` that it has."""
    unseen: bool
    """Whether the policy was not trained on the episodes that its errors are taken from."""
    score: float | None = None
    """By the simulator, if training evaluated it there at this step."""


@dataclass(frozen=True)
class Selection:
    """Candidates in order, the best first; printing it gives the table, what to do, and what that is worth."""

    task: str
    criterion: Criterion
    """What the runs were judged by in training."""
    settings: FitSettings
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Candidate:
        """The one with the largest estimate."""
        return self.candidates[0]

    def write(self, path: Path) -> None:
        """Write all numbers as CSV."""
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["rank", "run", "agent", "seed", "step", *NUMBERS, "unseen", "score"])
            for rank, c in enumerate(self.candidates, 1):
                numbers = [c.numbers.get(name, "") for name in NUMBERS]
                writer.writerow([rank, c.run, c.agent, c.seed, c.step, *numbers, c.unseen, c.score])

    def __str__(self) -> str:
        lines = [*_table(self), *(f"note: {note}" for note in self.notes), "", *_advice(self), ""]
        return "\n".join(lines + describe_trust(read_trust()) + _against_scores(self))


def select(
    paths: Iterable[Path | str],
    *,
    steps: int = STEPS,
    seed: int = 0,
    discount: float | None = None,
    held_out: str | None = None,
    progress: bool = False,
) -> Selection:
    """Rank every checkpoint that runs keep.

    Args:
        paths: run folders, or folders that hold some; all of the same data.
        steps: gradient steps of each fit.
        seed: of the fits.
        discount: gamma; default: the largest that the runs were trained with.
        held_out: a data set that no run has seen, to take starts and errors from; default: the episodes that the runs
            held out of their data, or all of these.
        progress: show a bar of the fits' steps.

    Raises:
        UserError: no runs, runs of different data, data that cannot be had, or rewards that say nothing.
    """
    folders = [RunFolder.open(path) for path in find_runs(map(Path, paths))]
    trained_with = max(folder.config().agent_config.discount for folder in folders)
    settings = FitSettings(steps, seed, trained_with if discount is None else discount)
    ground = _Ground(folders, settings, held_out)
    checkpoints = [(f.path, step) for f in folders for step in Checkpoints(f.path / "checkpoints").steps()]
    if not checkpoints:
        raise UserError(f"{folders[0].path} has no checkpoint yet: expected one after the run's first evaluation")
    found = {c: numbers for c in checkpoints if (numbers := ground.kept(*c)) is not None}
    notes = ground.judge([c for c in checkpoints if c not in found], found, progress)
    if not found:
        raise UserError(notes[-1])
    scores = {f.path: _scores(f) for f in folders}
    configs = {f.path: f.config() for f in folders}
    candidates = [
        Candidate(p, configs[p].agent, configs[p].seed, step, numbers, ground.unseen(p), scores[p].get(step))
        for (p, step), numbers in found.items()
    ]
    ranked = tuple(sorted(candidates, key=lambda c: -c.numbers["fqe"]))
    return Selection(folders[0].task().name, folders[0].criterion(), settings, ranked, tuple(notes))


class _Ground:
    """The data on which runs are compared, and what is kept of earlier comparisons."""

    def __init__(self, folders: Sequence[RunFolder], settings: FitSettings, held_out: str | None) -> None:
        self.settings, self.held_out = settings, held_out
        self._data = {folder.path: folder.read()["data"] for folder in folders}
        sets = {self._name(path): path for path in reversed(self._data)}
        if len(sets) > 1:
            (one, first), (other, second), *_ = sets.items()
            raise UserError(
                f"{first} was trained on {one}, {second} on {other}: expected runs of the same data; give one task's"
            )
        self.episodes = sorted(set().union(*map(self._own, self._data)))
        """Those of the runs' data that starts and errors are taken from, and critics are not fitted to."""

    def _name(self, path: Path) -> str:
        data = self._data[path]
        return f"{data['id']} {str(data.get('checksum') or data.get('sha256') or '')[:12]}".strip()

    def _own(self, path: Path) -> list[int]:
        """Episodes held out of a run's data."""
        return (self._data[path].get("held_out") or {}).get("episodes") or []

    def unseen(self, path: Path) -> bool:
        """Whether the run at `path` was not trained on what its errors are taken from."""
        return self.held_out is not None or (bool(self.episodes) and self._own(path) == self.episodes)

    def kept(self, path: Path, step: int) -> dict[str, float] | None:
        """What was found of a checkpoint before, if the same would be found now."""
        try:
            values = json.loads(_file(path, step).read_text())
            return values["metrics"] if values["fit"] == self._fit(path, step) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def judge(
        self, checkpoints: Sequence[tuple[Path, int]], found: dict[tuple[Path, int], dict[str, float]], progress: bool
    ) -> list[str]:
        """Add the numbers of checkpoints to `found`, and keep them; what there is to say of those that are damaged."""
        notes, judge = [], None
        steps = self.settings.steps
        with progress_bar(total=len(checkpoints) * steps, unit="step", disable=not (progress and checkpoints)) as bar:
            for path, step in checkpoints:
                bar.set_description(f"{path.parent.name} {path.name}, step {step:,}")
                try:
                    run = load_run(path, step)
                except UserError as error:
                    notes.append(str(error))
                    bar.update(steps)
                    continue
                judge = judge or self._judge(run)
                found[path, step] = numbers = judge.numbers(run, bar.update)
                file = _file(path, step)
                file.parent.mkdir(exist_ok=True)
                write_numbers(run, numbers, file, str(step), fit=self._fit(path, step))
        return notes

    def _judge(self, run: Run) -> Judge:
        """On the data of any of the runs."""
        data = run.dataset()
        fitted, judged = split(data, self.episodes) if self.episodes else (data, data)
        if self.held_out is not None:
            judged = run.dataset(self.held_out)
        return Judge(fitted, judged, self.settings)

    def _fit(self, path: Path, step: int) -> dict[str, Any]:
        """All that the numbers of a checkpoint depend on."""
        index = path / "checkpoints" / f"step-{step:09d}" / "state.index"  # it holds the checksums of all weights
        weights = hashlib.sha256(index.read_bytes()).hexdigest()[:16]
        judged = {"data": self._name(path), "held_out": self.held_out or self.episodes}
        return asdict(self.settings) | judged | {"weights": weights}


def _file(path: Path, step: int) -> Path:
    return path / "evaluation" / f"step-{step}-fqe.json"


def _scores(folder: RunFolder) -> dict[int, float]:
    """A simulator's scores of a run by step; empty where it was judged on held-out episodes."""
    criterion = folder.criterion()
    if criterion == HELD_OUT:
        return {}
    rows = [row for row in folder.metrics() if np.isfinite(row.get(criterion.metric, np.nan))]
    return {int(row["step"]): row[criterion.metric] for row in rows}


# For people


def _table(selection: Selection) -> list[str]:
    """All candidates, a line each."""
    s = selection.settings
    width = max(len(str(c.run)) for c in selection.candidates)
    scored = any(c.score is not None for c in selection.candidates)
    seen = "" if all(c.unseen for c in selection.candidates) else " (* on episodes it was trained on)"
    title = f"{selection.task}: {len(selection.candidates)} checkpoints by fitted Q evaluation, gamma {s.discount:g}"
    names = f"{'FQE':>9} {'95 % interval':>19} {'apart':>8} {'critic':>9} {'act.error':>10} {'TD error':>9}"
    lines = [f"{title}{seen}", f"{'run':<{width}} {'step':>9} {names}" + (f" {'score':>7}" if scored else "")]
    for c in selection.candidates:
        n = c.numbers
        interval = f"{n['fqe_low']:.4g} to {n['fqe_high']:.4g}"
        error = f"{n['action_error']:.3g}" + ("" if c.unseen else "*")
        critic, td = (f"{n[name]:.4g}" if name in n else "" for name in ("critic_value", "td_error"))
        line = f"{c.run!s:<{width}} {c.step:>9,} {n['fqe']:>9.4g} {interval:>19} {n['fqe_critics_apart']:>8.3g}"
        line += f" {critic:>9} {error:>10} {td:>9}"
        lines.append(line + (f" {c.score:>7.1f}" if c.score is not None else ""))
    lines.append("the interval is over episodes only; how far FQE's two critics are apart hints at their own error")
    unsure = [c for c in selection.candidates if abs(c.numbers["fqe_drift"]) > _spread(selection)]
    if unsure:
        lines.append(
            f"note: {len(unsure)} fits still moved by more than the spread of all estimates: give more --steps than "
            f"{s.steps:,}"
        )
    return lines


def _spread(selection: Selection) -> float:
    """Standard deviation of the estimates."""
    return float(np.std([c.numbers["fqe"] for c in selection.candidates])) or np.inf


def _advice(selection: Selection) -> list[str]:
    """What to take, and the commands for it."""
    best, other = selection.best, min(selection.candidates, key=lambda c: c.numbers["action_error"])
    where = f"{shlex.quote(str(best.run))} --checkpoint {best.step}"
    offline = " --offline" if selection.criterion == HELD_OUT else ""
    return [
        f"would take   {best.agent}, seed {best.seed}, step {best.step:,} of {best.run}",
        f"to judge it  python -m lapo_tf.evaluate {where}{offline}",
        f"to export it python -m lapo_tf.export {where} --out policy/",
        f"by action error one would take {other.agent}, seed {other.seed}, step {other.step:,} of {other.run}",
    ]


def _against_scores(selection: Selection) -> list[str]:
    """How FQE ranks these very checkpoints, where a simulator has scored them."""
    scored = [c for c in selection.candidates if c.score is not None]
    if len(scored) < FEWEST_SCORES:
        return []
    best = max(scored, key=lambda c: c.score or 0.0)
    correlation = rank_correlation(np.array([c.numbers["fqe"] for c in scored]), np.array([c.score for c in scored]))
    return [
        "",
        f"a simulator has scored {len(scored)} of these: rank correlation of FQE with its scores {correlation:.2f}; "
        f"the best by it is step {best.step:,} of {best.run}. Go by the simulator.",
    ]
