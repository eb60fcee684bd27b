"""Transports with the embedded server over real sockets, and a peer that misbehaves on request."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from server_site import STRING, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import RosbridgeTransport

JOINTS = "sensor_msgs/msg/JointState"


class Site:
    """A server, and transports that are closed with it."""

    def __init__(self, **options) -> None:
        self.server = RosbridgeServer(port=0, **options).start()
        self.transports: list[RosbridgeTransport] = []

    def transport(self, **options) -> RosbridgeTransport:
        self.transports.append(RosbridgeTransport(self.server.url, **options))
        self.transports[-1].start()
        return self.transports[-1]

    def settle(self) -> None:
        """Wait until all connections are up and everything is declared."""
        for transport in self.transports:
            until(lambda transport=transport: transport.connected)
            ask(transport, "/rosapi/get_time")
            topics = threading.Event()  # the other websocket
            probe = f"/probe_{id(topics)}"
            subscription = transport.subscribe(probe, STRING, lambda _, topics=topics: topics.set())
            advertised = transport.advertise(probe, STRING)
            until(lambda transport=transport, probe=probe: transport.publish(probe, {"data": ""}))
            assert topics.wait(2)
            subscription.close()
            advertised.close()

    def close(self) -> None:
        for transport in self.transports:
            transport.close()
        self.server.stop()
        assert self.server.counters["internal_errors"] == 0


@pytest.fixture(name="site")
def transport_site(request) -> Iterator[Site]:
    site = Site(**getattr(request, "param", {}))
    yield site
    site.close()


class Answer:
    """A `done` or `result` that can be waited for, and counts its calls."""

    def __init__(self) -> None:
        self.values: list[tuple] = []
        self.event = threading.Event()

    def __call__(self, *values) -> None:
        self.values.append(values)
        self.event.set()

    def wait(self, timeout: float = 3.0) -> tuple:
        assert self.event.wait(timeout), "no answer"
        time.sleep(0.02)
        assert len(self.values) == 1
        return self.values[0]


def ask(transport: RosbridgeTransport, service: str, request: dict | None = None, timeout: float = 2.0) -> tuple:
    answer = Answer()
    transport.call_service(service, "a/srv/A", request or {}, answer, timeout)
    return answer.wait(timeout + 1)


class Peer:
    """A rosbridge written by hand that records what it gets, and answers nothing but pings."""

    def __init__(self) -> None:
        self.connections: list[list[dict]] = []
        self.open: list = []
        self.reads = threading.Event()
        self.reads.set()
        self.server = serve(self._handle, "127.0.0.1", 0, compression=None, ping_interval=None, max_queue=1)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def _handle(self, websocket) -> None:
        received: list[dict] = []
        self.connections.append(received)
        self.open.append(websocket)
        with contextlib.suppress(ConnectionClosed):
            for text in websocket:
                received.append(json.loads(text))
                self.reads.wait(10)

    def ops(self, begin: int = 0) -> list[list[tuple[str, str]]]:
        """(op, name) of everything received, by connection."""
        name = lambda m: next((m[key] for key in ("topic", "service", "action") if key in m), "")  # noqa: E731
        return [[(message["op"], name(message)) for message in one] for one in self.connections[begin:]]

    def close(self) -> None:
        self.server.shutdown()
        for websocket in self.open:
            websocket.close()
        self.thread.join()


@pytest.fixture(name="peer")
def transport_peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()
