"""Topics and services over the transport, against the embedded server over real sockets."""

from __future__ import annotations

import json
import logging
import threading
import time

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from server_site import STRING, Raw, until
from transport_site import (
    JOINTS,
    Answer,
    Peer,
    Site,
    ask,
    transport_peer,  # noqa: F401 (a fixture)
    transport_site,  # noqa: F401 (a fixture)
)

from robot_bridge.transport import RosbridgeTransport

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

    sink.subscribe("/x", "a/msg/T", slow, queue_length=1)
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


def test_a_latched_message_reaches_whoever_subscribes_later(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    latched = source.advertise("/map", STRING, latch=True)
    source.advertise("/plain", STRING)
    site.settle()
    for data in ("old", "new"):
        source.publish("/map", {"data": data})
        source.publish("/plain", {"data": data})
    site.settle()
    got: list[dict] = []
    sink.subscribe("/plain", STRING, got.append)
    sink.subscribe("/map", STRING, got.append)
    until(lambda: got == [{"data": "new"}])
    latched.close()
    site.settle()
    later: list[dict] = []
    site.transport().subscribe("/map", STRING, later.append)
    site.settle()
    assert later == []


def test_a_silent_stream_is_subscribed_anew(site: Site) -> None:
    """A rosbridge_server stays deaf to a publisher whose quality of service the first subscription does not fit."""
    raw, sink = Raw(site.server.url), site.transport()
    got: list[dict] = []
    sink.subscribe("/stream", STRING, got.append, renew_after=0.2)
    sink.subscribe("/events", STRING, got.append)
    until(lambda: sink.counters["renewed"] >= 2)
    raw.send("advertise", topic="/stream", type=STRING)
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        raw.send("publish", topic="/stream", msg={"data": "x"})
        time.sleep(0.02)
    before = sink.counters["renewed"]
    assert before <= 4  # none while messages come
    assert len(got) > 20
    until(lambda: sink.counters["renewed"] > before)
    raw.close()


def test_a_blocked_io_thread_makes_nothing_old(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    ages: list[float] = []
    sink.subscribe("/x", "a/msg/T", lambda m: ages.append(time.monotonic() - m["t"]), queue_length=10_000)
    source.advertise("/x", "a/msg/T")
    site.settle()
    source.call_service("/nobody", "a/srv/T", {}, lambda *_: time.sleep(0.6), timeout=1)  # its answer blocks
    end, count = time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        source.publish("/x", {"t": time.monotonic()})
        count += 1
        time.sleep(0.002)
    until(lambda: source.counters["dropped"] + len(ages) == count)
    assert 50 < source.counters["dropped"] < count
    assert max(ages, default=0) < 0.4
    assert source.connected
    source.call_service(
        "/nobody", "a/srv/T", {}, lambda *_: time.sleep(1.15), timeout=2
    )  # so long that what came in meanwhile counts as old
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


def test_what_is_published_at_once_after_advertising_arrives(site: Site) -> None:
    source, sink = site.transport(), site.transport()
    source.advertise("/busy", STRING)
    site.settle()
    held = threading.Event()
    source.call_service("/nobody", "a/srv/T", {}, lambda *_: (held.set(), time.sleep(0.1)), timeout=2)
    assert held.wait(3)
    source.publish("/busy", {"data": ""})  # the I/O thread will look at what was handed over
    source.advertise("/new", STRING, latch=True)  # nobody knows its type before
    source.publish("/new", {"data": "first"})
    source.advertise("/gone", STRING).close()
    site.settle()
    got: list[str] = []
    sink.subscribe("/new", STRING, lambda message: got.append(message["data"]))
    until(lambda: got == ["first"])
    assert site.server.counters["refused"] == 0
