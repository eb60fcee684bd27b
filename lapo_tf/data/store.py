"""Write episodes as a local Minari data set: completely, or not at all.

A data set is written in a hidden folder and then moved to its place (`lapo_tf.data.hidden`). So neither Ctrl-C, a full
disk nor the death of the process leaves half of one that loads, or takes one away that was there.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Space
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage.datasets_root_dir import get_dataset_path

from lapo_tf.data.dataset import METADATA, Episode, as_arrays
from lapo_tf.data.download import COLLECTED_NAMESPACE, is_local
from lapo_tf.data.hidden import hidden_folder, publish
from lapo_tf.data.minari_files import OFFICIAL_NAMESPACES
from lapo_tf.errors import UserError
from lapo_tf.progress import Bar

MARGIN = 32 << 20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Written:
    """What was written. `dropped` steps had no next observation (see `lapo_tf.data.dataset`)."""

    dataset_id: str
    steps: int
    episodes: int
    dropped: int
    warnings: tuple[str, ...] = ()
    """What is odd about the data, for people."""


def check_new(dataset_id: str, *, force: bool = False, option: str = "--id") -> None:
    """Refuse, before any work is done, an id under which nothing can be written.

    Raises:
        UserError: no Minari id, or one that exists already (unless `force`).
    """
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:  # TypeError: Minari, where the version is missing
        raise UserError(f"'{dataset_id}' is no Minari data set id: expected namespace/name-v0") from error
    if (is_local(dataset_id) or get_dataset_path(dataset_id).exists()) and not force:
        raise UserError(f"data set '{dataset_id}' exists: use it, replace it with --force, or give another {option}")


def check_own(dataset_id: str, *, collected: bool = False) -> None:
    """Refuse an id by which own data would pass for published data, or (unless they are) for collected data.

    Raises:
        UserError: a namespace that says so.
    """
    reserved = OFFICIAL_NAMESPACES if collected else (*OFFICIAL_NAMESPACES, COLLECTED_NAMESPACE)
    if dataset_id.startswith(reserved):
        space = dataset_id.split("/")[0]
        whose = "this project's collectors" if dataset_id.startswith(COLLECTED_NAMESPACE) else "published data sets"
        raise UserError(f"'{dataset_id}': namespace {space}/ is for {whose}; give another, such as own/my-data-v0")


def write_dataset(
    dataset_id: str,
    episodes: Iterable[Episode],
    *,
    observation_space: Box | None = None,
    action_space: Box | None = None,
    env_id: str | None = None,
    algorithm: str | None = None,
    description: str,
    metadata: Mapping[str, Any] | None = None,
) -> Written:
    """Write a Minari data set, streaming: one episode is in memory at a time. One of that id is replaced.

    Args:
        dataset_id: checked by `check_new` before.
        episodes: observations, actions and rewards are stored in float32, infos as they are. An episode without its
            final observation loses its last step, or, if terminated, repeats its last observation.
        observation_space, action_space: default: unbounded, of the first episode's dimensions.
        env_id: gymnasium id of the environment the data are from.
        algorithm, description: for Minari's metadata.
        metadata: read when all episodes are written, so a generator may fill it in; kept under `METADATA`.

    Raises:
        UserError: no episodes, unusable contents, or a disk that is full.
    """
    stream = iter(episodes)
    first = next(stream, None)
    if first is None:
        raise UserError(f"nothing to write to '{dataset_id}': no episode is left; look at what was given")
    counted = _Counted(dataset_id)
    obs_dim, act_dim = (np.shape(a)[-1] for a in (first.observations, first.actions))
    spaces = {
        "observation_space": observation_space or Box(-np.inf, np.inf, (obs_dim,), np.float32),
        "action_space": action_space or Box(-np.inf, np.inf, (act_dim,), np.float32),
    }
    with _hidden(dataset_id) as root, _redirected(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fields that only an upload needs
        dataset = create_dataset_from_buffers(
            dataset_id,
            counted.buffers(chain([first], stream), **spaces),  # typed as a list by Minari, but read once, one by one
            env=gym.spec(env_id) if env_id else None,
            algorithm_name=algorithm,
            description=description,
            data_format="hdf5",
            **spaces,
        )
        if not counted.episodes:
            raise UserError(
                f"nothing to write to '{dataset_id}': no transition is left of {counted.dropped} steps, none has a "
                "next observation; record longer episodes"
            )
        if metadata:
            dataset.storage.update_metadata({METADATA: dict(metadata)})
    return Written(dataset_id, counted.steps, counted.episodes, counted.dropped)


def counted(episodes: Iterable[Episode], bar: Bar) -> Iterator[Episode]:
    """The episodes, counted by a bar."""
    for episode in episodes:
        yield episode
        bar.update()


def environment_id(metadata: Mapping[str, Any]) -> str | None:
    """The gymnasium id of the environment that a Minari data set's metadata name, if it is registered here."""
    spec = metadata.get("env_spec")
    name = json.loads(spec).get("id") if isinstance(spec, str) else None
    return name if name in gym.registry else None


