"""The transport, against the embedded server over real sockets, and against peers that misbehave."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from test_server import STRING, Raw, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import GoalStatus, RosbridgeTransport, TransportError

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


@pytest.fixture
def site(request) -> Iterator[Site]:
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


# Topics ---------------------------------------------------------------------------------------------------------------


def test_messages_arrive_exactly_and_in_order(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    got: list[dict] = []
    again: list[dict] = []
    sink.subscribe("/j", JOINTS, got.append, queue_length=100)
    second = sink.subscribe("/j", JOINTS, again.append, queue_length=100)
    source.advertise("/j", JOINTS)
    site.settle()
    rng = np.random.default_rng(0)
    sent = [
        {
            "header": {"stamp": {"sec": i, "nanosec": 999_999_999}, "frame_id": "ü"},
            "name": ["a", "b"],
            "position": (rng.normal(size=9) * 10.0 ** rng.integers(-300, 300, 9)).tolist(),
            "velocity": [0.1 + 0.2, -0.0, 5e-324],
            "effort": [],
        }
        for i in range(50)
    ]
    assert all(source.publish("/j", message) for message in sent)
    until(lambda: len(got) == 50)
    assert json.dumps(got) == json.dumps(sent)  # -0.0 too
    until(lambda: len(again) == 50)
    second.close()
    second.close()
    assert source.publish("/j", sent[0])
    until(lambda: len(got) == 51)
    assert len(again) == 50


@pytest.mark.parametrize(
    ("message", "error", "part"),
    [
        ({"p": np.zeros(2)}, TypeError, "tolist"),
        ({"p": [np.float32(1)]}, TypeError, "float32"),
        ({"p": np.int64(1)}, TypeError, "int64"),
        ({"p": b"x"}, TypeError, "bytes"),
        ({"p": {"q": [0.0, [float("nan")]]}}, ValueError, r"msg.p.q\[1\]\[0\] = nan"),
        ({"p": float("-inf")}, ValueError, "msg.p = -inf"),
        ({"p": np.float64("nan")}, ValueError, "msg.p = nan"),
    ],
)
def test_what_is_no_json_is_refused_in_the_callers_thread(message: dict, error: type, part: str) -> None:
    transport = RosbridgeTransport("ws://127.0.0.1:1")
    transport.advertise("/x", "a/msg/B")
    with pytest.raises(error, match=part):
        transport.publish("/x", message)
    with pytest.raises(error):
        transport.call_service("/s", "a/srv/S", message, lambda *_: None, 1.0)
    with pytest.raises(error):
        transport.send_goal("/a", "a/action/A", message, result=lambda *_: None)


def test_misuse_is_told() -> None:
    transport = RosbridgeTransport("ws://127.0.0.1:1")
    with pytest.raises(ValueError, match="/x is not advertised"):
        transport.publish("/x", {})
    first = transport.advertise("/x", STRING)
    second = transport.advertise("/x", STRING)
    with pytest.raises(ValueError, match="already, not a/msg/B"):
        transport.advertise("/x", "a/msg/B")
    assert not transport.publish("/x", {})
    assert transport.counters["dropped.disconnected"] == 1
    first.close()
    first.close()
    assert not transport.publish("/x", {})  # still advertised by the second
    second.close()
    with pytest.raises(ValueError, match="/x is not advertised"):
        transport.publish("/x", {})
    with pytest.raises(ValueError, match="at least 1"):
        transport.subscribe("/x", STRING, print, queue_length=0)
    transport.advertise_service("/s", "a/srv/S", print)
    with pytest.raises(ValueError, match="/s is offered already"):
        transport.advertise_service("/s", "a/srv/S", print)
    answer = Answer()
    transport.call_service("/s", "a/srv/S", {}, answer, 1.0)
    assert answer.wait() == (None, "/s was not called: not connected")


def test_a_slow_callback_sees_the_newest_and_delays_no_one(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    ages: list[float] = []
    every: list[int] = []

    def slow(message: dict) -> None:
        ages.append(time.monotonic() - message["t"])
        time.sleep(0.03)

    sink.subscribe("/x", "a/msg/T", slow)
    sink.subscribe("/x", "a/msg/T", lambda m: every.append(m["i"]), queue_length=1000)
    source.advertise("/x", "a/msg/T")
    site.settle()
    for i in range(100):
        assert source.publish("/x", {"t": time.monotonic(), "i": i})
        time.sleep(0.005)
    until(lambda: len(every) == 100)
    assert every == list(range(100))
    assert len(ages) < 60
    assert max(ages) < 0.3  # first in, first out it would be 2.5 s
    assert sink.counters["received.overrun"] > 30
    assert sink.counters["slow_callbacks"] > 10
    assert sink.counters["lost"] == 0


def test_a_callback_that_raises_starves_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    source, sink = site.transport(), site.transport()
    got: list[dict] = []
    sink.subscribe("/x", STRING, lambda _: 1 / 0)
    sink.subscribe("/x", STRING, got.append)
    sink.on_connection(lambda _: 1 / 0)
    source.advertise("/x", STRING)
    site.settle()
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            source.publish("/x", {"data": str(i)})
            until(lambda i=i: len(got) > i)
    assert sink.counters["callback_errors"] == 3
    assert sum("subscription of /x raised" in record.message for record in caplog.records) == 1


def test_a_blocked_io_thread_makes_nothing_old(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    ages: list[float] = []
    sink.subscribe("/x", "a/msg/T", lambda m: ages.append(time.monotonic() - m["t"]), queue_length=10_000)
    source.advertise("/x", "a/msg/T")
    site.settle()
    source.on_loop(time.sleep, 0.6)
    end, count = time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        source.publish("/x", {"t": time.monotonic()})
        count += 1
        time.sleep(0.002)
    until(lambda: source.counters["dropped"] + len(ages) == count)
    assert 50 < source.counters["dropped"] < count
    assert max(ages, default=0) < 0.4
    assert source.connected
    source.on_loop(time.sleep, 1.15)  # so long that what came in meanwhile counts as old
    until(lambda: source.counters["lost.stalled"] == 1)
    until(lambda: source.connected)


def test_what_waits_behind_a_callback_that_hangs_is_dropped(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    ages: list[float] = []
    hang = [1.15]

    def hangs(_: dict) -> None:
        time.sleep(hang.pop() if hang else 0)

    sink.subscribe("/x", "a/msg/T", hangs)
    sink.subscribe("/x", "a/msg/T", lambda m: ages.append(time.monotonic() - m["t"]))
    source.advertise("/x", "a/msg/T")
    site.settle()
    source.publish("/x", {"t": time.monotonic()})
    until(lambda: sink.counters["reconnects"] == 1)
    assert sink.counters["lost.stalled"] == 1
    assert sink.counters["received.lost"] == 1
    assert ages == []
    until(lambda: source.publish("/x", {"t": time.monotonic()}) and len(ages) > 0)
    assert ages[0] < 0.5


# Losses ---------------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def test_all_is_declared_again_before_anything_is_published(peer: Peer) -> None:
    transport = RosbridgeTransport(peer.url)
    transport.advertise("/out", STRING)
    transport.advertise("/gone", STRING).close()
    transport.start()
    transport.subscribe("/in", STRING, print)
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


# Services -------------------------------------------------------------------------------------------------------------


def test_a_service_both_ways(site: Site) -> None:
    provider, caller = site.transport(), site.transport()
    sent: list[bool] = []

    def add(request: dict, respond) -> None:
        def later() -> None:
            with pytest.raises(TypeError):
                respond({"sum": np.int64(1)})
            sent.append(respond({"sum": request["a"] + request["b"]}))
            sent.append(respond({"sum": 0}))

        threading.Thread(target=later).start()

    provider.advertise_service("/add", "a/srv/Add", add)
    provider.advertise_service("/no", "a/srv/No", lambda request, respond: respond(None, "not today"))
    provider.advertise_service("/bad", "a/srv/Bad", lambda request, respond: 1 / 0)
    gone = provider.advertise_service("/gone", "a/srv/Gone", lambda request, respond: respond({}))
    site.settle()
    assert ask(caller, "/add", {"a": 1, "b": 2}) == ({"sum": 3}, None)
    assert sent == [True, False]
    assert ask(caller, "/no") == (None, "not today")
    assert ask(caller, "/bad") == (None, "the service's handler failed")
    assert ask(caller, "/gone") == ({}, None)
    gone.close()
    assert ask(caller, "/nobody") == (None, "Service /nobody does not exist")
    until(lambda: ask(caller, "/gone")[1] == "Service /gone does not exist")
    site.server.drop_connections()
    until(lambda: provider.counters["reconnects"] == caller.counters["reconnects"] == 1)
    until(lambda: ask(caller, "/add", {"a": 2, "b": 2}) == ({"sum": 4}, None))


def test_calls_time_out_and_end_with_the_connection(site: Site) -> None:
    provider, caller = site.transport(), site.transport()
    waiting: list = []
    provider.advertise_service("/slow", "a/srv/Slow", lambda request, respond: waiting.append(respond))
    site.settle()
    begin = time.monotonic()
    values, error = ask(caller, "/slow", timeout=0.2)
    assert values is None
    assert error is not None
    assert 0.15 < time.monotonic() - begin < 1
    answer = Answer()
    caller.call_service("/slow", "a/srv/Slow", {}, answer, 10.0)
    until(lambda: len(waiting) == 2)
    site.server.drop_connections()
    assert answer.wait() == (None, "the connection was lost (dropped)")
    until(lambda: provider.connected and caller.connected)
    assert not waiting[1]({})  # nobody waits for it any more, least of all on the new connection
    assert provider.counters["dropped.answer"] == 1


def test_late_answers_are_counted(peer: Peer) -> None:
    transport = RosbridgeTransport(peer.url)
    transport.start()
    assert ask(transport, "/slow", timeout=0.1) == (None, "/slow did not answer within 0.1 s")
    id = next(message["id"] for one in peer.connections for message in one)
    for websocket in peer.open:
        websocket.send(json.dumps({"op": "service_response", "id": id, "values": {}, "result": True}))
        websocket.send(json.dumps({"op": "action_feedback", "id": id, "values": {}}))
    until(lambda: transport.counters["late_answers"] == 2)  # one websocket is for topics
    transport.close()


def test_a_frozen_server_gets_no_calls(site: Site) -> None:
    """A call that waits in its buffers would be carried out when it wakes up."""
    transport = site.transport()
    site.settle()
    site.server.freeze(0.8)
    time.sleep(0.4)
    values, error = ask(transport, "/rosapi/get_time")
    assert (values, error) == (None, "/rosapi/get_time was not called: the server has not answered lately")


def test_the_graph(site: Site) -> None:
    one, two = site.transport(), site.transport()
    one.advertise("/x", STRING)
    one.subscribe("/y", JOINTS, print)
    one.advertise_service("/s", "a/srv/S", print)
    one.advertise_action("/a", "a/action/A", print)
    site.settle()
    answers = topics, services, actions = Answer(), Answer(), Answer()
    for function, answer in zip((two.topics_and_types, two.services, two.action_servers), answers, strict=True):
        function(answer)
    types, _ = topics.wait()
    assert {name: type for name, type in types.items() if "probe" not in name} == {"/x": STRING, "/y": JOINTS}
    assert "/s" in services.wait()[0]
    assert actions.wait() == (["/a"], None)


# Actions --------------------------------------------------------------------------------------------------------------


def goal(transport: RosbridgeTransport, feedback=None, **options) -> tuple[str, Answer]:
    answer = Answer()
    return transport.send_goal("/go", "a/action/Go", {"to": 1.5}, feedback=feedback, result=answer, **options), answer


def test_an_action_both_ways(site: Site) -> None:
    provider, client = site.transport(), site.transport()
    handles: list = []
    cancelled: list[str] = []

    def execute(values: dict, handle) -> None:
        assert values == {"to": 1.5}
        handle.on_cancel(lambda: cancelled.append(handle.goal_id))
        handles.append(handle)

    provider.advertise_action("/go", "a/action/Go", execute)
    site.settle()
    seen: list[dict] = []
    _, answer = goal(client, seen.append)
    until(lambda: len(handles) == 1)
    assert handles[0].feedback({"at": 0.5})
    until(lambda: seen == [{"at": 0.5}])
    with pytest.raises(ValueError, match="status 2"):
        handles[0].result({}, GoalStatus.EXECUTING)
    with pytest.raises(ValueError, match="at = nan"):
        handles[0].result({"at": float("nan")}, GoalStatus.SUCCEEDED)
    assert handles[0].result({"at": 1.5}, GoalStatus.SUCCEEDED)
    assert not handles[0].result({"at": 1.6}, GoalStatus.ABORTED)
    assert answer.wait() == ({"at": 1.5}, GoalStatus.SUCCEEDED, None)

    id, answer = goal(client)
    until(lambda: len(handles) == 2)
    assert not handles[1].cancel_requested
    assert client.cancel_goal("/go", id)
    until(lambda: cancelled == [handles[1].goal_id])
    assert handles[1].cancel_requested
    late: list[int] = []
    handles[1].on_cancel(lambda: late.append(1))
    handles[1].result({"at": 0.7}, GoalStatus.CANCELED)
    assert answer.wait() == ({"at": 0.7}, GoalStatus.CANCELED, None)
    assert late == [1]

    _, answer = goal(client)
    until(lambda: len(handles) == 3)
    handles[2].result(None, GoalStatus.ABORTED, "stuck")
    values, status, error = answer.wait()
    assert (values, status) == (None, GoalStatus.ABORTED)
    assert error

    _, answer = goal(client)
    until(lambda: len(handles) == 4)
    site.server.drop_connections()
    assert answer.wait() == (None, GoalStatus.UNKNOWN, "the connection was lost (dropped)")
    until(lambda: handles[3].cancel_requested)
    assert not handles[3].feedback({})
    assert not handles[3].result({}, GoalStatus.CANCELED)


def test_goals_that_nobody_answers(site: Site) -> None:
    provider, client = site.transport(), site.transport()
    handles: list = []
    offer = provider.advertise_action("/go", "a/action/Go", lambda _, handle: handles.append(handle))
    site.settle()
    _, answer = goal(client, accept_timeout=0.2)
    values, status, error = answer.wait()
    assert (values, status) == (None, GoalStatus.UNKNOWN)
    assert "no sign within 0.2 s" in error
    until(lambda: handles[0].cancel_requested)  # for it runs
    assert handles[0].result({}, GoalStatus.CANCELED)
    until(lambda: client.counters["late_answers"] == 1)

    _, answer = goal(client, accept_timeout=0.2, timeout=0.5)
    until(lambda: len(handles) == 2)
    handles[1].feedback({})
    assert "did not answer within 0.5 s" in answer.wait()[2]
    until(lambda: handles[1].cancel_requested)

    id, answer = goal(client)
    until(lambda: len(handles) == 3)
    client.cancel_goal("/go", id, timeout=0.2)
    assert "did not confirm the cancel" in answer.wait()[2]

    offer.close()
    site.settle()
    _, answer = goal(client)
    assert answer.wait() == (None, GoalStatus.UNKNOWN, "Action /go does not exist")
    site.server.faults.silent_goals = True
    _, answer = goal(client, accept_timeout=0.2)
    assert "nobody offers it" in answer.wait()[2]


def test_a_blocking_server_delays_no_topics(site: Site) -> None:
    """With a rosbridge_server's default parameters; two websockets are for this."""
    site.server.faults.blocking_calls = True
    provider, client = site.transport(), site.transport()
    got: list[dict] = []
    provider.subscribe("/x", STRING, got.append)
    provider.advertise_service("/slow", "a/srv/Slow", lambda request, respond: None)
    client.advertise("/x", STRING)
    site.settle()
    answer = Answer()
    client.call_service("/slow", "a/srv/Slow", {}, answer, 0.5)
    assert ask(client, "/rosapi/get_time", timeout=0.2)[0] is None
    assert client.publish("/x", {"data": "now"})
    until(lambda: got == [{"data": "now"}])
    assert not answer.values
    assert answer.wait()[0] is None


