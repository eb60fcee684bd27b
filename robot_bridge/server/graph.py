"""The graph: who publishes, subscribes and offers what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from robot_bridge.server.client import Client, Delivery


@dataclass(eq=False)
class Topic:
    name: str
    type: str | None = None
    publishers: dict[Client, set[str | None]] = field(default_factory=dict)
    """Ids of advertisements, by client."""
    subscribers: dict[Client, Delivery] = field(default_factory=dict)
    latching: set[Client] = field(default_factory=set)
    """Who advertised it with `latch`."""
    latched: tuple[Client, dict[str, Any]] | None = None
    """The last message that was published with `latch`, and by whom."""


@dataclass(eq=False)
class Provider:
    """Who offers a service or an action."""

    name: str
    type: str | None
    client: Client
    spelling: str


@dataclass
class Graph:
    """All topics, services and actions, by their full names."""

    topics: dict[str, Topic] = field(default_factory=dict)
    services: dict[str, Provider] = field(default_factory=dict)
    actions: dict[str, Provider] = field(default_factory=dict)

    def names(self, kind: str) -> Iterable[tuple[str, str]]:
        """(name, type) of all topics, services or actions, by name."""
        things: dict[str, Any] = getattr(self, kind)
        return [(name, things[name].type or "") for name in sorted(things)]
