"""The embedded server with clients that speak JSON by hand."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from websockets.sync.client import connect

from robot_bridge.server import RosbridgeServer

STRING = "std_msgs/msg/String"


class Raw:
    """A client that speaks JSON by hand."""

    def __init__(self, url: str, **options) -> None:
        self.websocket = connect(url, compression=None, ping_interval=None, close_timeout=0.2, **options)

    def send(self, op: str, **fields) -> None:
        self.websocket.send(json.dumps({"op": op, **fields}))

    def next(self, timeout: float = 2.0) -> dict:
        return json.loads(self.websocket.recv(timeout))

    def nothing(self, seconds: float = 0.1) -> bool:
        """Whether nothing more arrives."""
        with suppress(TimeoutError):
            print("unexpected:", self.websocket.recv(seconds))
            return False
        return True

    def sync(self) -> None:
        """Wait until all that was sent before is processed; nothing else may arrive."""
        self.send("call_service", id="sync", service="/rosapi/get_time")
        assert self.next()["id"] == "sync"

    def call(self, service: str, /, **args) -> dict:
        self.send("call_service", id="call", service=service, args=args)
        return self.next()

    def close(self) -> None:
        self.websocket.close()

    def vanish(self) -> None:
        """Cut the connection without a word."""
        self.websocket.socket.shutdown(socket.SHUT_RDWR)


class Site:
    """A server, and clients that are closed with it."""

    def __init__(self, **options) -> None:
        self.server = RosbridgeServer(port=0, **options).start()
        self.clients: list[Raw] = []

    def client(self, query: str = "", **options) -> Raw:
        self.clients.append(Raw(self.server.url + query, **options))
        return self.clients[-1]

    def pair(self) -> tuple[Raw, Raw]:
        return self.client(), self.client()

    def close(self) -> None:
        self.server.stop()
        for client in self.clients:
            client.close()
        assert self.server.counters["internal_errors"] == 0


@pytest.fixture(name="site")
def server_site(request) -> Iterator[Site]:
    site = Site(**getattr(request, "param", {}))
    yield site
    site.close()


def until(condition, timeout: float = 3.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
