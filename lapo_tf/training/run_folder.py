"""The run folder: everything that training leaves behind, and all that later commands need.

    config.yaml      the run's options, task, versions, data set and scaling; `history`: data of its earlier parts
    metrics.csv      one row per evaluation; `step` first; columns are explained in `docs/metrics.md`
    episodes.npz     `steps` [E] and `returns`, `lengths` [E, episodes] of every evaluation episode
    checkpoints/     step-<n>/ folders of TensorFlow checkpoints: the last few and the best
    tensorboard/     event files
    evaluation/      what later commands found of a checkpoint; step-<n>.json of `lapo_tf.evaluate`

Every file is written beside its place and moved there, so an interrupted run leaves no half-written one.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError, first_line
from lapo_tf.tasks import Task, load_task, read_task
from lapo_tf.tasks.task import HELD_OUT, SCORE, Criterion
from lapo_tf.training.migration import migrated
from lapo_tf.training.options import build_config
from lapo_tf.yaml_files import read_yaml

PACKAGES = (
    *("lapo-tf", "tensorflow", "tensorflow-probability", "keras", "numpy"),
    *("gymnasium", "gymnasium-robotics", "mujoco", "minari"),
)

EARLIER = "loop/metric_sums/.ATTRIBUTES/VARIABLE_VALUE"  # one vector, in checkpoints made before November 28, 2026


class RunFolder:
    """Reads and writes one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def create(path: Path) -> RunFolder:
        """A run folder to be; it comes into being with `write_config`.

        Raises:
            UserError: it holds a run already.
        """
        if (path / "config.yaml").exists():
            raise UserError(
                f"{path} already holds a run: continue it with --resume {shlex.quote(str(path))}, "
                "or give another --run-dir or --seed"
            )
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            UserError: there is no run in it.
        """
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path} holds no run (no config.yaml): expected a folder like runs/<task>/<agent>/seed0")
        return RunFolder(path)

    def clean(self) -> None:
        """Remove what a killed process left half-written; only for who holds the folder's lock."""
        for folder in (self.path, self.path / "checkpoints"):
            for leftover in folder.glob(".*"):
                if re.fullmatch(r"\.(step-\d+|.+\.(csv|npz|yaml|json))\.\d+", leftover.name):  # see `replacing`
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    # Configuration

    def write_config(
        self,
        config: TrainConfig,
        data: dict[str, Any],
        agent: dict[str, Any],
        history: Sequence[dict[str, Any]] = (),
        task: Task | None = None,
    ) -> None:
        """Write `config.yaml`: options, the task, data provenance, what rebuilds the agent, and versions.

        Args:
            history: of a run that went on with other data: `until` (step) and `data` of each earlier part.
            task: all of it, so that later commands need not know it; without it they look for its name.
        """
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "config": config.to_dict(),
            **({} if task is None else {"task": task.to_dict()}),
            "data": data,
            "agent": agent,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        }
        if history:
            values["history"] = list(history)
        with replacing(self.path / "config.yaml") as temporary:
            text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
            temporary.write_text(text, encoding="utf-8")

    def read(self) -> dict[str, Any]:
        """All of `config.yaml`.

        Raises:
            UserError: it is damaged, or not a run's.
        """
        values = read_yaml(self.path / "config.yaml")
        if not all(isinstance(values.get(part), dict) for part in ("config", "data", "agent")):
            raise UserError(f"{self.path / 'config.yaml'} is not a run's: expected config, data and agent in it")
        return values

    def config(self) -> TrainConfig:
        """The run's options."""
        return build_config(migrated(self.read()["config"]))

    def criterion(self) -> Criterion:
        """What the run's policies are judged by."""
        return HELD_OUT if self.config().offline else self.task().criterion

    def task(self) -> Task:
        """The run's task: as it was written down, or that of its name, in folders from before tasks were."""
        values = self.read()
        if "task" in values:
            return read_task(values["task"], f"{self.path / 'config.yaml'}: task.")
        return load_task(str(values["config"].get("task")))

    # Metrics and episodes

    def metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / "metrics.csv"
        if not path.exists():
            return []
        with path.open() as file, _readable(path):
            lines = list(csv.DictReader(file))
            if not lines or "step" not in lines[0]:
                raise ValueError("no rows" if not lines else "no column 'step'")
            if None in lines[-1].values():
                raise ValueError("its last line is cut short")
            return [{k: int(v) if k == "step" else float(v) for k, v in line.items()} for line in lines]

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Replace `metrics.csv`."""
        with replacing(self.path / "metrics.csv") as temporary, temporary.open("w", newline="") as file:
            # Metrics depend on the agent's options, which a resumed run may change.
            columns = dict.fromkeys(name for row in rows for name in row)
            writer = csv.DictWriter(file, list(columns), restval="nan")
            writer.writeheader()
            writer.writerows(rows)

    def episodes(self) -> dict[str, np.ndarray]:
        """`steps` [E], `returns` [E, episodes], `lengths` [E, episodes].

        Raises:
            UserError: the file is damaged.
        """
        path = self.path / "episodes.npz"
        if not path.exists():
            return {}
        with _readable(path), np.load(path) as file:
            return {name: file[name] for name in ("steps", "returns", "lengths")}

    def evaluation(self, step: int) -> dict[str, Any] | None:
        """What `lapo_tf.evaluate` found of the checkpoint of `step`: `episodes`, `metrics`, and of what; None before.

        Raises:
            UserError: the file is damaged.
        """
        path = self.path / "evaluation" / f"step-{step}.json"
        if not path.exists():
            return None
        with _readable(path):
            values = json.loads(path.read_text())
            return values | {"episodes": int(values["episodes"]), "metrics": dict(values["metrics"])}

    def write_episodes(self, episodes: dict[str, np.ndarray]) -> None:
        """Replace `episodes.npz`."""
        with replacing(self.path / "episodes.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **episodes)  # type: ignore[arg-type]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what readers raise for a damaged file into a `UserError` with its path."""
    try:
        yield
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): restore it from a copy, or delete it") from error


