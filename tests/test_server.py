"""The embedded rosbridge server, seen by hand-written JSON over an independent websocket client."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from robot_bridge.errors import UserError
from robot_bridge.server import RosbridgeServer
from robot_bridge.server import client as client_module
from robot_bridge.server.__main__ import main

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


@pytest.fixture
def site(request) -> Iterator[Site]:
    site = Site(**getattr(request, "param", {}))
    yield site
    site.close()


def until(condition, timeout: float = 3.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# Topics ---------------------------------------------------------------------------------------------------------------


def test_messages_reach_all_subscribers_in_their_own_spelling(site: Site) -> None:
    one, two = site.pair()
    three = site.client()
    two.send("subscribe", id="s", topic="/chatter", type=STRING)
    three.send("subscribe", id="s", topic="chatter", type="std_msgs/String")  # ROS 1's spelling
    two.sync(), three.sync()
    one.send("advertise", topic="/chatter", type=STRING)
    for text in ("a", "ä\u2028", "b" * 70_000):
        one.send("publish", topic="/chatter", msg={"data": text})
        assert two.next() == {"op": "publish", "topic": "/chatter", "msg": {"data": text}}
        assert three.next() == {"op": "publish", "topic": "chatter", "msg": {"data": text}}
    assert one.nothing()


def test_not_a_number_leaves_as_null_and_null_in_an_array_is_refused(site: Site) -> None:
    one, two = site.pair()
    two.send("subscribe", topic="/x", type="a/msg/B")
    two.sync()
    one.send("advertise", topic="/x", type="a/msg/B")
    one.websocket.send('{"op":"publish","topic":"/x","msg":{"a":[1.5,NaN,Infinity],"b":{"c":[[-Infinity]]},"d":1e999}}')
    assert two.next()["msg"] == {"a": [1.5, None, None], "b": {"c": [[None]]}, "d": None}
    one.send("publish", id="p", topic="/x", msg={"b": [{"c": [1.0, None]}]})
    status = one.next()
    assert (status["op"], status["level"], status["id"]) == ("status", "error", "p")
    assert "msg.b[0].c[1] is null" in status["msg"]
    assert two.nothing()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "publish", "topic": "/new", "msg": {}}, "/new has no type"),
        ({"op": "publish", "topic": "/x", "msg": [1]}, "'msg' is a list, expected dict"),
        ({"op": "advertise", "topic": "/x", "type": "other/msg/Type"}, f"has the type {STRING}, not other/msg/Type"),
        ({"op": "subscribe", "topic": "/x", "type": "nonsense"}, "'nonsense' is no type"),
        ({"op": "advertise", "topic": "/x y", "type": STRING}, "'/x y' is no valid name"),
        ({"op": "subscribe"}, "'topic' is missing"),
        ({"op": "subscribe", "topic": "/x", "throttle_rate": "fast"}, "'throttle_rate' is a str"),
        ({"op": "subscribe", "topic": "/x", "queue_length": True}, "'queue_length' is a bool"),
        ({"op": "unsubscribe", "topic": "/y"}, "not subscribed"),
        ({"op": "unadvertise", "topic": "/y"}, "not advertised"),
        ({"op": "publisch"}, "did you mean 'publish'?"),
        ({"op": "set_level", "level": "all"}, "unknown level 'all'"),
        ({"topic": "/x"}, "no 'op'"),
        ([1, 2], "a list where an object"),
        (3, "a int where an object"),
        ({"op": "publish", "topic": "/x", "msg": {"data": json.loads("[" * 70 + "]" * 70)}}, "nested too deeply"),
        ({"op": "service_response", "id": "7", "service": "/s", "result": True}, "no call 7 waits"),
        ({"op": "action_result", "id": "7", "action": "/a", "status": 4, "result": True}, "no goal 7 is executed"),
        ({"op": "cancel_action_goal", "id": "7", "action": "/a"}, "no goal 7 of this client"),
        ({"op": "fragment", "id": "7", "data": "{", "num": 2, "total": 2}, "fragment 2 of 2"),
    ],
)
def test_mistakes_are_told(site: Site, operation, message: str) -> None:
    client = site.client()
    client.send("advertise", topic="/x", type=STRING)
    client.websocket.send(json.dumps(operation))
    status = client.next()
    assert status["op"] == "status"
    assert message in status["msg"]
    client.sync()
    client.send("set_level", level="none")
    client.websocket.send(json.dumps(operation))
    client.sync()  # no more word of it
    assert site.server.counters["refused"] == 2


def test_throttle_and_queue_length(site: Site) -> None:
    source, every = site.pair()
    first_only, latest, both = site.client(), site.client(), site.client()
    every.send("subscribe", topic="/x", type=STRING)
    first_only.send("subscribe", topic="/x", type=STRING, throttle_rate=5000)
    latest.send("subscribe", topic="/x", type=STRING, throttle_rate=200, queue_length=1)
    # Two subscriptions of one client: a message is sent once, as often as the more demanding one wants it.
    both.send("subscribe", id="1", topic="/x", type=STRING, throttle_rate=5000)
    both.send("subscribe", id="2", topic="/x", type=STRING)
    for client in (every, first_only, latest, both):
        client.sync()
    source.send("advertise", topic="/x", type=STRING)
    begin = time.monotonic()
    for i in range(20):
        source.send("publish", topic="/x", msg={"data": str(i)})
    numbers = [str(i) for i in range(20)]
    assert [every.next()["msg"]["data"] for _ in numbers] == numbers
    assert [both.next()["msg"]["data"] for _ in numbers] == numbers
    assert first_only.next()["msg"]["data"] == "0"
    got = [latest.next()["msg"]["data"]]
    while got[-1] != "19":
        got.append(latest.next()["msg"]["data"])
    assert 2 <= len(got) <= 2 + (time.monotonic() - begin) / 0.2
    assert first_only.nothing()
    both.send("unsubscribe", id="2", topic="/x")
    both.sync()
    source.send("publish", topic="/x", msg={"data": "a"})
    source.send("publish", topic="/x", msg={"data": "b"})
    both.next()
    assert both.nothing()  # the slower subscription is left
    both.send("unsubscribe", topic="/x")
    assert both.nothing()
    source.send("publish", topic="/x", msg={"data": "c"})
    assert both.nothing()


def test_latched_messages_reach_late_subscribers_until_their_publisher_leaves(site: Site) -> None:
    source, late = site.pair()
    source.send("advertise", topic="/map", type=STRING, latch=True)
    for text in ("old", "new"):
        source.send("publish", topic="/map", msg={"data": text}, latch=True)
    source.sync()
    late.send("subscribe", topic="/map", type=STRING)
    assert late.next()["msg"] == {"data": "new"}
    source.vanish()
    until(lambda: site.server.graph["clients"] == 1)
    later = site.client()
    later.send("subscribe", topic="/map", type=STRING)
    later.sync()


def validators(type: str):
    def validate(message: dict) -> None:
        if not isinstance(message.get("data"), str):
            raise ValueError("data: expected a string")

    return validate if type == STRING else None


@pytest.mark.parametrize("site", [{"validator": validators}], indirect=True)
def test_a_validator_refuses_messages(site: Site) -> None:
    one, two = site.pair()
    for topic, type in (("/x", STRING), ("/y", "unknown/msg/Type")):
        one.send("advertise", topic=topic, type=type)
        two.send("subscribe", topic=topic, type=type)
    two.sync()
    one.send("publish", topic="/x", msg={"data": 1})
    assert "/x: data: expected a string" in one.next()["msg"]
    one.send("publish", topic="/x", msg={"data": "good"})
    one.send("publish", topic="/y", msg={"data": 1})
    assert [two.next()["msg"]["data"] for _ in range(2)] == ["good", 1]


def test_the_types_of_the_interfaces(site: Site) -> None:
    types = pytest.importorskip("robot_bridge.server.types", reason="rosbags is not installed")
    typed = Site(validator=types.validator, definitions=types.definitions)
    one, two = typed.pair()
    for topic, type in (("/j", "sensor_msgs/JointState"), ("/own", "my_robot/msg/Own")):
        one.send("advertise", topic=topic, type=type)
        two.send("subscribe", topic=topic, type=type)
    two.sync()
    for message, problem in (
        ({"position": [1.0, "2"]}, "position[1]"),
        ({"position": 1.0}, "position"),
        ({"header": {"stamp": {"sec": 1.5}}}, "header.stamp.sec"),
        ({"positions": []}, "positions"),
    ):
        one.send("publish", topic="/j", msg=message)
        status = one.next()["msg"]
        assert status.startswith("/j: sensor_msgs/msg/JointState: ")
        assert problem in status
    one.send("publish", topic="/j", msg={"position": [1, 2.5]})  # the rest may be missing, as for rosbridge_server
    one.send("publish", topic="/own", msg={"anything": "goes"})
    assert [two.next()["msg"] for _ in range(2)] == [{"position": [1, 2.5]}, {"anything": "goes"}]
    (vector,) = two.call("/rosapi/message_details", type="geometry_msgs/Vector3")["values"]["typedefs"]
    assert vector == {
        "type": "geometry_msgs/Vector3",
        "fieldnames": ["x", "y", "z"],
        "fieldtypes": ["float64"] * 3,
        "fieldarraylen": [-1] * 3,
        "examples": ["0.0"] * 3,
        "constnames": [],
        "constvalues": [],
    }
    request = two.call("/rosapi/service_request_details", type="std_srvs/SetBool")["values"]["typedefs"][0]
    assert (request["fieldnames"], request["fieldtypes"]) == (["data"], ["bool"])
    twist = two.call("/rosapi/message_details", type="geometry_msgs/msg/TwistWithCovariance")["values"]["typedefs"]
    assert twist[0]["fieldarraylen"] == [-1, 36]
    joints = two.call("/rosapi/message_details", type="sensor_msgs/msg/JointState")["values"]["typedefs"]
    assert joints[0]["fieldarraylen"] == [-1, 0, 0, 0, 0]
    assert two.call("/rosapi/message_details", type="a/msg/B")["values"] == "unknown type a/msg/B"
    typed.close()


# Services and actions -------------------------------------------------------------------------------------------------


def test_a_service_call_there_and_back(site: Site) -> None:
    provider, caller = site.pair()
    provider.send("advertise_service", service="/add", type="a/srv/Add")
    provider.sync()
    caller.send("call_service", id="mine", service="/add", args={"a": 1, "b": [2]})
    request = provider.next()
    assert request == {"op": "call_service", "id": request["id"], "service": "/add", "args": {"a": 1, "b": [2]}}
    provider.send("service_response", id=request["id"], service="/add", values={"sum": 3}, result=True)
    expected = {"op": "service_response", "id": "mine", "service": "/add", "values": {"sum": 3}, "result": True}
    assert caller.next() == expected
    caller.send("call_service", service="/add")  # without id, and refused
    provider.send("service_response", id=provider.next()["id"], service="/add", values="no", result=False)
    assert caller.next() == {"op": "service_response", "service": "/add", "values": "no", "result": False}


def test_calls_that_nobody_answers_fail(site: Site) -> None:
    provider, caller = site.pair()
    assert caller.call("/nobody") == {
        "op": "service_response",
        "id": "call",
        "service": "/nobody",
        "values": "Service /nobody does not exist",
        "result": False,
    }
    provider.send("advertise_service", service="/s", type="a/srv/S")
    provider.sync()
    caller.send("call_service", id="slow", service="/s", timeout=0.1)
    assert "Timeout" in caller.next()["values"]
    late = provider.next()["id"]
    provider.send("service_response", id=late, service="/s", values={}, result=True)
    assert "no call" in provider.next()["msg"]
    caller.send("call_service", id="lost", service="/s")
    provider.next()
    provider.vanish()
    answer = caller.next()
    assert (answer["id"], answer["result"]) == ("lost", False)
    assert "does not exist" in caller.call("/s")["values"]


def test_only_the_provider_may_answer_and_the_newest_provider_is_asked(site: Site) -> None:
    old, new = site.pair()
    caller = site.client()
    old.send("advertise_service", service="/s", type="a/srv/S")
    old.sync()
    caller.send("call_service", id="1", service="/s")
    id = old.next()["id"]
    new.send("service_response", id=id, service="/s", values={}, result=True)
    assert "no call" in new.next()["msg"]
    new.send("advertise_service", service="/s", type="a/srv/S")  # as a client does that has reconnected
    assert caller.next()["result"] is False
    caller.send("call_service", id="2", service="/s")
    new.send("service_response", id=new.next()["id"], service="/s", values={"by": "new"}, result=True)
    assert caller.next()["values"] == {"by": "new"}


def accepted(provider: Raw, client: Raw, id: str = "goal") -> str:
    """Send a goal; returns the provider's id of it."""
    client.send("send_action_goal", id=id, action="/go", action_type="a/action/Go", args={"to": 1}, feedback=True)
    request = provider.next()
    assert (request["op"], request["action"], request["args"]) == ("send_action_goal", "/go", {"to": 1})
    return request["id"]


