"""`--ros-args`: remapping (`-r from:=to`, `__node`, `__ns`), parameters (`-p name:=value`, `--params-file`), level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from robot_bridge.errors import UserError
from robot_bridge.ros.parameter_files import covers, parse, read


class Remap(NamedTuple):
    """One rule."""

    node: str | None
    kind: str
    """`topic`, `service`, or '' for both."""
    source: str
    target: str


@dataclass
class Arguments:
    """What `--ros-args` said. Rules for one node only carry its name."""

    remaps: list[Remap] = field(default_factory=list)
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)  # (pattern of nodes, name, value)
    log_levels: list[tuple[str | None, str]] = field(default_factory=list)  # (logger or None for the node's, level)
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
        known = ("-r", "--remap", "-p", "--param", "--params-file", "--log-level", "-e", "--enclave")
        if option not in known:
            raise UserError(f"unknown ROS argument {option}: expected {', '.join(known)}")
        value = next(items, None)
        if value is None:
            raise UserError(f"{option} needs a value")
        if option == "--log-level":
            logger, _, level = value.rpartition(":=")
            self.log_levels.append((logger or None, level))
        elif option == "--params-file":
            self.parameters += read(Path(value))
        elif option not in ("-e", "--enclave"):  # for security, which is the server's
            left, separator, right = value.partition(":=")
            if not separator or not left:
                raise UserError(f"{option} {value}: expected name:=value")
            if option in ("-r", "--remap"):
                self.remaps.append(_remap(left, right))
            else:
                node, _, name = left.rpartition(":")
                self.parameters.append((node or "/**", name, parse(right, f"-p {value}")))

    def node_name(self, name: str) -> str:
        return self._special(("__node", "__name"), name, name)

    def namespace(self, name: str, namespace: str) -> str:
        return self._special(("__ns",), name, namespace)

    def _special(self, keys: tuple[str, ...], node: str, default: str) -> str:
        for rule in self.remaps:
            if rule.source in keys and rule.node in (None, node):
                return rule.target
        return default

    def parameters_of(self, node_name: str, namespace: str) -> dict[str, Any]:
        """The values given for one node; later ones win."""
        full = f"{namespace.rstrip('/')}/{node_name}"
        return {name: value for node, name, value in self.parameters if covers(node, full)}


def _remap(left: str, target: str) -> Remap:
    """`name`, `node:name`, `rostopic://name` or `node:rosservice://name`, as rcl has it."""
    head, scheme, rest = left.partition("://")
    if not scheme:
        node, _, name = left.rpartition(":")
        return Remap(node or None, "", name, target)
    node, _, kind = head.rpartition(":")
    if kind not in ("rostopic", "rosservice"):
        raise UserError(f"-r {left}:={target}: expected rostopic:// or rosservice://")
    return Remap(node or None, kind.removeprefix("ros"), rest, target)
