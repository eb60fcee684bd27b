"""The embedded rosbridge server, seen by hand-written JSON over an independent websocket client."""

from __future__ import annotations

import json
import time

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


def readers(type: str):
    def read(message: dict) -> dict:
        if not isinstance(message.get("data"), str):
            raise ValueError("data: expected a string")
        return message | {"read": True}

    return read if type == STRING else None


@pytest.mark.parametrize("site", [{"reader": readers}], indirect=True)
def test_a_reader_refuses_and_completes_messages(site: Site) -> None:
    one, two = site.pair()
    for topic, type in (("/x", STRING), ("/y", "unknown/msg/Type")):
        one.send("advertise", topic=topic, type=type)
        two.send("subscribe", topic=topic, type=type)
    two.sync()
    one.send("publish", topic="/x", msg={"data": 1})
    assert "/x: data: expected a string" in one.next()["msg"]
    one.send("publish", topic="/x", msg={"data": "good"})
    one.send("publish", topic="/y", msg={"data": 1})
    assert [two.next()["msg"] for _ in range(2)] == [{"data": "good", "read": True}, {"data": 1}]


STAMP = {"sec": 0, "nanosec": 0}
COMPLETED = [  # type, what a client publishes, what subscribers of a rosbridge_server get; ... is a present stamp
    (
        "sensor_msgs/JointState",
        {"position": [1, 2.5]},
        {
            "header": {"stamp": STAMP, "frame_id": ""},
            "name": [],
            "position": [1.0, 2.5],
            "velocity": [],
            "effort": [],
        },
    ),
    ("std_msgs/Header", {"frame_id": "base"}, {"stamp": ..., "frame_id": "base"}),
    ("std_msgs/Header", {"stamp": "now"}, {"stamp": ..., "frame_id": ""}),
    ("std_msgs/Header", {"stamp": {"secs": 5, "nsecs": 7}}, {"stamp": {"sec": 5, "nanosec": 7}, "frame_id": ""}),
    ("builtin_interfaces/Duration", {"secs": 2}, {"sec": 2, "nanosec": 0}),
    (
        "geometry_msgs/Twist",
        {"linear": {"x": 1}},
        {"linear": {"x": 1.0, "y": 0.0, "z": 0.0}, "angular": {"x": 0.0, "y": 0.0, "z": 0.0}},
    ),
    ("geometry_msgs/Quaternion", {"x": 1}, {"x": 1.0, "y": 0.0, "z": 0.0, "w": 1.0}),
    ("std_msgs/UInt8MultiArray", {"data": [1, 2, 255]}, {"layout": {"dim": [], "data_offset": 0}, "data": "AQL/"}),
]


@pytest.fixture(scope="module")
def typed():
    types = pytest.importorskip("robot_bridge.server.types", reason="rosbags is not installed")
    site = Site(reader=types.reader, definitions=types.definitions)
    yield site
    site.close()


@pytest.mark.parametrize(("type", "given", "expected"), COMPLETED)
def test_messages_are_completed_as_by_rosbridge_server(typed: Site, type: str, given: dict, expected: dict) -> None:
    one, two = typed.pair()
    topic = f"/completed/{type.rpartition('/')[2]}"
    two.send("subscribe", topic=topic, type=type)
    two.sync()
    one.send("advertise", topic=topic, type=type)
    one.send("publish", topic=topic, msg=given)
    message = two.next()["msg"]
    if expected.get("stamp") is ...:
        assert abs(message["stamp"].pop("sec") - time.time()) < 5
        assert message.pop("stamp").keys() == {"nanosec"}
        expected = {"frame_id": expected["frame_id"]}
    assert message == expected
    assert repr(message) == repr(expected)  # 1.0 is no 1
    one.close()
    two.close()


def test_requests_and_answers_are_completed(typed: Site) -> None:
    one, two = typed.pair()
    one.send("advertise_service", service="/light", type="std_srvs/SetBool")
    one.sync()
    two.send("call_service", service="/light", id="1", args={})
    request = one.next()
    assert request["args"] == {"data": False}
    one.send("service_response", id=request["id"], service="/light", values={"success": True}, result=True)
    assert two.next()["values"] == {"success": True, "message": ""}
    refused = two.call("/light", data=1)
    assert not refused["result"]
    assert "data: expected bool" in refused["values"]
    one.close()
    two.close()


def test_the_types_of_the_interfaces(site: Site) -> None:
    types = pytest.importorskip("robot_bridge.server.types", reason="rosbags is not installed")
    typed = Site(reader=types.reader, definitions=types.definitions)
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
    one.send("publish", topic="/own", msg={"anything": "goes"})
    assert two.next()["msg"] == {"anything": "goes"}
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
