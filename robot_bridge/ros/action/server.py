"""Action servers."""

from __future__ import annotations

import inspect
import traceback
import uuid
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_bridge.interfaces import MessageError, from_dict, get_interface, to_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.entity import QueueEntity
from robot_bridge.ros.exceptions import RCLError
from robot_bridge.ros.qos import QoSProfile, qos_profile_action_status_default, qos_profile_services_default
from robot_bridge.transport import GoalHandle, GoalStatus

if TYPE_CHECKING:
    from robot_bridge.ros.node import Node

WAITING = 100
"""Goals and cancels that may wait for the executor; older goals are aborted."""


class GoalResponse(Enum):
    REJECT = 1
    ACCEPT = 2


class CancelResponse(Enum):
    REJECT = 1
    ACCEPT = 2


def default_goal_callback(goal_request: Any) -> GoalResponse:
    """Accept."""
    return GoalResponse.ACCEPT


def default_cancel_callback(cancel_request: Any) -> CancelResponse:
    """Reject."""
    return CancelResponse.REJECT


def default_handle_accepted_callback(goal_handle: ServerGoalHandle) -> None:
    """Execute."""
    goal_handle.execute()


class ServerGoalHandle:
    """One goal, as seen by its server. `succeed`, `abort` and `canceled` say how it ends; the result follows when the
    execute callback returns it."""

    def __init__(self, action_server: ActionServer, goal_request: Any, handle: GoalHandle) -> None:
        self._server, self._request, self._handle = action_server, goal_request, handle
        self._status = GoalStatus.ACCEPTED
        raw = np.frombuffer(uuid.uuid5(uuid.NAMESPACE_OID, handle.goal_id).bytes, np.uint8).copy()
        self._goal_id = get_interface("unique_identifier_msgs/msg/UUID")(uuid=raw)

    @property
    def request(self) -> Any:
        """The goal."""
        return self._request

    @property
    def goal_id(self) -> Any:
        return self._goal_id

    @property
    def status(self) -> int:
        return self._status

    @property
    def is_active(self) -> bool:
        return self._status in (GoalStatus.ACCEPTED, GoalStatus.EXECUTING, GoalStatus.CANCELING)

    @property
    def is_cancel_requested(self) -> bool:
        """Whether a cancel was asked for and allowed by the cancel callback."""
        return self._status == GoalStatus.CANCELING

    def execute(self, execute_callback: Callable[[ServerGoalHandle], Any] | None = None) -> None:
        """Have the executor run the execute callback."""
        if not self.is_cancel_requested:
            self._to(GoalStatus.EXECUTING, (GoalStatus.ACCEPTED,))
        self._server._execute(self, execute_callback)

    def publish_feedback(self, feedback: Any) -> None:
        """Raises TypeError: not a feedback message of this action."""
        if not isinstance(feedback, self._server._action_type.Feedback):
            raise TypeError(f"Expected {self._server._action_type.Feedback}, got {type(feedback)}")
        if self.is_active:
            self._handle.feedback(to_dict(feedback))

    def succeed(self) -> None:
        self._to(GoalStatus.SUCCEEDED, (GoalStatus.EXECUTING, GoalStatus.CANCELING))

    def abort(self) -> None:
        self._to(GoalStatus.ABORTED, (GoalStatus.EXECUTING, GoalStatus.CANCELING))

    def canceled(self) -> None:
        self._to(GoalStatus.CANCELED, (GoalStatus.CANCELING,))

    def destroy(self) -> None:
        self._finish(None, GoalStatus.ABORTED, "the goal was destroyed")

    def _to(self, status: int, allowed: tuple[int, ...]) -> None:
        if self._status not in allowed:
            raise RCLError(f"a goal of status {self._status} cannot become {status} (see action_msgs/msg/GoalStatus)")
        self._status = status

    def _finish(self, result: dict[str, Any] | None, status: int, error: str | None = None) -> None:
        self._status = status
        self._handle.result(result, status, error)
        self._server._goals.discard(self)


