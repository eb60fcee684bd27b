"""Actions and managed nodes of the rclpy-shaped layer."""

from __future__ import annotations

import threading
import time

import pytest
from robot_bridge.interfaces.action_msgs.msg import GoalStatus
from robot_bridge.interfaces.control_msgs.action import FollowJointTrajectory
from robot_bridge.interfaces.lifecycle_msgs.msg import Transition
from robot_bridge.interfaces.lifecycle_msgs.srv import (
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)
from robot_bridge.interfaces.std_msgs.msg import String
from ros_hub import Hub, HubTransport

import robot_bridge.ros as rclpy
from robot_bridge.interfaces import to_dict
from robot_bridge.ros.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from robot_bridge.ros.exceptions import RCLError
from robot_bridge.ros.executors import MultiThreadedExecutor
from robot_bridge.ros.lifecycle import LifecycleNode, TransitionCallbackReturn
from robot_bridge.ros.node import Node
from robot_bridge.ros.task import Future

Goal, Result, Feedback = FollowJointTrajectory.Goal, FollowJointTrajectory.Result, FollowJointTrajectory.Feedback


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    rclpy.try_shutdown()
    hub.stop()


@pytest.fixture
def node(hub):
    rclpy.init(args=[], transport=HubTransport(hub))
    return Node("test", start_parameter_services=False)


def complete(node, future, timeout=5.0):
    rclpy.spin_until_future_complete(node, future, timeout_sec=timeout)
    assert future.done()
    return future.result()


def goal() -> Goal:
    goal = Goal()
    goal.trajectory.joint_names = ["a"]
    return goal


def succeed(goal_handle):
    goal_handle.succeed()
    return Result(error_string="done")


# Actions --------------------------------------------------------------------------------------------------------------


def test_a_goal_succeeds_with_feedback(node):
    seen = []

    def execute(goal_handle):
        seen.append((goal_handle.request, goal_handle.status, goal_handle.is_active))
        for name in "xyz":
            goal_handle.publish_feedback(Feedback(joint_names=[name]))
        with pytest.raises(TypeError):
            goal_handle.publish_feedback(Result())
        with pytest.raises(RCLError):
            goal_handle.canceled()
        goal_handle.succeed()
        assert not goal_handle.is_active
        return Result(error_code=0, error_string="fine")

    ActionServer(node, FollowJointTrajectory, "follow", execute)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    assert client.wait_for_server(timeout_sec=1)
    feedback = []
    handle = complete(node, client.send_goal_async(goal(), lambda m: feedback.append(m.feedback.joint_names[0])))
    assert handle.accepted
    result = complete(node, handle.get_result_async())
    assert (result.status, result.result) == (GoalStatus.STATUS_SUCCEEDED, Result(error_string="fine"))
    assert handle.status == GoalStatus.STATUS_SUCCEEDED
    assert feedback == ["x", "y", "z"]
    assert seen == [(goal(), GoalStatus.STATUS_EXECUTING, True)]
    with pytest.raises(TypeError):
        client.send_goal_async(Result())


def test_a_goal_is_rejected(node):
    ActionServer(node, FollowJointTrajectory, "follow", succeed, goal_callback=lambda g: GoalResponse.REJECT)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    assert not complete(node, client.send_goal_async(goal())).accepted


def test_a_goal_without_a_server_is_rejected(node):
    client = ActionClient(node, FollowJointTrajectory, "nobody")
    assert not client.server_is_ready()
    assert not client.wait_for_server(timeout_sec=0.15)
    assert not complete(node, client.send_goal_async(goal())).accepted


def test_acceptance_is_presumed_after_a_while(node, hub):
    """As behind a rosbridge_server whose action server sends no feedback."""
    hub.actions["/follow"] = ("control_msgs/action/FollowJointTrajectory", lambda goal, handle: None)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    client.acceptance_wait_sec = 0.15
    start = time.monotonic()
    handle = complete(node, client.send_goal_async(goal()))
    assert 0.15 <= time.monotonic() - start < 2
    assert handle.accepted
    assert handle.status == GoalStatus.STATUS_EXECUTING
    (at_server,) = hub.goals.values()
    at_server.result(to_dict(Result(error_code=-4)), GoalStatus.STATUS_ABORTED)
    result = complete(node, handle.get_result_async())
    assert (result.status, result.result.error_code) == (GoalStatus.STATUS_ABORTED, -4)
    assert complete(node, handle.cancel_goal_async()).return_code == 3  # ERROR_GOAL_TERMINATED