# Life -----------------------------------------------------------------------------------------------------------------


def test_close_and_start_again(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    seen: list[bool] = []
    got: list[dict] = []
    source.on_connection(seen.append)
    sink.subscribe("/x", STRING, got.append)
    source.advertise("/x", STRING)
    site.settle()
    threads = threading.active_count()
    for round in range(3):
        source.close()
        source.close()
        assert not source.connected
        assert threading.active_count() == threads - 1
        assert not source.publish("/x", {"data": "lost"})
        source.start()
        with pytest.raises(TransportError, match="started already"):
            source.start()
        site.settle()
        assert source.publish("/x", {"data": str(round)})
        until(lambda round=round: got[-1:] == [{"data": str(round)}])
    assert seen == [False, True] * 3
    assert len(got) == 3
    errors: list[BaseException] = []
    source.call_service("/rosapi/get_time", "a/srv/A", {}, lambda *_: errors.append(close_here(source)), 2.0)
    until(lambda: bool(errors))
    assert "wait for itself" in str(errors[0])
    until(lambda: site.server.graph["clients"] == 4)


def close_here(transport: RosbridgeTransport) -> BaseException:
    with pytest.raises(TransportError) as caught:
        transport.close()
    return caught.value


def test_a_failed_start_says_why_in_one_line() -> None:
    threads = threading.active_count()
    with RosbridgeServer(port=0, token="secret") as server:
        for url, part in (
            ("http://127.0.0.1:9090", "'http://127.0.0.1:9090' is no websocket address like ws://host:9090"),
            ("ws://127.0.0.1:1", "no connection to ws://127.0.0.1:1 within 0.3 s: nobody answers there"),
            (
                server.url + "?token=wrong",
                f"no connection to {server.url} within 0.3 s: the server wants a .right. token",
            ),
            (server.url, "wants a .right. token"),
        ):
            transport = RosbridgeTransport(url)
            with pytest.raises(TransportError, match=part) as caught:
                transport.start(0.3)
            assert "\n" not in str(caught.value)
            assert "=wrong" not in str(caught.value)
        transport = RosbridgeTransport(server.url + "?token=secret")
        transport.start()
        assert ask(transport, "/rosapi/get_time")[1] is None
        transport.close()
    assert threading.active_count() <= threads + 1  # roslibpy's own, idle


def test_it_waits_for_a_server_that_comes_later() -> None:
    server = RosbridgeServer(port=0).start()
    server.stop()
    transport = RosbridgeTransport(server.url)
    transport.start(timeout=None)
    assert not transport.connected
    time.sleep(0.3)
    server.start()
    until(lambda: transport.connected, 2)
    assert transport.counters["reconnects"] == 0
    server.stop()
    until(lambda: not transport.connected)
    transport.close()


def test_it_understands_a_client_written_by_hand(site: Site) -> None:
    """A transport and a client by hand understand each other."""
    transport = site.transport()
    got: list[dict] = []
    transport.subscribe("/x", STRING, got.append)
    transport.advertise("/y", STRING)
    site.settle()
    raw = Raw(site.server.url)
    raw.send("subscribe", topic="/y", type=STRING)
    raw.send("advertise", topic="/x", type=STRING)
    raw.send("publish", topic="/x", msg={"data": "by hand"})
    until(lambda: got == [{"data": "by hand"}])
    assert transport.publish("/y", {"data": "by roslibpy"})
    assert raw.next() == {"op": "publish", "topic": "/y", "msg": {"data": "by roslibpy"}}
    raw.close()
