"""YAML files as typed values: one reader, one check, every mistake named with its path in the file.

values = read_yaml(path)
layout = validated(Layout, values, f"{path.name}: ")

Types are pydantic models, or dataclasses with `__pydantic_config__ = STRICT`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from lapo_tf.errors import UserError, unknown

T = TypeVar("T")


def _one_or_more(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
"""A list of texts, or a single one."""
Numbers = Annotated[tuple[float, ...], BeforeValidator(_one_or_more)]
"""A list of numbers, or a single one."""

STRICT = ConfigDict(extra="forbid", strict=True)
"""Of types that are read from files: unknown entries are refused, and text is no number."""
SHOWN = 6  # mistakes told at once


def read_yaml(path: Path, example: str = "rate: 20") -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: of the file; `~` is the home folder.
        example: a line as the file may have it, for messages.

    Raises:
        UserError: no such file, not YAML, an entry given twice, or no mapping.
    """
    try:
        values = parse_yaml(path.expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"no such file: {path}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{where}: not valid YAML ({problem}); mend the file") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no mapping; expected lines like '{example}'")
    return values


def parse_yaml(text: str) -> Any:
    """What YAML text says. Unlike YAML 1.1, `1e-3` is a number; an entry that is given twice is an error.

    Raises:
        yaml.YAMLError: it cannot be read.
    """
    return yaml.load(text, _Loader)


def validated(kind: type[T], values: Any, prefix: str = "") -> T:
    """`values`, of plain types, as `kind` says. Lists become tuples, and whole numbers floats where floats are wanted.

    Args:
        kind: a pydantic model, or a dataclass with `__pydantic_config__`.
        values: as a YAML file or a caller gives them; NumPy numbers, arrays and paths will do.
        prefix: what stands before paths in messages, such as `arm.yaml: ` or `arm.yaml: reward.`.

    Raises:
        UserError: all mistakes with their paths; unknown entries with the nearest name.
    """
    adapter = TypeAdapter(kind)
    plain = _plain(values)
    try:
        # JSON's rules have arrays for tuples and text for paths, and are strict in all else.
        return adapter.validate_json(json.dumps(plain))
    except ValidationError as error:
        raise UserError(_told(error.errors(include_url=False), plain, prefix, adapter)) from None


def expect(ok: bool, entry: str, value: object, expected: str) -> None:
    """For pydantic's validators: a mistake in one entry of a model, unless `ok`."""
    if not ok:
        raise ValueError(f"{'.' if entry else ''}{entry} is {value}: expected {expected}")


def _plain(value: Any) -> Any:
    """JSON's types; a whole number is an integer however it is written, so that `steps: 1e4` is one."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


# Messages -------------------------------------------------------------------------------------------------------------


_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}

_TYPES = {
    "": "a value",
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def _told(mistakes: list[ErrorDetails], values: Any, prefix: str, adapter: TypeAdapter) -> str:
    """The mistakes in one line."""
    told: dict[str, str] = {}
    for mistake in mistakes:
        *parents, name, found = _located(mistake, values)
        outer, path = _spelled(prefix, parents), _spelled(prefix, [*parents, name])
        kind, text = mistake["type"], mistake["msg"]
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            place = f"entry in {outer}:" if outer else "entry"
            known = [name for node in _schema(adapter, parents) for name in node.get("properties", {})]
            told[path] = str(unknown(place, str(name), known))
        elif kind == "missing":
            may_be = [_TYPES[node.get("type", "")] for node in _schema(adapter, [*parents, name])]
            told[path] = f"{path} is missing: expected {' or '.join(dict.fromkeys(may_be))}"
        elif kind == "value_error":
            told[path] = f"{path}{mistake['ctx']['error']}"
        else:
            expected = _EXPECTED.get(kind) or _shorter(text)
            if path not in told:
                told[path] = f"{path} is {_short(found)}: expected {expected}"
            elif not told[path].endswith(expected):  # another type that it may have
                told[path] += f" or {expected}"
    lines = list(told.values())
    more = f"; and {len(lines) - SHOWN} more mistakes" if len(lines) > SHOWN else ""
    return "; also ".join(lines[:SHOWN]) + more


def _spelled(prefix: str, path: list[Any]) -> str:
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path if part != "")
    return prefix + inside.removeprefix(".") if inside else prefix.rstrip(": .")


def _shorter(text: str) -> str:
    """Pydantic's text, such as `Input should be greater than 0`, as it follows on "expected"."""
    text = re.sub(r"^\w+ should (be )?", "", text)
    text = re.sub(r"^have (at \w+ \d+) item(s?) .*", lambda m: f"{m[1]} {'entries' if m[2] else 'entry'}", text)
    return text.replace("greater than or equal to", "at least").replace("greater than", "a number above")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _located(mistake: ErrorDetails, values: Any) -> list[Any]:
    """The path of a mistake in the values, without pydantic's own marks of unions, and what was found there."""
    path: list[Any] = []
    for part in mistake["loc"]:
        known = part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int)
        if known:
            values = values[part]
        if known or (mistake["type"] == "missing" and part == mistake["loc"][-1]):
            path.append(part)
    return [*(path or [""]), values]


def _schema(adapter: TypeAdapter, path: list[Any]) -> list[dict[str, Any]]:
    """The JSON schemas of what may be at a path."""
    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        node = definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        return [one for part in node["anyOf"] for one in options(part)] if "anyOf" in node else [node]

    nodes = options(schema)
    for part in path:
        below = [
            node.get("items")
            if isinstance(part, int)
            else node.get("properties", {}).get(part) or node.get("additionalProperties")
            for node in nodes
        ]
        nodes = [one for node in below if node for one in options(node)]
    return nodes


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML has it, with YAML 1.2's floats, and without entries given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?|\.\d)\d*[eE][-+]?\d+$"), list("-+.0123456789")
)