def test_a_goal_with_feedback_result_and_cancel(site: Site) -> None:
    provider, client = site.pair()
    provider.send("advertise_action", action="/go", type="a/action/Go")
    provider.sync()
    id = accepted(provider, client)
    provider.send("action_feedback", id=id, action="/go", values={"at": 0.5})
    assert client.next() == {"op": "action_feedback", "id": "goal", "action": "/go", "values": {"at": 0.5}}
    client.send("cancel_action_goal", id="goal", action="/go")
    assert provider.next() == {"op": "cancel_action_goal", "id": id, "action": "/go"}
    provider.send("action_result", id=id, action="/go", values={"at": 0.7}, status=5, result=True)
    expected = {"op": "action_result", "id": "goal", "action": "/go", "values": {"at": 0.7}, "status": 5}
    assert client.next() == expected | {"result": True}
    id = accepted(provider, client, "goal2")
    provider.send("action_result", id=id, action="/go", status=6, result=False)
    answer = client.next()
    assert (answer["id"], answer["status"], answer["result"]) == ("goal2", 6, False)
    provider.send("action_feedback", id=id, action="/go", values={})
    assert "no goal" in provider.next()["msg"]
    assert client.nothing()


def test_goals_end_when_a_side_leaves(site: Site) -> None:
    provider, client = site.pair()
    other = site.client()
    provider.send("advertise_action", action="/go", type="a/action/Go")
    provider.sync()
    id = accepted(provider, other)
    other.vanish()
    assert provider.next() == {"op": "cancel_action_goal", "id": id, "action": "/go"}
    accepted(provider, client)
    provider.vanish()
    answer = client.next()
    assert (answer["id"], answer["status"], answer["result"]) == ("goal", 6, False)
    client.send("send_action_goal", id="3", action="/go", action_type="a/action/Go")
    answer = client.next()
    assert (answer["status"], answer["result"], answer["values"]) == (0, False, "Action /go does not exist")
    site.server.faults.silent_goals = True
    client.send("send_action_goal", id="4", action="/go", action_type="a/action/Go")
    assert client.nothing()


