"""npm's roslib, which others wrote, against the embedded server, with the transport as its counterpart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from server_site import STRING
from transport_site import Answer, ask

from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import GoalStatus, RosbridgeTransport

ROSLIB = "2.1.0"

SCRIPT = """
import * as ROSLIB from "roslib";
const seen = {messages: [], throttled: [], feedback: [], cancelled: [], status: []};
const ros = new ROSLIB.Ros({url: process.argv[2]});
ros.on("error", (error) => { console.error("no connection", error.message); process.exit(1); });
await new Promise((resolve) => ros.on("connection", resolve));
ros.authenticate("x", "", "", "", 0, "", 0);
ros.setStatusLevel("error");
const promise = (call) => new Promise((resolve) => call((value) => resolve(value), (error) => resolve({error})));
const type = "std_msgs/msg/String";

// This side offers a service in both styles, and an action.
const upper = new ROSLIB.Service({ros, name: "/js/upper", serviceType: "a/srv/Upper"});
await upper.advertise((request, response) => {
  response.text = request.text.toUpperCase();
  return request.text !== "";
});
const later = new ROSLIB.Service({ros, name: "/js/later", serviceType: "a/srv/Later"});
await later.advertiseAsync(async (request) => {
  await new Promise((resolve) => setTimeout(resolve, 30));
  if (request.fail) throw new Error("not today");
  return {value: request.value + 1};
});
const count = new ROSLIB.Action({ros, name: "/js/count", actionType: "a/action/Count"});
count.advertise(
  (goal, id) => {
    count.sendFeedback(id, {at: 1});
    if (goal.to < 0) count.setFailed(id);
    else if (goal.to < 10) count.setSucceeded(id, {counted: goal.to});
  },
  (id) => { seen.cancelled.push(id); count.setCanceled(id, {counted: 1}); },
);

// Topics, both ways.
const chatter = new ROSLIB.Topic({ros, name: "/python/chatter", messageType: "std_msgs/String"});
chatter.subscribe((message) => seen.messages.push(message.data));
const slowly = {throttle_rate: 10000, queue_length: 1};
const throttled = new ROSLIB.Topic({ros, name: "/python/fast", messageType: type, ...slowly});
throttled.subscribe((message) => seen.throttled.push(message.data));
const out = new ROSLIB.Topic({ros, name: "/js/chatter", messageType: type});
out.advertise();

// Services and rosapi.
const service = (name) => new ROSLIB.Service({ros, name, serviceType: "a/srv/A"});
const call = (name, request) => promise((ok, bad) => service(name).callService(request, ok, bad));
seen.add = await call("/python/add", {a: 2, b: 3});
seen.refused = await call("/python/refuse", {});
seen.nobody = await call("/nobody", {});
seen.topics = await promise((ok, bad) => ros.getTopics(ok, bad));
seen.topicType = await promise((ok, bad) => ros.getTopicType("/python/chatter", ok, bad));
seen.topicsForType = await promise((ok, bad) => ros.getTopicsForType(type, ok, bad));
seen.services = await promise((ok, bad) => ros.getServices(ok, bad));
seen.serviceType = await promise((ok, bad) => ros.getServiceType("/python/add", ok, bad));
seen.servicesForType = await promise((ok, bad) => ros.getServicesForType("a/srv/Add", ok, bad));
seen.actions = await promise((ok, bad) => ros.getActionServers(ok, bad));
seen.nodes = await promise((ok, bad) => ros.getNodes(ok, bad));
seen.node = await promise((ok, bad) => ros.getNodeDetails(seen.nodes[1], ok, bad));
const details = await promise((ok, bad) => ros.getMessageDetails("geometry_msgs/msg/PoseStamped", ok, bad));
seen.decoded = details.error ? details : ros.decodeTypeDefs(details);
const parameter = new ROSLIB.Param({ros, name: "/gain"});
seen.unset = await promise((ok, bad) => parameter.get(ok, bad));
seen.set = await promise((ok, bad) => parameter.set({p: [1.5, null]}, ok, bad));
seen.parameter = await promise((ok, bad) => parameter.get(ok, bad));
seen.parameters = await promise((ok, bad) => ros.getParams(ok, bad));
seen.deleted = await promise((ok, bad) => parameter.delete(ok, bad));

