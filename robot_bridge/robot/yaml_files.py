"""A YAML file as a typed value: read once, checked whole, every mistake told with its path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from robot_bridge.errors import UserError

T = TypeVar("T")

EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a list",
}


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file.

    Raises:
        UserError: it is no YAML; or it gives an entry twice, or uses aliases: neither says what holds.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}); mend the file") from None


def validated(kind: type[T], values: Any) -> tuple[T | None, list[str]]:
    """`values` as `kind`, a pydantic model; or None, and all that is wrong with them."""
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(values), []
    except ValidationError as error:
        return None, [_told(mistake, adapter) for mistake in error.errors(include_url=False)]


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def near(name: object, known: Iterable[str]) -> str:
    """The nearest known name as a question, or all of them."""
    known = list(known)
    match = get_close_matches(str(name), known, n=1)
    return f"did you mean '{match[0]}'?" if match else f"known: {', '.join(known)}"


def spelled(path: Iterable[int | str]) -> str:
    """A path as people write it: inputs[0].topic."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _told(mistake: ErrorDetails, adapter: TypeAdapter) -> str:
    """One mistake: its place, and what is wrong."""
    kind, found, text = mistake["type"], mistake["input"], mistake["msg"]
    place = spelled(mistake["loc"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, name = mistake["loc"]
        return f"{place}: unknown, {near(name, _entries(adapter, parents))}"
    if kind == "missing":
        return f"{place}: missing"
    if kind == "told":  # in words of our own
        return f"{place}: {text}"
    if kind == "literal_error":
        return f"{place}: {short(found)}, expected {mistake['ctx']['expected'].replace(chr(39), '')}"
    expected = EXPECTED.get(kind) or re.sub(r"^(Input )?(expected|should be) ", "", text)
    return f"{place or 'file'}: {short(found)}, expected {expected}"


def _entries(adapter: TypeAdapter, path: list[Any]) -> list[str]:
    """Names of the entries that may be at a path, after the type's schema."""
    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})

    def options(node: Any) -> list[dict[str, Any]]:
        node = definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        return [one for part in node["anyOf"] for one in options(part)] if "anyOf" in node else [node]

    nodes = options(schema)
    for part in path:
        below = [node.get("items") if isinstance(part, int) else _below(node, part) for node in nodes]
        nodes = [one for node in below if node for one in options(node)]
    return [name for node in nodes for name in node.get("properties", {})]


def _below(node: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The schema of an entry: of a known name, or of a mapping whose names are free."""
    free = node.get("additionalProperties")
    return node.get("properties", {}).get(name) or (free if isinstance(free, dict) else None)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML has it, with YAML 1.2's floats (1e-3), without entries given twice and without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"alias *{event.anchor}: write it out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?|\.\d)\d*[eE][-+]?\d+$"), list("-+.0123456789")
)
