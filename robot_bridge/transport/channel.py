"""The sending side of one websocket: what may be sent now, and the thread that sends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from robot_bridge.transport.base import Message
from robot_bridge.transport.encoding import encode
from robot_bridge.transport.link import Link


class Channel:
    """A link as those see it who send by it. It outlives the links: there is none before the start and after the end.

    Args:
        connected: set while messages can be sent.
        max_age: s; nothing is sent while the peer has not been heard for longer.
        max_backlog: bytes that may wait for the socket before more is refused; None: any number.
    """

    def __init__(self, connected: threading.Event, max_age: float, max_backlog: int | None = None) -> None:
        self.link: Link | None = None
        self._connected = connected
        self._max_age, self._max_backlog = max_age, max_backlog

    @property
    def open(self) -> bool:
        """Whether its websocket is there, as far as the system has noticed."""
        return self.link is not None and self.link.open

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._connected.is_set()

    def obstacle(self) -> str | None:
        """Why nothing can be sent now, as the name of a counter, or None. Any thread may ask."""
        link = self.link
        if link is None or not self.connected or not link.open:
            return "disconnected"
        return "unacknowledged" if link.age > self._max_age else None

    def send(self, text: bytes) -> str | None:
        """Write an operation, or say why not. On the I/O thread."""
        link = self.link
        if link is None or not self.connected:
            return "disconnected"
        if self._max_backlog is not None and link.backlog > self._max_backlog:
            return "backlog"
        link.send(text)
        return None

    def declare(self, operation: Message) -> None:
        """Tell the server of an advertisement or the like, if connected; else the start of the next connection will."""
        self.run(self.tell, encode(operation))

    def tell(self, text: bytes) -> None:
        """Write a declaration, if there is a connection. On the I/O thread."""
        if self.link is not None and self.link.open:
            self.link.send(text)

    def run(self, function: Callable[..., None], *args: Any) -> bool:
        """Have the I/O thread call a function; False if there is none."""
        link = self.link
        if link is None:
            return False
        try:
            link.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # closed meanwhile
            return False
        return True

    def check_stall(self) -> None:
        """Cut the connection if the I/O thread stood still: then nothing that has arrived is left."""
        if self.link is not None:
            self.link.stalled()
