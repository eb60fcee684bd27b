"""Context, names and rates of the rclpy-shaped layer behave as rclpy's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from places import ROOT, SUPPORT
from robot_bridge.interfaces.std_msgs.msg import String
from robot_bridge.interfaces.std_srvs.srv import Trigger
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    spin_until,
)

import robot_bridge.ros as rclpy
from robot_bridge.errors import UserError
from robot_bridge.ros.exceptions import (
    InvalidHandle,
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
    NotInitializedException,
    RCLError,
    ROSInterruptException,
)
from robot_bridge.ros.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from robot_bridge.ros.node import Node
from robot_bridge.ros.task import Future

# Context --------------------------------------------------------------------------------------------------------------


def test_init_and_shutdown(transport):
    assert not rclpy.ok()
    with pytest.raises(NotInitializedException):
        Node("early")
    with pytest.raises(RuntimeError):
        rclpy.shutdown()
    rclpy.try_shutdown()
    rclpy.init(args=[], transport=transport)
    assert rclpy.ok()
    with pytest.raises(RuntimeError):
        rclpy.init(args=[], transport=transport)
    rclpy.shutdown()
    assert not rclpy.ok()
    with pytest.raises(RuntimeError):
        rclpy.shutdown()
    rclpy.try_shutdown()
    rclpy.init(args=[], transport=transport)
    assert rclpy.ok()
    with pytest.raises(NotInitializedException):
        Node("other", context=rclpy.Context())


def test_init_as_a_context_manager_and_on_shutdown(transport):
    called = []
    with rclpy.init(args=[], transport=transport):
        assert rclpy.ok()
        rclpy.get_default_context().on_shutdown(lambda: called.append(1))
    assert not rclpy.ok()
    assert called == [1]
    with pytest.raises(TypeError):
        rclpy.get_default_context().on_shutdown("no function")


def test_everything_is_let_go_at_shutdown(hub, transport):
    threads = threading.active_count()
    for _ in range(2):
        rclpy.init(args=[], transport=transport)
        node = Node("busy")
        node.create_publisher(String, "a", 1)
        node.create_subscription(String, "b", print, 1)
        node.create_service(Trigger, "c", lambda request, response: response)
        node.create_timer(1.0, lambda: None)
        rclpy.spin_once(node, timeout_sec=0)
        assert not hub.empty
        rclpy.shutdown()
        assert hub.empty
    node.destroy_node()
    assert threading.active_count() == threads


def test_use_after_the_end(node, hub):
    publisher = node.create_publisher(String, "chat", 1)
    assert node.destroy_publisher(publisher)
    assert not node.destroy_publisher(publisher)
    with pytest.raises(InvalidHandle):
        publisher.publish(String())
    alive = node.create_publisher(String, "chat", 1)
    rclpy.get_default_context()._stop()  # what Ctrl-C does
    with pytest.raises(RCLError, match="context is invalid"):
        alive.publish(String())
    with pytest.raises(RuntimeError):
        rclpy.shutdown()  # as rclpy, after a signal; it lets go nevertheless
    assert hub.empty


def test_rules_for_services_leave_topics_alone(transport):
    rclpy.init(args=["--ros-args", "-r", "rosservice://a:=b", "-r", "rostopic://c:=d"], transport=transport)
    node = Node("n")
    names = [node.resolve_topic_name("a"), node.resolve_service_name("a"), node.resolve_topic_name("c")]
    assert names == ["/a", "/b", "/d"]
    assert node.resolve_service_name("c") == "/c"


def test_spin_ends_with_the_context(node):
    threading.Timer(0.1, rclpy.shutdown).start()
    rclpy.spin(node)
    assert not rclpy.ok()
    assert node.executor is None


@pytest.mark.parametrize(
    ("spin", "raised"),
    [
        (lambda node: rclpy.spin(node), None),
        (lambda node: rclpy.spin_until_future_complete(node, Future()), None),
        (lambda node: spin_with(SingleThreadedExecutor(), node), ExternalShutdownException),
        (lambda node: spin_with(MultiThreadedExecutor(), node), None),
    ],
    ids=["spin", "until future", "single", "multi"],
)
@pytest.mark.parametrize("shutdown", [rclpy.shutdown, rclpy.try_shutdown])
def test_a_shutdown_in_another_thread_ends_spinning_as_in_rclpy(node, spin, raised, shutdown):
    outcome = []

    def run():
        try:
            outcome.append(spin(node))
        except ExternalShutdownException:
            outcome.append(ExternalShutdownException)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    shutdown()
    thread.join(3)
    assert outcome == [raised]


def spin_with(executor, node):
    executor.add_node(node)
    executor.spin()


def test_a_node_that_ends_in_its_own_callback_lets_spin_return_at_shutdown(node):
    node.create_timer(0.01, node.destroy_node)
    threading.Timer(0.2, rclpy.try_shutdown).start()
    rclpy.spin(node)
    assert not rclpy.ok()


def test_publishing_after_a_shutdown_is_a_runtime_error(node):
    publisher = node.create_publisher(String, "x", 1)
    rclpy.shutdown()
    with pytest.raises(RuntimeError):
        publisher.publish(String())


def test_asyncio_may_await_a_future():
    future = Future()

    async def main():
        asyncio.get_running_loop().call_later(0.05, future.set_result, 7)
        return await future

    assert asyncio.run(asyncio.wait_for(main(), 3)) == 7


def test_spin_ends_when_a_callback_shuts_down(node):
    node.create_timer(0.01, rclpy.shutdown)
    rclpy.spin(node)
    assert not rclpy.ok()


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from ros_hub import Hub, HubTransport
import robot_bridge.ros as rclpy
from robot_bridge.ros.executors import ExternalShutdownException
for _ in range(2):
    rclpy.init(args=[], transport=HubTransport(Hub()))
    node = rclpy.create_node("victim")
    node.create_timer(0.01, lambda: print("ready", flush=True)).timer_period_ns = 10**12
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        print("KeyboardInterrupt", rclpy.ok(), flush=True)
    except ExternalShutdownException:
        print("ExternalShutdownException", rclpy.ok(), flush=True)
    else:
        print("returned", rclpy.ok(), flush=True)
    rclpy.try_shutdown()
"""


