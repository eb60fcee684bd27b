"""The embedded rosbridge server against unwelcome clients, malformed input and slow readers; its life."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from server_site import (
    STRING,
    Raw,
    Site,
    server_site,  # noqa: F401 (a fixture)
    until,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from robot_bridge.errors import UserError
from robot_bridge.server import RosbridgeServer
from robot_bridge.server import client as client_module
from robot_bridge.server.__main__ import main

# Admission ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [{"token": "s3cret ü"}], indirect=True)
def test_without_the_token_nobody_connects(site: Site) -> None:
    site.client("?token=s3cret%20%C3%BC").sync()
    for query in (
        "",
        "?token=",
        "?token=s3cret",
        "?token=%ff",
        "?Token=s3cret%20%C3%BC",
    ):
        with pytest.raises(InvalidStatus, match="401"):
            site.client(query)
    assert site.server.counters["rejected.token"] == 5
    assert site.server.graph["clients"] == 1


def test_foreign_web_pages_may_not_connect(site: Site) -> None:
    for origin in ("http://localhost:8080", "https://127.0.0.1"):
        site.client(origin=origin).sync()
    for origin in ("https://evil.example", "http://localhost.evil.example", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            site.client(origin=origin)


def test_the_number_of_clients_is_limited(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot_bridge.server.server.MAX_CLIENTS", 2)
    site.client().sync(), site.client().sync()
    with pytest.raises(InvalidStatus, match="503"):
        site.client()


# Malformed input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [{"max_size": 20_000}], indirect=True)
def test_fragments(site: Site) -> None:
    one, two = site.pair()
    two.send("subscribe", topic="/x", type=STRING)
    two.sync()
    one.send("advertise", topic="/x", type=STRING)
    text = json.dumps({"op": "publish", "topic": "/x", "msg": {"data": "0123456789"}})
    parts = [text[i : i + 9] for i in range(0, len(text), 9)]
    for num in reversed(range(len(parts))):
        assert two.nothing(0.01)
        one.send("fragment", id="f", data=parts[num], num=num, total=len(parts))
    assert two.next()["msg"]["data"] == "0123456789"
    for i in range(3):
        one.send("fragment", id="long", data="x" * 9000, num=i, total=4)
    assert "longer than 20000 bytes" in one.next()["msg"]
    nested = json.dumps({"op": "fragment", "id": "", "data": "", "num": 0, "total": 1})
    one.send("fragment", id="n", data=nested, num=0, total=1)
    assert "fragment of fragments" in one.next()["msg"]
    for i in range(9):
        one.send("fragment", id=f"open{i}", data="x", num=0, total=2)
    assert "more than 8 unfinished" in one.next()["msg"]
    with suppress(ConnectionClosed):
        one.send("publish", topic="/x", msg={"data": "x" * 20_000})
    with pytest.raises(ConnectionClosed) as closed:
        one.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    two.sync()


VALID = [
    {"op": "advertise", "id": "a", "topic": "/f", "type": STRING, "latch": True, "queue_size": 1},
    {"op": "publish", "id": "p", "topic": "/f", "msg": {"data": [1.0, {"x": "y"}]}, "latch": True},
    {"op": "subscribe", "id": "s", "topic": "/f", "type": STRING, "throttle_rate": 5, "queue_length": 2},
    {"op": "unsubscribe", "id": "s", "topic": "/f"},
    {"op": "unadvertise", "id": "a", "topic": "/f"},
    {"op": "advertise_service", "service": "/fs", "type": "a/srv/S"},
    {"op": "unadvertise_service", "service": "/fs"},
    {"op": "call_service", "id": "c", "service": "/fs", "args": {"a": 1}, "timeout": 0.01},
    {"op": "call_service", "id": "c", "service": "/rosapi/set_param", "args": {"name": "n", "value": "1"}},
    {"op": "call_service", "id": "c", "service": "/rosapi/topics_for_type", "args": {"type": "a/B"}},
    {"op": "service_response", "id": "x", "service": "/fs", "values": {}, "result": True},
    {"op": "advertise_action", "action": "/fa", "type": "a/action/A"},
    {"op": "send_action_goal", "id": "g", "action": "/fa", "action_type": "a/action/A", "args": {}, "feedback": True},
    {"op": "cancel_action_goal", "id": "g", "action": "/fa"},
    {"op": "action_feedback", "id": "g", "action": "/fa", "values": {}},
    {"op": "action_result", "id": "g", "action": "/fa", "values": {}, "status": 4, "result": True},
    {"op": "fragment", "id": "f", "data": "{", "num": 0, "total": 2},
    {"op": "set_level", "level": "error", "id": None},
    {"op": "auth", "mac": "x"},
]


ODD = [None, True, -1, 10**400, 1e308, float("nan"), "", "/", "\x00", "\ud800", "a" * 300, [], [[]], {}, {"": None}]


ODD += [[None], {"op": "publish"}, "*", "//", "publish", 2**63, -0.0, [1, "a", None], "/f", "g", "c", 0]


def fuzzed(rng: random.Random) -> str | bytes:
    """A frame that is wrong in some way, mostly."""
    kind = rng.random()
    if kind < 0.7:  # a valid operation with some fields odd, missing or added
        message = dict(rng.choice(VALID))
        for _ in range(rng.randint(0, 3)):
            field = rng.choice([*message, "extra"])
            if rng.random() < 0.3:
                message.pop(field, None)
            else:
                message[field] = rng.choice(ODD)
        text = json.dumps(message)
        if rng.random() < 0.1:
            text = text[: rng.randrange(len(text))]
        return text
    if kind < 0.8:
        return json.dumps(rng.choice(ODD))
    if kind < 0.85:
        return rng.randbytes(rng.randint(0, 200))
    if kind < 0.9:
        return "".join(chr(rng.randrange(32, 0xD000)) for _ in range(rng.randint(0, 50)))
    deep = rng.choice([500, 5000, 100_000])
    return rng.choice(
        ["[" * deep, '{"a":' * deep, '{"op":"publish","topic":"/f","msg":' + '{"a":' * deep + "0" + "}" * deep + "}"]
    )


@pytest.mark.parametrize("seed", range(3))
def test_no_input_disturbs_the_others(site: Site, seed: int) -> None:
    rng = random.Random(seed)
    one, two = site.pair()
    two.send("subscribe", topic="/x", type=STRING)
    two.sync()
    one.send("advertise", topic="/x", type=STRING)
    attacker = site.client()
    for i in range(400):
        try:
            attacker.websocket.send(fuzzed(rng))
        except UnicodeEncodeError:
            continue
        except ConnectionClosed:
            attacker = site.client()
        if i % 50 == 0:
            one.send("publish", topic="/x", msg={"data": str(i)})
            assert two.next()["msg"]["data"] == str(i)
    with suppress(OSError):
        attacker.vanish()
    one.send("publish", topic="/x", msg={"data": "end"})
    assert two.next()["msg"]["data"] == "end"
    until(lambda: site.server.counters["received"] > 200)
    assert site.server.counters["refused"] > 50
    assert site.server.counters["internal_errors"] == 0


HEAVY = [  # a message that takes long to read, and what its sender is told
    ('{"op":"publish","topic":"/big","msg":{"status":[' + "{}," * 30_000 + "{}]}}", "more than 20,000 objects"),
    ('{"op":"publish","topic":"/big","msg":{"data":[' + "1," * 600_000 + "1]}}", "more than 500,000 values"),
    ('{"op":"advertise","topic":"/big","type":"a/msg/B","id":"' + "i" * 2_000 + '"}', "id has 2000 characters"),
    ('{"op":"advertise","topic":"/' + "n" * 300 + '","type":"a/msg/B"}', "no valid name"),
]


@pytest.mark.parametrize(("text", "told"), HEAVY, ids=["objects", "values", "id", "name"])
def test_what_would_make_the_server_stand_still_is_refused(site: Site, text: str, told: str) -> None:
    one, two = site.pair()
    one.send("advertise", topic="/big", type="a/msg/B")
    one.websocket.send(text)
    assert told in one.next()["msg"]
    two.sync()
    assert site.server.counters["stalls"] == 0


def test_texts_may_hold_what_looks_like_many_objects(site: Site) -> None:
    one, two = site.pair()
    two.send("subscribe", topic="/description", type=STRING)
    two.sync()
    one.send("advertise", topic="/description", type=STRING)
    one.send("publish", topic="/description", msg={"data": "{[" * 30_000})
    assert two.next()["msg"]["data"] == "{[" * 30_000


def test_what_one_client_may_hold_is_limited() -> None:
    site = Site(stall_limit=float("inf"))  # a busy machine stands still at times
    one, two = site.pair()
    for number in range(1_001):
        one.send("advertise", topic="/t", type="a/msg/B", id=str(number))
    assert "more than 1000" in one.next()["msg"]
    two.send("advertise_service", service="/never", type="a/srv/B")
    two.sync()
    for number in range(1_001):
        one.send("call_service", service="/never", id=str(number))
    assert "more than 1000 calls" in one.next()["msg"]
    for number in range(1_001):
        answer = two.call("/rosapi/set_param", name=f"p{number}", value="1")
        while answer["op"] != "service_response":
            answer = two.next()
    assert not answer["values"]["successful"]
    two.send(
        "call_service", id="long", service="/rosapi/set_param", args={"name": "p0", "value": '"' + "x" * 70_000 + '"'}
    )
    assert not two.next()["values"]["successful"]
    site.close()


def test_bytes_that_are_no_websocket(site: Site) -> None:
    rng = random.Random(0)
    handshake = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for i in range(40):
        with socket.create_connection(("127.0.0.1", site.server.port)) as raw, suppress(OSError):
            raw.sendall(handshake if i % 2 else b"")
            raw.sendall(rng.randbytes(rng.randint(1, 300)))
            if i % 4 == 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset instead of close
    site.client().sync()
    until(lambda: site.server.graph["clients"] == 1)


# Slow clients ---------------------------------------------------------------------------------------------------------


def deaf(site: Site, *operations: dict) -> Raw:
    """A client that reads nothing any more."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", site.server.port))
    client = site.client(sock=raw, max_queue=1)
    for operation in operations:
        client.send(**operation)
    client.sync()
    return client


