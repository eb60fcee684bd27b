"""The data that a policy was trained on, from which the ranges and the thresholds of novelty come.

  demos.npz        arrays `observations` [N, obs]; perhaps `actions` [N, act], and `episode` [N], a number for each row
  demos.csv        a header with the observations' names; perhaps columns `action/<joint>`, and `episode`
  lapo/reach-v0    the id of a Minari data set (pip install 'minari[hdf5]')

Rows are in order of time. Without `episode` they are one.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.own_policy.numbers import Number

SOURCES = (__doc__ or "").partition("\n\n")[2]
"""What may be given, for `--help`."""
STRETCHES = 5  # into which a single episode is cut, so that some can be held out


@dataclass(frozen=True)
class Recordings:
    """Rows of what was seen and done.

    Attributes:
        source: what they are, for `policy.json`.
        observations: [N, obs], float64.
        actions: [N, act], or None.
        episode: [N], ascending numbers from 0.
    """

    source: dict[str, Any]
    observations: np.ndarray
    actions: np.ndarray | None
    episode: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The first observation of each episode, [E, obs]."""
        return self.observations[np.unique(self.episode, return_index=True)[1]]

    def held_out_in_turn(self) -> np.ndarray:
        """Numbers [N] of what is held out together: episodes, or stretches of a single one."""
        if self.episode[-1] > 0:
            return self.episode
        return np.arange(len(self.episode)) * STRETCHES // len(self.episode)


def read_recordings(source: str, observed: list[Number], commanded: list[Number]) -> Recordings:
    """Read a file or a data set.

    Raises:
        UserError: it is not there, or does not hold these numbers.
    """
    path = Path(source).expanduser()
    if path.suffix == ".npz":
        found = _npz(path)
    elif path.suffix == ".csv":
        found = _csv(path, observed, commanded)
    elif path.exists():
        raise UserError(f"--data {source}: expected a .npz or .csv file, or the id of a Minari data set")
    else:
        found = _minari(source)
    observations, actions, episode = found
    for what, rows, size in (("observations", observations, len(observed)), ("actions", actions, len(commanded))):
        if rows is None:
            continue
        if rows.ndim != 2 or rows.dtype.kind not in "fiub":
            raise UserError(
                f"{source}: {what} are {rows.dtype} of shape {rows.shape}: expected numbers, [rows, {size}]"
            )
        if rows.shape[1] != size:
            raise UserError(f"{source}: {what} are {rows.shape[1]} numbers, but the file of numbers names {size}")
        if not np.isfinite(rows).all():
            raise UserError(f"{source}: {what} hold NaN or infinite numbers: leave these rows out")
    if len(observations) < 2 * STRETCHES:
        raise UserError(f"{source} has {len(observations)} rows: expected {2 * STRETCHES} or more")
    for what, rows in (("actions", actions), ("episode", episode)):
        if rows is not None and len(rows) != len(observations):
            raise UserError(f"{source}: {len(rows)} rows of {what} for {len(observations)} of observations")
    if episode is None:
        numbers = np.zeros(len(observations), np.intp)
    else:
        numbers = np.cumsum(np.concatenate([[0], np.diff(episode) != 0]))
    told = {"id": source, "rows": len(observations), "episodes": int(numbers[-1]) + 1}
    if path.is_file():
        told["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recordings(told, observations.astype(np.float64), actions, numbers)


Found = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def _npz(path: Path) -> Found:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("observations", "actions", "episode") if name in arrays}
            listed = ", ".join(arrays.files)
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as .npz ({' '.join(str(error).split())[:100]})") from None
    if "observations" not in found:
        raise UserError(f"{path} has no array 'observations'; it has: {listed}")
    return found["observations"], found.get("actions"), found.get("episode")


def _csv(path: Path, observed: list[Number], commanded: list[Number]) -> Found:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    columns = {name.strip(): i for i, name in enumerate(header)}
    actions = [f"action/{number.name.rpartition('/')[0]}" for number in commanded]
    if missing := [number.name for number in observed if number.name not in columns]:
        raise UserError(f"{path} has no column '{missing[0]}'; it has: {', '.join(columns)}")
    wanted = [number.name for number in observed]
    wanted += actions if set(actions) <= set(columns) else []
    wanted += ["episode"] if "episode" in columns else []
    try:
        table = np.array([[float(row[columns[name]]) for name in wanted] for row in rows if row], np.float64)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: a row is short, or holds no number ({error})") from None
    table = table.reshape(len(table), len(wanted))
    split = len(observed), len(observed) + (len(commanded) if actions[0] in wanted else 0)
    here, done, episode = table[:, : split[0]], table[:, split[0] : split[1]], table[:, split[1] :]
    return here, done if done.shape[1] else None, episode[:, 0] if episode.shape[1] else None


def _minari(source: str) -> Found:
    try:
        import minari
    except ImportError:
        raise UserError(
            f"--data {source} is no file; as a Minari data set it needs: pip install 'minari[hdf5]'"
        ) from None
    try:
        data = minari.load_dataset(source)
        episodes = [(episode.observations, episode.actions) for episode in data.iterate_episodes()]
    except Exception as error:  # Minari's, h5py's and those of spaces
        raise UserError(f"--data {source} is no file, and cannot be read as a Minari data set ({error})") from None
    if not all(isinstance(part, np.ndarray) for pair in episodes for part in pair):
        raise UserError(f"--data {source}: observations or actions are no plain arrays: write them to a .npz file")
    seen = [observations[: len(actions)] for observations, actions in episodes]
    number = np.repeat(np.arange(len(seen)), [len(rows) for rows in seen])
    return np.concatenate(seen), np.concatenate([actions for _, actions in episodes]), number
