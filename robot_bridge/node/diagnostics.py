"""What a policy node tells of itself on /diagnostics, and what it hears there of others."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.node.sender import time_message
from robot_bridge.transport import Closable, Message, Transport

DIAGNOSTICS, DIAGNOSTICS_TYPE = "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"
PERIOD = 0.5  # s
QUEUE = 20


class Diagnostics:
    """Of one node. Two nodes of one name, or with an output in common, find out about each other here."""

    def __init__(self, name: str, hardware: str, outputs: list[str], transport: Transport) -> None:
        """`name`: of the node. `outputs`: topics and actions that it commands; none in a dry run."""
        self.name, self._hardware, self._transport = name, hardware, transport
        self._identity = {"node": uuid.uuid4().hex, "outputs": " ".join(outputs)}
        self._next = float("-inf")

    def open(self, rival: Callable[[str], None]) -> list[Closable]:
        """Declare and listen; `rival` is called with words about another node that must not be there."""

        def listen(message: Message) -> None:
            for status in message.get("status", []):
                if words := self._about(status):
                    rival(words)

        return [
            self._transport.advertise(DIAGNOSTICS, DIAGNOSTICS_TYPE),
            self._transport.subscribe(DIAGNOSTICS, DIAGNOSTICS_TYPE, listen, queue_length=QUEUE),
        ]

    def _about(self, status: Message) -> str:
        values = {entry.get("key"): entry.get("value") for entry in status.get("values", [])}
        other = values.get("node")
        if other is None or other == self._identity["node"]:
            return ""
        if status.get("name") == self.name:
            return f"another node named {self.name} is running"
        common = set(str(values.get("outputs", "")).split()) & set(self._identity["outputs"].split())
        return f"the node {status.get('name')} commands {' and '.join(sorted(common))}, too" if common else ""

    def soon(self) -> None:
        """Tell at the next occasion: something has changed."""
        self._next = float("-inf")

    def tell(self, now: float, message: Callable[[], Message]) -> None:
        """Publish, if it is time."""
        if now >= self._next:
            self._next = now + PERIOD
            if self._transport.connected:
                self._transport.publish(DIAGNOSTICS, message())

    def message(self, level: int, text: str, values: Mapping[str, Any], *counters: Counters) -> Message:
        """A DiagnosticArray."""
        entries = dict(values)
        for counts in counters:
            entries |= counts.snapshot()
        entries |= self._identity
        status = {
            "level": level,
            "name": self.name,
            "message": text,
            "hardware_id": self._hardware,
            "values": [{"key": key, "value": str(value)} for key, value in entries.items()],
        }
        return {"header": {"stamp": time_message(time.time())}, "status": [status]}