def test_a_slow_client_slows_nobody_and_gets_the_newest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = deaf(site, {"op": "subscribe", "topic": "/x", "type": STRING, "queue_length": 5})
    source, fast = site.pair()
    fast.send("subscribe", topic="/x", type=STRING)
    fast.sync()
    source.send("advertise", topic="/x", type=STRING)
    load = "x" * 200_000
    worst = 0.0
    for i in range(60):
        begin = time.monotonic()
        source.send("publish", topic="/x", msg={"data": f"{i} {load}"})
        assert fast.next()["msg"]["data"].startswith(f"{i} ")
        worst = max(worst, time.monotonic() - begin)
    assert worst < 0.5
    assert site.server.counters["dropped.overrun"] > 20
    got = []
    while not got or got[-1] != 59:
        got.append(int(slow.next()["msg"]["data"].split()[0]))
    assert got[-5:] == [55, 56, 57, 58, 59]
    assert got == sorted(got)


def test_a_client_that_never_reads_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SEND_TIMEOUT", 0.3)
    monkeypatch.setattr(client_module, "MAX_ANSWERS", 50)
    deaf(site, {"op": "subscribe", "topic": "/x", "type": STRING})
    source = site.client()
    source.send("advertise", topic="/x", type=STRING)
    for _ in range(60):
        source.send("publish", topic="/x", msg={"data": "x" * 200_000})
    until(lambda: site.server.counters["disconnected.stuck"] == 1)
    monkeypatch.setattr(client_module, "SEND_TIMEOUT", 10)
    lazy = deaf(site)
    with suppress(ConnectionClosed, OSError):
        for _ in range(10_000):
            lazy.send("call_service", id="x" * 1_000, service="/nobody")
    until(lambda: site.server.counters["disconnected.unread"] == 1)
    until(lambda: site.server.graph["clients"] == 1)
    source.sync()


