"""The transport when servers die, freeze or send nonsense."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from server_site import STRING, Raw, until
from transport_site import (
    Answer,
    Peer,
    Site,
    transport_peer,  # noqa: F401 (a fixture)
    transport_site,  # noqa: F401 (a fixture)
)
from websockets.exceptions import ConnectionClosed

from robot_bridge.transport import RosbridgeTransport


def stream(
    site: Site, seconds: float, fault, sink_options: dict | None = None
) -> tuple[list[float], RosbridgeTransport]:
    """Publish at 100 Hz for `seconds`, with a fault at 0.3 s; the ages at which messages arrived, and the source."""
    source, sink = site.transport(), site.transport()
    ages: list[float] = []
    sink.subscribe("/x", "a/msg/T", lambda m: ages.append(time.monotonic() - m["t"]), queue_length=1000)
    source.advertise("/x", "a/msg/T")
    site.settle()
    begin = time.monotonic()
    faulty = threading.Timer(0.3, fault)
    faulty.start()
    while time.monotonic() < begin + seconds:
        source.publish("/x", {"t": time.monotonic()})
        time.sleep(0.01)
    faulty.join()
    count = len(ages)
    until(lambda: source.publish("/x", {"t": time.monotonic()}) and len(ages) > count + 3, 5)  # it came back
    return ages, source


def test_a_killed_server_brings_no_old_messages(site: Site) -> None:
    def restart() -> None:
        site.server.kill()
        time.sleep(0.6)
        site.server.start()

    ages, source = stream(site, 1.2, restart)
    assert max(ages) < 0.5
    assert source.counters["dropped.disconnected"] > 20
    assert source.counters["reconnects"] == 1


@pytest.mark.parametrize("site", [{"stall_limit": float("inf")}, {}], indirect=True, ids=["delivers", "drops"])
def test_a_frozen_server(site: Site, request: pytest.FixtureRequest) -> None:
    """It has in its buffers what was sent before the freeze was noticed. The embedded server drops that; one that
    delivers it, as rosbridge_server does, has at most max_age's worth of it."""
    noticed: list[float] = []
    patient = Raw(site.server.url)  # does not give up, as nothing beyond a rosbridge_server would
    patient.send("subscribe", topic="/x", type="a/msg/T")
    at_patient: list[float] = []

    def read() -> None:
        with contextlib.suppress(ConnectionClosed):
            for text in patient.websocket:
                at_patient.append(time.monotonic() - json.loads(text)["msg"]["t"])

    reader = threading.Thread(target=read)
    reader.start()

    def freeze() -> None:
        begin = time.monotonic()
        site.server.freeze(1.6)
        until(lambda: not any(transport.connected for transport in site.transports))
        noticed.append(time.monotonic() - begin)

    ages, source = stream(site, 2.0, freeze)
    patient.close()
    reader.join()
    assert noticed[0] < 1.5
    assert max(ages) < 0.5
    old = [age for age in at_patient if age > 0.5]
    if "drops" in request.node.name:
        assert old == []
    else:
        assert 0 < len(old) <= 26  # 0.2 s at 100 Hz, and a ping interval
    assert source.counters["dropped.unacknowledged"] > 50
    assert source.counters["lost.frozen"] >= 1


def test_a_stopped_server_process_brings_no_old_messages() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "robot_bridge.server", "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True
    )
    transports: list[RosbridgeTransport] = []
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        source, sink = transports = [RosbridgeTransport(url), RosbridgeTransport(url)]
        for transport in transports:
            transport.start()
        ages: list[float] = []
        sink.subscribe("/x", "a/msg/T", lambda m: ages.append(time.monotonic() - m["t"]), queue_length=1000)
        source.advertise("/x", "a/msg/T")
        until(lambda: source.publish("/x", {"t": time.monotonic()}) and ages)
        os.kill(process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        while time.monotonic() < begin + 1.6:
            source.publish("/x", {"t": time.monotonic()})
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: source.connected and sink.connected)
        before = len(ages)
        until(lambda: source.publish("/x", {"t": time.monotonic()}) and len(ages) > before + 3)
        assert max(ages) < 0.5
        assert source.counters["dropped"] > 100
    finally:
        for transport in transports:
            transport.close()
        process.kill()
        process.communicate()


