"""message_filters, wait_for_message, parameter clients and what the graph tells."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.interfaces.sensor_msgs.msg import JointState
from robot_bridge.interfaces.std_msgs.msg import Float64, String
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    run_ready,
    spin_until,
)

import robot_bridge.ros as rclpy
from robot_bridge.ros import message_filters
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.parameter_client import AsyncParameterClient
from robot_bridge.ros.time import Time
from robot_bridge.ros.topic_endpoint_info import TopicEndpointTypeEnum
from robot_bridge.ros.wait_for_message import wait_for_message
from robot_bridge.server import RosbridgeServer


def at(seconds: float, name: str = "") -> JointState:
    message = JointState(name=[name])
    message.header.stamp = Time(seconds=seconds).to_msg()
    return message


def filters(count: int):
    return [message_filters.SimpleFilter() for _ in range(count)]


def told(synchronizer):
    got = []
    synchronizer.registerCallback(lambda *messages: got.append([m.name[0] for m in messages]))
    return got


def test_equal_stamps():
    left, right = filters(2)
    got = told(message_filters.TimeSynchronizer([left, right], 3))
    for second in (1, 2, 3, 4, 5):
        left.signalMessage(at(second, f"l{second}"))
    for second in (1, 3, 5, 4.5, 4):  # 1 has given way to newer ones
        right.signalMessage(at(second, f"r{second}"))
    assert got == [["l3", "r3"], ["l5", "r5"], ["l4", "r4"]]


def test_near_stamps_and_each_message_once():
    left, middle, right = filters(3)
    got = told(message_filters.ApproximateTimeSynchronizer([left, middle, right], 10, slop=0.1))
    left.signalMessage(at(1.00, "a"))
    left.signalMessage(at(1.06, "b"))
    middle.signalMessage(at(1.12, "c"))
    right.signalMessage(at(1.30, "d"))
    assert got == []
    right.signalMessage(at(1.07, "e"))
    assert got == [["b", "c", "e"]]
    middle.signalMessage(at(1.02, "f"))
    right.signalMessage(at(1.10, "g"))
    assert got[1:] == [["a", "f", "g"]]
    right.signalMessage(at(1.10, "h"))
    assert len(got) == 2


def test_subscribers_headerless_messages_and_a_cache(node, hub):
    first = message_filters.Subscriber(node, Float64, "x")
    second = message_filters.Subscriber(node, JointState, "y", qos_profile=5)
    got = []
    both = message_filters.ApproximateTimeSynchronizer([first, second], 5, slop=5.0, allow_headerless=True)
    both.registerCallback(lambda *arguments: got.append(arguments), "extra")
    cache = message_filters.Cache(second, 2)
    now = time.time()
    node.create_publisher(Float64, "x", 1).publish(Float64(data=2.0))
    publisher = node.create_publisher(JointState, "y", 1)
    for offset in (0.0, 1.0, 2.0):
        publisher.publish(at(now + offset, str(offset)))
    run_ready(node, hub)
    assert [(m.data, s.name[0], e) for m, s, e in got] == [(2.0, "0.0", "extra")]
    assert [m.name[0] for m in cache.getInterval(Time(seconds=now), Time(seconds=now + 9))] == ["1.0", "2.0"]
    assert cache.getElemBeforeTime(Time(seconds=now + 1.5)).name[0] == "1.0"
    assert cache.getElemAfterTime(Time(seconds=now + 1.5)).name[0] == "2.0"
    assert cache.getElemAfterTime(Time(seconds=now + 3)) is None
    assert (cache.getOldestTime(), cache.getLastestTime()) == (Time(seconds=now + 1.0), Time(seconds=now + 2.0))
    with pytest.raises(TypeError, match="Float64 has no header"):
        message_filters.TimeSynchronizer(filters(1), 1)._receive(Float64(), 0)


def test_one_message_whether_the_node_is_spun_or_not(node, hub):
    publisher = node.create_publisher(String, "chat", 1)
    for spin in (False, True):
        if spin:
            threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()
        threading.Timer(0.1, publisher.publish, (String(data="hello"),)).start()
        assert wait_for_message(String, node, "chat", time_to_wait=3) == (True, String(data="hello"))
    begin = time.monotonic()
    assert wait_for_message(String, node, "silence", time_to_wait=0.1) == (False, None)
    assert time.monotonic() - begin < 2
    threading.Timer(0.1, rclpy.shutdown).start()
    assert wait_for_message(String, node, "silence") == (False, None)


def test_parameters_of_another_node(node, hub, transport, tmp_path):
    other = Node("other", context=node.context, namespace="/lab")
    other.declare_parameter("gain", 1.0)
    other.declare_parameter("name", "x")
    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    for one in (node, other):
        executor.add_node(one)
    client = AsyncParameterClient(node, "/lab/other")

    def result(future):
        executor.spin_until_future_complete(future, 3)
        return future.result()

    assert client.wait_for_services(3)
    assert client.services_are_ready()
    assert set(result(client.list_parameters()).result.names) == {"gain", "name", "use_sim_time"}
    assert [v.double_value for v in result(client.get_parameters(["gain"])).values] == [1.0]
    done = []
    outcome = result(client.set_parameters([Parameter("gain", value=2.5), Parameter("gain", value=1)], done.append))
    assert [r.successful for r in outcome.results] == [True, False]
    assert len(done) == 1
    assert other.get_parameter("gain").value == 2.5
    assert list(result(client.get_parameter_types(["gain", "name"])).types) == [3, 4]
    assert result(client.describe_parameters(["gain"])).descriptors[0].name == "gain"
    file = tmp_path / "p.yaml"
    file.write_text("/**:\n  ros__parameters: {name: wild}\n/lab/other:\n  ros__parameters: {gain: 4e0}\n")
    result(client.load_parameter_file(str(file)))
    assert (other.get_parameter("gain").value, other.get_parameter("name").value) == (4.0, "x")
    result(client.load_parameter_file(str(file), use_wildcard=True))
    assert other.get_parameter("name").value == "wild"
    assert not result(client.delete_parameters(["gain"])).results[0].successful  # of static type
    assert not AsyncParameterClient(node, "nobody").wait_for_services(0.1)


def test_who_is_at_a_topic():
    with RosbridgeServer(port=0) as server:
        rclpy.init(args=[], url=server.url)
        try:
            node = Node("n")
            node.create_publisher(String, "chat", 1)
            node.create_subscription(JointState, "joints", print, 1)
            assert spin_until(node, lambda: node.get_publishers_info_by_topic("chat"), 3)
            (publisher,) = node.get_publishers_info_by_topic("chat")
            assert (publisher.node_name, publisher.node_namespace) == ("rosbridge_websocket", "/")
            assert (publisher.topic_type, publisher.endpoint_type) == (
                "std_msgs/msg/String",
                TopicEndpointTypeEnum.PUBLISHER,
            )
            (subscription,) = node.get_subscriptions_info_by_topic("joints")
            assert subscription.endpoint_type == TopicEndpointTypeEnum.SUBSCRIPTION
            assert node.get_publishers_info_by_topic("joints") == []
            assert ("rosbridge_websocket", "/") in node.get_node_names_and_namespaces()
        finally:
            rclpy.try_shutdown()
