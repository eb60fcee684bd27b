"""`RosbridgeTransport`: ROS over rosbridge, with roslibpy."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from roslibpy.comm.comm_asyncio import AsyncioEventLoopManager

from robot_bridge.counters import Counters
from robot_bridge.errors import require
from robot_bridge.transport.base import (
    Closable,
    Closing,
    Done,
    GoalHandle,
    Message,
    Respond,
    Result,
    TransportError,
)
from robot_bridge.transport.callbacks import Callbacks
from robot_bridge.transport.channel import Channel
from robot_bridge.transport.encoding import encode
from robot_bridge.transport.link import PING_INTERVAL, WRITE_BUFFER, Link
from robot_bridge.transport.requests import Clients, Servers
from robot_bridge.transport.topics import Topics

TAKEN_OVER = "is now offered by another client"  # as the embedded server tells whom it displaced


class RosbridgeTransport:
    """A `Transport` over rosbridge v2, with roslibpy's connections. It never delivers anything old:

    * `publish` writes a message only while connected and while the peer is known to have read something that was sent
      less than `max_age` ago, which pings every 50 ms ask. A message that reaches the I/O thread later than `max_age`,
      or finds more than 64 KiB waiting for the socket, is dropped too. Service calls and goals fail under the same
      conditions. So when the peer freezes, at most `max_age` worth of messages is on the way.
    * A peer that has not answered a ping for 1.2 s is given up, and so is the connection if this side's I/O thread
      stood still for a second: it is reset, buffers and all, and opened anew.
    * After a reconnect everything is advertised and subscribed again before anything else is sent.
    * Of what arrives, at most the latest `queue_length` messages wait for a callback.

    What cannot be helped: messages that a frozen peer already has in its own buffers it may process when it wakes up.
    A receiver that must not act on them looks at their stamps. And a pong says that the server's network side is alive,
    not that the graph behind it is.

    Topics use one websocket, services and actions another: a rosbridge_server with default parameters processes nothing
    more of a connection while a service call or a goal of it is under way.

    Args:
        url: ws://host:9090, or wss://; with a token as `?token=…` where the server wants one.
        max_age: s, see above; must exceed the round trip by 0.05 s, or nothing is ever sent.

    Counters (`dropped.*` are messages not sent):
        dropped.disconnected, .unacknowledged (no recent pong), .late (reached the I/O thread late), .backlog (socket or
        hand-over full), .answer (responses, feedback and results without a connection to go to),
        received.overrun (a callback was slow), .lost (waited when the connection went), .malformed, .unexpected;
        lost.dropped, .frozen, .stalled, .partner (the other websocket went); refused (errors that the server reported);
        late_answers; callback_errors; slow_callbacks; reconnects.
    """

    def __init__(self, url: str, *, max_age: float = 0.2) -> None:
        require(max_age > 2 * PING_INTERVAL, "max_age", max_age, f"more than {2 * PING_INTERVAL} s")
        self.url = url
        self.counters = Counters()
        self._lock = threading.RLock()  # guards what start, close and on_connection change
        self._listeners: list[Callable[[bool], None]] = []
        self._manager: AsyncioEventLoopManager | None = None
        self._connected = threading.Event()
        self._was_connected = False
        self._callbacks = Callbacks(self.counters)
        self._streams = Channel(self._connected, max_age, WRITE_BUFFER)
        self._requests = Channel(self._connected, max_age)
        self._topics = Topics(self._streams, self._callbacks, self.counters, max_age)
        self._clients = Clients(self._requests, self._callbacks, self.counters)
        self._servers = Servers(self._requests, self._callbacks, self.counters)

    # Connection -------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    @property
    def round_trips(self) -> list[float]:
        """Seconds that the latest pings on the websocket of topics took, there and back; about 20 a second."""
        link = self._streams.link
        return list(link.round_trips) if link is not None else []

    def start(self, timeout: float | None = 5.0) -> None:
        with self._lock:
            if self._manager is not None:
                raise TransportError("the transport was started already")
            manager = AsyncioEventLoopManager()
            manager.run()
            try:
                options: dict[str, Any] = {"opened": self._opened, "closed": self._closed}
                links = (
                    Link(self.url, manager, self.counters, received=self._receive_stream, **options),
                    Link(self.url, manager, self.counters, received=self._receive_request, **options),
                )
            except TransportError:
                manager.terminate()
                raise
            self._manager, self._was_connected = manager, False
            self._streams.link, self._requests.link = links
        for link in links:
            link.start()
        if timeout is not None and not self._connected.wait(timeout):
            problem = next((link.problem for link in links if link.problem), "nobody answers there")
            self.close()
            where = self.url.split("?")[0]
            raise TransportError(
                f"no connection to {where} within {timeout:g} s: {problem}; is a rosbridge running there?"
            )

    def close(self) -> None:
        manager = self._manager
        if manager is None:
            return
        if self._on_io_thread():
            raise TransportError("close() was called by a callback: it would wait for itself")
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            asyncio.run_coroutine_threadsafe(self._shut_down(), manager.loop).result(timeout=5)
        manager.terminate()
        with self._lock:
            self._manager = self._streams.link = self._requests.link = None

    async def _shut_down(self) -> None:
        self._set_connected(False, "the transport was closed")
        await asyncio.gather(*(link.stop() for link in self._links()))
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def on_connection(self, callback: Callable[[bool], None]) -> Closable:
        with self._lock:
            self._listeners.append(callback)
        return Closing(lambda: self._listeners.remove(callback))

    def _on_io_thread(self) -> bool:
        try:
            return self._manager is not None and asyncio.get_running_loop() is self._manager.loop
        except RuntimeError:
            return False

    def _links(self) -> list[Link]:
        return [channel.link for channel in (self._streams, self._requests) if channel.link is not None]

    def _opened(self, link: Link) -> None:
        declared = self._topics if link is self._streams.link else self._servers
        for operation in declared.declarations():
            link.send(encode(operation))
        if self._streams.open and self._requests.open:
            self._set_connected(True)

    def _closed(self, link: Link, reason: str) -> None:
        self._set_connected(False, f"the connection was lost ({reason})")
        for other in self._links():  # so that the server, too, sees all that was under way end
            if other is not link:
                other.cut("partner")

    def _set_connected(self, connected: bool, reason: str = "") -> None:
        if connected == self._connected.is_set():
            return
        if connected:
            if self._was_connected:
                self.counters.add("reconnects")
            self._was_connected = True
            self._connected.set()
        else:
            self._connected.clear()
            self._topics.fail()
            self._clients.fail(reason)
            self._servers.fail()
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            self._callbacks.call("on_connection", listener, connected)

    # Topics -----------------------------------------------------------------------------------------------------------

    def advertise(self, topic: str, type: str, *, latch: bool = False) -> Closable:
        return Closing(self._topics.advertise(topic, type, latch))

    def publish(self, topic: str, message: Message) -> bool:
        return self._topics.publish(topic, message)

    def subscribe(
        self,
        topic: str,
        type: str,
        callback: Callable[[Message], None],
        *,
        queue_length: int = 10,
        throttle_ms: int = 0,
        renew_after: float | None = None,
        latched: bool = False,  # of no use here: the rosbridge sees for itself what publishers do
    ) -> Closable:
        return Closing(self._topics.subscribe(topic, type, callback, queue_length, throttle_ms, renew_after))

    def _receive_stream(self, message: Message) -> None:
        if not self._topics.receive(message):
            self._receive_other(message)

    def _receive_other(self, message: Message) -> None:
        if message.get("op") == "status":
            displaced = str(message.get("msg")).endswith(TAKEN_OVER)
            self.counters.add("displaced" if displaced else "refused")
            self._callbacks.warn(f"the server says: {message.get('msg')!s:.300}")
        else:
            self.counters.add("received.unexpected")

    def _receive_request(self, message: Message) -> None:
        if not (self._clients.receive(message) or self._servers.receive(message)):
            self._receive_other(message)

    # Services and actions ---------------------------------------------------------------------------------------------

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        self._clients.call_service(name, type, request, done, timeout)

    def advertise_service(self, name: str, type: str, handler: Callable[[Message, Respond], None]) -> Closable:
        return Closing(self._servers.offer("service", name, type, handler))

    def send_goal(
        self,
        action: str,
        type: str,
        goal: Message,
        *,
        feedback: Callable[[Message], None] | None = None,
        result: Result,
        timeout: float | None = None,
        accept_timeout: float | None = None,
    ) -> str:
        return self._clients.send_goal(action, type, goal, feedback, result, timeout, accept_timeout)

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        return self._clients.cancel_goal(action, goal_id, timeout)

    def advertise_action(self, action: str, type: str, handler: Callable[[Message, GoalHandle], None]) -> Closable:
        return Closing(self._servers.offer("action", action, type, handler))

    # rosapi -----------------------------------------------------------------------------------------------------------

    def topics_and_types(self, done: Callable[[dict[str, str] | None, str | None], None], timeout: float = 3.0) -> None:
        def pairs(values: Message) -> dict[str, str]:
            return dict(zip(_strings(values, "topics"), _strings(values, "types"), strict=True))

        self._rosapi("topics", "Topics", pairs, done, timeout)

    def publishers(
        self, topic: str, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0
    ) -> None:
        names = lambda values: list(_strings(values, "publishers"))  # noqa: E731
        self._rosapi("publishers", "Publishers", names, done, timeout, {"topic": topic})

    def services(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        self._rosapi("services", "Services", lambda values: list(_strings(values, "services")), done, timeout)

    def action_servers(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        names = lambda values: list(_strings(values, "action_servers"))  # noqa: E731
        self._rosapi("action_servers", "GetActionServers", names, done, timeout)

    def _rosapi(
        self,
        name: str,
        type: str,
        read: Callable[[Message], Any],
        done: Callable[[Any, str | None], None],
        timeout: float,
        request: Message | None = None,
    ) -> None:
        def answered(values: Message | None, error: str | None) -> None:
            if values is None:
                done(None, error)
                return
            try:
                answer = read(values)
            except ValueError as problem:
                done(None, f"/rosapi/{name} answered {problem}")
                return
            done(answer, None)

        self.call_service(f"/rosapi/{name}", f"rosapi_msgs/srv/{type}", request or {}, answered, timeout)


def _strings(values: Message, name: str) -> Sequence[str]:
    strings = values.get(name)
    if not isinstance(strings, list) or not all(isinstance(s, str) for s in strings):
        raise ValueError(f"without a list '{name}'")
    return strings