def test_cancel(node):
    gate = Future()
    asked = []

    async def execute(goal_handle):
        await gate
        assert goal_handle.is_cancel_requested
        goal_handle.canceled()
        return Result(error_string="stopped")

    def on_cancel(goal_handle):
        asked.append(goal_handle.status)
        gate.set_result(None)
        return CancelResponse.ACCEPT

    ActionServer(node, FollowJointTrajectory, "follow", execute, cancel_callback=on_cancel)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    client.acceptance_wait_sec = 0.05
    handle = complete(node, client.send_goal_async(goal()))
    answer = complete(node, handle.cancel_goal_async())
    assert answer.return_code == answer.ERROR_NONE
    assert [info.goal_id for info in answer.goals_canceling] == [handle.goal_id]
    assert asked == [GoalStatus.STATUS_EXECUTING]
    result = complete(node, handle.get_result_async())
    assert (result.status, result.result.error_string) == (GoalStatus.STATUS_CANCELED, "stopped")


def test_cancel_while_executing_in_another_thread(node):
    """The usual shape: a loop that looks at is_cancel_requested."""

    def execute(goal_handle):
        end = time.monotonic() + 5
        while not goal_handle.is_cancel_requested and time.monotonic() < end:
            goal_handle.publish_feedback(Feedback())
            time.sleep(0.01)
        goal_handle.canceled()
        return Result()

    ActionServer(node, FollowJointTrajectory, "follow", execute, cancel_callback=lambda g: CancelResponse.ACCEPT)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    executor = MultiThreadedExecutor(num_threads=3)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        sent = client.send_goal_async(goal())
        handle = client._wait(sent)
        assert handle.cancel_goal().return_code == 0
        assert handle.get_result().status == GoalStatus.STATUS_CANCELED
    finally:
        executor.shutdown(timeout_sec=5)
        thread.join(5)


