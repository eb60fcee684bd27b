"""YAML files as typed values: every mistake is named with its path in the file."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from lapo_tf.errors import UserError, unknown

T = TypeVar("T")


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

    Raises:
        UserError: no such file, no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{where}: not valid YAML ({problem}); mend the file") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no mapping; expected lines like 'rate: 20'")
    return values


def build(hint: Any, value: Any, path: str) -> Any:
    """`value`, of plain YAML types, as `hint` says: a dataclass, dict, tuple, Literal, optional or plain type.

    Lists become tuples, integers floats where floats are wanted, and a single value a tuple of one.

    Args:
        path: of the value in its file, for messages.

    Raises:
        UserError: unknown (with the nearest name) or missing entries, and values of another type.
    """
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build_dataclass(hint, value, path)
    if origin is Literal:
        if value in options and type(value) in {type(option) for option in options}:
            return value
    elif origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        kinds = [option for option in options if option is not type(None)]
        kind = next((k for k in kinds if _plausible(k, value)), kinds[0])
        return build(kind, value, path)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(key): build(options[1], entry, f"{path}.{key}") for key, entry in value.items()}
    elif origin is tuple:
        entries = value if isinstance(value, list | tuple) else [value]
        return tuple(build(options[0], entry, f"{path}[{i}]") for i, entry in enumerate(entries))
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is Any or type(value) is hint:
        return value
    raise UserError(f"{path} is {value!r}: expected {_described(hint)}")


def _build_dataclass(kind: type[T], value: Any, path: str) -> T:
    if not isinstance(value, Mapping):
        raise UserError(f"{path} is {value!r}: expected a mapping with {_described(kind)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    spelled = {name.rstrip("_"): name for name in fields}  # `while_` is `while` in the file
    if strange := [key for key in value if key not in spelled]:
        raise unknown(f"entry in {path}:", str(strange[0]), spelled)
    for shown, name in spelled.items():
        field = fields[name]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and shown not in value:
            raise UserError(f"{path}.{shown} is missing: expected {_described(hints[name])}")
    return kind(**{spelled[key]: build(hints[spelled[key]], entry, f"{path}.{key}") for key, entry in value.items()})


def _plausible(hint: Any, value: Any) -> bool:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) or origin is dict:
        return isinstance(value, Mapping)
    if origin is tuple:
        return isinstance(value, list)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _described(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return "entries " + ", ".join(field.name.rstrip("_") for field in dataclasses.fields(hint))
    if origin is Literal:
        return "one of " + ", ".join(map(str, options))
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if option is type(None) else _described(option) for option in options)
    if origin is dict:
        return f"a mapping of names to {_described(options[1])}"
    if origin is tuple:
        return f"a list, each entry {_described(options[0])}"
    return {float: "a number", int: "a whole number", str: "text", bool: "true or false"}.get(hint, "a value")
