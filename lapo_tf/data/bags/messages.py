"""Paths into ROS messages, such as `pose.position.x` or `points[0].positions`: checked once, then fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from lapo_tf.errors import UserError, unknown

Get = Callable[[Any], np.ndarray]
Definitions = Mapping[str, Any]  # of rosbags: type -> (constants, [(field, (kind, details))])
HEADER = "std_msgs/msg/Header"
TEXT = ("string", "wstring")

_INDEX, _SLICE = re.compile(r"\[(\d+)\]"), re.compile(r"\[(\d+):(\d+)\]$")
_PART = re.compile(r"(?P<name>[A-Za-z]\w*)(\[(?P<start>\d+)(?P<stop>:\d+)?\])?")


def numbers(paths: tuple[str, ...], kind: str, definitions: Definitions, where: str) -> Get:
    """A function of a message of type `kind` that gives all numbers at the paths, float64 [n].

    Raises:
        UserError: no such field (with the nearest name), or none that holds numbers.
    """
    getters = [_numbers(path, kind, definitions, where) for path in paths]
    if len(getters) == 1:
        return getters[0]
    return lambda message: np.concatenate([get(message) for get in getters])


def single_paths(paths: tuple[str, ...], kind: str, definitions: Definitions, size: int) -> list[str]:
    """The path of each of the `size` numbers that `numbers` gives, indices as parts of their own: `data.3`.

    Empty where they cannot be told: of several lists whose lengths only the messages know.
    """
    parts = [_single_paths(path, kind, definitions) for path in paths]
    rest = size - sum(len(part) for part in parts if isinstance(part, list))
    spelled = [part if isinstance(part, list) else [f"{part}.{i}" for i in range(rest)] for part in parts]
    found = [path for part in spelled for path in part]
    return found if len(found) == size else []


def _single_paths(path: str, kind: str, definitions: Definitions) -> list[str] | str:
    """The paths of the numbers at a path; of a list of any length, the path of the list."""
    _, (node, details) = _walk(path, kind, definitions, path)
    spelled = _INDEX.sub(r".\1", path)
    if part := _SLICE.search(spelled):
        return [f"{spelled[: part.start()]}.{i}" for i in range(int(part[1]), int(part[2]))]
    if node == Nodetype.NAME:
        leaves = [_single_paths(f"{path}.{leaf}", kind, definitions) for leaf in _leaves(details, definitions, path)]
        return [single for leaf in leaves for single in leaf]
    if node == Nodetype.BASE:
        return [spelled]
    return [f"{spelled}.{i}" for i in range(details[1])] if node == Nodetype.ARRAY else spelled


def value(path: str, kind: str, definitions: Definitions, where: str) -> Callable[[Any], Any]:
    """A function of a message of type `kind` that gives the single value (a number, a flag or text) at the path."""
    get, (node, _) = _walk(path, kind, definitions, where)
    if node != Nodetype.BASE:
        raise UserError(f"{where}: '{path}' of {kind} is no single value: name one")
    return get


def joint_names(names: str | None, kind: str, definitions: Definitions, where: str) -> Callable[[Any], Any]:
    """A function of a message of type `kind` that gives the list of joint names in it."""
    fields = [field for field, _ in definitions[kind][1]]
    if names is None:
        names = next((name for name in ("name", "joint_names") if name in fields), None)
        if names is None:
            raise UserError(
                f"{where.removesuffix('.names')}.joints: {kind} has no 'name' and no 'joint_names'; it has "
                f"{', '.join(fields)}: give `names`, or leave `joints` out and take the array as it is"
            )
    get, (node, details) = _walk(names, kind, definitions, where)
    if node not in (Nodetype.ARRAY, Nodetype.SEQUENCE) or details[0][1][0] not in TEXT:
        raise UserError(f"{where}: '{names}' of {kind} is no list of names")
    return get


def has_header(kind: str, definitions: Definitions) -> bool:
    """Whether messages of that type carry a stamp."""
    fields = dict(definitions[kind][1])
    return fields.get("header") == (Nodetype.NAME, HEADER)


def _walk(path: str, kind: str, definitions: Definitions, where: str) -> tuple[Callable[[Any], Any], tuple[Any, Any]]:
    """The getter of a path and the type of what it gets."""
    node: tuple[Any, Any] = (Nodetype.NAME, kind)
    steps: list[Callable[[Any], Any]] = []
    for part in path.split("."):
        match = _PART.fullmatch(part)
        if match is None:
            raise UserError(f"{where}: cannot read '{path}': expected a path such as pose.position.x or data[0:3]")
        if node[0] != Nodetype.NAME:
            raise UserError(f"{where}: '{path}' of {kind} goes on after a number or list; it ends before '{part}'")
        fields = dict(definitions[node[1]][1])
        if match["name"] not in fields:
            raise unknown(f"field in {where} ({node[1]}):", match["name"], fields)
        node = fields[match["name"]]
        steps.append(attrgetter(match["name"]))
        if match["start"] is None:
            continue
        if node[0] not in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            raise UserError(f"{where}: '{part}' of '{path}': {match['name']} is no list")
        start = int(match["start"])
        if match["stop"]:
            steps.append(itemgetter(slice(start, int(match["stop"][1:]))))
        else:
            steps.append(itemgetter(start))
            node = node[1][0]

    def get(message: Any) -> Any:
        for step in steps:
            message = step(message)
        return message

    return (steps[0] if len(steps) == 1 else get), node


def _numbers(path: str, kind: str, definitions: Definitions, where: str) -> Get:
    get, (node, details) = _walk(path, kind, definitions, where)
    if node == Nodetype.NAME:
        leaves = attrgetter(*_leaves(details, definitions, f"{where}: '{path}' of {kind}"))
        return lambda message: np.hstack(leaves(get(message))).astype(np.float64)
    base = details if node == Nodetype.BASE else details[0][1]
    if base[0] in TEXT or (node != Nodetype.BASE and details[0][0] != Nodetype.BASE):
        raise UserError(f"{where}: '{path}' of {kind} holds no numbers: name the numbers")
    return lambda message: np.array(get(message), np.float64).reshape(-1)


def _leaves(kind: str, definitions: Definitions, what: str) -> list[str]:
    """Paths of all numbers of a message, in order, its header left out."""
    leaves: list[str] = []
    for name, (node, details) in definitions[kind][1]:
        if node == Nodetype.NAME:
            if details != HEADER:
                leaves += [f"{name}.{leaf}" for leaf in _leaves(details, definitions, what)]
        elif (details if node == Nodetype.BASE else details[0][1])[0] in TEXT or node == Nodetype.SEQUENCE:
            raise UserError(f"{what} is a message with text or lists ('{name}'): name the numbers")
        else:
            leaves.append(name)
    return leaves