def test_signals():
    """And everything can begin again after one."""
    code = SCRIPT.format(tests=str(SUPPORT))
    command, folder = [sys.executable, "-c", code], ROOT
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        for number, words in (
            (signal.SIGINT, ["KeyboardInterrupt False\n"]),
            (signal.SIGTERM, ["ExternalShutdownException False\n", "returned False\n"]),  # if it came in the callback
        ):
            assert process.stdout.readline() == "ready\n"
            os.kill(process.pid, number)
            assert process.stdout.readline() in words
        assert process.wait(20) == 0
    finally:
        process.kill()


def test_signal_handlers_are_put_back(transport):
    before = signal.getsignal(signal.SIGINT)
    rclpy.init(args=[], transport=transport)
    assert signal.getsignal(signal.SIGINT) is not before
    rclpy.shutdown()
    assert signal.getsignal(signal.SIGINT) is before
    rclpy.init(args=[], transport=transport, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    assert signal.getsignal(signal.SIGINT) is before


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "1st", "a/b", "äh", "x" * 256])
def test_wrong_node_names(node, name):
    with pytest.raises(InvalidNodeNameException):
        Node(name)


@pytest.mark.parametrize("name", ["", "a b", "/1st", "a//b", "a/", "~a", "a~", "{x}", "{", "a-b"])
def test_wrong_topic_names(node, name):
    with pytest.raises(InvalidTopicNameException):
        node.create_publisher(String, name, 1)
    with pytest.raises(InvalidTopicNameException):
        node.create_subscription(String, name, print, 1)
    with pytest.raises(InvalidServiceNameException):
        node.create_service(Trigger, name, print)


def test_names_are_resolved(node):
    other = Node("arm", namespace="robot")
    with pytest.raises(InvalidNamespaceException):
        Node("arm", namespace="/ro bot")
    assert (other.get_name(), other.get_namespace()) == ("arm", "/robot")
    assert other.get_fully_qualified_name() == "/robot/arm"
    assert node.get_fully_qualified_name() == "/test"
    for given, full in {
        "state": "/robot/state",
        "/state": "/state",
        "~/state": "/robot/arm/state",
        "~": "/robot/arm",
        "{node}/state": "/robot/arm/state",
        "{ns}/state": "/robot/state",
    }.items():
        assert other.resolve_topic_name(given) == full
        assert other.resolve_service_name(given) == full
    assert node.resolve_topic_name("state") == "/state"
    assert other.create_publisher(String, "chat", 1).topic_name == "/robot/chat"
    assert other.get_logger().name == "robot.arm"
    other.destroy_node()


def test_ros_arguments(transport, tmp_path):
    (tmp_path / "params.yaml").write_text(
        "/**:\n  ros__parameters:\n    gain: 2.5\n/**/arm:\n  ros__parameters:\n    a: {b: x}\nleg:\n"
        "  ros__parameters: {speed: 9}\n"
    )
    remaps = ["-r", "chat:=/talk", "-r", "__ns:=/lab", "-r", "old:__node:=arm", "-r", "leg:chat:=/no"]
    parameters = ["-p", "speed:=3", "--params-file", str(tmp_path / "params.yaml")]
    rclpy.init(args=["prog", "--ros-args", *remaps, *parameters, "--", "rest"], transport=transport)
    assert rclpy.get_default_context().arguments.rest == ["prog", "rest"]
    node = Node("old")
    assert node.get_fully_qualified_name() == "/lab/arm"
    assert node.resolve_topic_name("chat") == "/talk"
    assert node.resolve_topic_name("chat", only_expand=True) == "/lab/chat"
    assert node.declare_parameter("speed", 1).value == 3
    assert node.declare_parameter("gain", 0.0).value == 2.5
    assert node.declare_parameter("a.b", "").value == "x"
    assert node.declare_parameter("other", 7, ignore_override=True).value == 7
    assert Node("own", use_global_arguments=False).get_fully_qualified_name() == "/own"
    assert Node("own", cli_args=["--ros-args", "-r", "__node:=mine"]).get_name() == "mine"
    for wrong, text in [
        (["--nonsense"], "unknown ROS argument --nonsense"),
        (["-p"], "-p needs a value"),
        (["-p", "speed"], "-p speed: expected name:=value"),
        (["--params-file", "/nowhere"], "--params-file /nowhere"),
    ]:
        with pytest.raises(UserError, match=text):
            Node("own", cli_args=["--ros-args", *wrong])


# Rates ----------------------------------------------------------------------------------------------------------------


def test_rates(node):
    rate = node.create_rate(50.0)
    woke = []

    def work():
        for _ in range(3):
            rate.sleep()
            woke.append(time.monotonic())
        try:
            while True:
                rate.sleep()
        except ROSInterruptException:
            woke.append("interrupted")

    thread = threading.Thread(target=work)
    thread.start()
    assert spin_until(node, lambda: len(woke) >= 3)
    assert 0.02 <= woke[2] - woke[0] < 0.5
    assert node.destroy_rate(rate)
    thread.join(5)
    assert woke[-1] == "interrupted"
    with pytest.raises(ValueError, match="> 0"):
        node.create_rate(0)