def test_all_is_declared_again_before_anything_is_published(peer: Peer) -> None:
    transport = RosbridgeTransport(peer.url)
    transport.advertise("/out", STRING)
    transport.advertise("/gone", STRING).close()
    transport.start()
    transport.subscribe("/in", STRING, print, queue_length=1)
    transport.subscribe("/in", STRING, print, queue_length=7, throttle_ms=3)
    transport.subscribe("/ended", STRING, print).close()
    transport.advertise_service("/s", "a/srv/S", print)
    transport.advertise_action("/a", "a/action/A", print)
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.001):
            transport.publish("/out", {"data": "x"})

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        until(lambda: any(("publish", "/out") in ops for ops in peer.ops()))
        for round in (1, 2, 3):
            begin = len(peer.open)
            peer.open[-1].socket.shutdown(2)  # either of the two sockets
            until(lambda begin=begin: any(("publish", "/out") in ops for ops in peer.ops(begin)))
            assert transport.counters["reconnects"] == round
            for ops in peer.ops(begin):
                declared = [op for op in ops if op[0] != "publish"]
                assert ops[: len(declared)] == declared
                assert declared in (
                    [("advertise", "/out"), ("subscribe", "/in")],
                    [("advertise_service", "/s"), ("advertise_action", "/a")],
                )
            assert len(peer.ops(begin)) == 2
    finally:
        stop.set()
        thread.join()
        transport.close()
    streams = next(one for one in reversed(peer.connections) if one[0]["op"] == "advertise")
    assert streams[0]["queue_size"] == 1
    assert (streams[1]["queue_length"], streams[1]["throttle_rate"]) == (7, 0)


def test_malformed_frames_do_no_harm(peer: Peer) -> None:
    transport = RosbridgeTransport(peer.url)
    got: list[dict] = []
    transport.subscribe("/in", STRING, got.append, queue_length=10)
    transport.start()
    answer = Answer()
    transport.call_service("/s", "a/srv/S", {}, answer, 5.0)
    until(lambda: any(("call_service", "/s") in ops for ops in peer.ops()))
    id = next(message["id"] for one in peer.connections for message in one if message["op"] == "call_service")
    rng = random.Random(0)
    odd = [None, 1, "x", [], {}, [None], id, "/in", "/s", True, 1e308]
    for websocket in peer.open:
        for text in ("", "[]", "{", '{"op":', "null", "[" * 100_000, b"\x00\xff", '{"op":"status","msg":[1]}'):
            websocket.send(text)
        for _ in range(150):
            op = rng.choice(
                ["publish", "call_service", "action_result", "action_feedback", "send_action_goal", 7, None]
            )
            keys = rng.sample(["topic", "msg", "id", "values", "result", "status", "service", "args", "action"], 5)
            websocket.send(json.dumps({"op": op} | {key: rng.choice(odd) for key in keys}))
        websocket.send(json.dumps({"op": "service_response", "id": [], "values": {}, "result": True}))
        websocket.send(json.dumps({"op": "service_response", "id": "other", "values": {}, "result": True}))
    got.clear()
    for websocket in peer.open:
        websocket.send('{"op": "publish", "topic": "/in", "msg": {"data": [NaN, 1e999, 2]}}')
        websocket.send(json.dumps({"op": "service_response", "id": id, "values": {"a": 1}, "result": True}))
    assert answer.wait() == ({"a": 1}, None)
    until(lambda: {"data": [None, float("inf"), 2]} in got)
    assert transport.connected
    assert transport.counters["received.malformed"] > 10
    assert transport.counters["late_answers"] >= 1
    assert transport.counters["lost"] == 0
    assert transport.counters["callback_errors"] == 0
    transport.close()


def test_large_messages_do_not_pile_up(peer: Peer) -> None:
    transport = RosbridgeTransport(peer.url, max_age=5.0)  # so that nothing but their size stops them
    transport.advertise("/x", STRING)
    transport.start()
    peer.reads.clear()
    for i in range(30):
        transport.publish("/x", {"data": f"{i:06}" + "x" * 400_000})
    until(lambda: transport.counters["dropped.backlog"] > 5)
    peer.reads.set()
    numbers = lambda: [m["msg"]["data"][:6] for one in peer.connections for m in one if m["op"] == "publish"]  # noqa: E731
    until(lambda: transport.publish("/x", {"data": "the last"}) and "the la" in numbers(), 10)
    assert numbers() == sorted(numbers())
    transport.close()
