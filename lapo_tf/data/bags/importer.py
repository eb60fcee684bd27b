"""Robot bags -> episodes on the grid of control steps -> a Minari data set, with a report of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf.data.bags.channels import action_space_of, described
from lapo_tf.data.bags.layout import BagLayout, read_layout
from lapo_tf.data.bags.reader import NS, Bag, find_bags, read_bag
from lapo_tf.data.bags.resample import Times, grid, mean_over, resample, runs
from lapo_tf.data.dataset import Episode
from lapo_tf.data.rewards import Relabel
from lapo_tf.data.store import Written, check_new, check_own, write_dataset
from lapo_tf.errors import UserError

Interval = tuple[int, int]  # of receive times, in nanoseconds: [first, last)
Report = dict[str, Any]
BEGIN, END = -(1 << 62), 1 << 62  # before and after any time
CLOCK_JUMP = 0.1  # seconds by which stamps and receive times may drift apart from one message to the next


@dataclass(frozen=True)
class Imported:
    """What was imported: the data set, and the report that is also in its metadata."""

    written: Written
    report: Report

    def __str__(self) -> str:
        return describe(self.report)


def import_bags(
    paths: Sequence[Path | str], layout_file: Path | str, dataset_id: str, *, force: bool = False, progress: bool = True
) -> Imported:
    """Import bags into a local Minari data set; one bag's used numbers are in memory at a time.

    Args:
        paths: bags, or folders with bags.
        layout_file: see `lapo_tf.data.bags.layout`.
        dataset_id: of the new data set.
        force: replace an existing data set.
        progress: show a bar of messages for each bag.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    layout_file = Path(layout_file)
    layout, values = read_layout(layout_file)
    check_own(dataset_id)
    check_new(dataset_id, force=force)
    bags = find_bags([Path(path) for path in paths])
    report: Report = {"bags": []}
    metadata: dict[str, Any] = {
        "source": {"bags": [str(path) for path in bags], "layout": layout_file.name},
        "control_hz": layout.rate,
        "layout": values,
        "reward": layout.reward,
        "report": report,
    }
    shapes: dict[str, int] = {}

    def episodes() -> Iterator[Episode]:
        rule: Relabel | None = None
        for path in bags:
            bag = read_bag(path, layout, layout_file.name, progress)
            sizes = {name: bag.size(name, f) for name, f in layout.fields().items()}
            if not shapes:
                shapes.update(sizes)
                metadata.update(described(bag, layout))
                rule = layout.rule(layout_file.name, metadata["fields"])
            elif different := [name for name in sizes if sizes[name] != shapes[name]]:
                name = different[0]
                raise UserError(
                    f"{path.name}: {name} has {sizes[name]} numbers, {shapes[name]} in {bags[0].name}: "
                    "name its joints in the layout, or import bags of one robot at a time"
                )
            found = _report(bag, layout)
            report["bags"].append(found)
            for episode in bag_episodes(bag, layout, found):
                yield rule(episode) if rule else episode
        if not any(found["episodes"] for found in report["bags"]):
            raise UserError(f"no episode of {layout.episodes.min_steps} steps in {len(bags)} bags: {_why(report)}")

    action_space = None
    stream = episodes()
    first = next(stream, None)  # after this, the number of channels is known
    if first is not None and any(f.low is not None for f in layout.action.values()):
        action_space = action_space_of(layout, shapes, layout_file.name)
    written = write_dataset(
        dataset_id,
        _chain(first, stream),
        action_space=action_space,
        description=f"Imported by lapo_tf from {len(bags)} robot bags with the layout {layout_file.name}.",
        metadata=metadata,
    )
    return Imported(written, report)


def _chain(first: Episode | None, rest: Iterator[Episode]) -> Iterator[Episode]:
    if first is not None:
        yield first
        yield from rest


def bag_episodes(bag: Bag, layout: BagLayout, report: Report) -> Iterator[Episode]:
    """The episodes of a bag, rewards 0; `report` counts them, and what was left out and why."""
    fields = layout.fields()
    anchor_name, anchor = next(iter(fields.items()))
    intervals = _intervals(bag, layout)
    for epoch in _epochs(bag, layout):
        samples = {name: bag.samples(name, f, *epoch) for name, f in fields.items()}
        for interval in intervals:
            first, last = max(interval[0], epoch[0]), min(interval[1], epoch[1])
            inside = [part.stamps for _, part in bag.samples(anchor_name, anchor, first, last)] if first < last else []
            ticks = np.unique(np.concatenate(inside)) if inside else np.zeros(0, np.int64)
            if len(ticks):
                yield from _steps(bag, layout, samples, ticks, report)


