"""Read rosbag2 (sqlite3, MCAP) and ROS 1 bags: of the topics a layout names, the numbers it names. Needs no ROS."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf.data.bags.layout import BagField, BagLayout, Condition
from lapo_tf.data.bags.resample import Samples, Times
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import progress_bar

try:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from lapo_tf.data.bags.messages import Definitions, has_header, joint_names, numbers, value
except ModuleNotFoundError as error:
    raise UserError(
        f"bags are read with the package 'rosbags', which is not installed ({error}): pip install 'lapo-tf[bags]'"
    ) from error

NS = 1_000_000_000
STORAGE = (".bag", ".mcap", ".db3")
ADVERTISED = 12  # topics listed in a message


@dataclass
class Topic:
    """When a topic's messages came: nanoseconds, in the order of recording."""

    received: array = field(default_factory=lambda: array("q"))
    stamped: array = field(default_factory=lambda: array("q"))  # empty where no field asks for it

    def stamps(self, clock: str) -> Times:
        return np.frombuffer(self.stamped if clock == "header" else self.received, np.int64)


@dataclass
class Series:
    """What a topic said of a field (of some of its joints): one row of numbers for some of its messages."""

    topic: str
    columns: tuple[int, ...] | None  # of the field; `None`: all
    size: int
    messages: array = field(default_factory=lambda: array("q"))  # their numbers within the topic
    numbers: array = field(default_factory=lambda: array("d"))

    def rows(self) -> np.ndarray:
        return np.frombuffer(self.numbers, np.float64).reshape(-1, self.size)


@dataclass
class Bag:
    """What was read of one bag."""

    path: Path
    topics: dict[str, Topic]
    series: dict[str, list[Series]]  # by field path
    events: dict[str, list[tuple[int, Any]]]  # by condition: when it was received, and its value
    not_finite: dict[str, int]  # by field path: values left out
    types: dict[str, str] = field(default_factory=dict)  # of messages, by topic
    definitions: Definitions = field(default_factory=dict)  # of these types
    frames: dict[str, str] = field(default_factory=dict)  # that the first message of a topic names

    def samples(self, name: str, f: BagField, first: int, last: int) -> list[tuple[slice | list[int], Samples]]:
        """The field's samples received in [first, last): which of its channels, and these in order of their stamps."""
        parts: dict[tuple[int, ...] | None, list[tuple[Times, np.ndarray]]] = {}
        columns = [i for series in self.series[name] for i in series.columns or ()]
        overlapping = len(set(columns)) < len(columns)  # messages list a joint in different company
        for series in self.series[name]:
            topic = self.topics[series.topic]
            index = np.frombuffer(series.messages, np.int64)
            received = topic.stamps("receive")[index]
            chosen = (received >= first) & (received < last)
            stamps = topic.stamps(f.time)[index][chosen] + round(f.shift * NS)
            rows = series.rows()[chosen] * f.scale
            if overlapping:
                for k, column in enumerate(series.columns or ()):
                    parts.setdefault((column,), []).append((stamps, rows[:, k : k + 1]))
            else:
                parts[series.columns] = [(stamps, rows)]
        return [
            (slice(None) if channels is None else list(channels), _in_order(part)) for channels, part in parts.items()
        ]

    def size(self, name: str, f: BagField) -> int:
        """Number of channels of a field."""
        return len(f.joints) if f.joints else self.series[name][0].size


def _in_order(parts: list[tuple[Times, np.ndarray]]) -> Samples:
    """Together and sorted by stamp; of several samples with one stamp, the last."""
    stamps, rows = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(stamps, kind="stable")
    stamps, rows = stamps[order], rows[order]
    kept = np.append(stamps[1:] != stamps[:-1], True)[: len(stamps)]
    return Samples(stamps[kept], rows[kept])


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """The bags that are meant: files, rosbag2 folders, and whatever bags lie in other folders.

    Raises:
        UserError: no such path, or no bag in it.
    """
    found: list[Path] = []
    for path in (p.expanduser() for p in paths):
        if not path.exists():
            raise UserError(f"no such bag: {path}; give a rosbag2 folder, or an .mcap, .db3 or .bag file")
        if path.is_file() or (path / "metadata.yaml").is_file():
            inside = [path]
        else:
            folders = sorted(p.parent for p in path.glob("*/metadata.yaml"))
            inside = folders + sorted(p for p in path.iterdir() if p.suffix in STORAGE)
        if not inside or (path.is_file() and path.suffix not in STORAGE):
            raise UserError(f"{path}: no bag; expected a rosbag2 folder (metadata.yaml), or .mcap, .db3 or .bag files")
        found += inside
    if len(set(found)) < len(found):
        raise UserError(f"{next(p for p in found if found.count(p) > 1)} is given twice: name every bag once")
    return found


