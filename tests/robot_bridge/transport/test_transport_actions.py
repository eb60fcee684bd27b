"""Goals over the transport; its start, end and return."""

from __future__ import annotations

import json
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
    ask,
    transport_peer,  # noqa: F401 (a fixture)
    transport_site,  # noqa: F401 (a fixture)
)

from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import GoalStatus, RosbridgeTransport, TransportError, link

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


def answered(received: list[dict]) -> list[dict]:
    return [message for message in received if message["op"] == "service_response"]


def test_a_failed_service_is_told_by_the_fields_of_its_type(peer: Peer) -> None:
    """A rosbridge_server passes objects on only: with a text for `values` its caller would wait for ever."""
    transport = RosbridgeTransport(peer.url)
    for service, kind in (("/t", "std_srvs/srv/Trigger"), ("/e", "std_srvs/srv/Empty"), ("/o", "own_msgs/srv/Own")):
        transport.advertise_service(service, kind, lambda *_: 1 / 0)
    transport.start()
    until(lambda: any(("advertise_service", "/o") in ops for ops in peer.ops()))
    (requests,) = [i for i, ops in enumerate(peer.ops()) if ("advertise_service", "/o") in ops]
    for service in ("/t", "/e", "/o"):
        peer.open[requests].send(json.dumps({"op": "call_service", "id": service, "service": service, "args": {}}))
    until(lambda: len(answered(peer.connections[requests])) == 3)
    answers = answered(peer.connections[requests])
    transport.close()
    failed = "the service's handler failed"
    assert [a["values"] for a in answers] == [{"success": False, "message": failed}, {}, {}]
    assert {(a["result"], a["error"]) for a in answers} == {(False, failed)}


def test_a_server_that_speaks_no_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HANDSHAKE", 0.1)
    told = "does not answer in TLS: perhaps it wants ws://, not wss://"
    with RosbridgeServer(port=0) as server, pytest.raises(TransportError, match=told):
        RosbridgeTransport(server.url.replace("ws:", "wss:")).start(0.5)


def test_a_failed_start_says_why_in_one_line() -> None:
    threads = threading.active_count()
    with RosbridgeServer(port=0, token="secret") as server:
        for url, part in (
            ("http://127.0.0.1:9090", "'http://127.0.0.1:9090' is no websocket address like ws://host:9090"),
            ("ws://127.0.0.1:1", "no connection to ws://127.0.0.1:1 within 0.3 s: nobody listens on that port"),
            ("ws://no-such-robot.invalid:9090", "no computer is known by the name no-such-robot.invalid"),
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
