"""Read recorded data: D4RL HDF5 files and Minari data sets.

Readers yield `Episode`s, a block at a time: `load_dataset` gives them to `from_episodes`, other commands stream them.
Nothing here pairs observations with their successors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium.spaces import Space
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from lapo_tf.data.dataset import Episode, OfflineDataset, Provenance, Source, check_spaces, from_episodes
from lapo_tf.data.download import COLLECTED_NAMESPACE, download
from lapo_tf.data.layouts import Layout, entries, flatten, layout_of
from lapo_tf.errors import UserError, first_line

# D4RL's published kitchen files.
OFFICIAL_SHA256 = {
    "cd797c38cd52dfbe3f960cef73935cc724847abd189e47a703a7a2315ed60a81": "kitchen-complete",  # mini_kitchen_…
    "57bfd9c5fe88a7cf702bbaf8b7cd800d30cd869e7f73416007238d26cd859800": "kitchen-partial",
    "a30382a50278fdaea2e2d88e5f2836a95bcf9b581d252617872fd6537302721b": "kitchen-mixed",
}
OFFICIAL_NAMESPACES = ("D4RL/", "mujoco/")  # of Minari's public remote

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_BLOCK = 1 << 16  # rows read at a time: large enough to be fast, small beside the data set


@dataclass(frozen=True)
class Recording:
    """A recorded data set, open to be read once, an episode after the other.

    Attributes:
        source: what it is.
        episodes: its episodes, in order; a few megabytes at a time are in memory.
        steps: number of steps of all episodes together, before alignment.
        count: number of episodes; of a D4RL file that jumps, the number before it is cut there.
        metadata: of a Minari data set, else empty.
        warnings: complete when the episodes are consumed.
    """

    source: Source
    episodes: Iterator[Episode]
    steps: int
    count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def load_dataset(
    spec: str | Path,
    *,
    observation_space: Space | int | None = None,
    action_space: Space | int | None = None,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
) -> OfflineDataset:
    """Load a data set and check it against the environment's spaces.

    Args:
        spec: a D4RL file (`….hdf5`, `….h5` or any existing file), else a Minari id such as `D4RL/kitchen/complete-v2`.
        observation_space, action_space: of the environment, or just their dimensions; `None` skips the check.
        layout: how dictionary observations of a Minari data set are flattened (see `lapo_tf.data.layouts`).
        max_episode_steps: where a D4RL file without `timeouts` cuts its episodes.

    Raises:
        UserError: whatever is wrong with the data, in one line.
    """
    with open_recording(spec, layout=layout, max_episode_steps=max_episode_steps) as recording:
        dataset = from_episodes(
            recording.episodes,
            recording.source,
            capacity=recording.steps + recording.count,
            warnings=recording.warnings,
        )
    return check_spaces(replace(dataset, metadata=recording.metadata), observation_space, action_space)


@contextmanager
def open_recording(
    spec: str | Path,
    *,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
    infos: bool = False,
) -> Iterator[Recording]:
    """Open a D4RL file or a Minari data set (downloaded on first use), to read it episode by episode.

    **D4RL's layout**: `observations` [S, obs], `actions` [S, act], `rewards` [S], `terminals` [S], and optionally
    `timeouts` [S], `next_observations` [S, obs] and `infos/…`. An episode ends with a terminal, a timeout, or the
    file's last step (a truncation unless it is terminal). Without `timeouts`, `max_episode_steps` cuts longer runs.
    Where `next_observations` disagree with the following row inside an episode, the recording jumped: the episode is
    cut there, as a truncation with a known next observation.

    **Minari**: HDF5 storage is read through h5py's low-level interface: Minari's own iterator decodes every entry of
    every episode and takes three times as long on many short episodes.

    Args:
        spec, layout, max_episode_steps: see `load_dataset`; without `layout`, that of a published data set is known.
        infos: read all recorded infos that hold numbers per step, too.

    Raises:
        UserError: unknown, absent, damaged or unsupported data, no network, dictionary observations without a layout.
    """
    path = Path(spec).expanduser()
    if path.suffix.lower() in (".hdf5", ".h5") or path.is_file():
        with _open_file(path) as file:
            yield _hdf5_recording(file, path, max_episode_steps, infos)
    else:
        with _open_minari(str(spec), layout, infos) as recording:
            yield recording


@contextmanager
def _open_file(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.h*5")], n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"data file '{path}' does not exist: {hint}give the path of a D4RL .hdf5 file")
    with _readable_file(path):
        file = h5py.File(path)
    with file:
        yield file


@contextmanager
def _readable_file(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # h5py's error for everything it cannot read
        raise UserError(
            f"data file '{path}' cannot be read as HDF5 ({first_line(error)}): "
            "damaged or cut short? download or copy it again"
        ) from error


def _hdf5_recording(file: h5py.File, path: Path, max_episode_steps: int | None, infos: bool) -> Recording:
    with _readable_file(path):
        columns = _columns(file, path, infos)
        steps = len(columns["rewards"])
        warnings: list[str] = []
        terminals = _flags(columns["terminals"], path)
        timeouts = _flags(columns["timeouts"], path) if "timeouts" in columns else None
        ends = _ends(terminals, timeouts, max_episode_steps)
        if timeouts is None and "next_observations" not in columns and steps > 1 and not ends[:-1].any():
            warnings.append("no terminals and no timeouts: read as one episode; set max_episode_steps to cut it")
        digest = _sha256(path)
    source = Source(path.name, "official" if digest in OFFICIAL_SHA256 else "own", sha256=digest)
    extra = [name for name in columns if name.startswith("infos/")]

    def episodes() -> Iterator[Episode]:
        for first, last in _blocks(ends):
            with _readable_file(path):
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
                observations = rows["observations"][a:b]
                if after is not None:
                    observations = np.concatenate([observations, after[b - 1 : b]])
                yield Episode(
                    observations,
                    rows["actions"][a:b],
                    rows["rewards"][a:b].reshape(-1),
                    bool(terminals[first + b - 1]),
                    {name.removeprefix("infos/"): rows[name][a:b] for name in extra},
                )

    return Recording(source, episodes(), steps, int(ends.sum()), warnings=warnings)


def _columns(file: h5py.File, path: Path, infos: bool) -> dict[str, h5py.Dataset]:
    """The arrays of a file in D4RL's layout, with shapes checked."""
    missing = [key for key in _REQUIRED if not isinstance(file.get(key), h5py.Dataset)]
    if missing:
        found = ", ".join(list(file)[:8]) or "nothing"
        advice = "give a file in D4RL's layout"
        if "episode_0" in file:
            advice = "this looks like a Minari data set: give its id"
        raise UserError(
            f"{path.name}: no {', '.join(missing)}; found {found}; expected {', '.join(_REQUIRED)}: {advice}"
        )
    columns = {key: file[key] for key in (*_REQUIRED, "timeouts", "next_observations") if key in file}
    shapes = {name: column.shape for name, column in columns.items()}
    steps = int(np.prod(shapes["rewards"]))
    if len(shapes["actions"]) == 1 and columns["actions"].dtype.kind in "biu":
        raise UserError(
            f"{path.name}: actions are whole numbers, one a step: expected continuous ones [S, act]; agents here "
            "cannot choose among discrete actions"
        )
    flat = ("rewards", "terminals", "timeouts")  # [S], or [S, 1] as some tools write it
    if any(shapes[n] not in ((steps,), (steps, 1)) if n in flat else shapes[n][:1] != (steps,) for n in shapes) or any(
        len(shapes[n]) != 2 for n in shapes if "observations" in n or n == "actions"
    ):
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise UserError(
            f"{path.name}: {found}; expected observations and actions [S, size], the rest [S], all of one length S: "
            "write the file again"
        )
    if not steps:
        raise UserError(f"{path.name}: no steps, expected at least one; check how the file was written")
    if infos and isinstance(file.get("infos"), h5py.Group):
        columns |= {f"infos/{name}": file["infos"][name] for name in _numbers(file["infos"], (steps,))}
    return columns


