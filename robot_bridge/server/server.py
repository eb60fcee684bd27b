"""The server: connections, admission, its own thread, and faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import socket
import threading
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from robot_bridge.counters import Counters
from robot_bridge.errors import UserError, require
from robot_bridge.server.broker import Broker, Reader
from robot_bridge.server.client import Client
from robot_bridge.server.faults import Faults
from robot_bridge.server.rosapi import Definitions

LOGGER = logging.getLogger(__name__)

LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_CLIENTS = 100
CLOSE_TIMEOUT = 1.0  # s that clients may take to close
SEND_BUFFER = 64 * 1024  # bytes, of the system, per client
TICK = 0.1  # s between looks at the clock and the clients


class RosbridgeServer:
    """A rosbridge v2 server in a thread of its own, with no ROS behind it: its clients are the graph.

        with RosbridgeServer(port=0) as server:
            transport = RosbridgeTransport(server.url)

    NaN and infinity leave it as null and a null in an array is refused, as by rosbridge_server.

    **Nothing old comes out of it.** A server that stood still (suspended, stopped by a debugger, starved) finds
    messages in its buffers of which nobody knows the age. After more than `stall_limit` seconds it therefore drops all
    connections unread, and the clients come again. A rosbridge_server delivers them.

    Args:
        host: address to listen on; everybody who can reach it can move the robot, unless there is a token.
        port: 0 takes a free one, and keeps it when started again.
        token: what clients must present, as `ws://host:port/?token=…`; others cannot connect. The operation `auth` is
            accepted, and does nothing.
        origins: web pages that may connect, beside those of this computer; programs that are no browsers always may.
        max_size: bytes of the largest message.
        service_timeout: seconds a service may take, unless the call says otherwise (rosbridge_server: 5).
        stall_limit: see above; seconds, infinite to switch it off.
        reader: what reads messages by their types: it completes them, and refuses those that do not fit. Without it
            everything is passed on as it came.
        definitions: the definitions of types, for rosapi's `message_details` and its like.

    Attributes:
        faults: misbehaviour to switch on and off, for tests.
        counters: `received`, `sent`, `dropped.*` (topics' messages, per receiver), `refused` (wrong messages),
            `disconnected.*`, `rejected.*` (connections), `stalls`, `internal_errors`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 9090,
        token: str | None = None,
        origins: Iterable[str] = (),
        max_size: int = 10 * 2**20,
        service_timeout: float = 5.0,
        stall_limit: float = 1.0,
        reader: Reader | None = None,
        definitions: Definitions | None = None,
    ) -> None:
        require(0 <= port <= 65535, "port", port, "0 to 65535")
        require(max_size >= 1024, "max_size", max_size, "at least 1024 bytes")
        require(service_timeout > 0, "service_timeout", service_timeout, "more than 0 s")
        require(stall_limit >= 5 * TICK, "stall_limit", stall_limit, f"at least {5 * TICK} s")
        require(token is None or bool(token.strip()), "token", "empty", "some text, or none")
        self.host = host
        self.port = port
        self.faults = Faults()
        self.counters = Counters()
        self._token = token
        self._origins = [None, LOCAL_ORIGIN, *origins]
        self._max_size = max_size
        self._service_timeout = service_timeout
        self._stall_limit = stall_limit
        self._reader = reader
        self._definitions = definitions
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._broker: Broker
        self._end: asyncio.Event
        self._polite = True
        self._beat = 0.0
        self._thaw = threading.Event()

    @property
    def url(self) -> str:
        """Where clients on this computer connect; without the token."""
        host = self.host if self.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
        return f"ws://[{host}]:{self.port}" if ":" in host else f"ws://{host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def graph(self) -> dict[str, int]:
        """How many clients, topics, services and actions there are."""
        if not self.running:
            return dict.fromkeys(("clients", "topics", "services", "actions"), 0)
        graph = self._broker.graph
        things = {name: len(getattr(graph, name)) for name in ("topics", "services", "actions")}
        return {"clients": len(self._broker.clients)} | things

    def start(self) -> RosbridgeServer:
        """Listen; returns once clients can connect. Can be started again after `stop` or `kill`, on the same port.

        Raises:
            UserError: the address cannot be had.
        """
        if self.running:
            raise UserError("the server is running already")
        started: list[OSError | None] = []
        ready = threading.Event()
        self._thaw.clear()
        self._polite = True
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready, started)), name="rosbridge-server", daemon=True
        )
        self._thread.start()
        ready.wait()
        if not started:
            self._thread.join()
            raise UserError("the server could not start; see the log")
        if error := started[0]:
            self._thread.join()
            reason = error.strerror or str(error)
            raise UserError(f"cannot listen on {self.host}:{self.port}: {reason}; free the port or choose another one")
        return self

    def stop(self) -> None:
        """Close all connections and end the thread. Stopping twice does nothing."""
        self._finish(polite=True)

    def __enter__(self) -> RosbridgeServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # Faults -----------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Die as a process does: all connections are reset, none closed."""
        self._finish(polite=False)

    def freeze(self, seconds: float) -> None:
        """Process nothing for `seconds`, or until it is stopped: as a stopped process, connections are accepted by the
        system, and nobody answers. Returns at once. Longer than the stall limit, it ends with all connections dropped.
        """
        self._thaw.clear()
        self._loop.call_soon_threadsafe(self._thaw.wait, seconds)

    def drop_connections(self) -> None:
        """Reset all connections; new ones are welcome."""
        self._loop.call_soon_threadsafe(self._drop_all, "fault")

    # The server's thread ----------------------------------------------------------------------------------------------

    def _finish(self, *, polite: bool) -> None:
        if self._thread is None:
            return
        if self._thread.is_alive():
            self._polite = polite
            self._thaw.set()
            with contextlib.suppress(RuntimeError):  # the loop may be closed since
                self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
        self._thread = None

    async def _main(self, ready: threading.Event, started: list[OSError | None]) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            self._broker = Broker(
                self.counters,
                self.faults,
                service_timeout=self._service_timeout,
                reader=self._reader,
                definitions=self._definitions,
            )
            self._beat = self._loop.time()
            try:
                server = await serve(
                    self._serve,
                    self.host,
                    self.port,
                    origins=self._origins,  # type: ignore[arg-type]  # it takes any iterable
                    process_request=self._admit,
                    compression=None,  # it costs latency, and a small message can hide a huge one
                    max_size=self._max_size,
                    ping_interval=5,
                    ping_timeout=20,
                    close_timeout=CLOSE_TIMEOUT,
                    open_timeout=5,
                    logger=_quiet_logger(),
                )
            except OSError as error:
                started.append(error)
                return
            self.port = server.sockets[0].getsockname()[1]
            started.append(None)
        finally:
            ready.set()
        await self._run(server)

    async def _run(self, server: Server) -> None:
        watch = asyncio.create_task(self._watch())
        await self._end.wait()
        watch.cancel()
        server.close()
        closed = asyncio.ensure_future(server.wait_closed())
        if self._polite:
            await asyncio.wait((closed,), timeout=CLOSE_TIMEOUT)
        self._drop_all("stop")
        await closed

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._loop.time()
            self._stalled()
            self._beat = now
            for client in list(self._broker.clients):
                client.check(now)

    def _stalled(self) -> bool:
        """Whether the server stood still since it last looked at the clock; then all connections are dropped. To be
        asked before anything is taken from a buffer."""
        now = self._loop.time()
        if now - self._beat <= self._stall_limit:
            return False
        LOGGER.warning(
            "stood still for %.1f s: all connections are dropped, for what they hold is old", now - self._beat
        )
        self._beat = now
        self.counters.add("stalls")
        self._drop_all("stall")
        return True

    def _drop_all(self, reason: str) -> None:
        for client in list(self._broker.clients):
            client.give_up(reason)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Judge a connection before it opens: its token, and whether there is room."""
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[-1]
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
            self.counters.add("rejected.token")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "this server wants its token: ws://…/?token=…\n")
        if len(self._broker.clients) >= MAX_CLIENTS:
            self.counters.add("rejected.full")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"more than {MAX_CLIENTS} clients\n")
        return None

    async def _serve(self, websocket: ServerConnection) -> None:
        client = Client(websocket, self.counters, self.faults, self._max_size, self._stalled)
        # What a slow client leaves waits here, where the newest stays, and not in the system's buffers of megabytes.
        websocket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._broker.clients.add(client)
        writer = asyncio.create_task(client.write())
        gone = asyncio.create_task(websocket.wait_closed())
        try:
            async for text in websocket:
                if self._stalled() or client.closed:
                    return
                busy = self._broker.receive(client, text)
                if busy is not None:
                    await asyncio.wait((busy, gone), return_when=asyncio.FIRST_COMPLETED)
        except ConnectionClosed:
            pass
        finally:
            client.closed = True
            writer.cancel()
            gone.cancel()
            self._broker.remove(client)
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer


def _quiet_logger() -> logging.Logger:
    """For websockets: failed handshakes and cut connections are no errors of ours."""
    logger = logging.getLogger("robot_bridge.server.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