def read_bag(path: Path, layout: BagLayout, file: str, progress: bool = True) -> Bag:
    """Read what a layout names.

    Args:
        file: the layout's, for messages.

    Raises:
        UserError: a topic, message field or joint that the bag does not have, or a bag that cannot be read.
    """
    bag = Bag(path, {}, {name: [] for name in layout.fields()}, {}, {})
    with _opened(path, layout) as reader:
        wanted = _Wanted(bag, reader, layout, file)
        used = [c for c in reader.connections if c.topic in wanted.handlers]
        total = sum(c.msgcount for c in used)
        with progress_bar(total=total, desc=path.name, unit="msg", unit_scale=True, disable=not progress) as bar:
            for n, (connection, received, raw) in enumerate(reader.messages(connections=used), 1):
                message = reader.deserialize(raw, connection.msgtype)
                for handle in wanted.handlers[connection.topic]:
                    handle(message, received)
                if n % 1000 == 0:
                    bar.update(1000)
    for name, f in layout.fields().items():
        _check_series(bag, name, f, f"{file}: {name}")
    return bag


@contextmanager
def _opened(path: Path, layout: BagLayout) -> Iterator[AnyReader]:
    try:
        store = get_typestore(_distro(layout.distro))
        for folder in layout.definitions:
            for message in _definitions(Path(folder).expanduser()):
                package = message.parent.parent.name
                text = message.read_text(encoding="utf-8")
                store.register(get_types_from_msg(text, f"{package}/msg/{message.stem}"))
        with AnyReader([path], default_typestore=store) as reader:
            own = reader.typestore.fielddefs
            if any(connection.msgtype not in own for connection in reader.connections):
                reader.typestore.register({k: v for k, v in store.fielddefs.items() if k not in own})
            yield reader
    except UserError:
        raise
    except Exception as error:  # rosbags raises many kinds for damaged bags
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be read as a bag ({type(error).__name__}: {text}): damaged or not closed? "
            "`ros2 bag reindex` or `rosbag reindex` may repair it"
        ) from error


def _distro(name: str) -> Stores:
    known = {store.value.removeprefix("ros2_"): store for store in Stores if store.value.startswith("ros2_")}
    if name not in known:
        raise unknown("distro in the layout:", name, known)
    return known[name]


def _definitions(folder: Path) -> list[Path]:
    found = sorted(folder.glob("msg/*.msg"))
    if not found:
        raise UserError(f"definitions: no .msg files in {folder / 'msg'}; give a package's folder, as in my_msgs")
    return found


