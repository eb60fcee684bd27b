"""D4RL files and LeRobot data sets -> local Minari data sets. Bags: `lapo_tf.data.bags.importer`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.dataset import Episode
from lapo_tf.data.layouts import Layout
from lapo_tf.data.readers import open_recording
from lapo_tf.data.store import Written, check_new, check_own, write_dataset
from lapo_tf.data.task import DataTask, episode_limit
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import Bar, progress_bar


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
    if task is not None:
        env_id = task.env_id
        env = task.make_env()
        assert isinstance(env.action_space, Box)
        action_space = env.action_space
        env.close()
    limit = episode_limit(task, max_episode_steps)
    with (
        open_recording(path, layout=layout, max_episode_steps=limit, infos=True) as recording,
        progress_bar(total=recording.count, desc="importing", unit="episode", disable=not progress) as bar,
    ):
        source = recording.source
        written = write_dataset(
            dataset_id,
            _counted(recording.episodes, bar),
            action_space=action_space,
            env_id=env_id,
            description=f"{path.name} (sha256 {source.sha256}), imported by lapo_tf.",
            metadata={
                "source": {"id": source.id, "sha256": source.sha256, "provenance": source.provenance},
                "report": {"warnings": recording.warnings},
            },
        )
    return replace(written, warnings=tuple(recording.warnings))


def _counted(episodes: Iterator[Episode], bar: Bar) -> Iterator[Episode]:
    for episode in episodes:
        yield episode
        bar.update()


# LeRobot --------------------------------------------------------------------------------------------------------------


def import_lerobot(
    folder: Path,
    dataset_id: str,
    *,
    observation: Sequence[str] = (),
    action: str = "action",
    force: bool = False,
    progress: bool = True,
) -> Written:
    """Write a LeRobot data set (v2.0, v2.1 or v3.0, with its parquet files here) as a Minari data set.

    Numbers only: videos and images are left out. A row holds the observation at a time and the action chosen then, so
    the last row of an episode has no next observation and is dropped, unless `next.done` says that the task ended
    there. Rewards are `next.reward`, else 0; other numbers become infos.

    Args:
        folder: with `meta/info.json` and `data/…/*.parquet`.
        dataset_id: of the new data set.
        observation: features to join into the observation; default: all of `observation.*` that hold numbers.
        action: the feature that is the action.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    info, files = _lerobot(folder.expanduser())
    vectors = {name: f for name, f in info["features"].items() if f.get("dtype") not in ("video", "image", "string")}
    observed = list(observation) or [name for name in vectors if name.split(".")[0] == "observation"]
    for name in (*observed, action):
        if name not in vectors:
            raise unknown(f"feature in {folder.name}:", name, vectors)
    if not observed:
        raise UserError(f"{folder.name}: no observation.* feature holds numbers; it has {', '.join(info['features'])}")
    left_out = [name for name in info["features"] if name not in vectors]
    with progress_bar(total=info.get("total_episodes"), desc="importing", unit="episode", disable=not progress) as bar:
        return write_dataset(
            dataset_id,
            _counted(_lerobot_episodes(files, observed, action, list(vectors)), bar),
            description=f"LeRobot data set {folder.name} ({info.get('codebase_version')}), imported by lapo_tf.",
            metadata={
                "source": {"lerobot": folder.name, "version": info.get("codebase_version")},
                "observation": [label for name in observed for label in _labels(name, vectors[name])],
                "action": _labels(action, vectors[action]),
                "fields": _spans(observed, vectors),
                "control_hz": info.get("fps"),
                "report": {"left_out": left_out},
            },
        )


