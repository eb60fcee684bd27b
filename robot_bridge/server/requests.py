"""Service calls and goals under way, from those who ask to those who offer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robot_bridge.server.client import Client
from robot_bridge.server.faults import Faults
from robot_bridge.server.graph import Graph, Provider
from robot_bridge.server.rosapi import RosApi, RosApiError
from robot_bridge.server.wire import ProtocolError, full_name, full_type

UNKNOWN, ABORTED = 0, 6  # action_msgs/msg/GoalStatus
MAX_UNDER_WAY = 1_000  # calls and goals of one client

OPERATIONS = (
    "call_service",
    "service_response",
    "send_action_goal",
    "cancel_action_goal",
    "action_feedback",
    "action_result",
)
"""What `Requests` carries out, by methods of these names."""


@dataclass(eq=False)
class Request:
    """A service call or a goal under way, from `caller` to `provider`."""

    id: str
    caller: Client
    caller_id: str | None
    spelling: str
    """The name, as the caller spells it."""
    provider: Provider | None
    done: asyncio.Future[None]
    feedback: bool = False
    timer: asyncio.TimerHandle | None = None


class Requests:
    """Passes calls and goals on, and their answers back.

    Args:
        graph: who offers what.
        rosapi: the services under /rosapi, which the server answers itself.
        faults: misbehaviour to imitate.
        read: reads a message by the name of its type; raises ValueError for one that does not fit.
        service_timeout: s that a service may take, unless the call says otherwise.
    """

    def __init__(
        self,
        graph: Graph,
        rosapi: RosApi,
        faults: Faults,
        read: Callable[[str | None, Any], Any],
        service_timeout: float,
    ) -> None:
        self._graph, self._rosapi, self._faults, self._read = graph, rosapi, faults, read
        self._service_timeout = service_timeout
        self._calls: dict[str, Request] = {}
        self._goals: dict[str, Request] = {}
        self._ids = itertools.count(1)
        self._loop = asyncio.get_running_loop()

    def remove(self, client: Client) -> None:
        """End what a client that has gone had under way."""
        for call in [c for c in self._calls.values() if c.caller is client]:
            self._end_call(call, None)
        for goal in [g for g in self._goals.values() if g.caller is client]:
            self._forward_cancel(goal)
            self._end_goal(goal, None)

    def withdraw(self, provider: Provider) -> None:
        """End what is under way at somebody who offers it no more."""
        for call in [c for c in self._calls.values() if c.provider is provider]:
            self._end_call(call, self._failed_call(call, f"{provider.name} was withdrawn during the call"))
        for goal in [g for g in self._goals.values() if g.provider is provider]:
            self._end_goal(goal, self._failed_goal(goal, f"{provider.name} was withdrawn during the goal", ABORTED))

    # Service calls ----------------------------------------------------------------------------------------------------

    def call_service(self, client: Client, message: dict[str, Any]) -> asyncio.Future[None] | None:
        spelling, args = message["service"], message.get("args", {})
        name = full_name(spelling)
        call = Request(
            f"call_service:{name}:{next(self._ids)}",
            client,
            message.get("id"),
            spelling,
            self._graph.services.get(name),
            self._loop.create_future(),
        )
        if self._rosapi.offers(name):
            try:
                answer = self._call_answer(call, self._rosapi.call(name, args), True)
            except RosApiError as error:
                answer = self._failed_call(call, str(error))
            self._end_call(call, answer)
            return None
        if call.provider is None:
            self._end_call(call, self._failed_call(call, f"Service {name} does not exist"))
            return None
        try:
            args = self._read(call.provider.type and f"{call.provider.type}_Request", args)
        except ValueError as error:
            self._end_call(call, self._failed_call(call, str(error)))
            return None
        self._begin(self._calls, call)
        timeout = message.get("timeout") or self._service_timeout
        if timeout > 0:  # a negative one means none, as to rosbridge_server
            failure = self._failed_call(call, f"Timeout exceeded while waiting for service response from {name}")
            call.timer = self._loop.call_later(min(timeout, 10**6), self._end_call, call, failure)
        provider = call.provider
        provider.client.answer({"op": "call_service", "id": call.id, "service": provider.spelling, "args": args})
        return call.done if self._faults.blocking_calls else None

    @staticmethod
    def _call_answer(call: Request, values: Any, result: bool) -> dict[str, Any]:
        message = {"op": "service_response", "service": call.spelling, "values": values, "result": result}
        return message | ({} if call.caller_id is None else {"id": call.caller_id})

    def _failed_call(self, call: Request, reason: str) -> dict[str, Any]:
        return self._call_answer(call, reason, False)

    def _end_call(self, call: Request, answer: dict[str, Any] | None) -> None:
        self._finish(self._calls, call, answer)

    @staticmethod
    def _begin(under_way: dict[str, Request], request: Request) -> None:
        if request.caller.under_way >= MAX_UNDER_WAY:
            raise ProtocolError(f"more than {MAX_UNDER_WAY} calls and goals of one client wait for answers")
        request.caller.under_way += 1
        under_way[request.id] = request

    @staticmethod
    def _finish(under_way: dict[str, Request], request: Request, answer: dict[str, Any] | None) -> None:
        if under_way.pop(request.id, None) is not None:
            request.caller.under_way -= 1
        if request.timer:
            request.timer.cancel()
        if not request.done.done():
            request.done.set_result(None)
        if answer is not None:
            request.caller.answer(answer)

    def service_response(self, client: Client, message: dict[str, Any]) -> None:
        call = self._calls.get(message["id"])
        if call is None or call.provider is None or call.provider.client is not client:
            raise ProtocolError(f"no call {message['id'][:100]} waits for this client's answer")
        values = message.get("values")
        if message["result"]:
            try:
                values = self._read(call.provider.type and f"{call.provider.type}_Response", values or {})
                answer = self._call_answer(call, values, True)
            except ValueError as error:
                answer = self._failed_call(call, str(error))
        else:
            answer = self._failed_call(call, _reason(message, f"{call.provider.name} failed"))
        self._end_call(call, answer)

    # Goals ------------------------------------------------------------------------------------------------------------

    def send_action_goal(self, client: Client, message: dict[str, Any]) -> asyncio.Future[None] | None:
        spelling = message["action"]
        name, type = full_name(spelling), full_type(message["action_type"], "action")
        provider = self._graph.actions.get(name)
        goal = Request(
            f"action_goal:{name}:{next(self._ids)}",
            client,
            message["id"],
            spelling,
            provider,
            self._loop.create_future(),
            feedback=bool(message.get("feedback")),
        )
        refusal = None
        if provider is None:
            refusal = f"Action {name} does not exist"
        elif type and provider.type and type != provider.type:
            refusal = f"Action {name} has the type {provider.type}, not {type}"
        elif any(g.caller is client and g.caller_id == goal.caller_id for g in self._goals.values()):
            raise ProtocolError(f"the goal id {goal.caller_id} is already in use")
        args = message.get("args", {})
        if provider is not None and refusal is None:
            try:
                args = self._read(provider.type and f"{provider.type}_Goal", args)
            except ValueError as error:
                refusal = str(error)
        if refusal and not self._faults.silent_goals:
            self._end_goal(goal, self._failed_goal(goal, refusal, UNKNOWN))
        if refusal or provider is None:
            return None
        self._begin(self._goals, goal)
        provider.client.answer(
            {
                "op": "send_action_goal",
                "id": goal.id,
                "action": provider.spelling,
                "action_type": provider.type,
                "args": args,
                "feedback": True,
            }
        )
        return goal.done if self._faults.blocking_calls else None

    def cancel_action_goal(self, client: Client, message: dict[str, Any]) -> None:
        for goal in self._goals.values():
            if goal.caller is client and goal.caller_id == message["id"]:
                self._forward_cancel(goal)
                return
        raise ProtocolError(f"no goal {message['id'][:100]} of this client is under way")

    @staticmethod
    def _forward_cancel(goal: Request) -> None:
        if provider := goal.provider:
            provider.client.answer({"op": "cancel_action_goal", "id": goal.id, "action": provider.spelling})

    def _goal_of(self, client: Client, id: str) -> Request:
        goal = self._goals.get(id)
        if goal is None or goal.provider is None or goal.provider.client is not client:
            raise ProtocolError(f"no goal {id[:100]} is executed by this client")
        return goal

    def action_feedback(self, client: Client, message: dict[str, Any]) -> None:
        goal = self._goal_of(client, message["id"])
        if goal.feedback:
            head = {"op": "action_feedback", "id": goal.caller_id, "action": goal.spelling}
            goal.caller.answer(head | {"values": self._part(goal, "Feedback", message["values"])})

    def action_result(self, client: Client, message: dict[str, Any]) -> None:
        goal = self._goal_of(client, message["id"])
        values = message.get("values")
        if message["result"]:
            try:
                values = self._part(goal, "Result", {} if values is None else values)
                answer = self._goal_answer(goal, values, message["status"], True)
            except ProtocolError as error:
                answer = self._failed_goal(goal, str(error), ABORTED)
            self._end_goal(goal, answer)
        else:
            self._end_goal(goal, self._failed_goal(goal, _reason(message, "aborted"), message["status"]))

    def _part(self, goal: Request, part: str, values: Any) -> Any:
        """The feedback or the result of a goal, read by its type."""
        type = goal.provider.type if goal.provider else None
        try:
            return self._read(type and f"{type}_{part}", values)
        except ValueError as error:
            raise ProtocolError(str(error)) from None

    @staticmethod
    def _goal_answer(goal: Request, values: Any, status: int, result: bool) -> dict[str, Any]:
        head = {"op": "action_result", "id": goal.caller_id, "action": goal.spelling}
        return head | {"values": values, "status": status, "result": result}

    def _failed_goal(self, goal: Request, reason: str, status: int) -> dict[str, Any]:
        return self._goal_answer(goal, reason, status, False)

    def _end_goal(self, goal: Request, answer: dict[str, Any] | None) -> None:
        self._finish(self._goals, goal, answer)


def _reason(message: dict[str, Any], default: str) -> str:
    """Why a provider failed: in `error`, which is ours, or in `values` where they are a text."""
    values = message.get("values")
    return str(message.get("error") or (values if isinstance(values, str) else "") or default)
