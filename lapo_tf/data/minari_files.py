"""Read Minari data sets.

HDF5 storage is read through h5py's low-level interface: Minari's own iterator decodes every entry of every episode and
takes three times as long on many short episodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from minari.dataset.minari_storage import MinariStorage

from lapo_tf.data.columns import column, dictionary, node, numbers_below, read
from lapo_tf.data.dataset import Episode, Provenance, Source
from lapo_tf.data.download import COLLECTED_NAMESPACE, download
from lapo_tf.data.layouts import Layout, entries, flatten, layout_of
from lapo_tf.data.recording import Recording
from lapo_tf.errors import UserError, first_line

OFFICIAL_NAMESPACES = ("D4RL/", "mujoco/")  # of Minari's public remote
_SPACES = ("Box", "MultiBinary", "MultiDiscrete")  # whose observations are numbers


@contextmanager
def open_minari(dataset_id: str, layout: Layout | None, infos: bool) -> Iterator[Recording]:
    """Open a data set, which is downloaded if it is not here; see `lapo_tf.data.readers.open_recording`."""
    data = download(dataset_id)
    with _readable(dataset_id, data):
        metadata = MinariStorage.read_raw_metadata(data)
        if metadata.get("data_format", "hdf5") != "hdf5":
            raise UserError(
                f"{dataset_id}: stored as {metadata['data_format']}, expected hdf5: create it with data_format='hdf5'"
            )
        count, steps = int(metadata["total_episodes"]), int(metadata["total_steps"])
        layout = _checked(metadata, dataset_id, layout)
        source = Source(dataset_id, provenance_of(dataset_id), minari_version=str(metadata["minari_version"]))
        file = h5py.File(data / "main_data.hdf5")
    with file:
        # Metadata of finished episodes is of no more use; HDF5 would keep some 18 kB of it for every episode.
        cache = file.id.get_mdc_config()
        cache.set_initial_size, cache.initial_size, cache.min_size, cache.max_size = True, 1 << 20, 1 << 20, 4 << 20
        file.id.set_mdc_config(cache)
        yield Recording(source, _episodes(file, dataset_id, data, count, layout, infos), steps, count, metadata)


def provenance_of(dataset_id: str) -> Provenance:
    """Provenance of a Minari data set, by its namespace, which is taken at its word."""
    if dataset_id.startswith(OFFICIAL_NAMESPACES):
        return "official"
    return "collected" if dataset_id.startswith(COLLECTED_NAMESPACE) else "own"


def _checked(metadata: Mapping[str, Any], dataset_id: str, layout: Layout | None) -> Layout | None:
    """The layout of its observations, None if they are an array.

    Raises:
        UserError: spaces that agents here cannot learn for, by name.
    """
    acted, seen = (json.loads(metadata.get(f"{what}_space") or "{}") for what in ("action", "observation"))
    kind = acted.get("type", "Box")
    if kind != "Box":
        why = "agents here choose continuous numbers, not among discrete actions"
        if kind in ("Dict", "Tuple"):
            why = "write its numbers as one array"
        raise UserError(f"{dataset_id}: actions are of a space '{kind}': expected a Box; {why}")
    kind, layout = seen.get("type", "Box"), layout or layout_of(dataset_id)
    if kind in ("Dict", "Tuple"):
        if layout is None:
            inside = seen.get("subspaces") or {}
            keys = list(inside) if kind == "Dict" else [f"_index_{i}" for i in range(len(inside))]
            raise UserError(dictionary(f"{dataset_id}: observations", keys))
        return layout
    if kind not in _SPACES:
        raise UserError(
            f"{dataset_id}: observations are of a space '{kind}': expected numbers ({', '.join(_SPACES)}), or a Dict "
            "or Tuple of such with a layout; write them as numbers"
        )
    for what, space in (("observations", seen), ("actions", acted)):
        if len(shape := space.get("shape") or ()) > 2:
            raise UserError(f"{dataset_id}: {what} are arrays of shape {shape}: expected vectors; images are not read")
    return None


def _episodes(
    file: h5py.File, dataset_id: str, data: Path, count: int, layout: Layout | None, infos: bool
) -> Iterator[Episode]:
    if count:
        with _readable(dataset_id, data):
            for key in entries(layout or ()):
                column(node(file, "episode_0", dataset_id), f"observations/{key}", dataset_id)
    names: list[str] = []  # of infos, as in the first episode
    for number in range(count):
        with _readable(dataset_id, data):
            episode = f"episode_{number}"

            def entry(key: str, where: str = f"{episode}/observations") -> np.ndarray:
                return read(file, f"{where}/{key}", np.float32)

            observations = flatten(layout, entry) if layout else _vectors(file, f"{episode}/observations")
            actions = _vectors(file, f"{episode}/actions")
            rewards = read(file, f"{episode}/rewards", np.float32)
            terminations = read(file, f"{episode}/terminations", np.bool_)
            if infos and number == 0 and f"{episode}/infos" in file:
                names = numbers_below(file[f"{episode}/infos"], (len(rewards), len(rewards) + 1))
            where = f"{episode}/infos"
            extra = {name: read(file, f"{where}/{name}", np.float64) for name in names if f"{where}/{name}" in file}
        yield Episode(observations, actions, rewards, terminations, extra)


def _vectors(file: h5py.File, path: str) -> np.ndarray:
    """Rows of numbers [T, n]; matrices and single numbers are vectors, too."""
    array = read(file, path, np.float32)
    return array.reshape(len(array), -1)


@contextmanager
def _readable(dataset_id: str, data: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError) as error:  # what json and h5py raise for damaged files
        raise UserError(
            f"{dataset_id}: its files cannot be read ({first_line(error)}): "
            f"delete {data.parent} and download or copy it again"
        ) from error
