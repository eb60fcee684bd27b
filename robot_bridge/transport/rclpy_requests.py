"""Services and actions over an installed rclpy: ours to others (`Clients`) and others' to us (`Servers`)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.interfaces import get_interface
from robot_bridge.transport.base import Closing, Done, GoalHandle, GoalStatus, Message, Result
from robot_bridge.transport.base import Respond as Answer
from robot_bridge.transport.failure import failing
from robot_bridge.transport.rclpy_node import SpunNode
from robot_bridge.transport.rclpy_types import Types

RETRY = 0.05  # s, between looks whether a service or an action server is there


class Clients:
    """Calls and goals of ours."""

    def __init__(self, spun: SpunNode, types: Types, counters: Counters) -> None:
        self._spun, self._types, self._counters = spun, types, counters
        self._clients: dict[tuple[str, str], Any] = {}
        self._under_way: dict[str, Callable[[str], None]] = {}  # by id: what ends it, for a reason
        self._goals: dict[str, _Goal] = {}
        self._ids = itertools.count(1)

    def fail(self, reason: str) -> None:
        """End everything under way."""
        for end in list(self._under_way.values()):
            end(reason)
        self._clients.clear()

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        """See `Transport.call_service`."""
        ours = get_interface(type)
        outgoing = self._types.outward(request, ours.Request, self._types.find(type).Request)
        id = f"call {next(self._ids)}"
        once = threading.Lock()

        def finish(values: Message | None, error: str | None) -> None:
            if once.acquire(blocking=False):
                self._under_way.pop(id, None)
                self._spun.post(done, values, error)
            else:
                self._counters.add("late_answers")

        def answered(future: Any) -> None:
            try:
                finish(self._types.inward(future.result(), ours.Response), None)
            except Exception as error:
                finish(None, str(error))

        def attempt() -> None:
            if id not in self._under_way or self._spun.node is None:
                return
            client = self._client(name, type, self._spun.node.create_client)
            if client.service_is_ready():
                client.call_async(outgoing).add_done_callback(answered)
            else:
                self._spun.later(RETRY, attempt)

        def expire() -> None:
            if id in self._under_way:
                finish(None, f"{name}: no response within {timeout} s")

        if not self._spun.connected:
            finish(None, f"{name}: not connected")
            return
        self._under_way[id] = lambda reason: finish(None, f"{name}: {reason}")
        self._spun.later(timeout, expire)
        self._spun.post(attempt)

    def _client(self, name: str, type: str, make: Callable[..., Any]) -> Any:
        if (name, type) not in self._clients:
            self._clients[name, type] = make(self._types.find(type), name, callback_group=self._spun.group)
        return self._clients[name, type]

    def send_goal(
        self,
        action: str,
        type: str,
        values: Message,
        feedback: Callable[[Message], None] | None,
        result: Result,
        timeout: float | None,
        accept_timeout: float | None,
    ) -> str:
        """See `Transport.send_goal`."""
        ours = get_interface(type)
        outgoing = self._types.outward(values, ours.Goal, self._types.find(type).Goal)
        id = f"goal {next(self._ids)}"

        def ended(values: Message | None, status: int, error: str | None) -> None:
            self._under_way.pop(id, None)
            self._goals.pop(id, None)
            self._spun.post(result, values, status, None if error is None else f"{action}: {error}")

        def fed_back(message: Any) -> None:
            if feedback is not None:
                self._spun.call(f"feedback of {action}", feedback, self._types.inward(message, ours.Feedback))

        goal = _Goal(fed_back, ended, lambda message: self._types.inward(message, ours.Result))
        if not self._spun.connected:
            goal.finish(None, GoalStatus.UNKNOWN, "not connected")
            return id
        self._goals[id] = goal
        self._under_way[id] = lambda reason: goal.finish(None, GoalStatus.UNKNOWN, reason)
        if timeout is not None:
            self._spun.later(timeout, lambda: goal.expire(f"no result within {timeout} s"))
        if accept_timeout is not None:
            why = f"no sign within {accept_timeout} s"
            self._spun.later(accept_timeout, lambda: None if goal.heard else goal.expire(why))

        def attempt() -> None:
            if goal.ended or self._spun.node is None:
                return
            make = self._spun.module("action").ActionClient
            client = self._client(action, type, lambda *a, **options: make(self._spun.node, *a, **options))
            if client.server_is_ready():
                client.send_goal_async(outgoing, feedback_callback=goal.fed_back).add_done_callback(goal.answered)
            else:
                self._spun.later(RETRY, attempt)

        self._spun.post(attempt)
        return id

    def cancel_goal(self, goal_id: str, timeout: float) -> bool:
        """See `Transport.cancel_goal`."""
        goal = self._goals.get(goal_id)
        if goal is None or not self._spun.connected:
            return False
        why = f"no result {timeout} s after the cancel"
        self._spun.later(timeout, lambda: goal.finish(None, GoalStatus.UNKNOWN, why))
        self._spun.post(goal.cancel)
        return True


class _Goal:
    """A goal that we sent; its methods run on the I/O thread."""

    def __init__(self, feedback: Callable[[Any], None], result: Result, inward: Callable[[Any], Message]) -> None:
        self._feedback, self._result, self._inward = feedback, result, inward
        self._once = threading.Lock()
        self._handle: Any = None
        self._cancelled = False
        self.heard = self.ended = False

    def finish(self, values: Message | None, status: int, error: str | None) -> None:
        if self._once.acquire(blocking=False):
            self.ended = True
            self._result(values, status, error)

    def expire(self, reason: str) -> None:
        if not self.ended:
            self.cancel()
            self.finish(None, GoalStatus.UNKNOWN, reason)

    def cancel(self) -> None:
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel_goal_async()

    def fed_back(self, message: Any) -> None:
        self.heard = True
        if not self.ended:
            self._feedback(message.feedback)

    def answered(self, future: Any) -> None:
        handle = future.result()
        if not handle.accepted:
            self.finish(None, GoalStatus.UNKNOWN, "the goal was rejected")
            return
        self._handle = handle
        if self._cancelled:
            handle.cancel_goal_async()
        handle.get_result_async().add_done_callback(self._done)

    def _done(self, future: Any) -> None:
        self.heard = True
        outcome = future.result()
        self.finish(self._inward(outcome.result), outcome.status, None)


class Servers:
    """Services and actions that we offer."""

    def __init__(self, spun: SpunNode, types: Types, counters: Counters) -> None:
        self._spun, self._types, self._counters = spun, types, counters
        self._lock = threading.Lock()
        self._offers: set[tuple[str, str]] = set()

    def _offer(self, kind: str, name: str) -> Callable[[], None]:
        """Remember an offer; returns what forgets it."""
        with self._lock:
            if (kind, name) in self._offers:
                raise ValueError(f"the {kind} {name} is offered already")
            self._offers.add((kind, name))
        return lambda: self._offers.discard((kind, name))

    def offer_service(self, name: str, type: str, handler: Callable[[Message, Answer], None]) -> Closing:
        """See `Transport.advertise_service`."""
        ours = get_interface(type)
        forget, failed = self._offer("service", name), failing(type)

        async def answer(request: Any, response: Any) -> Any:
            respond = _Respond(self._spun, self._types, ours.Response, self._types.find(type).Response, failed)
            try:
                handler(self._types.inward(request, ours.Request), respond)
            except Exception as error:
                self._counters.add("callback_errors")
                respond(None, f"{error.__class__.__name__}: {error}")
            return await respond.future

        def make(node: Any) -> Callable[[], None]:
            service = node.create_service(self._types.find(type), name, answer, callback_group=self._spun.group)
            return lambda: node.destroy_service(service)

        return self._spun.declare(make, forget)

    def offer_action(self, action: str, type: str, handler: Callable[[Message, GoalHandle], None]) -> Closing:
        """See `Transport.advertise_action`."""
        ours = get_interface(type)
        forget = self._offer("action", action)
        running: dict[bytes, _ServedGoal] = {}

        def served(goal_handle: Any) -> _ServedGoal:
            key = bytes(goal_handle.goal_id.uuid)
            if key not in running:
                theirs = self._types.find(type)
                running[key] = _ServedGoal(self._spun, self._types, self._counters, goal_handle, ours, theirs)
            return running[key]

        async def execute(goal_handle: Any) -> Any:
            goal = served(goal_handle)
            try:
                handler(self._types.inward(goal_handle.request, ours.Goal), goal)
            except Exception as error:
                self._counters.add("callback_errors")
                goal.result(None, GoalStatus.ABORTED, f"{error.__class__.__name__}: {error}")
            status, message = await goal.ended
            running.pop(bytes(goal_handle.goal_id.uuid), None)
            if status == GoalStatus.SUCCEEDED:
                goal_handle.succeed()
            elif status == GoalStatus.CANCELED and goal_handle.is_cancel_requested:
                goal_handle.canceled()
            else:
                goal_handle.abort()
            return message

        def make(node: Any) -> Callable[[], None]:
            module = self._spun.module("action")

            def cancel(goal_handle: Any) -> Any:
                self._spun.post(served(goal_handle).cancel)
                return module.CancelResponse.ACCEPT

            server = module.ActionServer(
                node,
                self._types.find(type),
                action,
                execute,
                cancel_callback=cancel,
                callback_group=self._spun.group,
            )
            return server.destroy

        return self._spun.declare(make, forget)


class _Respond:
    """Answers one request; see `Respond`."""

    def __init__(self, spun: SpunNode, types: Types, ours: Any, theirs: Any, failed: Callable[[str], Message]) -> None:
        self._spun, self._types, self._ours, self._theirs, self._failed = spun, types, ours, theirs, failed
        self.future = spun.future()
        self._once = threading.Lock()

    def __call__(self, values: Message | None, error: str | None = None) -> bool:
        if values is None:
            values = self._failed(error or "")
        response = self._types.outward(values, self._ours, self._theirs)
        if not self._once.acquire(blocking=False):
            return False
        self.future.set_result(response)
        self._spun.wake()
        return True


class _ServedGoal:
    """A goal at an action server of ours; see `GoalHandle`."""

    def __init__(
        self, spun: SpunNode, types: Types, counters: Counters, goal_handle: Any, ours: Any, theirs: Any
    ) -> None:
        self._spun, self._types, self._counters = spun, types, counters
        self._goal, self._ours, self._theirs = goal_handle, ours, theirs
        self.goal_id = bytes(goal_handle.goal_id.uuid).hex()
        self.ended = spun.future()
        self._once = threading.Lock()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.cancel_requested = False

    def on_cancel(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self.cancel_requested:
                self._callbacks.append(callback)
                return
        self._spun.post(callback)

    def cancel(self) -> None:
        with self._lock:
            self.cancel_requested = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._spun.call("a cancel callback", callback)

    def feedback(self, values: Message) -> bool:
        message = self._types.outward(values, self._ours.Feedback, self._theirs.Feedback)
        if self.ended.done() or not self._spun.connected:
            self._counters.add("dropped.answer")
            return False
        self._goal.publish_feedback(message)
        return True

    def result(self, values: Message | None, status: int, error: str | None = None) -> bool:
        if values is None:
            fields = self._ours.Result.get_fields_and_field_types()
            values = {"error_string": error} if error and "error_string" in fields else {}
        message = self._types.outward(values, self._ours.Result, self._theirs.Result)
        if not self._once.acquire(blocking=False):
            return False
        self.ended.set_result((status, message))
        self._spun.wake()
        return True
