"""Tables, as CSV or Parquet files or LeRobot data sets, become local Minari data sets.

A row holds the observation at a time and the action chosen then. So the last row of an episode has no next observation
and is dropped, unless its flag says that the task ended there. What the columns are is declared in YAML:

    observation: [q1, q2, "pose[0:3]", 0.5]    # required: columns in order, or parts of those that hold lists; numbers
                                               # stand for themselves
    action: [u1, u2]             # required, likewise
    low: -1.0                    # bounds of the actions: a number or a list; default: none
    high: 1.0
    reward: score                # a column; default: rewards are 0 (python -m lapo_tf.data relabel)
    terminal: done               # a column of flags: the task ended with this row; default: it never ended
    episode: run                 # a column whose new value begins a new episode; default: a file is one episode
    order: step                  # a column that orders an episode's rows; default: as they come
    time: t                      # a column with seconds
    infos: [success]             # columns kept beside, for rewards; default: all others that hold numbers
    rate: 20                     # control rate in Hz
    units: {q1: rad, u1: rad/s}  # of columns
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lapo_tf.data.bounds import box
from lapo_tf.data.dataset import Episode
from lapo_tf.data.layouts import Layout, channels, entries, flatten, numbered
from lapo_tf.data.store import Written, check_new, check_own, counted, write_dataset
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import progress_bar
from lapo_tf.yaml_files import STRICT, Numbers, expect, read_yaml, validated

BATCH = 1 << 16  # rows read at a time
DOCUMENTATION = __doc__ or ""
Items = Annotated[tuple[str | float | tuple[float, ...], ...], Field(min_length=1)]


class TableLayout(BaseModel):
    """What the columns of a table are; see the module's text."""

    model_config = ConfigDict(**STRICT, frozen=True, allow_inf_nan=False)

    observation: Items
    action: Items
    low: Numbers | None = None
    high: Numbers | None = None
    reward: str | None = None
    terminal: str | None = None
    episode: str | None = None
    order: str | None = None
    time: str | None = None
    infos: tuple[str, ...] | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    units: dict[str, str] = {}

    @model_validator(mode="after")
    def _bounded(self) -> TableLayout:
        expect((self.low is None) == (self.high is None), "low/high", "half given", "both or none")
        return self

    def wanted(self) -> list[str]:
        """The columns that must hold numbers."""
        named = (self.reward, self.terminal, self.order, self.time, *(self.infos or ()))
        asked = [*entries(self.observation), *entries(self.action), *(name for name in named if name)]
        return list(dict.fromkeys(asked))


@dataclass
class Found:
    """What reading came upon: columns, how many values each has, and which were left out and why."""

    columns: list[str] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def warnings(self) -> tuple[str, ...]:
        told = ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
        return (f"left out: {told}",) if told else ()


def import_table(
    files: Sequence[Path | str],
    layout_file: Path | str,
    dataset_id: str,
    *,
    force: bool = False,
    progress: bool = True,
) -> Written:
    """Write CSV or Parquet files as a Minari data set.

    Args:
        files: .csv, .tsv, .parquet; an episode may go on in the next file, if the layout names a column for it.
        layout_file: YAML, see this module's text.
        dataset_id: of the new data set.
        force: replace an existing data set.
        progress: show a bar of episodes.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    layout_file = Path(layout_file)
    values = read_yaml(layout_file, "observation: [q1, q2]")
    layout = validated(TableLayout, values, f"{layout_file.name}: ")
    paths = [Path(path).expanduser() for path in files]
    source = {"files": [str(path) for path in paths], "layout": layout_file.name}
    metadata = {"source": source, "layout": values}
    how = f"{len(paths)} tables with the layout {layout_file.name}"
    return _write(dataset_id, paths, layout, {}, metadata, how, None, progress)


def import_lerobot(
    folder: Path | str,
    dataset_id: str,
    *,
    observation: Layout = (),
    action: Layout | str = "action",
    infos: Sequence[str] | None = None,
    force: bool = False,
    progress: bool = True,
) -> Written:
    """Write a LeRobot data set (v2.0, v2.1 or v3.0, with its parquet files here) as a Minari data set.

    Numbers only: what else there is, is left out and listed. Rewards are `next.reward`, else 0; an episode ended with
    its last row where `next.done` says so.

    Args:
        folder: with `meta/info.json` and `data/…/*.parquet`.
        dataset_id: of the new data set.
        observation: features to join, or parts of them; default: all of `observation.*` that hold numbers.
        action: the feature that is the action, or several.
        infos: features to keep beside, for rewards; default: all others that hold numbers.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    folder = Path(folder).expanduser()
    info, files = _lerobot(folder)
    features = info["features"]
    acted = [action] if isinstance(action, str) else action
    for name in (*entries(observation), *entries(acted), *(infos or ())):
        if name not in features:
            raise unknown(f"feature in {folder.name}:", name, features)
    seen = [name for name, feature in features.items() if name.split(".")[0] == "observation" and _numeric(feature)]
    if not observation and not seen:
        raise UserError(f"{folder.name}: no observation.* feature holds numbers; it has {', '.join(features)}")
    layout = TableLayout(
        observation=tuple(observation or seen),  # type: ignore[arg-type]
        action=tuple(acted),  # type: ignore[arg-type]
        reward="next.reward" if "next.reward" in features else None,
        terminal="next.done" if "next.done" in features else None,
        episode="episode_index",
        order="frame_index" if "frame_index" in features else None,
        time="timestamp" if "timestamp" in features else None,
        infos=None if infos is None else tuple(infos),
        rate=info.get("fps"),
    )
    names = {name: _labels(feature.get("names")) for name, feature in features.items() if isinstance(feature, dict)}
    source = {"lerobot": folder.name, "version": info.get("codebase_version")}
    how = f"LeRobot data set {folder.name} ({info.get('codebase_version')})"
    total = info.get("total_episodes")
    return _write(dataset_id, files, layout, names, {"source": source}, how, total, progress)


