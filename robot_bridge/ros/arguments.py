"""`--ros-args`: remapping (`-r from:=to`, `__node`, `__ns`), parameters (`-p name:=value`, `--params-file`), level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robot_bridge.errors import UserError


@dataclass
class Arguments:
    """What `--ros-args` said. Rules for one node only carry its name."""

    remaps: list[tuple[str | None, str, str]] = field(default_factory=list)
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)  # (node or '/**', name, value)
    log_level: str | None = None
    rest: list[str] = field(default_factory=list)  # what is not ROS's

    @classmethod
    def parse(cls, args: list[str]) -> Arguments:
        """Raises `UserError` for what is no ROS argument, or cannot be read."""
        result = cls()
        inside = False
        items = iter(args)
        for item in items:
            if item == "--ros-args":
                inside = True
            elif item == "--" and inside:
                inside = False
            elif not inside:
                result.rest.append(item)
            else:
                result._add(item, items)
        return result

    def _add(self, option: str, items: Iterator[str]) -> None:
        if option in ("--enable-rosout-logs", "--disable-rosout-logs", "--enable-stdout-logs", "--disable-stdout-logs"):
            raise UserError(f"{option} is not supported: use Node(enable_rosout=…)")
        known = ("-r", "--remap", "-p", "--param", "--params-file", "--log-level")
        if option not in known:
            raise UserError(f"unknown ROS argument {option}: expected {', '.join(known)}")
        value = next(items, None)
        if value is None:
            raise UserError(f"{option} needs a value")
        if option == "--log-level":
            self.log_level = value
        elif option == "--params-file":
            self._add_file(Path(value))
        else:
            left, separator, right = value.partition(":=")
            if not separator or not left:
                raise UserError(f"{option} {value}: expected name:=value")
            node, _, name = left.rpartition(":") if "://" not in left else ("", "", left.split("://")[1])
            if option in ("-r", "--remap"):
                self.remaps.append((node or None, name, right))
            else:
                self.parameters.append((node or "/**", name, _value(right, value)))

    def _add_file(self, path: Path) -> None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"--params-file {path}: {error}") from None
        if not isinstance(content, dict):
            raise UserError(f"--params-file {path}: expected <node>: ros__parameters: …")
        for node, section in _sections(content, ""):
            for name, value in _flat(section, ""):
                self.parameters.append((node, name, value))

    def node_name(self, name: str) -> str:
        return self._special(("__node", "__name"), name, name)

    def namespace(self, name: str, namespace: str) -> str:
        return self._special(("__ns",), name, namespace)

    def _special(self, keys: tuple[str, ...], node: str, default: str) -> str:
        for filter_, source, target in self.remaps:
            if source in keys and filter_ in (None, node):
                return target
        return default

    def parameters_of(self, node_name: str, namespace: str) -> dict[str, Any]:
        """The values given for one node; later ones win."""
        full = f"{namespace.rstrip('/')}/{node_name}"
        mine = ("/**", "/*", node_name, full, f"/{node_name}" if namespace == "/" else full)
        return {name: value for node, name, value in self.parameters if node in mine}


def _value(text: str, whole: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"-p {whole}: the value is not YAML") from None


def _sections(content: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in content.items():
        if key == "ros__parameters":
            yield prefix or "/**", value or {}
        elif isinstance(value, dict):
            name = str(key)
            yield from _sections(value, f"{prefix.rstrip('/')}/{name.lstrip('/')}" if prefix else name)


def _flat(section: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(section, dict):
        raise UserError(f"ros__parameters is {section!r}: expected names and values")
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
