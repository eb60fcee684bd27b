"""Questions to rosapi, about the graph."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from robot_bridge.transport import Transport

TIMEOUT = 2.0

TYPES = {
    "subscribers": "Subscribers",
    "publishers": "Publishers",
    "service_type": "ServiceType",
    "action_servers": "GetActionServers",
    "nodes": "Nodes",
}


def ask(transport: Transport, question: str, request: dict[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
    """Call `/rosapi/<question>` and wait for its answer; {} if there is none. Not for I/O threads."""
    answer = wait(
        lambda done: transport.call_service(
            f"/rosapi/{question}", f"rosapi_msgs/srv/{TYPES[question]}", request, done, timeout
        ),
        timeout,
    )
    return answer if isinstance(answer, dict) else {}


def wait(start: Callable[[Callable[[Any, str | None], None]], None], timeout: float) -> Any:
    """Have `start(done)` ask something; wait for `done(values, error)` and return the values, None if it failed."""
    ready = threading.Event()
    answer: list[Any] = [None]

    def done(values: Any, error: str | None) -> None:
        answer[0] = values
        ready.set()

    start(done)
    ready.wait(timeout + 1.0)
    return answer[0]