def test_by_default_a_cancel_is_refused(node):
    gate = Future()

    async def execute(goal_handle):
        await gate
        return succeed(goal_handle)

    ActionServer(node, FollowJointTrajectory, "follow", execute)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    client.acceptance_wait_sec = 0.05
    handle = complete(node, client.send_goal_async(goal()))
    cancel = handle.cancel_goal_async()
    complete_later = threading.Timer(0.1, gate.set_result, (None,))
    complete_later.start()
    assert complete(node, cancel).return_code == 1  # ERROR_REJECTED
    assert complete(node, handle.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED


@pytest.mark.parametrize(
    ("execute", "text"),
    [
        (lambda goal_handle: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda goal_handle: Result(), "Goal state not set, assuming aborted"),
        (lambda goal_handle: goal_handle.succeed(), "TypeError: execute callback returned <class 'NoneType'>"),
    ],
)
def test_what_goes_wrong_aborts_the_goal(node, capsys, execute, text):
    ActionServer(node, FollowJointTrajectory, "follow", execute)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    client.acceptance_wait_sec = 0.0
    future = client.send_goal_async(goal())
    handle = complete(node, future)
    if handle.accepted:  # an error may come before acceptance could be presumed
        assert complete(node, handle.get_result_async()).status == GoalStatus.STATUS_ABORTED
    assert text in capsys.readouterr().err


def test_wrong_goals_are_answered(node, hub):
    answers = []
    ActionServer(node, FollowJointTrajectory, "follow", succeed)
    transport = HubTransport(hub)
    for values in ({"trajectory": 1}, {}):
        transport.send_goal("/follow", "", values, result=lambda *answer: answers.append(answer))
    end = time.monotonic() + 5
    while len(answers) < 2 and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    assert answers[0][0] is None
    assert "trajectory: expected an object of trajectory_msgs/msg/JointTrajectory, got int" in answers[0][2]
    assert answers[1][1:] == (GoalStatus.STATUS_SUCCEEDED, None)


def test_a_queue_of_goals(node):
    """handle_accepted_callback may keep goals for later."""
    waiting, order = [], []

    def execute(goal_handle):
        order.append(goal_handle.request.trajectory.joint_names[0])
        return succeed(goal_handle)

    ActionServer(node, FollowJointTrajectory, "follow", execute, handle_accepted_callback=waiting.append)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    futures = []
    for name in "ab":
        one = goal()
        one.trajectory.joint_names = [name]
        futures.append(client.send_goal_async(one))
    end = time.monotonic() + 5
    while len(waiting) < 2 and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    rclpy.get_global_executor().add_node(node)
    for goal_handle in reversed(waiting):
        goal_handle.execute()
    for future in futures:
        handle = complete(node, future)
        assert complete(node, handle.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED
    assert order == ["b", "a"]


def test_a_destroyed_server_ends_its_goals(node, hub):
    server = ActionServer(node, FollowJointTrajectory, "follow", succeed, handle_accepted_callback=lambda g: None)
    client = ActionClient(node, FollowJointTrajectory, "follow")
    client.acceptance_wait_sec = 0.05
    handle = complete(node, client.send_goal_async(goal()))
    server.destroy()
    assert "/follow" not in hub.actions
    assert complete(node, handle.get_result_async()).status == GoalStatus.STATUS_ABORTED
    client.destroy()
    assert list(node.waitables) == []


# Managed nodes --------------------------------------------------------------------------------------------------------


class Arm(LifecycleNode):
    def __init__(self):
        super().__init__("arm", start_parameter_services=False)
        self.calls = []
        self.outcome = TransitionCallbackReturn.SUCCESS
        self.chat = self.create_lifecycle_publisher(String, "chat", 1)

    def _note(self, name, state):
        self.calls.append((name, state.label))
        return self.outcome

    def on_configure(self, state):
        super().on_configure(state)
        return self._note("configure", state)

    def on_activate(self, state):
        super().on_activate(state)
        return self._note("activate", state)

    def on_error(self, state):
        return self._note("error", state)


@pytest.fixture
def arm(node):
    return Arm()


def test_transitions(arm, hub):
    assert arm.trigger_configure() is TransitionCallbackReturn.SUCCESS
    arm.chat.publish(String(data="too early"))
    arm.trigger_activate()
    arm.chat.publish(String(data="now"))
    arm.trigger_deactivate()
    arm.chat.publish(String(data="too late"))
    assert [m for topic, m in hub.published if topic == "/chat"] == [{"data": "now"}]
    arm.trigger_cleanup()
    arm.trigger_shutdown()
    assert arm.calls == [("configure", "unconfigured"), ("activate", "inactive")]
    with pytest.raises(RCLError, match="'configure' is not possible in the state 'finalized'"):
        arm.trigger_configure()
    events = [m for topic, m in hub.published if topic == "/arm/transition_event"]
    assert [(e["start_state"]["label"], e["goal_state"]["label"]) for e in events[:2]] == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
    ]
    assert events[-1]["goal_state"] == {"id": 4, "label": "finalized"}


def test_failing_transitions(arm):
    arm.outcome = TransitionCallbackReturn.FAILURE
    assert arm.trigger_configure() is TransitionCallbackReturn.FAILURE
    arm.outcome = TransitionCallbackReturn.ERROR
    assert arm.trigger_configure() is TransitionCallbackReturn.ERROR  # on_error fails too
    with pytest.raises(RCLError, match="finalized"):
        arm.trigger_configure()


def test_an_exception_is_an_error_that_on_error_may_recover(arm, capsys):
    def explode(state):
        raise ValueError("no power")

    arm.on_configure = explode
    assert arm.trigger_configure() is TransitionCallbackReturn.ERROR
    assert arm.calls == [("error", "unconfigured")]
    assert "on_configure raised ValueError: no power" in capsys.readouterr().err
    del arm.on_configure
    assert arm.trigger_configure() is TransitionCallbackReturn.SUCCESS


def test_lifecycle_services(node, arm):
    def call(kind, name, request):
        future = node.create_client(kind, f"/arm/{name}").call_async(request)
        executor = rclpy.get_global_executor()
        executor.add_node(arm)
        return complete(node, future)

    assert call(GetState, "get_state", GetState.Request()).current_state.label == "unconfigured"
    configure = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert call(ChangeState, "change_state", configure).success
    assert not call(ChangeState, "change_state", configure).success
    assert call(ChangeState, "change_state", ChangeState.Request(transition=Transition(label="activate"))).success
    assert call(GetState, "get_state", GetState.Request()).current_state.id == 3
    assert len(call(GetAvailableStates, "get_available_states", GetAvailableStates.Request()).available_states) == 11
    possible = call(GetAvailableTransitions, "get_available_transitions", GetAvailableTransitions.Request())
    assert [t.transition.label for t in possible.available_transitions] == ["deactivate", "shutdown"]
    assert [t.goal_state.label for t in possible.available_transitions] == ["deactivating", "shuttingdown"]
    graph = call(GetAvailableTransitions, "get_transition_graph", GetAvailableTransitions.Request())
    assert {t.transition.label for t in graph.available_transitions} == {
        "configure",
        "cleanup",
        "activate",
        "deactivate",
        "shutdown",
    }