def _lerobot(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """`meta/info.json` and the parquet files, in order."""
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no meta/info.json: give the folder of a LeRobot data set") from None
    except ValueError as error:
        raise UserError(f"{folder}/meta/info.json is damaged ({error}): copy the data set again") from None
    if not isinstance(info.get("features"), dict):
        raise UserError(f"{folder}/meta/info.json names no features: expected a LeRobot data set v2.0 to v3.0")
    version = str(info.get("codebase_version"))
    if not version.startswith(("v2.", "v3.")):
        raise UserError(
            f"{folder.name} is of version {version}: expected v2.0 to v3.0; convert it with lerobot's tools"
        )
    files = sorted((folder / "data").glob("**/*.parquet"))
    if not files:
        raise UserError(f"{folder}/data holds no parquet files: copy the data set with its data folder")
    return info, files


def _lerobot_episodes(files: list[Path], observed: list[str], action: str, features: list[str]) -> Iterator[Episode]:
    """Whole episodes, in the order of the files; an episode may go on in the next file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UserError("LeRobot data sets need the package 'pyarrow': pip install 'lapo-tf[lerobot]'") from None

    rest: dict[str, np.ndarray] = {}
    for number, path in enumerate(files):
        try:
            table = pyarrow.parquet.ParquetFile(path)
            absent = [name for name in (*observed, action, "episode_index") if name not in table.schema_arrow.names]
            if absent:
                raise UserError(
                    f"{path.name}: no column {', '.join(absent)}; it has {', '.join(table.schema_arrow.names)}"
                )
            names = [name for name in features if name in table.schema_arrow.names]
            for batch in table.iter_batches(columns=names, batch_size=1 << 16):
                rows = {name: _numbers(batch.column(name), name, path) for name in names}
                rows = {name: np.concatenate([rest[name], rows[name]]) if rest else rows[name] for name in rows}
                index = rows["episode_index"][:, 0]
                cuts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist()]
                for a, b in pairwise(cuts):
                    yield _lerobot_episode({name: v[a:b] for name, v in rows.items()}, observed, action)
                rest = {name: v[cuts[-1] :] for name, v in rows.items()}
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): copy it again") from error
        if number == len(files) - 1 and rest:
            yield _lerobot_episode(rest, observed, action)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A column of numbers or of equally long lists of them, [rows, n]."""
    try:
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype == object:
            values = np.stack([np.asarray(v, np.float64).reshape(-1) for v in values])
        return np.asarray(values, np.float64).reshape(len(values), -1)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.name}: column {name} holds no equally long lists of numbers ({error})") from error


def _lerobot_episode(rows: dict[str, np.ndarray], observed: list[str], action: str) -> Episode:
    order = np.argsort(rows["frame_index"][:, 0], kind="stable") if "frame_index" in rows else slice(None)
    rows = {name: values[order] for name, values in rows.items()}
    steps = len(rows[action])
    rewards = rows["next.reward"][:, 0] if "next.reward" in rows else np.zeros(steps)
    ended = bool(rows["next.done"][-1, 0]) if "next.done" in rows else False
    bookkeeping = {action, *observed, "next.reward", "next.done", "index", "frame_index", "episode_index", "timestamp"}
    infos = {name: v[:, 0] if v.shape[1] == 1 else v for name, v in rows.items() if name not in bookkeeping}
    if "timestamp" in rows:
        infos["time"] = rows["timestamp"][:, 0]
    return Episode(np.concatenate([rows[name] for name in observed], axis=1), rows[action], rewards, ended, infos)


def _labels(name: str, feature: dict[str, Any]) -> list[str]:
    """Names of a feature's channels; LeRobot has them as a list, or as a mapping to one."""
    size = int(np.prod(feature.get("shape") or [1]))
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    if isinstance(names, list) and len(names) == size and size > 1:
        return [f"{name}.{part}" for part in names]
    return [name] if size == 1 else [f"{name}.{i}" for i in range(size)]


def _spans(names: list[str], features: dict[str, Any]) -> dict[str, tuple[int, int]]:
    spans, position = {}, 0
    for name in names:
        spans[name] = (position, position := position + len(_labels(name, features[name])))
    return spans