def test_blocking_calls_hold_up_their_client_only(site: Site) -> None:
    provider, caller = site.pair()
    site.server.faults.blocking_calls = True
    provider.send("subscribe", topic="/x", type=STRING)
    provider.send("advertise_service", service="/s", type="a/srv/S")
    provider.send("advertise_action", action="/go", type="a/action/Go")
    provider.sync()
    caller.send("advertise", topic="/x", type=STRING)
    caller.send("call_service", id="c", service="/s")
    caller.send("publish", topic="/x", msg={"data": "behind the call"})
    id = provider.next()["id"]
    assert provider.nothing()
    provider.send("service_response", id=id, service="/s", values={}, result=True)
    assert provider.next()["msg"]["data"] == "behind the call"
    assert caller.next()["id"] == "c"
    accepted(provider, caller)
    caller.send("cancel_action_goal", id="goal", action="/go")
    assert provider.nothing()  # a cancel does not get through
    caller.vanish()
    assert provider.next()["op"] == "cancel_action_goal"


def test_rosapi(site: Site) -> None:
    one, two = site.pair()
    one.send("advertise", topic="/x", type="std_msgs/String")
    one.send("advertise_service", service="/s", type="std_srvs/srv/Trigger")
    one.send("advertise_action", action="/a", type="a/action/A")
    one.sync()
    two.send("subscribe", topic="/y", type="a/msg/Y")
    values = lambda name, /, **args: two.call(f"/rosapi/{name}", **args)["values"]  # noqa: E731
    assert values("topics") == {"topics": ["/x", "/y"], "types": [STRING, "a/msg/Y"]}
    assert values("topic_type", topic="/x") == {"type": STRING}
    assert values("topic_type", topic="/z") == {"type": ""}
    assert values("topics_for_type", type="std_msgs/String") == {"topics": ["/x"]}
    assert values("publishers", topic="/x")["publishers"] == values("subscribers", topic="/y")["subscribers"]
    assert values("publishers", topic="/y") == {"publishers": []}
    services = values("services")["services"]
    assert {"/s", "/rosapi/topics", "/rosapi/get_time"} < set(services)
    assert values("service_type", service="/s") == {"type": "std_srvs/srv/Trigger"}
    assert values("services_for_type", type="std_srvs/srv/Trigger") == {"services": ["/s"]}
    assert values("action_servers") == {"action_servers": ["/a"]}
    assert abs(values("get_time")["time"]["sec"] - time.time()) < 2
    node = values("nodes")["nodes"][1]
    assert values("node_details", node=node) == {"subscribing": ["/y"], "publishing": ["/x"], "services": ["/s"]}
    assert values("get_param", name="/p")["successful"] is False
    assert values("set_param", name="/p", value="[1, 2]")["successful"] is True
    assert values("set_param", name="/p", value="[1,")["successful"] is False
    assert values("get_param", name="/p")["value"] == "[1, 2]"
    assert values("get_param_names") == {"names": ["/p"]}
    assert values("delete_param", name="/p")["successful"] is True
    assert values("has_param", name="/p") == {"exists": False}
    assert "'type' is missing" in values("topics_for_type")
    assert "without definitions" in values("message_details", type=STRING)


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
        for _ in range(100):
            lazy.send("call_service", id="x" * 200_000, service="/nobody")
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