// Actions of the other side.
const go = new ROSLIB.Action({ros, name: "/python/go", actionType: "a/action/Go"});
seen.went = await promise((ok, bad) => go.sendGoal({to: 1}, ok, (values) => seen.feedback.push(values), bad));
seen.aborted = await promise((ok, bad) => go.sendGoal({to: -1}, ok, undefined, bad));
seen.unknownAction = await promise((ok, bad) =>
  new ROSLIB.Action({ros, name: "/python/none", actionType: "a/action/Go"}).sendGoal({}, ok, undefined, bad));
seen.cancel = await promise((ok, bad) => {
  const id = go.sendGoal({to: 100}, ok, () => go.cancelGoal(id), bad);
});

// A mistake, then the end when the other side says so.
const wrong = new ROSLIB.Topic({ros, name: "/python/chatter", messageType: "other/msg/Type"});
wrong.advertise();
ros.on(`status:${wrong.advertiseId}`, (status) => seen.status.push(status.msg));
const end = new ROSLIB.Topic({ros, name: "/end", messageType: type});
end.subscribe(() => {
  chatter.unsubscribe();
  upper.unadvertise();
  count.unadvertise();
  ros.close();
  console.log(JSON.stringify(seen));
  process.exit(0);
});
for (let i = 0; i < 3; i++) out.publish({data: `from node ${i} \\u00fc`});
"""


@pytest.fixture(scope="module")
def roslib(request: pytest.FixtureRequest) -> Path:
    """A folder with roslib in it, kept in pytest's cache."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v").split(".")[0]) < 20:
        pytest.skip(f"roslib needs node 20, this is {version.strip()}")
    folder = Path(request.config.cache.mkdir(f"roslib-{ROSLIB}"))
    if not (folder / "node_modules" / "roslib" / "package.json").exists():
        arguments = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run([*arguments, f"roslib@{ROSLIB}"], capture_output=True, text=True, check=True, timeout=60)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"npm cannot install roslib {ROSLIB} (no registry?): {getattr(error, 'stderr', error)!s:.200}")
    (folder / "client.mjs").write_text(SCRIPT, encoding="utf-8")
    return folder


def go(values: dict, handle) -> None:
    """An action server: far goals run until they are cancelled."""
    handle.on_cancel(lambda: handle.result({"reached": 0.5}, GoalStatus.CANCELED))
    handle.feedback({"at": 0.5})
    if values["to"] < 0:
        handle.result(None, GoalStatus.ABORTED, "cannot")
    elif values["to"] < 10:
        handle.result({"reached": values["to"]}, GoalStatus.SUCCEEDED)