class _Counted:
    """Episodes on their way to Minari."""

    def __init__(self, name: str) -> None:
        self.name, self.root = name, get_dataset_path()
        self.steps = self.episodes = self.dropped = 0

    def buffers(self, episodes: Iterable[Episode], observation_space: Space, action_space: Space) -> Iterator[Any]:
        for episode in episodes:
            where = f"{self.name}: episode {self.episodes}"
            obs, act, rew, term = as_arrays(episode, where)
            if len(obs) == len(rew):
                if term[-1]:
                    obs = np.concatenate([obs, obs[-1:]])
                else:
                    self.dropped += 1
                    act, rew, term = act[:-1], rew[:-1], term[:-1]
            if not len(rew):
                continue
            if (obs.shape[1:], act.shape[1:]) != (observation_space.shape, action_space.shape):
                expected = [gym.spaces.flatdim(space) for space in (observation_space, action_space)]
                raise UserError(
                    f"{where} has {obs.shape[1]} observations and {act.shape[1]} actions per step, "
                    f"expected {expected[0]} and {expected[1]}: write data of one kind into one data set"
                )
            for name, array in (("observations", obs), ("actions", act), ("rewards", rew)):
                if not np.isfinite(array).all():
                    step = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
                    raise UserError(f"{where}, step {step}: {name} are NaN or infinite; repair or remove that episode")
            last = np.arange(len(rew)) == len(rew) - 1
            infos = {key: np.asarray(value) for key, value in episode.infos.items()}
            # Minari's own infos have T + 1 entries; nested names are nested groups.
            nested: dict[str, Any] = {}
            for key, value in infos.items():
                *parents, leaf = key.split("/")
                group = nested
                for parent in parents:
                    group = group.setdefault(parent, {})
                group[leaf] = value[: len(obs)]
            self._require_space(sum(array.nbytes for array in (obs, act, rew, *infos.values())))
            self.steps += len(rew)
            self.episodes += 1
            yield EpisodeBuffer(
                observations=obs,
                actions=act,
                rewards=rew,
                terminations=term,
                truncations=last & ~term,
                infos=nested or None,
            )

    def _require_space(self, size: int) -> None:
        """Stop while there is still room: HDF5 can crash the process when a disk fills up under an open file."""
        if shutil.disk_usage(self.root).free < MARGIN + 2 * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _hidden(dataset_id: str) -> Iterator[str]:
    """A hidden folder to write in; what is written there appears under its id when all went well."""
    namespace = parse_dataset_id(dataset_id)[0]
    root = get_dataset_path().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if namespace is not None and namespace not in list_local_namespaces():
            with suppress(ValueError):  # another process makes it now
                create_namespace(namespace)
        with hidden_folder(root) as hidden:
            yield str(hidden)
            publish(hidden, root, dataset_id)
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py, where a file cannot be closed
        found = re.search(r"errno = (\d+)", str(error))  # h5py hides the number in its text
        code = int(found[1]) if found else getattr(error, "errno", None)
        if code is None:
            raise
        free = shutil.disk_usage(root).free / 1e6
        raise UserError(
            f"cannot write '{dataset_id}' ({os.strerror(code)}; {free:,.0f} MB free in {root}): nothing was kept; "
            "make room, or point MINARI_DATASETS_PATH elsewhere, and run again"
        ) from error


@contextmanager
def _redirected(root: str) -> Iterator[None]:
    """Minari writes below `root`."""
    outside = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = root
    try:
        yield
    finally:
        if outside is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = outside