def _write(
    dataset_id: str,
    files: Sequence[Path],
    layout: TableLayout,
    names: dict[str, list[str]],
    metadata: dict[str, Any],
    how: str,
    total: int | None,
    progress: bool,
) -> Written:
    """Write the episodes; `names` holds the expected columns, and the names of their values where they have some."""
    found = Found()
    stream = _episodes(files, layout, found)
    first = next(stream, None)  # after this, widths are known
    if first is None:
        raise UserError(f"{files[0].name}: no rows: nothing to import")
    found.left_out |= {name: "no numbers in the tables" for name in names if name not in found.columns}
    known = {name: _named(name, size, names.get(name, [])) for name, size in found.widths.items()}
    observation, places = channels(layout.observation, known)
    action, _ = channels(layout.action, known)
    bounds = None if layout.low is None or layout.high is None else box(layout.low, layout.high, len(action))
    for column in layout.units:
        if column not in known:
            raise unknown("column in units:", column, known)
    units = {name: unit for column, unit in layout.units.items() for name in known.get(column, [column])}
    with progress_bar(total=total, desc="importing", unit="episode", disable=not progress) as bar:
        written = write_dataset(
            dataset_id,
            counted(_chained(first, stream), bar),
            action_space=bounds,
            description=f"{how}, imported by lapo_tf.",
            metadata=metadata
            | {
                "observation": observation,
                "action": action,
                "channels": {
                    what: [{"name": name, "unit": units.get(name, "")} for name in names]
                    for what, names in (("observation", observation), ("action", action))
                },
                "fields": places,
                "control_hz": layout.rate,
                "report": {"left_out": list(found.left_out)},
            },
        )
    return replace(written, warnings=found.warnings())


def _named(name: str, size: int, parts: Sequence[str]) -> list[str]:
    return [f"{name}.{part}" for part in parts] if len(parts) == size > 1 else numbered(name, size)


def _chained(first: Episode, rest: Iterable[Episode]) -> Iterator[Episode]:
    yield first
    yield from rest


# Rows -----------------------------------------------------------------------------------------------------------------


def _episodes(files: Sequence[Path], layout: TableLayout, found: Found) -> Iterator[Episode]:
    """Whole episodes, in the order of the files."""
    rest: dict[str, np.ndarray] = {}
    for path in files:
        for batch in _batches(path):
            rows = _rows(batch, path, layout, found)
            if rest:
                rows = {name: np.concatenate([rest[name], rows[name]]) for name in rows if name in rest}
            number = rows[""]
            cuts = [0, *(np.flatnonzero(number[1:] != number[:-1]) + 1).tolist()]
            for a, b in pairwise(cuts):
                yield _episode({name: values[a:b] for name, values in rows.items()}, layout)
            rest = {name: values[cuts[-1] :] for name, values in rows.items()}
        if rest and layout.episode is None:
            yield _episode(rest, layout)
            rest = {}
    if rest:
        yield _episode(rest, layout)