# Life -----------------------------------------------------------------------------------------------------------------


def test_stop_kill_and_start_again_on_the_same_port(site: Site) -> None:
    port = site.server.port
    first = site.client()
    site.server.stop()
    with pytest.raises(ConnectionClosed) as closed:
        first.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert not site.server.running
    assert site.server.start().port == port
    second = site.client()
    second.send("advertise", topic="/x", type=STRING)
    second.sync()
    site.server.kill()
    with pytest.raises(ConnectionClosed) as closed:
        second.next()
    assert closed.value.rcvd is None  # no closing handshake
    site.server.start()
    third = site.client()
    assert third.call("/rosapi/topics")["values"]["topics"] == []
    site.server.drop_connections()
    with pytest.raises(ConnectionClosed):
        third.next()
    site.client().sync()
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
        RosbridgeServer(port=port).start()
    with pytest.raises(UserError, match="running already"):
        site.server.start()


def test_delay(site: Site) -> None:
    client = site.client()
    site.server.faults.delay = 0.2
    begin = time.monotonic()
    client.sync()
    assert 0.2 <= time.monotonic() - begin < 1


@pytest.mark.parametrize("limit", [0.5, float("inf")])
def test_what_waited_during_a_freeze_is_dropped_unless_told_otherwise(limit: float) -> None:
    site = Site(stall_limit=limit)
    one, two = site.pair()
    two.send("subscribe", topic="/x", type=STRING)
    two.sync()
    one.send("advertise", topic="/x", type=STRING)
    one.sync()
    site.server.freeze(0.9)
    time.sleep(0.1)
    one.send("publish", topic="/x", msg={"data": "old"})
    with pytest.raises(TimeoutError):
        two.next(0.4)
    if limit == 0.5:
        with pytest.raises(ConnectionClosed):
            two.next()
        assert site.server.counters["stalls"] == 1
    else:
        assert two.next()["msg"]["data"] == "old"
    site.close()


def test_the_command(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "robot_bridge.server", "--port", "0", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ROSBRIDGE_TOKEN": "abc"},
    )
    try:
        for argv, message in (
            (["--port", str(site.server.port)], f"cannot listen on 127.0.0.1:{site.server.port}"),
            (["--prot", "0"], "unknown option '--prot': did you mean '--port'?"),
            (["--port", "x"], "argument --port: invalid int value"),
            (["--port", "70000"], "port is 70000: expected 0 to 65535"),
        ):
            with pytest.raises(SystemExit, match="1"):
                main(argv)
            error = capsys.readouterr().err
            assert error.startswith(f"error: {message}")
            assert error.count("\n") == 1
        with pytest.raises(SystemExit, match="0"):
            main(["--help"])
        assert "--blocking-calls" in capsys.readouterr().out
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on ws://127.0.0.1:")
        assert line.endswith(", token required\n")
        Raw(line.split()[2].rstrip(",") + "?token=abc").sync()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("stopped\n", "")
        assert process.returncode == 0
    finally:
        process.kill()
