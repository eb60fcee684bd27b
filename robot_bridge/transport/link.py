"""One websocket to a rosbridge, by roslibpy: it comes back by itself, and knows when the peer has stopped answering."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from roslibpy.comm.comm_asyncio import (
    AsyncioEventLoopManager,
    AsyncioRosBridgeClientFactory,
    AsyncioRosBridgeProtocol,
)

from robot_bridge.counters import Counters
from robot_bridge.transport.base import TransportError

logging.getLogger("autobahn").setLevel(logging.ERROR)  # it warns of every attempt that fails

LOGGER = logging.getLogger(__name__)

PING_INTERVAL = 0.05  # s
ROUND_TRIPS = 20_000  # that are remembered: of more than a quarter of an hour
FROZEN = 1.2  # s without an answer to a ping, after which the connection is given up
STALL = 1.0  # s that the I/O thread may stand still before what lies in its buffers counts as old
HANDSHAKE = 2.0  # s to open a connection, and again for its handshake
WRITE_BUFFER = 64 * 1024  # bytes that may wait for the socket before messages are dropped
RECEIVE_BUFFER = 128 * 1024  # bytes, of the system
MAX_MESSAGE = 64 * 2**20  # bytes, incoming

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # NaN is None, however the server writes it


class Link:
    """One connection; everything runs on the manager's event loop.

    Every 50 ms a ping is sent, unless one is unanswered. `age` is then how long ago, at most, something was sent that
    the peer is known to have read: what is sent while it is small cannot lie unread for long.

    A connection is cut, its buffers unread and unsent, when a ping was not answered for 1.2 s (`lost.frozen`) or this
    side's I/O thread stood still for a second (`lost.stalled`): nobody could tell the age of what lies in them.

    Args:
        opened: called when a connection is up, before anything can be sent on it.
        closed: called with the reason when it is lost.
        received: called with every JSON object that arrives.
    """

    def __init__(
        self,
        url: str,
        manager: AsyncioEventLoopManager,
        counters: Counters,
        *,
        opened: Callable[[Link], None],
        closed: Callable[[Link, str], None],
        received: Callable[[dict[str, Any]], None],
    ) -> None:
        self.counters = counters
        self.problem = ""
        """Why the last attempt to connect failed, as far as known."""
        self.loop: asyncio.AbstractEventLoop = manager.loop
        self._opened, self._closed, self._received = opened, closed, received
        self._protocol: _Protocol | None = None
        self._opening: _Protocol | None = None
        self._stopped = False
        self.round_trips: deque[float] = deque(maxlen=ROUND_TRIPS)
        """Seconds between the pings and their answers."""
        self._answered = 0.0
        self._pinged: float | None = None
        self._tick_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._factory = _Factory(self, url, manager)
        except Exception as error:
            raise TransportError(
                f"'{url.split('?')[0]}' is no websocket address like ws://host:9090: {error}"
            ) from None

    def start(self) -> None:
        """Connect, and again whenever the connection is lost. From any thread."""
        self._factory.connect()

    @property
    def open(self) -> bool:
        """Whether there is a connection, as far as the system has noticed. Any thread may ask."""
        transport = self._protocol and self._protocol.transport
        return transport is not None and not transport.is_closing()

    @property
    def age(self) -> float:
        """Seconds since the sending of the last ping that was answered. Any thread may ask."""
        return self.loop.time() - self._answered

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""
        transport = self._protocol and self._protocol.transport
        return transport.get_write_buffer_size() if transport else 0

    def send(self, text: bytes) -> None:
        """Write a text frame; without connection it is gone."""
        if self.open and self._protocol:
            self._protocol.sendMessage(text)

    def stalled(self) -> bool:
        """Whether this side stood still, so that what has arrived is old; the connection is then cut. To be asked on
        the I/O thread before anything is taken from a buffer."""
        if self._protocol is None or self.loop.time() - self._tick_due <= STALL:
            return False
        self.cut("stalled")
        return True

    def cut(self, reason: str) -> None:
        """Give up the connection: what lies in its buffers is neither read nor sent."""
        if protocol := self._protocol:
            self._lose(reason)
            protocol.reset()

    async def stop(self) -> None:
        """Close the connection, and do not come back. What was sent before is delivered if the peer takes it."""
        self._stopped = True
        self._factory.stop()
        if self._opening:
            self._opening.reset()
        if protocol := self._protocol:
            self._lose(None)
            protocol.sendClose(1000)
            for _ in range(20):
                if protocol.transport is None:
                    break
                await asyncio.sleep(0.01)
            protocol.reset()

    # Called by the protocol -------------------------------------------------------------------------------------------

    def on_made(self, protocol: _Protocol) -> None:
        self._opening = protocol

    def on_open(self, protocol: _Protocol) -> None:
        self._opening = None
        if self._stopped:
            protocol.reset()
            return
        self._protocol, self.problem = protocol, ""
        self._answered, self._pinged = self.loop.time(), None
        self._tick_due = self.loop.time()
        self._tick()
        self._opened(self)

    def on_close(self, protocol: _Protocol, reason: str) -> None:
        if protocol is self._opening:
            self._opening = None
        if protocol is self._protocol:
            self._lose("dropped")
        else:
            refused = "[401]" in reason
            self.problem = "the server wants a (right) token: ws://…/?token=…" if refused else reason

    def on_pong(self, protocol: _Protocol) -> None:
        if protocol is self._protocol and self._pinged is not None:
            self.round_trips.append(self.loop.time() - self._pinged)
            self._answered, self._pinged = self._pinged, None

    def on_text(self, protocol: _Protocol, text: bytes) -> None:
        if protocol is not self._protocol or self.stalled():
            return  # cut
        try:
            message = _DECODER.decode(text.decode())
            if not isinstance(message, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            self._malformed(f"{error}: {text[:80]!r}")
            return
        self._received(message)

    def on_binary(self) -> None:
        self._malformed("a binary frame")

    def _malformed(self, what: str) -> None:
        if self.counters.add("received.malformed") == 1:
            LOGGER.warning("the server sent what is no JSON object (further ones are counted only): %s", what)

    def _lose(self, reason: str | None) -> None:
        self._protocol = None
        if self._timer:
            self._timer.cancel()
        if reason is not None:
            self.counters.add(f"lost.{reason}")
            self._closed(self, reason)

    def _tick(self) -> None:
        now = self.loop.time()
        if self.stalled():
            return
        if now - self._answered > FROZEN:
            self.cut("frozen")
        elif self._protocol:
            if self._pinged is None:
                self._pinged = now
                self._protocol.sendPing()
            self._tick_due = now + PING_INTERVAL
            self._timer = self.loop.call_at(self._tick_due, self._tick)


class _Protocol(AsyncioRosBridgeProtocol):
    """roslibpy's connection; messages go to the link instead of roslibpy's listeners, of which one that raises starves
    the others."""

    factory: _Factory
    _handshake: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        # What this side is slow to read waits at the server, which knows what to drop, not in the system's megabytes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.factory.link.on_made(self)
        # autobahn's own timers belong to whatever loop was first in the process, which need not run.
        self._handshake = self.factory.link.loop.call_later(HANDSHAKE, self.reset)

    def onOpen(self) -> None:  # noqa: N802
        if self._handshake:
            self._handshake.cancel()
        super().onOpen()
        self.factory.link.on_open(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        if isBinary:
            self.factory.link.on_binary()
        else:
            self.factory.link.on_text(self, payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802
        self.factory.link.on_pong(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803
        if self._handshake:
            self._handshake.cancel()
        self.factory.link.on_close(self, reason or f"closed with code {code}")
        super().onClose(wasClean, code, reason)

    def reset(self) -> None:
        """Drop the connection, with everything that is in its buffers and the kernel's."""
        if self.transport is None:
            return
        with contextlib.suppress(OSError, AttributeError):
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


