"""What the numbers of a data set made of bags are: names, units, and where on the robot they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.bags.layout import BagField, BagLayout
from lapo_tf.data.bags.messages import single_paths
from lapo_tf.data.bags.reader import Bag
from lapo_tf.data.bounds import box
from lapo_tf.errors import UserError


def described(bag: Bag, layout: BagLayout) -> dict[str, Any]:
    """`observation`, `action`, `fields` and `channels` for a data set's metadata: `lapo_tf.data.dataset.METADATA`."""
    channels = {
        "observation": _channels(bag, "observation", layout.observation),
        "action": _channels(bag, "action", layout.action),
    }
    fields, position = {}, 0
    for name, f in layout.observation.items():
        fields[name] = (position, position := position + bag.size(f"observation.{name}", f))
    names = {section: [channel["name"] for channel in found] for section, found in channels.items()}
    return names | {"fields": fields, "channels": channels}


def _channels(bag: Bag, section: str, fields: Mapping[str, BagField]) -> list[dict[str, Any]]:
    channels = []
    for name, f in fields.items():
        size = bag.size(f"{section}.{name}", f)
        units = f.unit if len(f.unit) == size else (f.unit * size if len(f.unit) == 1 else ("",) * size)
        if len(f.unit) > 1 and len(f.unit) != size:
            raise UserError(f"the layout's {section}.{name}.unit has {len(f.unit)} entries: expected 1 or {size}")
        paths = f.field * size if f.joints else single_paths(f.field, bag.types[f.topic[0]], bag.definitions, size)
        topics = [f.topic[0]] * size
        for series in bag.series[f"{section}.{name}"]:
            for i in series.columns or ():
                topics[i] = series.topic
        parts = f.joints or (f.field if len(f.field) == size > 1 else _parts(f.field[0], paths, size))
        for i, part in enumerate(parts):
            channels.append(
                {
                    "name": name if size == 1 and not f.joints else f"{name}.{part}",
                    "field": name,
                    "joint": part if f.joints else None,
                    "unit": units[i],
                    "topic": topics[i],
                    "type": bag.types[topics[i]],
                    "frame": bag.frames.get(topics[i], ""),
                    "path": paths[i] if paths else "",
                    "resample": f.resample,
                    "max_age": f.max_age,
                    "time": f.time,
                    "scale": f.scale,
                    "shift": f.shift,
                }
            )
    return channels


def _parts(field: str, paths: Sequence[str], size: int) -> list[str]:
    """What a message calls its numbers at a path: `x`, `y` and `z` of `pose.position`; their places in a list."""
    named = [path.removeprefix(f"{field}.") for path in paths]
    return named if named and not any(name[-1].isdigit() for name in named) else [str(i) for i in range(size)]


def action_space_of(layout: BagLayout, sizes: Mapping[str, int], file: str) -> Box:
    """The bounds of the actions; of fields without any, none."""
    spaces = []
    for name, f in layout.action.items():
        try:
            spaces.append(box(f.low or (-np.inf,), f.high or (np.inf,), sizes[f"action.{name}"]))
        except UserError as error:
            raise UserError(f"{file}: action.{name}.{error}") from error
    return Box(np.concatenate([s.low for s in spaces]), np.concatenate([s.high for s in spaces]), dtype=np.float32)