def _steps(bag: Bag, layout: BagLayout, samples: dict[str, Any], ticks: Times, report: Report) -> Iterator[Episode]:
    """Episodes within one interval; `ticks` are the stamps of the first observation field in it."""
    begin = _beginning(bag, layout, samples, ticks)
    if begin is None:
        report["left_out"]["never complete"] = report["left_out"].get("never complete", 0) + 1
        return
    times = grid(begin, int(ticks[-1]), layout.rate)
    if len(times) < 2:
        report["left_out"]["too short"] = report["left_out"].get("too short", 0) + 1
        return
    values: dict[str, np.ndarray] = {}
    usable = np.ones(len(times) - 1, bool)
    for name, f in layout.fields().items():
        acted = name.startswith("action.")
        at = times[1:] if acted else times
        values[name] = np.empty((len(at), bag.size(name, f)))
        for channels, part in samples[name]:
            if f.resample == "mean":
                values[name][:, channels], fresh = mean_over(part, times, f.max_age)
            else:
                values[name][:, channels], fresh = resample(part, at, f.resample, f.max_age, f.default)
            fresh = fresh if acted else fresh[:-1] & fresh[1:]
            if stale := int((~fresh).sum()):
                report["stale"][name] = report["stale"].get(name, 0) + stale
            usable &= fresh
    observation = np.concatenate([values[f"observation.{name}"] for name in layout.observation], axis=1)
    action = np.concatenate([values[f"action.{name}"] for name in layout.action], axis=1)
    signals = {name: values[f"signals.{name}"] for name in layout.signals}
    for a, b in runs(usable):
        if b - a < layout.episodes.min_steps:
            report["left_out"]["too short"] = report["left_out"].get("too short", 0) + 1
            continue
        report["episodes"] += 1
        report["steps"] += b - a
        infos = {name: signal[a : b + 1] for name, signal in signals.items()}
        infos = {name: signal[:, 0] if signal.shape[1] == 1 else signal for name, signal in infos.items()}
        infos["time"] = times[a : b + 1] / NS
        yield Episode(observation[a : b + 1], action[a:b], np.zeros(b - a, np.float32), False, infos)


def _beginning(bag: Bag, layout: BagLayout, samples: dict[str, Any], ticks: Times) -> int | None:
    """The first tick at which all observations and signals are fresh."""
    fresh = np.ones(len(ticks), bool)
    for name, f in layout.fields().items():
        if not name.startswith("action."):
            for _, part in samples[name]:
                fresh &= resample(part, ticks, f.resample, f.max_age, f.default)[1]
    return int(ticks[np.argmax(fresh)]) if fresh.any() else None


def _epochs(bag: Bag, layout: BagLayout) -> list[Interval]:
    """Receive times between which no topic's stamps run back (beyond one control step: that is mere disorder)."""
    cuts: set[int] = set()
    for topic in {topic for f in layout.fields().values() if f.time == "header" for topic in f.topic}:
        log = bag.topics[topic]
        stamps, received = log.stamps("header"), log.stamps("receive")
        back = np.flatnonzero(np.diff(stamps) < -NS / layout.rate)
        if len(back) and layout.backwards == "error":
            n = int(back[0])
            raise UserError(
                f"{bag.path.name}: time runs backwards on {topic}: message {n + 1} is stamped "
                f"{(stamps[n] - stamps[n + 1]) / NS:.3f} s before the one that came before it; was the clock set? "
                "use `time: receive`, or `backwards: cut` to begin a new episode there"
            )
        cuts |= {int(received[n + 1]) for n in back}
    edges = [BEGIN, *sorted(cuts), END]
    return list(pairwise(edges))


def _intervals(bag: Bag, layout: BagLayout) -> list[Interval]:
    """Receive times of episodes, as the layout's `episodes` say."""
    cuts, events = layout.episodes, bag.events
    intervals: list[Interval] = [(BEGIN, END)]
    if cuts.while_ is not None:
        states = [*events["while"], (END, False)]
        intervals = [(a, b) for (a, on), (b, _) in pairwise(states) if on]
        intervals = _joined(intervals)
    elif cuts.change is not None:
        said = events["change"]
        changes = [t for n, (t, v) in enumerate(said) if n == 0 or v != said[n - 1][1]]
        intervals = list(pairwise([*changes, END]))
    elif cuts.start is not None or cuts.stop is not None:
        starts = _calls(events, "start") if cuts.start is not None else [BEGIN]
        stops = _calls(events, "stop") if cuts.stop is not None else []
        if cuts.start is None:
            starts = [BEGIN, *stops]
        ends = [min([t for t in (*starts, *stops) if t > start], default=END) for start in starts]
        intervals = list(zip(starts, ends, strict=True))
    if cuts.gap is not None:
        heard = np.unique(np.concatenate([bag.topics[t].stamps("receive") for t in _used(layout)]))
        silent = np.flatnonzero(np.diff(heard) > cuts.gap * NS)
        for n in silent:
            intervals = [part for i in intervals for part in _without(i, int(heard[n]) + 1, int(heard[n + 1]))]
    return intervals


def _calls(events: dict[str, list[tuple[int, Any]]], name: str) -> list[int]:
    """When messages came or services were called. Introspection tells of a call up to four times; once counts."""
    times = [(t, kind) for t, kind in events[name]]
    if times and not isinstance(times[0][1], bool):
        received, sent = 1, 0  # service_msgs/msg/ServiceEventInfo: REQUEST_RECEIVED, REQUEST_SENT
        seen = received if any(kind == received for _, kind in times) else sent
        times = [(t, kind) for t, kind in times if kind == seen]
    return [t for t, _ in times]


