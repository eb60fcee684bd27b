"""Action clients.

Rosbridge carries no answer to a goal request or to a cancel request. So both are derived: a goal counts as accepted
with its first feedback or its result, or when the action is offered and nothing was heard for `acceptance_wait_sec`;
it counts as rejected when it ends with an error before that, or nobody offers the action. A cancel request is answered
when the goal ends.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_bridge.interfaces import MessageError, from_dict, get_interface, to_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.entity import Entity
from robot_bridge.ros.executors import current_entity
from robot_bridge.ros.logging import get_logger
from robot_bridge.ros.qos import (
    QoSProfile,
    qos_profile_action_status_default,
    qos_profile_services_default,
)
from robot_bridge.ros.rosapi import wait
from robot_bridge.ros.task import Future
from robot_bridge.transport import GoalStatus

if TYPE_CHECKING:
    from robot_bridge.ros.node import Node

POLL = 0.1  # s, between questions whether a server is there


class ActionResult:
    """How a goal ended: `status` (action_msgs/msg/GoalStatus) and `result`; the defaults if nothing came."""

    def __init__(self, status: int, result: Any) -> None:
        self.status, self.result = status, result

    def __repr__(self) -> str:
        return f"ActionResult(status={self.status}, result={self.result!r})"


class _Goal:
    """What the client knows of one goal. Changed only in the executor's threads, `id` apart."""

    def __init__(self, client: ActionClient, goal_uuid: Any, feedback: Callable[[Any], Any] | None) -> None:
        self.client, self.uuid, self.feedback_callback = client, goal_uuid, feedback
        self.id = ""
        self.answer: Future[ClientGoalHandle] = Future()
        self.result: Future[ActionResult] = Future()
        self.cancels: list[Future[Any]] = []
        self.status = GoalStatus.UNKNOWN
        self.presume_at: float | None = None  # accepted, if nothing is heard until then


class ClientGoalHandle:
    """One goal, as seen by its client."""

    def __init__(self, goal: _Goal, accepted: bool) -> None:
        self._goal, self._accepted = goal, accepted
        self._stamp = get_interface("builtin_interfaces/msg/Time")()

    @property
    def goal_id(self) -> Any:
        """unique_identifier_msgs/msg/UUID"""
        return self._goal.uuid

    @property
    def stamp(self) -> Any:
        return self._stamp

    @property
    def accepted(self) -> bool:
        return self._accepted

    @property
    def status(self) -> int:
        return self._goal.status

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientGoalHandle) and self._goal is other._goal

    def __hash__(self) -> int:
        return id(self._goal)

    def __repr__(self) -> str:
        return f"ClientGoalHandle(accepted={self._accepted}, status={self.status})"

    def get_result_async(self) -> Future[ActionResult]:
        """The future result, with `.status` and `.result`."""
        return self._goal.result

    def cancel_goal_async(self) -> Future[Any]:
        """Ask to cancel. The future, an action_msgs/srv/CancelGoal_Response, comes when the goal ends, at the latest
        after `cancel_timeout_sec`. No stop may depend on it: rosbridge may deliver it late."""
        return self._goal.client._cancel(self._goal)

    def get_result(self) -> ActionResult:
        """Wait for the result. Not in callbacks."""
        return self._goal.client._wait(self.get_result_async())

    def cancel_goal(self) -> Any:
        """Cancel and wait. Not in callbacks."""
        return self._goal.client._wait(self.cancel_goal_async())


