"""Executors, tasks and callback groups behave as rclpy's."""

from __future__ import annotations

import threading
import time

import pytest
from robot_bridge.interfaces.std_msgs.msg import Int32
from robot_bridge.interfaces.std_srvs.srv import Trigger
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    run_ready,
    spin_until,
)

import robot_bridge.ros as rclpy
from robot_bridge.ros.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from robot_bridge.ros.executors import MultiThreadedExecutor, SingleThreadedExecutor
from robot_bridge.ros.task import Future


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