class _Wanted:
    """Handlers by topic: what is to be done with every message."""

    def __init__(self, bag: Bag, reader: AnyReader, layout: BagLayout, file: str) -> None:
        self.bag, self.reader, self.file = bag, reader, file
        self.definitions = bag.definitions = reader.typestore.fielddefs
        self.connections: dict[str, Connection] = {c.topic: c for c in reader.connections}
        self.handlers: dict[str, list[Callable[[Any, int], None]]] = {}
        clocks: dict[str, set[str]] = {}
        for name, f in layout.fields().items():
            for topic in f.topic:
                clocks.setdefault(topic, set()).add(f.time)
                self._type(topic, f"{name}.topic")
        for topic, wanted in clocks.items():  # first, so that a message is counted before it is used
            self._log(topic, "header" in wanted)
        for name, f in layout.fields().items():
            for topic in f.topic:
                self._field(name, f, topic)
        for name, condition in layout.episodes.conditions().items():
            if condition is not None:
                self._condition(name, condition)

    def _type(self, topic: str, where: str) -> str:
        if topic not in self.connections:
            self._no_topic(topic, where)
        kind: str = self.connections[topic].msgtype
        if kind not in self.definitions:
            raise UserError(
                f"{self.bag.path.name}: the bag has no definition of {kind} ({topic}): name the folder of its package "
                "under `definitions` in the layout"
            )
        return kind

    def _no_topic(self, topic: str, where: str) -> None:
        known = sorted(self.connections)
        shown = ", ".join(known[:ADVERTISED]) + (", …" if len(known) > ADVERTISED else "")
        raise UserError(f"{self.bag.path.name} has no topic {topic} ({self.file}: {where}); it has {shown or 'none'}")

    def _log(self, topic: str, stamped: bool) -> None:
        log = self.bag.topics[topic] = Topic()
        kind = self.bag.types[topic] = self._type(topic, "")
        headed = has_header(kind, self.definitions)
        if stamped and not headed:
            raise UserError(
                f"{self.file}: {topic} is of type {kind}, which has no header: set `time: receive` for its fields"
            )

        def handle(message: Any, received: int) -> None:
            log.received.append(received)
            if headed and topic not in self.bag.frames:
                self.bag.frames[topic] = message.header.frame_id
            if stamped:
                stamp = message.header.stamp
                nanoseconds = stamp.sec * NS + stamp.nanosec
                if not nanoseconds:
                    raise UserError(
                        f"{self.bag.path.name}: message {len(log.received) - 1} of {topic} has no stamp (0): "
                        "set `time: receive` for its fields"
                    )
                log.stamped.append(nanoseconds)

        self.handlers[topic] = [handle]

    def _field(self, name: str, f: BagField, topic: str) -> None:
        where, kind = f"{self.file}: {name}", self._type(topic, f"{name}.topic")
        get = numbers(f.field, kind, self.definitions, f"{where}.field")
        names = joint_names(f.names, kind, self.definitions, f"{where}.names") if f.joints else None
        log, series = self.bag.topics[topic], self.bag.series[name]
        known: dict[Any, tuple[Series, list[int]] | None] = {}  # by the names a message lists

        def fail(problem: str) -> None:
            raise UserError(f"{self.bag.path.name}: message {len(log.received) - 1} of {topic} ({name}): {problem}")

        def handle(message: Any, _: int) -> None:
            try:
                row = get(message)
            except IndexError:
                fail(f"'{', '.join(f.field)}' goes past the end of a list")
            listed = tuple(names(message)) if names else len(row)
            if listed not in known:
                known[listed] = _new_series(topic, f, listed, series, fail)
            entry = known[listed]
            if entry is None:
                return  # none of this message's joints is wanted
            target, picked = entry
            if names:
                if len(row) != len(listed):  # type: ignore[arg-type]
                    fail(f"{len(listed)} names but {len(row)} values in '{f.field[0]}'")  # type: ignore[arg-type]
                row = row[picked]
            if not np.isfinite(row).all():
                self.bag.not_finite[name] = self.bag.not_finite.get(name, 0) + 1
                return
            target.messages.append(len(log.received) - 1)
            target.numbers.frombytes(row.tobytes())

        self.handlers[topic].append(handle)

    def _condition(self, name: str, condition: Condition) -> None:
        topic = condition.topic or f"{condition.service}/_service_event"
        events = self.bag.events[name] = []
        where = f"episodes.{name}"
        if topic not in self.connections and condition.service:
            raise UserError(
                f"{self.bag.path.name} has no calls of {condition.service} ({self.file}: {where}): they are recorded "
                "only with service introspection (ROS 2 Iron or later); publish a message and name its topic instead"
            )
        kind = self._type(topic, f"{where}.topic")
        path, wanted = condition.field, condition.equals
        if condition.service:
            path, wanted = "info.event_type", None
        elif name in ("start", "stop") and wanted is None:
            self.handlers.setdefault(topic, []).append(lambda _, received: events.append((received, True)))
            return
        get = value(path, kind, self.definitions, f"{self.file}: {where}.field")
        keep = name in ("while", "change") or condition.service

        def handle(message: Any, received: int) -> None:
            got = get(message)
            if keep:
                events.append((received, got == wanted if name == "while" else got))
            elif got == wanted:
                events.append((received, True))

        self.handlers.setdefault(topic, []).append(handle)


def _new_series(
    topic: str, f: BagField, listed: Any, series: list[Series], fail: Callable[[str], None]
) -> tuple[Series, list[int]] | None:
    """The series for messages that list these joints (or have so many numbers), and where in them its numbers are."""
    if f.joints is None:
        if series:
            fail(f"{listed} numbers, {series[0].size} before; expected always as many")
        new, picked = Series(topic, None, listed), []
    else:
        if len(set(listed)) < len(listed):
            fail(f"lists a joint twice: {', '.join(listed)}")
        columns = tuple(i for i, joint in enumerate(f.joints) if joint in listed)
        if not columns:
            return None
        for other in series:
            if other.topic != topic and set(other.columns or ()) & set(columns):
                shared = f.joints[min(set(other.columns or ()) & set(columns))]
                fail(f"joint '{shared}' comes over {other.topic} too: expected one topic for a joint")
        picked = [listed.index(f.joints[i]) for i in columns]
        same = next((s for s in series if (s.topic, s.columns) == (topic, columns)), None)
        if same:
            return same, picked
        new = Series(topic, columns, len(columns))
    series.append(new)
    return new, picked


def _check_series(bag: Bag, name: str, f: BagField, where: str) -> None:
    """Every field has values, and every joint."""
    found = {i for series in bag.series[name] for i in series.columns or ()}
    if f.joints and bag.series[name] and (missing := [j for i, j in enumerate(f.joints) if i not in found]):
        have = ", ".join(j for j in f.joints if j not in missing)
        raise UserError(
            f"{bag.path.name}: joint {', '.join(missing)} ({where}.joints) never comes over {', '.join(f.topic)}, "
            f"only {have}: correct the joints, add a topic, or import bags of one robot at a time"
        )
    if not bag.series[name]:
        if not f.joints and f.default is not None:  # a topic that never spoke
            bag.series[name].append(Series(f.topic[0], None, len(f.default)))
            return
        count = sum(len(bag.topics[topic].received) for topic in f.topic)
        what = f"none of the joints {', '.join(f.joints)} is in" if f.joints and count else "there is no value in"
        raise UserError(f"{bag.path.name}: {what} the {count} messages of {', '.join(f.topic)} ({where})")