class _Factory(AsyncioRosBridgeClientFactory):
    """roslibpy's reconnecting factory, quicker, with a time limit on opening connections."""

    protocol = _Protocol
    compression = "none"
    initialDelay = 0.1  # noqa: N815
    maxDelay = 0.5  # noqa: N815
    factor = 1.7

    def __init__(self, link: Link, url: str, manager: AsyncioEventLoopManager) -> None:
        super().__init__(url, loop=manager.loop)
        self.link = link
        # Not roslibpy's common event loop: the `terminate` of any other client would end it under us.
        self._manager = manager
        self.setProtocolOptions(
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            maxMessagePayloadSize=MAX_MESSAGE,
            failByDrop=True,
        )

    def stop(self) -> None:
        """No more attempts to connect."""
        self._stop = True

    def _open_connection(self) -> None:
        if not self._stop:
            super()._open_connection()

    async def _connect_async(self) -> None:
        context = ssl.create_default_context() if self.isSecure else None
        try:
            opening = self.link.loop.create_connection(self, self.host, self.port, ssl=context)
            await asyncio.wait_for(opening, HANDSHAKE)
        except Exception as error:  # whatever it is, the next attempt may succeed
            self.link.problem = _cause(error, self.host, self.isSecure)
            self._schedule_reconnect()


def _cause(error: Exception, host: str, secure: bool) -> str:
    """Why no connection could be opened, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); SSL_CERT_FILE names a file of trusted ones"
    if secure and isinstance(error, asyncio.TimeoutError | ssl.SSLError | ConnectionResetError):
        return f"{host} does not answer in TLS: perhaps it wants ws://, not wss://"
    if isinstance(error, asyncio.TimeoutError):
        return f"{host} does not answer"
    if isinstance(error, socket.gaierror):
        return f"no computer is known by the name {host}"
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"nobody listens on that port of {host}"
    return str(error) or type(error).__name__