def test_roslib_and_the_transport_understand_each_other(roslib: Path) -> None:
    arrived = threading.Semaphore(0)
    messages: list[str] = []

    def collect(message: dict) -> None:
        messages.append(message["data"])
        arrived.release()

    types = pytest.importorskip("robot_bridge.server.types", reason="rosbags is not installed")
    with RosbridgeServer(port=0, reader=types.reader, definitions=types.definitions) as server:
        python = RosbridgeTransport(server.url)
        python.start()
        python.subscribe("/js/chatter", STRING, collect, queue_length=10)
        for topic in ("/python/chatter", "/python/fast", "/end"):
            python.advertise(topic, STRING)
        python.advertise_service("/python/add", "a/srv/Add", lambda r, respond: respond({"sum": r["a"] + r["b"]}))
        python.advertise_service("/python/refuse", "a/srv/No", lambda r, respond: respond(None, "refused"))
        python.advertise_action("/python/go", "a/action/Go", go)
        process = subprocess.Popen(
            ["node", "client.mjs", server.url],
            cwd=roslib,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_OPTIONS": ""},
        )
        try:
            for _ in range(3):
                assert arrived.acquire(timeout=20), process.communicate(timeout=1)
            # Now everything is declared there; this side asks.
            assert ask(python, "/js/upper", {"text": "straße"}) == ({"text": "STRASSE"}, None)
            assert ask(python, "/js/upper", {"text": ""})[0] is None
            assert ask(python, "/js/later", {"value": 1}) == ({"value": 2}, None)
            assert ask(python, "/js/later", {"fail": True}) == (None, "Error: not today")
            ends: list[tuple] = []
            feedback: list[dict] = []
            for to in (5, -1):
                answer = Answer()
                python.send_goal("/js/count", "a/action/Count", {"to": to}, feedback=feedback.append, result=answer)
                ends.append(answer.wait())
            answer, running = Answer(), threading.Event()
            id = python.send_goal(
                "/js/count", "a/action/Count", {"to": 99}, feedback=lambda _: running.set(), result=answer
            )
            assert running.wait(2)
            python.cancel_goal("/js/count", id)
            assert answer.wait() == ({"counted": 1}, GoalStatus.CANCELED, None)
            for i in range(5):
                python.publish("/python/chatter", {"data": f"from python {i}"})
                python.publish("/python/fast", {"data": str(i)})
            assert ask(python, "/js/later", {"value": 1}, timeout=3)[0] == {"value": 2}
            python.publish("/end", {"data": ""})
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
            python.close()
    assert process.returncode == 0, err
    seen = json.loads(out.splitlines()[-1])
    assert messages == [f"from node {i} ü" for i in range(3)]
    assert ends[0] == ({"counted": 5}, GoalStatus.SUCCEEDED, None)
    assert ends[1][:2] == (None, GoalStatus.ABORTED)
    assert feedback == [{"at": 1}] * 2
    assert len(seen["cancelled"]) == 1

    assert seen["messages"] == [f"from python {i}" for i in range(5)]
    assert len(seen["throttled"]) == 1
    assert seen["add"] == {"sum": 5}
    assert seen["refused"] == {"error": "refused"}
    assert seen["nobody"] == {"error": "Service /nobody does not exist"}
    topics = dict(zip(seen["topics"]["topics"], seen["topics"]["types"], strict=True))
    assert topics == dict.fromkeys(["/end", "/js/chatter", "/python/chatter", "/python/fast"], STRING)
    assert seen["topicType"] == STRING
    assert seen["topicsForType"] == sorted(topics)
    assert {"/python/add", "/js/upper", "/js/later", "/rosapi/topics"} <= set(seen["services"])
    assert seen["serviceType"] == "a/srv/Add"
    assert seen["servicesForType"] == ["/python/add"]
    assert seen["actions"] == ["/js/count", "/python/go"]
    assert "/js/chatter" in seen["node"]["publishing"]
    assert "error" in seen["unset"]
    assert seen["parameter"] == {"p": [1.5, None]}
    assert seen["parameters"] == ["/gain"]
    assert "error" not in seen["set"]
    assert "error" not in seen["deleted"]
    assert seen["went"] == {"reached": 1}
    assert seen["feedback"] == [{"at": 0.5}]
    assert "aborted" in seen["aborted"]["error"]
    assert "does not exist" in seen["unknownAction"]["error"]
    assert "0.5" in seen["cancel"]["error"]  # roslib tells every end but success as a failure
    assert seen["status"] == [f"/python/chatter has the type {STRING}, not other/msg/Type"]
    stamp = {"sec": "int32", "nanosec": "uint32"}
    assert seen["decoded"]["header"] == {"stamp": stamp, "frame_id": "string"}
    assert seen["decoded"]["pose"]["orientation"] == dict.fromkeys("xyzw", "float64")


