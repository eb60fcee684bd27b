"""Which actions there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_bridge.ros.rosapi import wait

if TYPE_CHECKING:
    from robot_bridge.ros.node import Node


def get_action_names_and_types(node: Node) -> list[tuple[str, list[str]]]:
    """All actions that are offered; asks rosapi, which does not tell their types."""
    names = wait(lambda done: node.context.transport.action_servers(done, 2.0), 2.0) or []
    return sorted((name, []) for name in names)
