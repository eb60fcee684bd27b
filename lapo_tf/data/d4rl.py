"""Read files in D4RL's layout.

`observations` [S, obs], `actions` [S, act], `rewards` [S], `terminals` [S], and optionally `timeouts` [S],
`next_observations` [S, obs] and `infos/…`. An episode ends with a terminal, a timeout, or the file's last step (a
truncation unless it is terminal). D4RL's first files have no `timeouts`: their episodes are cut at the environment's
time limit, as D4RL itself does. Where `next_observations` disagree with the following row inside an episode, the
recording jumped: the episode is cut there, as a truncation with a known next observation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lapo_tf.data.columns import Column, column, node, numbers_below, observations
from lapo_tf.data.dataset import Episode, Source
from lapo_tf.data.layouts import Layout
from lapo_tf.data.recording import OFFICIAL_SHA256, Recording
from lapo_tf.errors import UserError, first_line

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_FLAGS = ("terminals", "timeouts")
_BLOCK = 1 << 16  # rows read at a time: large enough to be fast, small beside the data set


@contextmanager
def open_d4rl(path: Path, layout: Layout | None, max_episode_steps: int | None, infos: bool) -> Iterator[Recording]:
    """Open a file; see `lapo_tf.data.readers.open_recording`."""
    with opened(path) as file:
        yield _recording(file, path, layout, max_episode_steps, infos)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.h*5")], n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"data file '{path}' does not exist: {hint}give the path of an .hdf5 file")
    with _readable(path):
        file = h5py.File(path)
    with file:
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # h5py's error for everything it cannot read
        raise UserError(
            f"data file '{path}' cannot be read as HDF5 ({first_line(error)}): "
            "damaged or cut short? download or copy it again"
        ) from error


def _recording(
    file: h5py.File, path: Path, layout: Layout | None, max_episode_steps: int | None, infos: bool
) -> Recording:
    with _readable(path):
        columns = _columns(file, path, layout, infos)
        steps = len(columns["rewards"])
        terminals = _flags(columns["terminals"], "terminals", path)
        timeouts = _flags(columns["timeouts"], "timeouts", path) if "timeouts" in columns else None
        ends = _ends(terminals, timeouts, max_episode_steps)
        warnings = [] if timeouts is not None else _without_timeouts(terminals, ends, max_episode_steps)
        if "next_observations" in columns and not max_episode_steps:
            warnings = []  # they tell where the recording goes on
        digest = _sha256(path)
    source = Source(path.name, "official" if digest in OFFICIAL_SHA256 else "own", sha256=digest)
    extra = [name for name in columns if name.startswith("infos/")]

    def episodes() -> Iterator[Episode]:
        for first, last in _blocks(ends):
            with _readable(path):
                rows = {name: column[first:last] for name, column in columns.items()}
            cuts = ends[first:last]
            after = rows.get("next_observations")
            if after is not None:
                jumps = _jumps(rows["observations"], after) & ~cuts[:-1]
                if jumps.any():
                    cuts = cuts.copy()
                    cuts[:-1] |= jumps
                    if not any("jump" in warning for warning in warnings):
                        warnings.append(f"next_observations jump at step {first + int(np.argmax(jumps))}: cut there")
            stops = np.flatnonzero(cuts) + 1
            for a, b in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True):
                seen = rows["observations"][a:b]
                if after is not None:
                    seen = np.concatenate([seen, after[b - 1 : b]])
                yield Episode(
                    seen,
                    rows["actions"][a:b],
                    rows["rewards"][a:b].reshape(-1),
                    bool(terminals[first + b - 1]),
                    {name.removeprefix("infos/"): rows[name][a:b] for name in extra},
                )

    return Recording(source, episodes(), steps, int(ends.sum()), warnings=warnings)


def _columns(file: h5py.File, path: Path, layout: Layout | None, infos: bool) -> dict[str, Column]:
    """The file's columns, with kinds and shapes checked."""
    if missing := [key for key in _REQUIRED if key not in file]:
        found = ", ".join(list(file)[:8]) or "nothing"
        advice = "give a file in D4RL's layout"
        if "episode_0" in file:
            advice = "this looks like a Minari data set: give its id"
        elif "demo_0" in file.get("data", {}):
            advice = "this looks like robomimic's: python -m lapo_tf.data import robomimic"
        raise UserError(
            f"{path.name}: no {', '.join(missing)}; found {found}; expected {', '.join(_REQUIRED)}: {advice}"
        )
    columns: dict[str, Column] = {
        name: (observations if "observations" in name else _plain)(file, name, layout, path.name)
        for name in (*_REQUIRED, "timeouts", "next_observations")
        if name in file
    }
    shapes = {name: found.shape for name, found in columns.items()}
    steps = int(np.prod(shapes["rewards"]))
    if len(shapes["actions"]) == 1 and columns["actions"].dtype.kind in "biu":
        raise UserError(
            f"{path.name}: actions are whole numbers, one a step: expected continuous ones [S, act]; agents here "
            "cannot choose among discrete actions"
        )
    for name, shape in shapes.items():
        flat = name not in ("actions", "observations", "next_observations")  # [S], or [S, 1] as some tools write it
        if shape not in ((steps,), (steps, 1)) if flat else len(shape) != 2 or shape[0] != steps or not shape[1]:
            found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise UserError(
                f"{path.name}: {found}; expected observations and actions [S, size], the rest [S], all of one length "
                "S: write the file again"
            )
    if not steps:
        raise UserError(f"{path.name}: no steps, expected at least one; check how the file was written")
    if shapes.get("next_observations", shapes["observations"]) != shapes["observations"]:
        wide, expected = shapes["next_observations"][1], shapes["observations"][1]
        raise UserError(f"{path.name}: next_observations have {wide} values, observations {expected}: expected as many")
    if infos and isinstance(file.get("infos"), h5py.Group):
        inside = node(file, "infos", path.name)
        columns |= {f"infos/{name}": inside[name] for name in numbers_below(inside, (steps,))}
    return columns


