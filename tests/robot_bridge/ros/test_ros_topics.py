"""Topics of the rclpy-shaped layer behave as rclpy's."""

from __future__ import annotations

import math
import threading
import time

import pytest
from robot_bridge.interfaces.sensor_msgs.msg import JointState
from robot_bridge.interfaces.std_msgs.msg import Float64, Int32, String
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    run_ready,
    spin_until,
)

from robot_bridge.ros.duration import Duration
from robot_bridge.ros.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    InvalidQoSProfileException,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from robot_bridge.ros.serialization import deserialize_message, serialize_message


def test_a_message_arrives(node, hub):
    got = []
    publisher = node.create_publisher(JointState, "joint_states", 10)
    node.create_subscription(JointState, "joint_states", got.append, 10)
    publisher.publish(JointState(name=["a"], position=[0.5]))
    assert spin_until(node, lambda: got)
    assert got == [JointState(name=["a"], position=[0.5])]
    assert hub.published[-1][0] == "/joint_states"


def test_publishing_the_wrong_thing(node):
    publisher = node.create_publisher(String, "chat", 10)
    for wrong in ({"data": "x"}, Int32(), "x", None, b"x"):
        with pytest.raises(TypeError):
            publisher.publish(wrong)
    number = node.create_publisher(Float64, "number", 10)
    with pytest.raises(ValueError, match="data: nan has no place in JSON"):
        number.publish(Float64(data=math.nan))


def test_what_cannot_be_sent_is_counted(node, transport, hub):
    publisher = node.create_publisher(String, "chat", 10)
    transport.connected = False
    publisher.publish(String(data="lost"))
    transport.connected = True
    publisher.publish(String(data="sent"))
    assert publisher.dropped == 1
    assert [m for topic, m in hub.published if topic == "/chat"] == [{"data": "sent"}]


def test_the_queue_keeps_the_newest(node, hub):
    got = []
    publisher = node.create_publisher(Int32, "n", 10)
    subscription = node.create_subscription(Int32, "n", lambda message: got.append(message.data), 2)
    for n in range(5):
        publisher.publish(Int32(data=n))
    run_ready(node, hub)
    assert got == [3, 4]
    assert subscription.dropped == 3


def test_callbacks_run_in_the_thread_that_spins(node, hub):
    threads = []
    publisher = node.create_publisher(Int32, "n", 10)
    node.create_subscription(Int32, "n", lambda message: threads.append(threading.current_thread()), 10)
    publisher.publish(Int32())
    hub.settle()
    assert threads == []
    run_ready(node, hub)
    assert threads == [threading.current_thread()]


def test_wrong_messages_are_refused_and_nan_arrives(node, hub, transport, capsys):
    got = []
    subscription = node.create_subscription(Float64, "x", got.append, 10)
    for values in ({"data": "x"}, {"datum": 1.0}, {}, {"data": None}, {"data": 2}):
        transport.inject("/x", values)
    run_ready(node, hub)
    assert subscription.refused == 2
    assert got[0].data == 0.0  # a missing field has its default
    assert math.isnan(got[1].data)
    assert got[2].data == 2.0
    assert "/x: refused: std_msgs/msg/Float64: data: expected float, got str" in capsys.readouterr().err


def test_raw_and_info(node, hub):
    raw, informed = [], []
    publisher = node.create_publisher(String, "chat", 10)
    node.create_subscription(String, "chat", raw.append, 10, raw=True)
    node.create_subscription(String, "chat", lambda message, info: informed.append((message, info)), 10)
    with pytest.raises(RuntimeError, match="number of arguments"):
        node.create_subscription(String, "chat", lambda: None, 10)
    before = time.time_ns()
    publisher.publish(String(data="hello"))
    run_ready(node, hub)
    assert deserialize_message(raw[0], String) == String(data="hello")
    assert raw[0] == serialize_message(String(data="hello")) == b"\0\1\0\0\6\0\0\0hello\0"
    assert before <= informed[0][1]["received_timestamp"] <= time.time_ns()


def test_destroyed_subscriptions_are_silent(node, hub):
    got = []
    publisher = node.create_publisher(Int32, "n", 10)
    subscription = node.create_subscription(Int32, "n", got.append, 10)
    publisher.publish(Int32())
    hub.settle()
    node.destroy_subscription(subscription)
    run_ready(node, hub)
    assert got == []
    assert list(node.subscriptions) == []


def test_quality_of_service(node):
    profile = QoSProfile(depth=5)
    assert (profile.history, profile.depth) == (HistoryPolicy.KEEP_LAST, 5)
    assert (profile.reliability, profile.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
    assert qos_profile_sensor_data.depth == 5
    assert qos_profile_sensor_data.reliability is ReliabilityPolicy.BEST_EFFORT
    assert QoSPresetProfiles.SENSOR_DATA.value == qos_profile_sensor_data
    assert QoSPresetProfiles.get_from_short_key("sensor_data") == qos_profile_sensor_data
    assert ReliabilityPolicy.get_from_short_key("best_effort") is ReliabilityPolicy.BEST_EFFORT
    for wrong in ({}, {"history": HistoryPolicy.KEEP_LAST}):
        with pytest.raises(InvalidQoSProfileException):
            QoSProfile(**wrong)
    assert QoSProfile(history=HistoryPolicy.KEEP_ALL).depth == 10
    with pytest.raises(AssertionError):
        QoSProfile(depth=1, deep=2)
    with pytest.raises(AssertionError):
        QoSProfile(depth="1")
    assert node.create_subscription(String, "a", print, 7).qos_profile == QoSProfile(depth=7)
    with pytest.raises(ValueError, match="greater than or equal to zero"):
        node.create_publisher(String, "a", -1)
    with pytest.raises(TypeError):
        node.create_publisher(String, "a", "10")
    with pytest.raises(TypeError):
        node.create_subscription(String, "a", print, None)


def test_quality_that_nobody_keeps_is_told(node, capsys):
    node.create_subscription(String, "a", print, QoSProfile(depth=1, deadline=Duration(seconds=1)))
    assert "/a: deadline of the QoS profile: no effect over rosbridge" in capsys.readouterr().err
    for preset in QoSPresetProfiles:
        if preset is not QoSPresetProfiles.UNKNOWN:
            node.create_publisher(String, "a", preset.value)
    assert capsys.readouterr().err == ""
    for option in ("event_callbacks", "qos_overriding_options"):
        with pytest.raises(NotImplementedError, match=option):
            node.create_publisher(String, "a", 1, **{option: object()})
        with pytest.raises(NotImplementedError, match=option):
            node.create_subscription(String, "a", print, 1, **{option: object()})


def test_the_graph(node, hub):
    publisher = node.create_publisher(String, "chat", 1)
    assert publisher.get_subscription_count() == 0
    subscription = node.create_subscription(String, "chat", print, 1)
    assert publisher.get_subscription_count() == subscription.get_publisher_count() == 1
    assert (node.count_publishers("chat"), node.count_subscribers("/silence")) == (1, 0)
    assert ("/chat", ["std_msgs/msg/String"]) in node.get_topic_names_and_types()
    assert ("/test/get_parameters", ["rcl_interfaces/srv/GetParameters"]) in node.get_service_names_and_types()
    assert node.get_node_names() == ["rosbridge_websocket"]