class ActionClient(Entity):
    """Sends goals of one action."""

    def __init__(
        self,
        node: Node,
        action_type: Any,
        action_name: str,
        *,
        callback_group: CallbackGroup | None = None,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_sub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - nobody changes it
        status_sub_qos_profile: QoSProfile = qos_profile_action_status_default,
    ) -> None:
        super().__init__(callback_group or node.default_callback_group)
        self._action_type = action_type
        self._action_name = node.resolve_topic_name(action_name)
        self._type = type_name(action_type)
        self._owner = node
        self._transport = node.context.transport
        self._lock = threading.Lock()
        self._feedback: deque[tuple[_Goal, dict[str, Any]]] = deque(maxlen=max(1, feedback_sub_qos_profile.depth))
        self._events: deque[Callable[[], None]] = deque()
        self._goals: list[_Goal] = []
        self.acceptance_wait_sec = 0.5
        """How long to wait for a sign of a goal before it counts as accepted (not in rclpy)."""
        self.cancel_timeout_sec = 5.0
        """How long a goal may take to end after a cancel request (not in rclpy)."""
        node.add_waitable(self)

    def send_goal_async(
        self, goal: Any, feedback_callback: Callable[[Any], Any] | None = None, goal_uuid: Any = None
    ) -> Future[ClientGoalHandle]:
        """Send a goal; the future is its handle, with `accepted`: see this module for how that is known.

        `feedback_callback(message)` gets messages with `.feedback` and `.goal_id`.

        Raises:
            TypeError: not a goal of this action.
        """
        if not isinstance(goal, self._action_type.Goal):
            raise TypeError(f"Expected {self._action_type.Goal}, got {type(goal)}")
        self._check_alive()
        if goal_uuid is None:
            raw = np.frombuffer(uuid.uuid4().bytes, np.uint8).copy()
            goal_uuid = get_interface("unique_identifier_msgs/msg/UUID")(uuid=raw)
        state = _Goal(self, goal_uuid, feedback_callback)
        values = to_dict(goal)
        with self._lock:
            self._goals.append(state)
        state.id = self._transport.send_goal(
            self._action_name,
            self._type,
            values,
            feedback=lambda values: self._put_feedback(state, values),
            result=lambda values, status, error: self._put(lambda: self._ended(state, values, status, error)),
        )
        self._transport.action_servers(lambda names, error: self._put(lambda: self._listed(state, names)))
        return state.answer

    def send_goal(self, goal: Any, **kwargs: Any) -> ActionResult | None:
        """Send a goal and wait for its result; None if it was rejected. Not in callbacks."""
        handle = self._wait(self.send_goal_async(goal, **kwargs))
        return handle.get_result() if handle is not None and handle.accepted else None

    def server_is_ready(self) -> bool:
        """Whether somebody offers the action; asks rosapi."""
        return self._offered(2.0)

    def wait_for_server(self, timeout_sec: float | None = None) -> bool:
        """Wait until somebody offers the action. Returns whether somebody does."""
        end = None if timeout_sec is None else time.monotonic() + timeout_sec
        pause = threading.Condition()
        context = self._owner.context
        with context._waking(pause):
            while context.ok():
                rest = None if end is None else end - time.monotonic()
                if self._offered(2.0 if rest is None else max(0.05, min(2.0, rest))):
                    return True
                if rest is not None and rest <= 0:
                    return False
                with pause:
                    pause.wait(POLL if rest is None else min(POLL, max(0.0, rest)))
        return False

    def _offered(self, timeout: float) -> bool:
        if not self._transport.connected:
            return False
        names = wait(lambda done: self._transport.action_servers(done, timeout), timeout)
        return self._action_name in (names or [])

    def _wait(self, future: Future[Any]) -> Any:
        if current_entity()[0] is not None:
            raise RuntimeError("waiting for an action in a callback would wait for ever: await the future instead")
        done = threading.Event()
        future._add_waiter(done.set)
        done.wait()
        return future.result()

    # From the I/O thread ----------------------------------------------------------------------------------------------

    def _put(self, event: Callable[[], None]) -> None:
        self._events.append(event)
        self._wake()

    def _put_feedback(self, goal: _Goal, values: dict[str, Any]) -> None:
        self._feedback.append((goal, values))
        self._wake()

    # In the executor --------------------------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        due = self._wait_until()
        return bool(self._feedback or self._events) or (due is not None and time.monotonic() >= due)

    def _wait_until(self) -> float | None:
        with self._lock:
            return min((goal.presume_at for goal in self._goals if goal.presume_at is not None), default=None)

    def _take(self) -> Callable[[], Any] | None:
        if self._destroyed:
            return None
        try:  # feedback first: it was sent before the result
            goal, values = self._feedback.popleft()
            return lambda: self._fed_back(goal, values)
        except IndexError:
            pass
        try:
            return self._events.popleft()
        except IndexError:
            return self._presume

    def _presume(self) -> None:
        now = time.monotonic()
        for goal in list(self._goals):
            if goal.presume_at is not None and now >= goal.presume_at:
                self._accept(goal)

    def _accept(self, goal: _Goal) -> None:
        goal.presume_at = None
        if not goal.answer.done():
            goal.status = GoalStatus.EXECUTING
            goal.answer.set_result(ClientGoalHandle(goal, True))

    def _listed(self, goal: _Goal, names: list[str] | None) -> None:
        if goal.answer.done():
            return
        if names is None or self._action_name in names:  # an old rosapi does not know: then time alone decides
            goal.presume_at = time.monotonic() + self.acceptance_wait_sec
        else:
            self._transport.cancel_goal(self._action_name, goal.id, self.cancel_timeout_sec)  # in case it exists
            self._reject(goal, "nobody offers the action")

    def _reject(self, goal: _Goal, reason: str) -> None:
        goal.presume_at = None
        get_logger("robot_bridge").warning(f"goal of {self._action_name} rejected: {reason}")
        goal.answer.set_result(ClientGoalHandle(goal, False))
        self._forget_goal(goal)

    def _fed_back(self, goal: _Goal, values: dict[str, Any]) -> Any:
        self._accept(goal)
        if goal.feedback_callback is None or goal.result.done():
            return None
        try:
            feedback = from_dict(self._action_type.Feedback, values, allow_nan=True, partial=True)
        except MessageError as error:
            get_logger("robot_bridge").warning(
                f"{self._action_name}: feedback refused: {error}", throttle_duration_sec=5
            )
            return None
        return goal.feedback_callback(FeedbackMessage(goal.uuid, feedback))

    def _ended(self, goal: _Goal, values: dict[str, Any] | None, status: int, error: str | None) -> None:
        if goal.result.done():
            return
        if error is not None and not goal.answer.done():
            self._reject(goal, error)
            return
        if goal.answer.done() and not (goal.answer.result() or ClientGoalHandle(goal, False)).accepted:
            return
        self._accept(goal)
        result = self._action_type.Result()
        try:
            if values is not None:
                result = from_dict(self._action_type.Result, values, allow_nan=True, partial=True)
        except MessageError as wrong:
            error, status = str(wrong), GoalStatus.UNKNOWN
        if error is not None:
            get_logger("robot_bridge").warning(f"goal of {self._action_name} ended with status {status}: {error}")
        goal.status = status
        self._forget_goal(goal)
        cancel = get_interface("action_msgs/srv/CancelGoal").Response
        for future in goal.cancels:
            if status == GoalStatus.CANCELED:
                future.set_result(cancel(goals_canceling=[_info(goal)]))
            else:
                future.set_result(cancel(return_code=cancel.ERROR_REJECTED))
        goal.result.set_result(ActionResult(status, result))

    def _forget_goal(self, goal: _Goal) -> None:
        with self._lock:
            if goal in self._goals:
                self._goals.remove(goal)

    def _cancel(self, goal: _Goal) -> Future[Any]:
        future: Future[Any] = Future()
        cancel = get_interface("action_msgs/srv/CancelGoal").Response
        if goal.result.done():
            future.set_result(cancel(return_code=cancel.ERROR_GOAL_TERMINATED))
            return future
        goal.cancels.append(future)
        goal.status = GoalStatus.CANCELING
        if not self._transport.cancel_goal(self._action_name, goal.id, self.cancel_timeout_sec):
            goal.cancels.remove(future)
            future.set_result(cancel(return_code=cancel.ERROR_REJECTED))
        return future

    def _destroy(self) -> None:
        for goal in list(self._goals):
            futures: list[Future[Any]] = [goal.answer, goal.result, *goal.cancels]
            for future in futures:
                future.cancel()
        self._goals.clear()


class FeedbackMessage:
    """What a feedback callback gets."""

    def __init__(self, goal_id: Any, feedback: Any) -> None:
        self.goal_id, self.feedback = goal_id, feedback


def _info(goal: _Goal) -> Any:
    return get_interface("action_msgs/msg/GoalInfo")(goal_id=goal.uuid)