def _plain(file: h5py.File, name: str, _: Layout | None, where: str) -> Column:
    return column(file, name, where)


def _flags(values: Column, name: str, path: Path) -> NDArray[np.bool_]:
    flags = np.asarray(values[:]).reshape(-1)
    if not np.isin(flags, (0, 1)).all():
        raise UserError(f"{path.name}: {name} hold other values than 0 and 1; expected flags: write them as bool")
    return flags.astype(bool)


def _ends(
    terminals: NDArray[np.bool_], timeouts: NDArray[np.bool_] | None, max_episode_steps: int | None
) -> NDArray[np.bool_]:
    """Which steps are the last of an episode, [S]."""
    ends = terminals.copy() if timeouts is None else terminals | timeouts
    if timeouts is None and max_episode_steps:
        step = np.arange(len(ends))
        first = np.concatenate([[0], np.where(ends[:-1], step[1:], 0)])
        position = step - np.maximum.accumulate(first)  # within the run between terminals
        ends |= position % max_episode_steps == max_episode_steps - 1
    ends[-1] = True
    return ends


def _without_timeouts(
    terminals: NDArray[np.bool_], ends: NDArray[np.bool_], max_episode_steps: int | None
) -> list[str]:
    """What to say of a file that does not tell where recordings of episodes ended."""
    if max_episode_steps:
        cut = int((ends & ~terminals)[:-1].sum())
        what = f"no timeouts: {cut:,} episodes cut after {max_episode_steps:,} steps; --max-episode-steps gives another"
        return [f"{what} limit"] if cut else []
    longest = int(np.diff(np.concatenate([[-1], np.flatnonzero(ends)])).max())
    if longest < 2:
        return []
    if not terminals.any():
        return [f"no timeouts and no terminals: read as one episode of {longest:,} steps; --max-episode-steps cuts it"]
    return [
        f"no timeouts: episodes end at terminals alone, the longest after {longest:,} steps; --max-episode-steps cuts "
        "them"
    ]


def _blocks(ends: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Ranges of whole episodes, of `_BLOCK` rows or one episode."""
    stops = np.flatnonzero(ends) + 1
    first = 0
    while first < len(ends):
        fitting = stops[np.searchsorted(stops, first + _BLOCK, side="right") - 1]
        last = int(fitting if fitting > first else stops[np.searchsorted(stops, first, side="right")])
        yield first, last
        first = last


def _jumps(before: np.ndarray, after: np.ndarray) -> NDArray[np.bool_]:
    """Where the recorded next observation is not the following row, beyond rounding; [S - 1]."""
    following = np.asarray(before[1:], np.float32)
    same = np.abs(np.asarray(after[:-1], np.float32) - following) <= 1e-4 * (1 + np.abs(following))  # NaN never is
    return ~np.asarray(same.all(axis=1), np.bool_)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
