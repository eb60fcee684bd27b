"""HDF5 files of D4RL's and robomimic's layouts -> local Minari data sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.columns import column, node, numbers_below, observations
from lapo_tf.data.d4rl import opened
from lapo_tf.data.dataset import Episode
from lapo_tf.data.layouts import Layout, channels, entries, numbered
from lapo_tf.data.readers import open_recording
from lapo_tf.data.store import Written, check_new, check_own, counted, write_dataset
from lapo_tf.data.task import DataTask, episode_limit
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import progress_bar


def import_d4rl(
    path: str | Path,
    dataset_id: str,
    *,
    task: DataTask | None = None,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> Written:
    """Write a file in D4RL's layout as a Minari data set, with all infos it recorded per step.

    Args:
        path: the HDF5 file, see `lapo_tf.data.readers.open_recording`.
        dataset_id: of the new data set.
        task: whose environment goes into the metadata, and whose spaces the data must fit.
        layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
        max_episode_steps: where episodes of a file without `timeouts` are cut; default: the task's time limit.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    path = Path(path).expanduser()
    if not path.exists() and path.suffix not in (".hdf5", ".h5"):  # else the reader says what is near
        raise UserError(f"data file '{path}' does not exist: give the path of a D4RL .hdf5 file")
    env_id: str | None = None
    action_space: Box | None = None
    observation_space: Box | None = None
    if task is not None:
        env_id = task.env_id
        env = task.make_env()
        assert isinstance(env.action_space, Box)
        assert isinstance(env.observation_space, Box)
        action_space = env.action_space
        observation_space = Box(-np.inf, np.inf, env.observation_space.shape, np.float32)
        env.close()
    limit = episode_limit(task, max_episode_steps)
    with (
        open_recording(path, layout=layout, max_episode_steps=limit, infos=True) as recording,
        progress_bar(total=recording.count, desc="importing", unit="episode", disable=not progress) as bar,
    ):
        source = recording.source
        written = write_dataset(
            dataset_id,
            counted(recording.episodes, bar),
            observation_space=observation_space,
            action_space=action_space,
            env_id=env_id,
            description=f"{path.name} (sha256 {source.sha256}), imported by lapo_tf.",
            metadata={
                "source": {"id": source.id, "sha256": source.sha256, "provenance": source.provenance},
                "report": {"warnings": recording.warnings},
            },
        )
    return replace(written, warnings=tuple(recording.warnings))


# robomimic ------------------------------------------------------------------------------------------------------------


def import_robomimic(
    path: str | Path,
    dataset_id: str,
    *,
    observation: Layout = (),
    mask: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Written:
    """Write a robomimic file (`data/demo_<k>` with `obs`, `actions`, `rewards`, `dones`) as a Minari data set.

    Args:
        path: the HDF5 file.
        dataset_id: of the new data set.
        observation: entries of `obs` to join (see `lapo_tf.data.layouts`); default: all that are vectors.
        mask: take the demonstrations of this filter alone, such as `train`.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    path = Path(path).expanduser()
    with opened(path) as file:
        demos = _demonstrations(file, path, mask)
        first = node(file, f"data/{demos[0]}/obs", path.name)
        vectors = [key for key in numbers_below(first, range(1 << 40)) if first[key].ndim <= 2]
        layout = list(observation) or vectors
        if not layout:
            raise UserError(f"{path.name}: no entry of obs is a vector; it has {', '.join(first)}")
        known = {key: numbered(key, int(np.prod(first[key].shape[1:]))) for key in vectors}
        for key in entries(layout):
            if key not in known:
                raise unknown(f"vector in {path.name}, obs:", key, known)
        names, places = channels(layout, known)
        left_out = [key for key in first if key not in {name.split("/")[0] for name in entries(layout)}]
        settings = _settings(file)
        with progress_bar(total=len(demos), desc="importing", unit="episode", disable=not progress) as bar:
            written = write_dataset(
                dataset_id,
                counted((_demonstration(file, path, demo, layout) for demo in demos), bar),
                description=f"robomimic's {path.name}, imported by lapo_tf.",
                metadata={
                    "source": {"robomimic": path.name, "environment": settings.get("env_name")},
                    "observation": names,
                    "fields": places,
                    "control_hz": (settings.get("env_kwargs") or {}).get("control_freq"),
                    "report": {"left_out": left_out},
                },
            )
    return replace(written, warnings=(f"left out: {', '.join(left_out)}",) if left_out else ())


def _demonstrations(file: h5py.File, path: Path, mask: str | None) -> list[str]:
    """Names of the demonstrations, in the order of their numbers."""
    if not isinstance(file.get("data"), h5py.Group):
        raise UserError(f"{path.name}: no group 'data' with demonstrations: give a robomimic file")
    names = list(file["data"])
    if mask is not None:
        filters = list(file.get("mask", {}))
        if mask not in filters:
            raise unknown(f"mask in {path.name}:", mask, filters)
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in file[f"mask/{mask}"][()]]
    if not names:
        raise UserError(f"{path.name}: no demonstrations{f' in mask {mask}' if mask else ''}")
    return sorted(names, key=lambda name: (len(name), name))  # demo_2 before demo_10


def _demonstration(file: h5py.File, path: Path, name: str, layout: Layout) -> Episode:
    where = f"{path.name}: data/{name}"
    demo = node(file, f"data/{name}", path.name)
    seen = observations(demo, "obs", layout, where)[:]
    if "next_obs" in demo:
        seen = np.concatenate([seen, observations(demo, "next_obs", layout, where)[-1:]])
    actions, rewards, dones = (column(demo, key, where)[:] for key in ("actions", "rewards", "dones"))
    return Episode(seen, actions, rewards.reshape(-1), dones.reshape(-1).astype(bool))


def _settings(file: h5py.File) -> dict[str, Any]:
    """What the file says of the environment: robomimic's `env_args`."""
    try:
        settings = json.loads(file["data"].attrs.get("env_args", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