def _rows(batch: Any, path: Path, layout: TableLayout, found: Found) -> dict[str, np.ndarray]:
    """A batch's columns as numbers [rows, n]; under "", what tells episodes apart [rows]."""
    have, wanted = batch.schema.names, layout.wanted()
    found.columns = found.columns or have
    for name in (*wanted, *([layout.episode] if layout.episode else [])):
        if name not in have:
            raise unknown(f"column in {path.name}:", name, have)
    others = [name for name in have if name not in wanted and name != layout.episode and layout.infos is None]
    rows = {"": np.zeros(batch.num_rows)}
    if layout.episode:
        rows[""] = np.array(batch.column(layout.episode).to_pylist(), object)
    for name in (*wanted, *others):
        if name in found.left_out:
            continue
        try:
            rows[name] = _numbers(batch.column(name))
            if found.widths.setdefault(name, rows[name].shape[1]) != rows[name].shape[1]:
                raise ValueError(f"{rows[name].shape[1]} values, {found.widths[name]} before")
        except ValueError as error:
            if name in wanted:
                raise UserError(f"{path.name}: column {name} cannot be used: {error}; expected numbers") from error
            found.left_out[name] = str(error)
            rows.pop(name, None)
    return rows


def _episode(rows: dict[str, np.ndarray], layout: TableLayout) -> Episode:
    order = np.argsort(rows[layout.order][:, 0], kind="stable") if layout.order else slice(None)
    rows = {name: values[order] for name, values in rows.items()}
    steps = len(rows[""])
    rewards = rows[layout.reward][:, 0] if layout.reward else np.zeros(steps)
    ended = bool(rows[layout.terminal][-1, 0]) if layout.terminal else False
    kept = rows.keys() - {"", *entries(layout.observation), *entries(layout.action)}
    kept -= {layout.reward, layout.terminal, layout.order, layout.time, "index"}  # a mere count of LeRobot's rows
    infos = {name: rows[name][:, 0] if rows[name].shape[1] == 1 else rows[name] for name in sorted(kept)}
    if layout.time:
        infos["time"] = rows[layout.time][:, 0]
    seen, acted = (flatten(part, rows.__getitem__) for part in (layout.observation, layout.action))
    return Episode(seen, acted, rewards, ended, infos)


def _numbers(column: Any) -> np.ndarray:
    """A column of numbers, or of lists (of lists) of them of one shape, [rows, n].

    Raises:
        ValueError: what it holds instead.
    """
    import pyarrow

    rows, kinds = len(column), pyarrow.types
    if column.null_count:
        raise ValueError(f"row {int(np.argmin(np.asarray(column.is_valid())))} holds nothing")
    while kinds.is_list(column.type) or kinds.is_large_list(column.type) or kinds.is_fixed_size_list(column.type):
        sizes = np.unique(np.asarray(column.value_lengths()))
        if len(sizes) > 1:
            raise ValueError(f"lists of {sizes[0]} to {sizes[-1]} values")
        column = column.flatten()
        if column.null_count:
            raise ValueError("lists that lack values")
    if not any(fits(column.type) for fits in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_decimal)):
        raise ValueError(f"it holds {column.type}")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64).reshape(rows, -1)


def _batches(path: Path) -> Iterator[Any]:
    """Record batches of a file."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UserError("tables need the package 'pyarrow': pip install 'lapo-tf[lerobot]'") from None
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pyarrow.parquet.ParquetFile(path)
            pictures = pyarrow.types.is_struct, pyarrow.types.is_binary, pyarrow.types.is_large_binary
            columns = [f.name for f in table.schema_arrow if not any(fits(f.type) for fits in pictures)]
            yield from (batch for batch in table.iter_batches(BATCH, columns=columns) if batch.num_rows)
        elif path.suffix.lower() in (".csv", ".tsv"):
            options = pyarrow.csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            yield from (batch for batch in pyarrow.csv.open_csv(path, parse_options=options) if batch.num_rows)
        else:
            raise UserError(f"{path.name}: expected a .csv, .tsv or .parquet file")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give CSV or Parquet files") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): copy it again") from error


# LeRobot's description ------------------------------------------------------------------------------------------------


def _lerobot(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """`meta/info.json` and the parquet files, in order."""
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no meta/info.json: give the folder of a LeRobot data set") from None
    except ValueError as error:
        raise UserError(f"{folder}/meta/info.json is damaged ({error}): copy the data set again") from None
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
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


def _numeric(feature: Any) -> bool:
    """Whether a feature says of itself that it holds equally many numbers in each row."""
    shape = feature.get("shape") if isinstance(feature, dict) else None
    ragged = isinstance(shape, list) and any(isinstance(size, int) and size < 0 for size in shape)
    kind = str(feature.get("dtype")) if isinstance(feature, dict) else ""
    return kind.startswith(("float", "int", "uint", "bool")) and not ragged


def _labels(names: Any) -> list[str]:
    """Names of a feature's values; LeRobot has them as a list, or as lists by kind."""
    lists = list(names.values()) if isinstance(names, dict) else [names]
    return [str(name) for part in lists if isinstance(part, list) for name in part]
