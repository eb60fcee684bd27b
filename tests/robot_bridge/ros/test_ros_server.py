"""The rclpy-shaped layer over real sockets: two processes' worth of nodes through the embedded server."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.interfaces.control_msgs.action import FollowJointTrajectory
from robot_bridge.interfaces.diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from robot_bridge.interfaces.sensor_msgs.msg import Image, Imu, JointState
from robot_bridge.interfaces.std_srvs.srv import SetBool, Trigger

import robot_bridge.ros as rclpy
from robot_bridge.ros.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from robot_bridge.ros.context import Context
from robot_bridge.ros.exceptions import ServiceError
from robot_bridge.ros.executors import MultiThreadedExecutor, SingleThreadedExecutor
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter
from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import TransportError

Goal, Result, Feedback = FollowJointTrajectory.Goal, FollowJointTrajectory.Result, FollowJointTrajectory.Feedback


@pytest.fixture
def server():
    server = RosbridgeServer(port=0).start()
    yield server
    server.stop()


@pytest.fixture
def pair(server):
    """A robot and a policy, each with a connection of its own, spun together."""
    contexts = [Context(), Context()]
    for context in contexts:
        context.init([], url=server.url)
    robot, policy = (
        Node(name, context=context, start_parameter_services=False)
        for name, context in zip(("robot", "policy"), contexts, strict=True)
    )
    yield robot, policy
    for context in contexts:
        context.try_shutdown()


class Spinner:
    """Spins nodes in a thread; what a callback raises is raised at the end."""

    def __init__(self, *nodes: Node, threads: int = 1) -> None:
        self.executors = []
        self.threads = []
        self.errors: list[BaseException] = []
        for node in nodes:
            kind = MultiThreadedExecutor if threads > 1 else SingleThreadedExecutor
            executor = kind(threads, context=node.context) if threads > 1 else kind(context=node.context)
            executor.add_node(node)
            self.executors.append(executor)
            self.threads.append(threading.Thread(target=self._spin, args=(executor,)))

    def _spin(self, executor) -> None:
        try:
            executor.spin()
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> Spinner:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        for executor in self.executors:
            executor.shutdown(timeout_sec=5)
        for thread in self.threads:
            thread.join(5)
        assert not self.errors


def until(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def wait(future, timeout=10.0):
    until(future.done, timeout)
    return future.result()


def test_messages_cross_unchanged(pair):
    robot, policy = pair
    status = DiagnosticStatus(level=DiagnosticStatus.ERROR, name="ärm", values=[KeyValue(key="k", value="v")])
    messages = [
        JointState(name=["a"], position=[0.1 + 0.2], velocity=[-1e-300]),
        Image(data=bytes(range(256)), width=16, height=16),
        Imu(orientation_covariance=[float(i) for i in range(9)]),
        DiagnosticArray(status=[status]),
    ]
    got = []
    publishers = []
    for i, message in enumerate(messages):
        policy.create_subscription(type(message), f"topic{i}", got.append, 10)
        publishers.append(robot.create_publisher(type(message), f"topic{i}", 10))
    with Spinner(policy):
        for i, (publisher, message) in enumerate(zip(publishers, messages, strict=True)):
            until(lambda p=publisher: p.get_subscription_count() == 1)
            publisher.publish(message)
            until(lambda n=i: len(got) > n)
    assert got == messages
    assert [type(m) for m in got] == [type(m) for m in messages]


def test_services(pair):
    robot, policy = pair

    def enable(request, response):
        if not request.data:
            raise ValueError("never")
        return SetBool.Response(success=True, message="on")

    robot.create_service(SetBool, "enable", enable)
    client = policy.create_client(SetBool, "enable")
    missing = policy.create_client(Trigger, "nothing")
    spinner = Spinner(robot, policy)
    with spinner:
        assert client.wait_for_service(timeout_sec=5)
        assert not missing.wait_for_service(timeout_sec=0.1)
        assert wait(client.call_async(SetBool.Request(data=True))).message == "on"
        assert client.call(SetBool.Request(data=True), timeout_sec=5).success
        with pytest.raises(ServiceError, match="/nothing"):
            wait(missing.call_async(Trigger.Request()))
        with pytest.raises(ServiceError, match="never"):
            wait(client.call_async(SetBool.Request()))
        until(lambda: spinner.errors)
        assert str(spinner.errors.pop()) == "never"  # as in rclpy, it left spin


def test_actions(pair):
    robot, policy = pair

    def execute(goal_handle):
        end = time.monotonic() + 10
        while goal_handle.request.trajectory.joint_names == ["long"] and time.monotonic() < end:
            if goal_handle.is_cancel_requested:
                goal_handle.canceled()
                return Result(error_string="stopped")
            goal_handle.publish_feedback(Feedback(joint_names=["j"]))
            time.sleep(0.02)
        goal_handle.succeed()
        return Result(error_string="fine")

    def decide(goal):
        return GoalResponse.REJECT if goal.trajectory.joint_names == ["bad"] else GoalResponse.ACCEPT

    ActionServer(
        robot,
        FollowJointTrajectory,
        "follow",
        execute,
        goal_callback=decide,
        cancel_callback=lambda goal_handle: CancelResponse.ACCEPT,
    )
    client = ActionClient(policy, FollowJointTrajectory, "follow")
    feedback = []

    def send(name):
        goal = Goal()
        goal.trajectory.joint_names = [name]
        return wait(client.send_goal_async(goal, lambda message: feedback.append(message.feedback)))

    with Spinner(robot, policy, threads=3):
        assert client.wait_for_server(timeout_sec=5)
        short = send("short")
        assert short.accepted
        assert wait(short.get_result_async()).result.error_string == "fine"
        assert not send("bad").accepted
        long = send("long")
        assert long.accepted
        until(lambda: feedback)
        assert wait(long.cancel_goal_async()).return_code == 0
        result = wait(long.get_result_async())
        assert (result.status, result.result.error_string) == (5, "stopped")
        assert feedback[0] == Feedback(joint_names=["j"])


def test_a_connection_lost_and_found(server, pair):
    """Nothing that was published meanwhile arrives later; afterwards everything works again."""
    robot, policy = pair
    got = []
    publisher = robot.create_publisher(JointState, "joint_states", 10)
    policy.create_subscription(JointState, "joint_states", lambda m: got.append(m.position[0]), 10)
    robot.create_service(Trigger, "ping", lambda request, response: Trigger.Response(success=True))
    client = policy.create_client(Trigger, "ping")
    with Spinner(robot, policy):
        until(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(JointState(position=[1.0]))
        until(lambda: got == [1.0])
        server.kill()
        until(lambda: not robot.context.transport.connected and not policy.context.transport.connected)
        publisher.publish(JointState(position=[2.0]))
        assert publisher.dropped == 1
        with pytest.raises(ServiceError):
            wait(client.call_async(Trigger.Request()))
        server.start()
        until(lambda: robot.context.transport.connected and policy.context.transport.connected, 20)
        until(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(JointState(position=[3.0]))
        until(lambda: len(got) > 1)
        assert got == [1.0, 3.0]
        assert client.wait_for_service(timeout_sec=5)
        assert wait(client.call_async(Trigger.Request())).success


def test_init_by_address_and_again(server, monkeypatch):
    monkeypatch.setenv("ROSBRIDGE_URL", server.url)
    threads = threading.active_count()
    for _ in range(2):
        rclpy.init(args=[])
        with Node("one", parameter_overrides=[Parameter("a", value=1)]) as node:
            assert node.declare_parameter("a", 2).value == 1
            offered = ("/one/get_parameters", ["rcl_interfaces/srv/GetParameters"])
            until(lambda node=node, offered=offered: offered in node.get_service_names_and_types())
        rclpy.shutdown()
    until(lambda: threading.active_count() == threads)
    until(lambda: not any(server.graph.values()))


def test_a_token_is_quoted(monkeypatch):
    with RosbridgeServer(port=0, token="s p+a&c/e=?") as server:
        for query in ("", "/?x=1"):
            rclpy.init(args=[], url=server.url + query, token="s p+a&c/e=?")
            rclpy.shutdown()
        monkeypatch.setenv("ROSBRIDGE_TOKEN", "s p+a&c/e=?")
        rclpy.init(args=[], url=server.url)
        rclpy.shutdown()


def test_nobody_there():
    with pytest.raises(TransportError) as caught:
        rclpy.init(args=[], url="ws://127.0.0.1:9", connect_timeout=0.5)
    assert "\n" not in str(caught.value)
    assert not rclpy.ok()