def test_roslibpys_own_classes() -> None:
    """As in roslibpy's documentation, which the transport does not use."""
    import roslibpy

    types = pytest.importorskip("robot_bridge.server.types", reason="rosbags is not installed")
    with RosbridgeServer(port=0, reader=types.reader, definitions=types.definitions) as server:
        ros = roslibpy.Ros("127.0.0.1", server.port, transport="asyncio")
        ros.run(5)
        got: list[dict] = []
        arrived = threading.Event()
        listener = roslibpy.Topic(ros, "/chatter", "std_msgs/String")
        listener.subscribe(lambda message: (got.append(dict(message)), arrived.set()))
        talker = roslibpy.Topic(ros, "/chatter", "std_msgs/String")
        talker.publish(roslibpy.Message({"data": "hello"}))
        assert arrived.wait(3)
        assert got == [{"data": "hello"}]

        def double(request, response) -> bool:
            response["value"] = 2 * request["value"]
            return True

        offered = roslibpy.Service(ros, "/double", "a/srv/Double")
        offered.advertise(double)
        other = RosbridgeTransport(server.url)
        other.start()
        other.advertise_service("/half", "a/srv/Half", lambda r, respond: respond({"value": r["value"] / 2}))
        other.advertise_action("/go", "a/action/Go", go)
        assert ask(other, "/double", {"value": 4}) == ({"value": 8}, None)
        half = roslibpy.Service(ros, "/half", "a/srv/Half")
        assert half.call(roslibpy.ServiceRequest({"value": 3}), timeout=3)["value"] == 1.5
        with pytest.raises(Exception, match="does not exist"):
            roslibpy.Service(ros, "/nobody", "a/srv/A").call(roslibpy.ServiceRequest(), timeout=3)

        action = roslibpy.ActionClient(ros, "/go", "a/action/Go")
        ends: list = []
        feedback: list[dict] = []
        for to in (1, -1):
            ended = threading.Event()
            end = lambda result, ended=ended: (ends.append(result), ended.set())  # noqa: E731
            action.send_goal(roslibpy.Goal({"to": to}), end, lambda values: feedback.append(dict(values)), end)
            assert ended.wait(3)
        assert ends[0]["values"] == {"reached": 1}
        assert [end["status"].name for end in ends] == ["SUCCEEDED", "ABORTED"]
        assert feedback == [{"at": 0.5}] * 2

        assert ros.get_topics() == ["/chatter"]
        assert ros.get_topic_type("/chatter") == STRING
        assert ros.get_topics_for_type(STRING) == ["/chatter"]
        assert {"/double", "/half"} < set(ros.get_services())
        assert ros.get_service_type("/half") == "a/srv/Half"
        assert ros.get_services_for_type("a/srv/Half") == ["/half"]
        assert ros.get_service_request_details("std_srvs/SetBool")["typedefs"][0]["fieldnames"] == ["data"]
        assert ros.get_service_response_details("std_srvs/SetBool")["typedefs"][0]["fieldnames"] == [
            "success",
            "message",
        ]
        assert ros.get_message_details("std_msgs/String")["typedefs"][0]["fieldtypes"] == ["string"]
        assert len(ros.get_nodes()) == 2
        assert ros.get_node_details(ros.get_nodes()[1])["publishing"] == ["/chatter"]
        parameter = roslibpy.Param(ros, "/gain")
        parameter.set([1, {"a": 2.5}])
        assert parameter.get() == [1, {"a": 2.5}]
        assert ros.get_params() == ["/gain"]
        parameter.delete()
        assert ros.get_params() == []
        with pytest.raises(KeyError):  # it looks for ROS 1's secs, against a ROS 2 too
            ros.get_time()
        other.close()
        ros.terminate()
    assert server.counters["refused"] == 0
    assert server.counters["internal_errors"] == 0
