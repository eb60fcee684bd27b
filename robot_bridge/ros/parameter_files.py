"""Parameter files, and values on the command line, as rcl reads them: YAML with its own rules for numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from robot_bridge.errors import UserError

_TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SPECIAL = re.compile(r"[+-]?\.(nan|NaN|NAN|inf|Inf|INF)")
_WHOLE = 2**63


class _Loader(yaml.SafeLoader):
    """Plain scalars are rcl's, quoted ones texts; neither anchors nor aliases, which rcl refuses too."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - so that PyYAML's own rules for numbers do not apply

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        return {str(key.value): self.construct_object(value, deep=True) for key, value in node.value}


def _scalar(loader: _Loader, node: Any) -> Any:
    return value_of(node.value) if node.style is None else node.value


_Loader.add_constructor("tag:yaml.org,2002:str", _scalar)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)


def value_of(text: str) -> Any:
    """The value of a plain scalar: bool, int (also octal and hexadecimal), float, else the text itself."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
        whole = int(digits, base) * (-1 if text.startswith("-") else 1)
        if -_WHOLE <= whole < _WHOLE:
            return whole
        return float(whole)
    if _REAL.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _SPECIAL.fullmatch(text) else text


def parse(text: str, where: str) -> Any:
    """The value of a YAML text.

    Raises:
        UserError: no YAML, or what no parameter can be; `where` is told.
    """
    try:
        value = yaml.load(text, _Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise UserError(f"{where}: {error}") from None
    _check(value, where)
    return value


def read(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(node, name, value) of a parameter file; the node is a full name, perhaps with `*` and `**`.

    Raises:
        UserError: cannot be read, or is no parameter file.
    """
    where = f"--params-file {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: {error}") from None
    content = parse(text, where)
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected <node>: ros__parameters: …")
    for node, section in _sections(content, ""):
        if not isinstance(section, dict):
            raise UserError(f"{where}: ros__parameters is {section!r}: expected names and values")
        for name, value in _flat(section, ""):
            yield node, name, value


def _check(value: Any, where: str) -> None:
    """Raises `UserError`: a list that is no parameter."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(inner, f"{where}: {key}")
    elif isinstance(value, list):
        kinds = {type(item) for item in value}
        if len(kinds) > 1 or kinds & {list, dict}:
            raise UserError(f"{where} is {value}: expected a list of one type: true or false, integers, floats, texts")


def _sections(content: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if key == "ros__parameters":
            yield prefix or "/**", value or {}
        elif isinstance(value, dict):
            yield from _sections(value, f"{prefix}/{key.strip('/')}")


def _flat(section: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def covers(pattern: str, full_name: str) -> bool:
    """Whether a file's name of nodes means this one: `*` is one level of a name, `**` any number of levels."""
    levels = {"**": r"(/\w+)*", "*": r"/\w+"}
    wanted = "".join(levels.get(level, "/" + re.escape(level)) for level in pattern.strip("/").split("/"))
    return re.fullmatch(wanted, full_name) is not None
