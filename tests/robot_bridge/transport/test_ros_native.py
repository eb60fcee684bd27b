"""The transport over rclpy, on the stand-in: what it uses is in rclpy too (tests/test_ros_signatures.py)."""

from __future__ import annotations

import math
import threading
import time

import pytest

pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.interfaces.control_msgs.action import FollowJointTrajectory
from robot_bridge.interfaces.diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from robot_bridge.interfaces.sensor_msgs.msg import Imu, JointState
from robot_bridge.interfaces.trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from ros_hub import Hub, HubTransport

from robot_bridge.interfaces import MessageError, get_interface, to_dict
from robot_bridge.interfaces.store import Store, store
from robot_bridge.transport import GoalStatus, Transport, TransportError
from robot_bridge.transport.rclpy import RclpyTransport
from robot_bridge.transport.rclpy_types import Types, convert

JOINTS, TRIGGER, SET_BOOL = "sensor_msgs/msg/JointState", "std_srvs/srv/Trigger", "std_srvs/srv/SetBool"
FOLLOW = "control_msgs/action/FollowJointTrajectory"


def state(*position: float) -> dict:
    return to_dict(JointState(position=list(position)))


def until(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Answers(list):
    """Collects what a callback gets, and by which thread."""

    def __call__(self, *answer):
        self.threads = {*getattr(self, "threads", ()), threading.current_thread().name}
        self.append(answer)

    def wait(self, n=1):
        until(lambda: len(self) >= n)
        return self[n - 1]


@pytest.fixture
def pair():
    hub = Hub()
    transports = [
        RclpyTransport(name, rclpy="robot_bridge.ros", transport=HubTransport(hub)) for name in ("robot", "policy")
    ]
    for transport in transports:
        transport.start()
    yield transports
    for transport in transports:
        transport.close()
    assert hub.empty
    hub.stop()


def test_it_is_a_transport(pair):
    names = {name for name in vars(Transport) if not name.startswith("_")}
    assert all(hasattr(pair[0], name) for name in names)
    assert pair[0].connected
    with pytest.raises(TransportError, match="started already"):
        pair[0].start()


def test_without_rclpy():
    with pytest.raises(TransportError, match=r"no_rclpy_here cannot be imported \(.*\): source ROS 2's"):
        RclpyTransport(rclpy="no_rclpy_here").start()


def test_topics(pair):
    robot, policy = pair
    got = Answers()
    subscription = policy.subscribe("/joint_states", JOINTS, got, queue_length=5)
    advertised = robot.advertise("/joint_states", JOINTS)
    assert robot.publish("/joint_states", state(0.5))
    assert got.wait() == (state(0.5),)
    assert got.threads == {"rclpy policy"}
    assert robot.publish("/joint_states", {"position": [1]})  # what is missing has its default
    assert got.wait(2) == (state(1.0),)
    with pytest.raises(MessageError, match=r"position\[0\]: expected float, got str"):
        robot.publish("/joint_states", {"position": ["x"]})
    with pytest.raises(ValueError, match="not advertised"):
        policy.publish("/joint_states", state())
    with pytest.raises(ValueError, match="is sensor_msgs/msg/JointState already"):
        robot.advertise("/joint_states", "sensor_msgs/msg/Imu")
    with pytest.raises(ValueError, match="queue_length 0"):
        policy.subscribe("/x", JOINTS, got, queue_length=0)
    topics = Answers()
    policy.topics_and_types(topics)
    assert topics.wait()[0]["/joint_states"] == JOINTS
    subscription.close()
    subscription.close()
    robot.publish("/joint_states", state(2.0))
    advertised.close()
    with pytest.raises(ValueError, match="not advertised"):
        robot.publish("/joint_states", state())
    assert len(got) == 2


def test_nan_arrives_as_none_and_callbacks_may_fail(pair, caplog):
    robot, policy = pair
    got = Answers()

    def fail(message):
        raise ZeroDivisionError("oops")

    policy.subscribe("/joint_states", JOINTS, fail)
    policy.subscribe("/joint_states", JOINTS, got)
    node = robot.node.create_publisher(JointState, "/joint_states", 1)
    node._transport.inject("/joint_states", {**state(), "position": [None, 1.0]})
    assert got.wait()[0]["position"] == [None, 1.0]
    assert policy.counters["callback_errors"] == 1
    assert "oops" in caplog.text
    robot.advertise("/joint_states", JOINTS)
    with pytest.raises(MessageError, match="nan has no place in JSON"):
        robot.publish("/joint_states", state() | {"position": [math.nan]})


def test_nan_is_sent_natively():
    types = Types("robot_bridge.ros")
    for value in (math.nan, None):
        assert math.isnan(types.outward({"position": [value]}, JointState, JointState).position[0])


def test_services(pair):
    robot, policy = pair

    def handler(request, respond):
        if request["data"]:
            threading.Timer(0.05, respond, ({"success": True, "message": "on"},)).start()
        else:
            raise ValueError("never")

    offer = robot.advertise_service("/enable", SET_BOOL, handler)
    with pytest.raises(ValueError, match="offered already"):
        robot.advertise_service("/enable", SET_BOOL, handler)
    answers = Answers()
    policy.call_service("/enable", SET_BOOL, {"data": True}, answers, 5.0)
    assert answers.wait() == ({"success": True, "message": "on"}, None)
    policy.call_service("/enable", SET_BOOL, {"data": False}, answers, 5.0)
    assert answers.wait(2) == ({"success": False, "message": "ValueError: never"}, None)
    with pytest.raises(MessageError):
        policy.call_service("/enable", SET_BOOL, {"data": 1}, answers, 5.0)
    policy.call_service("/nothing", TRIGGER, {}, answers, 0.1)
    assert answers.wait(3) == (None, "/nothing: no response within 0.1 s")
    offer.close()
    late = threading.Timer(0.1, robot.advertise_service, ("/late", TRIGGER, lambda q, respond: respond({})))
    late.start()
    policy.call_service("/late", TRIGGER, {}, answers, 5.0)  # it waits until the service is there
    assert answers.wait(4) == ({"success": False, "message": ""}, None)
    assert answers.threads == {"rclpy policy"}


def test_a_slow_service_holds_nothing_up(pair):
    robot, policy = pair
    kept, got, answers = [], Answers(), Answers()
    robot.advertise_service("/slow", TRIGGER, lambda request, respond: kept.append(respond))
    robot.subscribe("/joint_states", JOINTS, got)
    policy.call_service("/slow", TRIGGER, {}, answers, 5.0)
    until(lambda: kept)
    policy.advertise("/joint_states", JOINTS)
    policy.publish("/joint_states", state(1.0))
    assert got.wait()
    assert answers == []
    assert kept[0]({"success": True})
    assert not kept[0]({"success": False})
    assert answers.wait()[0]["success"]


def test_actions(pair):
    robot, policy = pair
    served = []

    def handler(goal, handle):
        served.append((goal, handle))
        assert handle.feedback({"joint_names": ["j"]})
        if goal["trajectory"]["joint_names"] == ["long"]:
            handle.on_cancel(lambda: handle.result({"error_string": "stopped"}, GoalStatus.CANCELED))
        elif goal["trajectory"]["joint_names"] == ["bad"]:
            raise ValueError("no such joint")
        else:
            handle.result({"error_code": 0, "error_string": "fine"}, GoalStatus.SUCCEEDED)

    robot.advertise_action("/follow", FOLLOW, handler)

    def send(name, **options):
        feedback, result = Answers(), Answers()
        goal = {"trajectory": {"joint_names": [name]}}
        goal_id = policy.send_goal("/follow", FOLLOW, goal, feedback=feedback, result=result, **options)
        return goal_id, feedback, result

    _, feedback, result = send("short")
    values, status, error = result.wait()
    assert (values["error_string"], status, error) == ("fine", GoalStatus.SUCCEEDED, None)
    assert feedback.wait()[0]["joint_names"] == ["j"]
    assert set(served[0][0]) == set(FollowJointTrajectory.Goal.get_fields_and_field_types())

    goal_id, feedback, result = send("long")
    feedback.wait()
    assert policy.cancel_goal("/follow", goal_id)
    values, status, error = result.wait()
    assert (values["error_string"], status) == ("stopped", GoalStatus.CANCELED)
    assert served[1][1].cancel_requested
    assert not policy.cancel_goal("/follow", goal_id)

    _, _, result = send("bad")
    values, status, error = result.wait()
    assert (values["error_string"], status) == ("ValueError: no such joint", GoalStatus.ABORTED)

    _, _, result = send("long", timeout=0.3)
    assert result.wait()[1:] == (GoalStatus.UNKNOWN, "/follow: no result within 0.3 s")
    until(lambda: served[3][1].cancel_requested)  # it was cancelled, for it was running

    names = Answers()
    policy.action_servers(names)
    assert names.wait()[0] == ["/follow"]
    result = Answers()
    policy.send_goal("/nobody", FOLLOW, {}, result=result, accept_timeout=0.1)
    assert result.wait() == (None, GoalStatus.UNKNOWN, "/nobody: no sign within 0.1 s")
    with pytest.raises(MessageError):
        policy.send_goal("/follow", FOLLOW, {"trajectory": 1}, result=result)


def test_close_and_start_again(pair):
    robot, policy = pair
    got, connections, answers, results = Answers(), Answers(), Answers(), Answers()
    policy.on_connection(connections)
    policy.subscribe("/joint_states", JOINTS, got)
    policy.advertise("/command", JOINTS)
    robot.advertise("/joint_states", JOINTS)
    robot.advertise_service("/slow", TRIGGER, lambda request, respond: None)
    policy.call_service("/slow", TRIGGER, {}, answers, 30.0)
    policy.send_goal("/nobody", FOLLOW, {}, result=results)
    policy.close()
    policy.close()
    assert not policy.connected
    assert answers.wait() == (None, "/slow: the connection was closed")
    assert results.wait()[1:] == (GoalStatus.UNKNOWN, "/nobody: the connection was closed")
    assert not policy.publish("/command", state())
    assert policy.counters["dropped.disconnected"] == 1
    policy.call_service("/slow", TRIGGER, {}, answers, 30.0)
    assert answers.wait(2) == (None, "/slow: not connected")
    policy.start()
    robot.publish("/joint_states", state(3.0))
    assert got.wait()[0]["position"] == [3.0]
    assert policy.publish("/command", state())
    assert [connected for (connected,) in connections] == [False, True]


def test_conversion_between_two_sets_of_classes():
    """As between ours and those of an installed ROS 2; here the other distribution's stand for the latter."""
    other = Store("humble" if store().distro == "jazzy" else "jazzy")
    status = DiagnosticStatus(level=DiagnosticStatus.WARN, name="ä", values=[KeyValue(key="k", value="v")])
    point = JointTrajectoryPoint(positions=[0.1, 0.2])
    point.time_from_start.nanosec = 7
    for message in (
        JointState(name=["a"], position=[1.5]),
        Imu(orientation_covariance=[float(i) for i in range(9)]),
        DiagnosticArray(status=[status, status]),
        JointTrajectory(joint_names=["a", "b"], points=[point, JointTrajectoryPoint()]),
    ):
        theirs = convert(message, other.get, other.get(message.__msgtype__))
        assert type(theirs) is other.get(message.__msgtype__)
        assert type(theirs) is not type(message)
        assert to_dict(theirs) == to_dict(message)
        assert convert(theirs, get_interface, type(message)) == message
    name = "control_msgs/msg/JointTrajectoryControllerState"
    with pytest.raises(AttributeError, match=r"desired|speed_scaling_factor"):
        convert(get_interface(name)(), other.get, other.get(name))
