"""A context: one connection, and what `init` and `shutdown` begin and end."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakMethod, WeakSet

from robot_bridge.errors import require
from robot_bridge.ros.arguments import Arguments
from robot_bridge.ros.exceptions import NotInitializedException
from robot_bridge.transport import RosbridgeTransport, Transport
from robot_bridge.transport.connection import with_token

URL = "ws://127.0.0.1:9090"


class Member(Protocol):
    """What lives on a context's connection: a node."""

    def _disconnect(self) -> None:
        """End everything that uses the connection."""


class Context:
    """Holds the connection that its nodes share. Can be initialised again after a shutdown."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may come while this thread holds it
        self._state = "new"
        self._transport: Transport | None = None
        self._owned = False
        self._domain_id = 0
        self._callbacks: list[Callable[[], Any]] = []
        self._sleepers: list[threading.Condition] = []
        self._members: WeakSet[Member] = WeakSet()
        self.arguments = Arguments()

    def init(
        self,
        args: list[str] | None = None,
        *,
        domain_id: int | None = None,
        url: str | None = None,
        token: str | None = None,
        transport: Transport | None = None,
        connect_timeout: float | None = 5.0,
    ) -> None:
        """Connect. `url`, `token`, `transport` and `connect_timeout` are not in rclpy.

        Args:
            args: command line, for `--ros-args` (remapping, parameters); None: sys.argv.
            url: of the rosbridge server; None: ROSBRIDGE_URL, else ws://127.0.0.1:9090.
            token: that the server wants; None: ROSBRIDGE_TOKEN.
            transport: use this one instead. It is started and closed by whoever made it.
            connect_timeout: s; None: do not wait, connect in the background.

        Raises:
            RuntimeError: initialised already.
            TransportError: no connection.
            UserError: wrong `--ros-args`.
        """
        with self._lock:
            if self._state == "ok":
                raise RuntimeError("Context.init() must only be called once")
            if domain_id is not None and domain_id < 0:
                raise RuntimeError(f"domain_id is {domain_id}: expected at least 0")
            domain_id = domain_id or _environment_number("ROS_DOMAIN_ID")
            self.arguments = Arguments.parse(sys.argv if args is None else args)
            self._owned = transport is None
            if transport is None:
                url = url or os.environ.get("ROSBRIDGE_URL") or URL
                transport = RosbridgeTransport(with_token(url, token or os.environ.get("ROSBRIDGE_TOKEN")))
                transport.start(connect_timeout)
            self._transport = transport
            self._domain_id = domain_id
            self._state = "ok"

    def ok(self) -> bool:
        return self._state == "ok"

    @property
    def transport(self) -> Transport:
        """The connection (not in rclpy).

        Raises:
            NotInitializedException: not initialised, or shut down.
        """
        if self._transport is None:
            raise NotInitializedException
        return self._transport

    def get_domain_id(self) -> int:
        """The number given to `init` or in ROS_DOMAIN_ID; it has no effect here."""
        if not self.ok():
            raise NotInitializedException
        return self._domain_id

    def shutdown(self) -> None:
        """Raises RuntimeError if it is not initialised, or shut down already, also by a signal."""
        was_ok = self.ok()
        self._end()
        if not was_ok:
            raise RuntimeError("Context must be initialized before it can be shutdown")

    def try_shutdown(self) -> None:
        """Shut down, unless that was done."""
        self._end()

    def on_shutdown(self, callback: Callable[[], Any]) -> None:
        """Have `callback` called once at shutdown. Methods are held weakly."""
        if not callable(callback):
            raise TypeError("callback should be a callable")
        weak = WeakMethod(callback) if inspect.ismethod(callback) else (lambda: callback)
        with self._lock:
            if self._state == "down":
                callback()
            else:
                self._callbacks.append(weak)

    def __enter__(self) -> Context:
        if not self.ok():
            self.init()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.try_shutdown()

    def _stop(self) -> None:
        """The quick part, safe in a signal handler: not ok any more, everybody who waits wakes up."""
        with self._lock:
            if self._state != "ok":
                return
            self._state = "down"
            callbacks, self._callbacks = self._callbacks, []
            sleepers = list(self._sleepers)
        for weak in callbacks:
            callback = weak()
            if callback is not None:
                callback()
        for condition in sleepers:
            with condition:
                condition.notify_all()

    def _end(self) -> None:
        self._stop()
        with self._lock:
            transport, self._transport = self._transport, None
            members = list(self._members)
            self._members.clear()
        for member in members:
            member._disconnect()
        if transport is not None and self._owned:
            transport.close()

    @contextmanager
    def _waking(self, condition: threading.Condition) -> Iterator[None]:
        """Notify `condition` at shutdown."""
        with self._lock:
            self._sleepers.append(condition)
        try:
            yield
        finally:
            with self._lock:
                self._sleepers.remove(condition)


def _environment_number(name: str) -> int:
    text = os.environ.get(name, "") or "0"
    require(text.isdecimal(), name, text, "a number")
    return int(text)


_default = Context()


def get_default_context(*, shutting_down: bool = False) -> Context:
    """The context used where none is given."""
    return _default


__all__ = ["Context", "get_default_context"]
