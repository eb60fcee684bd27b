"""How dictionary observations become the flat vector a task is defined on.

A layout is a list of fields, joined in order; it reads the same in YAML and in Python:

    - observation            a whole entry
    - observation[0:9]       a part of it
    - desired_goal/kettle    an entry of a nested dictionary; of a tuple, _index_0
    - [0.0, 0.37]            constants, the same in every row; or one as text, 0.37
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lapo_tf.errors import UserError

Layout = Sequence[str | float | Sequence[float]]

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FIELD = re.compile(r"(?P<key>[^\[\]]+)(\[(?P<start>\d+):(?P<stop>\d+)\])?")

# Goal vectors of D4RL's kitchen: robot 9 (zeros), then the 21 object coordinates; untargeted elements are 0. They are
# constants of the task, so they do not depend on which goals a recorded dictionary happens to list.
_KITCHEN_GOALS: dict[str, tuple[int, list[float]]] = {
    "bottom burner": (11, [-0.88, -0.01]),
    "light switch": (17, [-0.69, -0.05]),
    "slide cabinet": (19, [0.37]),
    "microwave": (22, [-0.75]),
    "kettle": (23, [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]),
}


def _kitchen(*elements: str) -> Layout:
    goal = [0.0] * 30
    for element in elements:
        first, values = _KITCHEN_GOALS[element]
        goal[first : first + len(values)] = values
    # FrankaKitchen: robot qpos 9, robot qvel 9, object qpos 21, object qvel 20; D4RL: qpos 9 + 21, goal 30.
    return ("observation[0:9]", "observation[18:39]", goal)


KITCHEN = _kitchen("microwave", "kettle", "light switch", "slide cabinet")
KITCHEN_MIXED = _kitchen("microwave", "kettle", "bottom burner", "light switch")
POINTMAZE: Layout = ("observation",)  # x, y, vx, vy
ANTMAZE: Layout = ("achieved_goal", "observation[0:27]")  # xy, then the ant's joints and velocities

# By the beginning of a Minari id; the first match counts.
LAYOUTS: dict[str, Layout] = {
    "D4RL/kitchen/mixed": KITCHEN_MIXED,
    "D4RL/kitchen/": KITCHEN,
    "D4RL/pointmaze/": POINTMAZE,
    "D4RL/antmaze/": ANTMAZE,
}


def layout_of(dataset_id: str) -> Layout | None:
    """The layout of a published Minari data set, or `None`."""
    return next((layout for start, layout in LAYOUTS.items() if dataset_id.startswith(start)), None)


def entries(layout: Layout) -> list[str]:
    """The recorded entries a layout draws on, without repetition."""
    return list(
        dict.fromkeys(_parse(item)[0] for item in layout if isinstance(item, str) and not _NUMBER.fullmatch(item))
    )


def flatten(layout: Layout, entry: Callable[[str], np.ndarray]) -> np.ndarray:
    """Join the fields of a layout.

    Args:
        entry: gives the recorded array [T, ...] of an entry, all of one length.

    Returns:
        float32 [T, obs].

    Raises:
        UserError: a field that cannot be read as one, a slice past an entry's end, or no recorded entry at all.
    """
    recorded = {key: (array := entry(key)).reshape(len(array), -1) for key in entries(layout)}
    if not recorded:
        raise UserError("observation layout: only constants, expected at least one recorded entry; add one")
    length = len(next(iter(recorded.values())))
    columns: list[np.ndarray] = []
    for item in layout:
        if not isinstance(item, str) or _NUMBER.fullmatch(item):
            columns.append(np.tile(np.atleast_1d(np.asarray(item, np.float32)), (length, 1)))
            continue
        key, part = _parse(item)
        values = recorded[key]
        if part is not None and not part.start < part.stop <= values.shape[1]:
            raise UserError(f"observation layout: '{item}', but {key} has {values.shape[1]} values; correct the slice")
        columns.append(values if part is None else values[:, part])
    return np.concatenate(columns, axis=1, dtype=np.float32)


def channels(layout: Layout, names: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Names of the joined channels, and where each recorded field is among them.

    Args:
        names: of each entry's channels.
    """
    joined: list[str] = []
    places: dict[str, tuple[int, int]] = {}
    for item in layout:
        if not isinstance(item, str) or _NUMBER.fullmatch(item):
            joined += ["constant"] * np.size(item)
            continue
        key, part = _parse(item)
        first = len(joined)
        joined += names[key] if part is None else names[key][part]
        places[item] = (first, len(joined))
    return joined, places


def numbered(name: str, size: int) -> list[str]:
    """Names of an entry's channels, where nobody gave them any."""
    return [name] if size == 1 else [f"{name}.{i}" for i in range(size)]


def _parse(item: str) -> tuple[str, slice | None]:
    match = _FIELD.fullmatch(item)
    if match is None:
        raise UserError(f"observation layout: cannot read '{item}', expected KEY or KEY[START:STOP]; correct it")
    part = slice(int(match["start"]), int(match["stop"])) if match["start"] is not None else None
    return match["key"], part
