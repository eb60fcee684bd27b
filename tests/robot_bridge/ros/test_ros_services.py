"""Services behave as rclpy's."""

from __future__ import annotations

import threading
import time

import pytest
from robot_bridge.interfaces.std_srvs.srv import SetBool
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    run_ready,
    spin_until,
)

import robot_bridge.ros as rclpy
from robot_bridge.ros.callback_groups import MutuallyExclusiveCallbackGroup
from robot_bridge.ros.exceptions import (
    ServiceError,
)
from robot_bridge.ros.executors import MultiThreadedExecutor


def add_service(node, name="enable", **options):
    def enable(request, response):
        response.success, response.message = request.data, "on" if request.data else "off"
        return response

    return node.create_service(SetBool, name, enable, **options)


def test_a_call_is_answered(node):
    add_service(node)
    client = node.create_client(SetBool, "enable")
    assert client.service_is_ready()
    future = client.call_async(SetBool.Request(data=True))
    assert future.result() is None
    rclpy.spin_until_future_complete(node, future, timeout_sec=5)
    assert future.result() == SetBool.Response(success=True, message="on")
    with pytest.raises(TypeError):
        client.call_async(SetBool.Response())
    with pytest.raises(TypeError):
        client.call({"data": True})


def test_waiting_for_a_service(node):
    client = node.create_client(SetBool, "enable")
    start = time.monotonic()
    assert not client.wait_for_service(timeout_sec=0.2)
    assert 0.2 <= time.monotonic() - start < 1.0
    timer = threading.Timer(0.1, add_service, (node,))
    timer.start()
    assert client.wait_for_service(timeout_sec=5)
    assert time.monotonic() - start < 3.0


def test_calls_that_fail(node, hub):
    client = node.create_client(SetBool, "enable")
    missing = client.call_async(SetBool.Request())
    rclpy.spin_until_future_complete(node, missing, timeout_sec=5)
    with pytest.raises(ServiceError, match="/enable: service /enable does not exist"):
        missing.result()
    broken = node.create_service(SetBool, "enable", lambda request, response: "nothing")
    refused = client.call_async(SetBool.Request())
    with pytest.raises(TypeError, match="callback returned <class 'str'>"):
        rclpy.spin_until_future_complete(node, refused, timeout_sec=5)
    rclpy.spin_until_future_complete(node, refused, timeout_sec=5)
    with pytest.raises(ServiceError, match="TypeError: /enable: callback returned"):
        refused.result()
    node.destroy_service(broken)
    hub.services["/enable"] = ("std_srvs/srv/SetBool", lambda request, respond: None)
    client.response_timeout_sec = 0.1
    late = client.call_async(SetBool.Request())
    rclpy.spin_until_future_complete(node, late, timeout_sec=5)
    with pytest.raises(ServiceError, match=r"no response within 0\.1 s"):
        late.result()
    del hub.services["/enable"]


def test_wrong_requests_are_answered_with_an_error(node, hub, transport):
    add_service(node)
    answers = []
    transport.call_service("/enable", "", {"data": 1}, lambda *answer: answers.append(answer), 5)
    transport.call_service("/enable", "", {}, lambda *answer: answers.append(answer), 5)
    run_ready(node, hub)
    hub.settle()
    assert answers == [
        (None, "std_srvs/srv/SetBool_Request: data: expected bool, got int"),
        ({"success": False, "message": "off"}, None),  # what is missing has its default, as in rosbridge_server
    ]


def test_a_synchronous_call(node):
    add_service(node)
    client = node.create_client(SetBool, "enable")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.call(SetBool.Request(data=True))))
    thread.start()
    assert spin_until(node, lambda: answers)
    thread.join()
    assert answers[0].success
    with pytest.raises(TimeoutError):
        client.call(SetBool.Request(), timeout_sec=0.05)


def test_a_synchronous_call_in_a_callback_would_wait_for_ever(node, hub):
    client = node.create_client(SetBool, "enable")
    guard = node.create_guard_condition(lambda: client.call(SetBool.Request()))
    guard.trigger()
    with pytest.raises(RuntimeError, match="would wait for ever"):
        rclpy.spin_once(node, timeout_sec=1)


def test_a_synchronous_call_from_another_group(node):
    executor = MultiThreadedExecutor(num_threads=3)
    add_service(node)
    client = node.create_client(SetBool, "enable", callback_group=MutuallyExclusiveCallbackGroup())
    answers = []
    group = MutuallyExclusiveCallbackGroup()
    guard = node.create_guard_condition(lambda: answers.append(client.call(SetBool.Request(data=True))), group)
    guard.trigger()
    executor.add_node(node)
    end = time.monotonic() + 5
    while not answers and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    assert answers[0].success
    executor.shutdown(timeout_sec=5)


def test_a_service_is_offered_once(node):
    add_service(node)
    with pytest.raises(ValueError, match="offered already"):
        add_service(node)