def _numbers(group: h5py.Group, lengths: Container[int]) -> list[str]:
    """Paths of the arrays below a group that hold numbers and have one of the lengths."""
    names: list[str] = []

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and node.shape and node.dtype.kind in "biuf" and node.shape[0] in lengths:
            names.append(name)

    group.visititems(visit)
    return names


def _flags(column: Any, path: Path) -> NDArray[np.bool_]:
    values = np.asarray(column[()]).reshape(-1)
    if not np.isin(values, (0, 1)).all():
        raise UserError(
            f"{path.name}: {column.name[1:]} hold other values than 0 and 1; expected flags: write them as bool"
        )
    return values.astype(bool)


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


def _blocks(ends: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Ranges of whole episodes, of `_BLOCK` rows or one episode."""
    stops = np.flatnonzero(ends) + 1
    first = 0
    while first < len(ends):
        fitting = stops[np.searchsorted(stops, first + _BLOCK, side="right") - 1]
        last = int(fitting if fitting > first else stops[np.searchsorted(stops, first, side="right")])
        yield first, last
        first = last


def _jumps(observations: np.ndarray, after: np.ndarray) -> NDArray[np.bool_]:
    """Where the recorded next observation is not the following row, beyond rounding; [S - 1]."""
    following = observations[1:]
    apart = np.abs(after[:-1] - following) > 1e-4 * (1 + np.abs(following))
    return np.asarray(apart.any(axis=1), np.bool_)


@contextmanager
def _open_minari(dataset_id: str, layout: Layout | None, infos: bool) -> Iterator[Recording]:
    data = download(dataset_id)
    with _readable(dataset_id, data):
        metadata = MinariStorage.read_raw_metadata(data)
        if metadata.get("data_format", "hdf5") != "hdf5":
            raise UserError(
                f"{dataset_id}: stored as {metadata['data_format']}, expected hdf5: create it with data_format='hdf5'"
            )
        count, steps = int(metadata["total_episodes"]), int(metadata["total_steps"])
        actions = json.loads(metadata.get("action_space") or "{}").get("type", "Box")
        if actions != "Box":
            raise UserError(
                f"{dataset_id}: actions are of a space '{actions}': expected a Box; agents here choose continuous "
                "numbers, not among discrete actions"
            )
        source = Source(dataset_id, provenance_of(dataset_id), minari_version=str(metadata["minari_version"]))
        file = h5py.File(data / "main_data.hdf5")
    with file:
        # Metadata of finished episodes is of no more use; HDF5 would keep some 18 kB of it for every episode.
        cache = file.id.get_mdc_config()
        cache.set_initial_size, cache.initial_size, cache.min_size, cache.max_size = True, 1 << 20, 1 << 20, 4 << 20
        file.id.set_mdc_config(cache)
        yield Recording(source, _minari_episodes(file, dataset_id, data, count, layout, infos), steps, count, metadata)


def provenance_of(dataset_id: str) -> Provenance:
    """Provenance of a Minari data set, by its namespace, which is taken at its word."""
    if dataset_id.startswith(OFFICIAL_NAMESPACES):
        return "official"
    return "collected" if dataset_id.startswith(COLLECTED_NAMESPACE) else "own"


def _minari_episodes(
    file: h5py.File, dataset_id: str, data: Path, count: int, layout: Layout | None, infos: bool
) -> Iterator[Episode]:
    first = file.get("episode_0/observations")
    if not isinstance(first, h5py.Group):
        layout = None
    elif (layout := layout or layout_of(dataset_id)) is None:
        raise UserError(
            f"{dataset_id}: observations are a dictionary of {', '.join(first)}; expected a flat array or a layout: "
            "give `layout`, a list of entries such as 'observation[0:9]'"
        )
    wanted = [f"observations/{key}" for key in entries(layout or ())]
    if count and (absent := [key for key in wanted if f"episode_0/{key}" not in file]):
        raise UserError(f"{dataset_id}: no {', '.join(absent)}; use a data set that has them, or another layout")

    names: list[str] = []  # of infos, as in the first episode
    for number in range(count):
        with _readable(dataset_id, data):
            episode = f"episode_{number}"

            def entry(key: str, where: str = f"{episode}/observations") -> np.ndarray:
                return _read(file, f"{where}/{key}", np.float32)

            observations = flatten(layout, entry) if layout else _read(file, f"{episode}/observations", np.float32)
            actions = _read(file, f"{episode}/actions", np.float32)
            rewards = _read(file, f"{episode}/rewards", np.float32)
            terminations = _read(file, f"{episode}/terminations", np.bool_)
            if infos and number == 0 and f"{episode}/infos" in file:
                names = _numbers(file[f"{episode}/infos"], (len(rewards), len(rewards) + 1))
            where = f"{episode}/infos"
            extra = {name: _read(file, f"{where}/{name}", np.float64) for name in names if f"{where}/{name}" in file}
        yield Episode(observations, actions, rewards, terminations, extra)


@contextmanager
def _readable(dataset_id: str, data: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError) as error:  # what json and h5py raise for damaged files
        raise UserError(
            f"{dataset_id}: its files cannot be read ({first_line(error)}): "
            f"delete {data.parent} and download or copy it again"
        ) from error


def _read(file: h5py.File, path: str, dtype: type[np.generic]) -> np.ndarray:
    """One array, converted by HDF5 while it is read. h5py's high-level objects would triple the time."""
    dataset = h5py.h5d.open(file.id, path.encode())
    array = np.empty(dataset.shape, dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    return array


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