class ActionServer(QueueEntity):
    """Offers an action. Goals run as tasks of the node's executor; a cancel can be handled meanwhile only if there is
    another thread, or the execute callback awaits."""

    def __init__(
        self,
        node: Node,
        action_type: Any,
        action_name: str,
        execute_callback: Callable[[ServerGoalHandle], Any],
        *,
        callback_group: CallbackGroup | None = None,
        goal_callback: Callable[[Any], Any] = default_goal_callback,
        handle_accepted_callback: Callable[[ServerGoalHandle], Any] = default_handle_accepted_callback,
        cancel_callback: Callable[[ServerGoalHandle], Any] = default_cancel_callback,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_pub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - nobody changes it
        status_pub_qos_profile: QoSProfile = qos_profile_action_status_default,
        result_timeout: int = 900,
    ) -> None:
        super().__init__(callback_group or node.default_callback_group, WAITING)
        self._action_type = action_type
        self._action_name = node.resolve_topic_name(action_name)
        self._owner = node
        self._goals: set[ServerGoalHandle] = set()
        self.register_execute_callback(execute_callback)
        self.register_goal_callback(goal_callback)
        self.register_handle_accepted_callback(handle_accepted_callback)
        self.register_cancel_callback(cancel_callback)
        self._offer = node.context.transport.advertise_action(
            self._action_name, type_name(action_type), lambda values, handle: self._receive(values, handle)
        )
        node.add_waitable(self)

    def register_execute_callback(self, execute_callback: Callable[[ServerGoalHandle], Any]) -> None:
        """`execute_callback(goal_handle)` does the work and returns the result."""
        if not callable(execute_callback):
            raise TypeError("Failed to register goal execution callback: not callable")
        self._execute_callback = execute_callback

    def register_goal_callback(self, goal_callback: Callable[[Any], Any] | None) -> None:
        """`goal_callback(goal)` returns a `GoalResponse`."""
        self._goal_callback = goal_callback or default_goal_callback

    def register_handle_accepted_callback(self, callback: Callable[[ServerGoalHandle], Any] | None) -> None:
        """`callback(goal_handle)` is called for accepted goals, and has to `execute` them some time."""
        self._accepted_callback = callback or default_handle_accepted_callback

    def register_cancel_callback(self, cancel_callback: Callable[[ServerGoalHandle], Any] | None) -> None:
        """`cancel_callback(goal_handle)` returns a `CancelResponse`; asked also when the client is lost."""
        self._cancel_callback = cancel_callback or default_cancel_callback

    def _receive(self, values: dict[str, Any], handle: GoalHandle) -> None:
        lost = self._put((values, handle))
        if lost is not None and not isinstance(lost[1], ServerGoalHandle):
            lost[1].result(None, GoalStatus.ABORTED, f"{self._action_name} is busy: {WAITING} goals wait")

    async def _handle(self, item: Any) -> None:
        values, handle = item
        if isinstance(handle, ServerGoalHandle):
            await self._cancel(handle)
            return
        try:
            request = from_dict(self._action_type.Goal, values or {}, partial=True)
        except MessageError as error:
            handle.result(None, GoalStatus.ABORTED, str(error))
            return
        try:
            accepted = await _outcome(self._goal_callback(request))
        except BaseException as error:
            handle.result(None, GoalStatus.ABORTED, f"{type(error).__name__}: {error}")
            raise
        if accepted is not GoalResponse.ACCEPT:
            handle.result(None, GoalStatus.ABORTED, "the goal was rejected")
            return
        goal_handle = ServerGoalHandle(self, request, handle)
        self._goals.add(goal_handle)
        handle.on_cancel(lambda: self._put((None, goal_handle)))
        await _outcome(self._accepted_callback(goal_handle))

    async def _cancel(self, goal_handle: ServerGoalHandle) -> None:
        if not goal_handle.is_active or goal_handle.is_cancel_requested:
            return
        answer = await _outcome(self._cancel_callback(goal_handle))
        if answer is CancelResponse.ACCEPT and goal_handle.is_active:
            goal_handle._status = GoalStatus.CANCELING

    def _execute(self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None) -> None:
        executor = self._owner.executor
        callback = execute_callback or self._execute_callback
        if executor is None:
            raise RuntimeError("a goal can be executed only while the node is spun")
        executor.create_task(self._run, goal_handle, callback)

    async def _run(self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any]) -> None:
        logger = self._owner.get_logger()
        error = None
        result = self._action_type.Result()
        try:
            result = await _outcome(execute_callback(goal_handle))
            if not isinstance(result, self._action_type.Result):
                raise TypeError(f"execute callback returned {type(result)}, expected {self._action_type.Result}")
            values = to_dict(result)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            logger.error(f"Error raised in execute callback of {self._action_name}: {error}")
            traceback.print_exc()
            values = to_dict(self._action_type.Result())
            goal_handle._status = GoalStatus.ABORTED
        if goal_handle.is_active:
            logger.warning(f"Goal state not set, assuming aborted. Goal ID: {goal_handle.goal_id.uuid.tobytes().hex()}")
            goal_handle._status = GoalStatus.ABORTED
        goal_handle._finish(values, goal_handle.status, error)

    def _destroy(self) -> None:
        self._offer.close()
        while self._queue:
            handle = self._queue.popleft()[1]
            if not isinstance(handle, ServerGoalHandle):
                handle.result(None, GoalStatus.ABORTED, f"{self._action_name} was destroyed")
        for goal_handle in list(self._goals):
            if goal_handle.is_active:
                goal_handle._finish(None, GoalStatus.ABORTED, f"{self._action_name} was destroyed")


async def _outcome(value: Any) -> Any:
    """The value, or what a coroutine returns."""
    return await value if inspect.iscoroutine(value) else value
