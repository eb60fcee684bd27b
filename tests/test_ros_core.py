"""The rclpy-shaped layer: context, names, topics, services, executors behave as rclpy's (shared/ROS.md)."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from robot_bridge.interfaces.sensor_msgs.msg import JointState
from robot_bridge.interfaces.std_msgs.msg import Float64, Int32, String
from robot_bridge.interfaces.std_srvs.srv import SetBool, Trigger
from ros_hub import Hub, HubTransport

import robot_bridge.ros as rclpy
from robot_bridge.errors import UserError
from robot_bridge.ros.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from robot_bridge.ros.duration import Duration
from robot_bridge.ros.exceptions import (
    InvalidHandle,
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
    NotInitializedException,
    RCLError,
    ROSInterruptException,
    ServiceError,
)
from robot_bridge.ros.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from robot_bridge.ros.node import Node
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
from robot_bridge.ros.task import Future


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    rclpy.try_shutdown()
    hub.stop()


@pytest.fixture
def transport(hub):
    return HubTransport(hub)


@pytest.fixture
def node(transport):
    rclpy.init(args=[], transport=transport)
    node = Node("test")
    yield node
    node.destroy_node()


def spin_until(node, condition, timeout=5.0) -> bool:
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    return condition()


def run_ready(node, hub) -> None:
    """Run everything that is ready, and nothing more."""
    hub.settle()
    executor = rclpy.get_global_executor()
    executor.add_node(node)
    for _ in range(200):
        before = executor._context.ok() and any(entity._is_ready() for entity in node._entities())
        if not before:
            break
        executor.spin_once(timeout_sec=0)
    executor.remove_node(node)


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


def test_spin_ends_with_the_context(node):
    threading.Timer(0.1, rclpy.shutdown).start()
    with pytest.raises(ExternalShutdownException):
        rclpy.spin(node)
    assert node.executor is None


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
    code = SCRIPT.format(tests=str(Path(__file__).parent))
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[1]
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
        "/**:\n  ros__parameters:\n    gain: 2.5\narm:\n  ros__parameters:\n    a: {b: x}\nleg:\n"
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


# Topics ---------------------------------------------------------------------------------------------------------------


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
    assert subscription.refused == 3
    assert math.isnan(got[0].data)
    assert got[1].data == 2.0
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


# Executors ------------------------------------------------------------------------------------------------------------


def test_exceptions_leave_spin_once(node, hub):
    def fail(message):
        raise ZeroDivisionError("oops")

    publisher = node.create_publisher(Int32, "n", 10)
    node.create_subscription(Int32, "n", fail, 10)
    publisher.publish(Int32())
    publisher.publish(Int32())
    hub.settle()
    for _ in range(2):  # and the group is free again
        with pytest.raises(ZeroDivisionError, match="oops"):
            rclpy.spin_once(node, timeout_sec=1)


def test_spin_once_waits_and_gives_up(node):
    start = time.monotonic()
    rclpy.spin_once(node, timeout_sec=0.1)
    assert 0.1 <= time.monotonic() - start < 1.0
    rclpy.spin_once(node, timeout_sec=0)
    assert time.monotonic() - start < 1.0


def test_futures(node):
    future = Future()
    seen = []
    future.add_done_callback(seen.append)
    assert future.result() is None
    assert not future.done()
    future.set_result(5)
    future.set_result(6)
    assert (future.result(), future.done(), seen) == (5, True, [future])
    future.add_done_callback(seen.append)
    assert len(seen) == 2
    failed = Future()
    failed.set_exception(KeyError("x"))
    with pytest.raises(KeyError):
        failed.result()
    cancelled = Future()
    cancelled.cancel()
    assert cancelled.cancelled()
    assert cancelled.done()
    later = Future()
    threading.Timer(0.1, later.set_result, (1,)).start()
    rclpy.spin_until_future_complete(node, later, timeout_sec=5)
    assert later.result() == 1
    start = time.monotonic()
    rclpy.spin_until_future_complete(node, Future(), timeout_sec=0.1)
    assert 0.1 <= time.monotonic() - start < 1.0


def test_tasks_and_coroutines(node):
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    gate = Future()

    async def wait(n):
        return n + await gate

    waiting, quick = executor.create_task(wait, 1), executor.create_task(lambda: "done")
    executor.spin_once(timeout_sec=0)
    executor.spin_once(timeout_sec=0)
    assert quick.result() == "done"
    assert not waiting.done()
    gate.set_result(41)
    executor.spin_until_future_complete(waiting, timeout_sec=1)
    assert waiting.result() == 42
    executor.create_task(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        executor.spin_once(timeout_sec=1)
    assert executor.shutdown()
    assert executor.get_nodes() == []


def test_an_async_callback_may_await_a_service(node, hub):
    """Client and callback in different groups; in one group rclpy would wait for ever."""
    group = MutuallyExclusiveCallbackGroup()
    client = node.create_client(Trigger, "say", callback_group=group)
    node.create_service(Trigger, "say", lambda q, a: Trigger.Response(message="hi"), callback_group=group)
    got = []

    async def callback(message):
        response = await client.call_async(Trigger.Request())
        got.append(response.message)

    node.create_subscription(Int32, "n", callback, 1)
    node.create_publisher(Int32, "n", 1).publish(Int32())
    assert spin_until(node, lambda: got)
    assert got == ["hi"]


def test_a_callback_must_not_spin_its_executor(node):
    errors = []

    def callback():
        try:
            rclpy.spin_once(node, timeout_sec=0)
        except RuntimeError as error:
            errors.append(str(error))

    timer = node.create_timer(0.0, callback)
    executor = rclpy.get_global_executor()
    executor.add_node(node)
    executor.spin_once(timeout_sec=1)
    timer.cancel()
    assert "already spinning" in errors[0]


@pytest.mark.parametrize(("group", "most"), [(MutuallyExclusiveCallbackGroup, 1), (ReentrantCallbackGroup, 2)])
def test_callback_groups(node, hub, group, most):
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    together, peak, ran = [0], [0], []
    lock = threading.Lock()

    def callback(message):
        with lock:
            together[0] += 1
            peak[0] = max(peak[0], together[0])
        time.sleep(0.05)
        with lock:
            together[0] -= 1
            ran.append(message.data)

    shared = group()
    publisher = node.create_publisher(Int32, "n", 10)
    node.create_subscription(Int32, "n", callback, 10, callback_group=shared)
    node.create_subscription(Int32, "n", callback, 10, callback_group=shared)
    for n in range(2):
        publisher.publish(Int32(data=n))
    end = time.monotonic() + 5
    while len(ran) < 4 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    assert sorted(ran) == [0, 0, 1, 1]
    assert peak[0] == most
    assert executor.shutdown(timeout_sec=5)


def test_a_busy_pool_leaves_messages_in_the_bounded_queue(node, hub):
    """Otherwise a slow callback would work through everything that ever came."""
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    release, got = threading.Event(), []

    def slow(message):
        release.wait(5)
        got.append(message.data)

    publisher = node.create_publisher(Int32, "n", 10)
    node.create_subscription(Int32, "n", slow, 1, callback_group=ReentrantCallbackGroup())
    for n in range(2):
        publisher.publish(Int32(data=n))
        hub.settle()
        executor.spin_once(timeout_sec=1)
    for n in range(2, 50):
        publisher.publish(Int32(data=n))
    hub.settle()
    executor.spin_once(timeout_sec=0.05)
    release.set()
    end = time.monotonic() + 5
    while len(got) < 3 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    assert sorted(got) == [0, 1, 49]
    executor.shutdown(timeout_sec=5)


def test_exceptions_of_other_threads_are_raised_where_it_spins(node, hub):
    executor = MultiThreadedExecutor()
    executor.add_node(node)
    node.create_timer(0.01, lambda: 1 / 0)

    def spin():
        for _ in range(100):
            executor.spin_once(timeout_sec=0.1)

    with pytest.raises(ZeroDivisionError):
        spin()
    executor.shutdown(timeout_sec=5)


def test_a_node_moves_between_executors(node):
    one, two = SingleThreadedExecutor(), SingleThreadedExecutor()
    assert one.add_node(node)
    assert not one.add_node(node)
    node.executor = two
    assert (one.get_nodes(), two.get_nodes(), node.executor) == ([], [node], two)
    two.remove_node(node)
    assert node.executor is None


def test_guard_conditions(node, hub):
    ran = []
    guard = node.create_guard_condition(lambda: ran.append(1))
    run_ready(node, hub)
    assert ran == []
    guard.trigger()
    guard.trigger()
    run_ready(node, hub)
    assert ran == [1]
    assert node.destroy_guard_condition(guard)


def test_nothing_starves(node, hub):
    """A timer that is always due leaves the subscriptions their turn."""
    got, ticks = [], []
    node.create_timer(0.0, lambda: ticks.append(1))
    node.create_subscription(Int32, "n", got.append, 10)
    publisher = node.create_publisher(Int32, "n", 10)
    for _ in range(10):
        publisher.publish(Int32())
    hub.settle()
    for _ in range(30):
        rclpy.spin_once(node, timeout_sec=0)
    assert len(got) == 10
    assert len(ticks) >= 10


# Services -------------------------------------------------------------------------------------------------------------


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
    assert 0.03 <= woke[2] - woke[0] < 0.5
    assert node.destroy_rate(rate)
    thread.join(5)
    assert woke[-1] == "interrupted"
    with pytest.raises(ValueError, match="> 0"):
        node.create_rate(0)