class replacing:  # noqa: N801 (a context manager, used as a function)
    """Gives a temporary path beside `path`; moves it there at the end, or removes it after an error."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            if self.temporary.is_file():  # so that a power cut leaves the old file or the new one, not an empty one
                with self.temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            os.replace(self.temporary, self.path)
        elif self.temporary.is_dir():
            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.temporary.unlink(missing_ok=True)


class Checkpoints:
    """Checkpoints of a trackable state: the last `keep` and the best."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder, self.keep = folder, keep

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, ascending."""
        found = (re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.glob("step-*") if path.is_dir())
        return sorted(int(match[1]) for match in found if match)

    def best(self) -> int | None:
        """The step with the best evaluation so far.

        Raises:
            UserError: `best.json` is damaged.
        """
        best = self._best()
        return None if best is None else int(best["step"])

    def _best(self) -> dict[str, Any] | None:
        """`step`, `score` and, where that is no normalized score, `metric` of the best evaluation so far."""
        path = self.folder / "best.json"
        if not path.exists():
            return None
        with _readable(path):
            values = json.loads(path.read_text())
            return values | {"step": int(values["step"]), "score": float(values["score"])}

    def save(
        self, state: tf.train.Checkpoint, step: int, score: float | None = None, criterion: Criterion = SCORE
    ) -> Path:
        """Write the state at `step`; `score` is that step's evaluation by `criterion`, if there was one."""
        target = self.folder / f"step-{step:09d}"
        with replacing(target) as temporary:
            temporary.mkdir(parents=True)
            state.write(str(temporary / "state"))
            shutil.rmtree(target, ignore_errors=True)  # only now that there is another
        best = self._best()
        if best is not None and best.get("metric", SCORE.metric) != criterion.metric:
            best = None  # a resumed run is judged by something else now
        if score is not None and (best is None or criterion.sign * (score - best["score"]) > 0):
            with replacing(self.folder / "best.json") as temporary:
                metric = {} if criterion == SCORE else {"metric": criterion.metric}
                temporary.write_text(json.dumps({"step": step, "score": score} | metric))
        for old in self.steps()[: -self.keep]:
            if old != self.best():
                shutil.rmtree(self.folder / f"step-{old:09d}", ignore_errors=True)
        return target

    def restore(self, state: tf.train.Checkpoint, step: int | None = None) -> tuple[int, str | None]:
        """Load the newest readable checkpoint, or that of `step`.

        Returns:
            The step loaded, and a line about newer checkpoints that were damaged, if any.

        Raises:
            UserError: there is no readable one, or it is of networks with other dimensions.
        """
        steps = self.steps() if step is None else [step]
        damaged: list[int] = []
        for candidate in reversed(steps):
            path = str(self.folder / f"step-{candidate:09d}" / "state")
            try:
                status = state.read(path).expect_partial()
                status.assert_existing_objects_matched()
            except Exception as error:  # TensorFlow reports damage as anything from OpError to IndexError
                if not (isinstance(error, AssertionError) or (isinstance(error, ValueError) and "hape" in str(error))):
                    damaged.append(candidate)
                    continue
                if EARLIER in tf.train.load_checkpoint(path).get_variable_to_shape_map():
                    raise UserError(
                        f"the checkpoint of step {candidate} in {self.folder} is an earlier version's, whose training "
                        "cannot go on: evaluate and export it as it is, or start the run again"
                    ) from error
                raise UserError(
                    f"the checkpoint of step {candidate} in {self.folder} is of other networks "
                    f"({str(error).splitlines()[0][:120]}): resume with the options it was made with"
                ) from error
            note = f"checkpoint of step {damaged[0]} is damaged: going on from step {candidate}" if damaged else None
            return candidate, note
        found = f"checkpoints of steps {damaged} are damaged" if damaged else "no checkpoint"
        raise UserError(f"{self.folder}: {found}, nothing to load; start the run again")