def _joined(intervals: list[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for a, b in intervals:
        if joined and joined[-1][1] == a:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined


def _without(interval: Interval, first: int, last: int) -> list[Interval]:
    a, b = interval
    if b <= first or a >= last:
        return [interval]
    return [part for part in ((a, first), (last, b)) if part[0] < part[1]]


def _used(layout: BagLayout) -> list[str]:
    return list(dict.fromkeys(topic for f in layout.fields().values() for topic in f.topic))


# The report -----------------------------------------------------------------------------------------------------------


def _report(bag: Bag, layout: BagLayout) -> Report:
    """What was found in a bag: rates, gaps, disorder, delays and clock jumps of every topic used."""
    heard = [bag.topics[topic].stamps("receive") for topic in _used(layout)]
    begin = min((int(r[0]) for r in heard if len(r)), default=0)
    end = max((int(r[-1]) for r in heard if len(r)), default=0)
    topics = {topic: _topic_report(bag, layout, topic, begin) for topic in _used(layout)}
    return {
        "bag": str(bag.path),
        "seconds": (end - begin) / NS,
        "episodes": 0,
        "steps": 0,
        "topics": topics,
        "not_finite": bag.not_finite,
        "stale": {},
        "left_out": {},
    }


def _topic_report(bag: Bag, layout: BagLayout, topic: str, begin: int) -> Report:
    log = bag.topics[topic]
    received = log.stamps("receive")
    report: Report = {"messages": len(received)}
    if len(received) < 2:
        return report
    stamps = log.stamps("header") if len(log.stamped) else received
    steps = np.diff(stamps)
    widest = int(np.argmax(steps))
    ages = [f.max_age for f in layout.fields().values() if topic in f.topic and f.max_age is not None]
    report |= {
        "hz": float(NS / max(float(np.median(np.diff(np.sort(stamps)))), 1.0)),
        "largest_gap_s": float(steps[widest] / NS),
        "largest_gap_at_s": float((received[widest] - begin) / NS),
        "gaps": int((steps > min(ages) * NS).sum()) if ages else 0,
        "out_of_order": int((steps < 0).sum()),
        "repeated_stamps": int((steps == 0).sum()),
    }
    if len(log.stamped):
        delay = received - stamps
        drift = np.diff(delay)
        jumps = np.flatnonzero(np.abs(drift) > CLOCK_JUMP * NS)
        report["delay_s"] = float(np.median(delay) / NS)
        report["clock_jumps"] = [
            {"at_s": float((received[n + 1] - begin) / NS), "by_s": float(-drift[n] / NS)} for n in jumps[:20]
        ]
        report["clock_jumps_in_all"] = len(jumps)
    return report


def _why(report: Report) -> str:
    reasons = []
    for found in report["bags"]:
        stale = ", ".join(f"{name} stale in {count} steps" for name, count in found["stale"].items())
        left = ", ".join(f"{count} {reason}" for reason, count in found["left_out"].items())
        reasons.append(f"{Path(found['bag']).name}: {stale or left or 'no episode begins'}")
    return "; ".join(reasons[:3])


def describe(report: Report) -> str:
    """The report, for people."""
    lines = []
    for found in report["bags"]:
        lines.append(
            f"{Path(found['bag']).name}: {found['seconds']:.1f} s, {found['episodes']:,} episodes, "
            f"{found['steps']:,} steps"
        )
        for topic, t in found["topics"].items():
            if "hz" not in t:
                lines.append(f"  {topic}: {t['messages']} messages")
                continue
            notes = [f"{t['messages']:,} messages at {t['hz']:.4g} Hz"]
            if t["gaps"]:
                notes.append(
                    f"{t['gaps']} gaps beyond max_age, the largest {t['largest_gap_s']:.3g} s "
                    f"(at {t['largest_gap_at_s']:.1f} s)"
                )
            notes += [f"{t['out_of_order']} out of order"] if t["out_of_order"] else []
            notes += [f"{t['repeated_stamps']} repeated stamps"] if t["repeated_stamps"] else []
            if abs(t.get("delay_s", 0.0)) > 0.05:
                notes.append(f"received {t['delay_s']:.3f} s after its stamp (median)")
            if t.get("clock_jumps"):
                jump = t["clock_jumps"][0]
                notes.append(
                    f"{t['clock_jumps_in_all']} jumps of stamps against receive times, the first by "
                    f"{jump['by_s']:+.3f} s (at {jump['at_s']:.1f} s)"
                )
            lines.append(f"  {topic}: {'; '.join(notes)}")
        lines += [f"  {name}: {count} values not finite, left out" for name, count in found["not_finite"].items()]
        lines += [f"  {name}: stale in {count:,} steps, left out" for name, count in found["stale"].items()]
        lines += [f"  left out: {count} stretches {reason}" for reason, count in found["left_out"].items()]
    return "\n".join(lines)
