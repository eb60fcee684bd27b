"""Service calls and goals under way, ours to others (`Clients`) and others' to us (`Servers`)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from robot_bridge.counters import Counters
from robot_bridge.transport.base import Done, GoalStatus, Message, Result
from robot_bridge.transport.callbacks import Callbacks
from robot_bridge.transport.channel import Channel
from robot_bridge.transport.encoding import encode
from robot_bridge.transport.failure import failing

LOGGER = logging.getLogger(__name__)

Timer = asyncio.TimerHandle | None


@dataclass
class _Call:
    name: str
    done: Done
    timer: Timer = None


@dataclass
class _Goal:
    action: str
    feedback: Callable[[Message], None] | None
    result: Result
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)


class Clients:
    """Calls and goals of ours. The tables are touched by the I/O thread only."""

    def __init__(self, channel: Channel, callbacks: Callbacks, counters: Counters) -> None:
        self._channel, self._callbacks, self._counters = channel, callbacks, counters
        self._prefix = uuid.uuid4().hex[:12]  # rosbridge_server keeps all clients' goal ids in one table
        self._ids = itertools.count(1)
        self._calls: dict[str, _Call] = {}
        self._goals: dict[str, _Goal] = {}

    def _new_id(self, op: str, name: str) -> str:
        """An id that no other client uses."""
        return f"{op}:{name}:{self._prefix}:{next(self._ids)}"

    # Services ---------------------------------------------------------------------------------------------------------

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        """See `Transport.call_service`."""
        id = self._new_id("call_service", name)
        head: Message = {"op": "call_service", "id": id, "service": name, "type": type, "timeout": timeout}
        text = encode(head | {"args": request})
        call = _Call(name, done)
        if not self._channel.run(self._start_call, id, call, text, timeout):
            self._callbacks.call(f"the call of {name}", done, None, _cannot(name, "disconnected"))

    def _start_call(self, id: str, call: _Call, text: bytes, timeout: float) -> None:
        if obstacle := self._channel.obstacle():
            self._callbacks.call(f"the call of {call.name}", call.done, None, _cannot(call.name, obstacle))
            return
        self._calls[id] = call
        call.timer = asyncio.get_running_loop().call_later(timeout, self._end_call, id, None, _late(call.name, timeout))
        self._channel.send(text)

    def _end_call(self, id: str, values: Message | None, error: str | None) -> None:
        call = self._calls.pop(id, None)
        if call is None:
            self._counters.add("late_answers")
            return
        if call.timer:
            call.timer.cancel()
        self._callbacks.call(f"the call of {call.name}", call.done, values, error)

    # Goals ------------------------------------------------------------------------------------------------------------

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
        id = self._new_id("send_action_goal", action)
        head: Message = {"op": "send_action_goal", "id": id, "action": action, "action_type": type, "feedback": True}
        text = encode(head | {"args": values})
        goal = _Goal(action, feedback, result)
        if not self._channel.run(self._start_goal, id, goal, text, timeout, accept_timeout):
            self._guard_result(goal, None, GoalStatus.UNKNOWN, _cannot(action, "disconnected"))
        return id

    def _start_goal(
        self, id: str, goal: _Goal, text: bytes, timeout: float | None, accept_timeout: float | None
    ) -> None:
        if obstacle := self._channel.obstacle():
            self._guard_result(goal, None, GoalStatus.UNKNOWN, _cannot(goal.action, obstacle))
            return
        self._goals[id] = goal
        later = asyncio.get_running_loop().call_later
        if timeout is not None:
            goal.timers["result"] = later(timeout, self._give_up, id, _late(goal.action, timeout))
        if accept_timeout is not None:
            why = f"{goal.action} gave no sign within {accept_timeout:g} s: refused, or nobody offers it"
            goal.timers["accept"] = later(accept_timeout, self._give_up, id, why)
        self._channel.send(text)

    def _give_up(self, id: str, why: str) -> None:
        """End a goal that took too long, and cancel it, for it may be running."""
        if goal := self._goals.get(id):
            self._send_cancel(goal.action, id)
            self._end_goal(id, None, GoalStatus.UNKNOWN, why)

    def cancel_goal(self, action: str, id: str, timeout: float) -> bool:
        """See `Transport.cancel_goal`."""
        return self._channel.connected and self._channel.run(self._start_cancel, id, timeout)

    def _start_cancel(self, id: str, timeout: float) -> None:
        goal = self._goals.get(id)
        if goal is None or "cancel" in goal.timers:
            return
        why = f"{goal.action} did not confirm the cancel within {timeout:g} s: it may be running still"
        goal.timers["cancel"] = asyncio.get_running_loop().call_later(
            timeout, self._end_goal, id, None, GoalStatus.UNKNOWN, why
        )
        self._send_cancel(goal.action, id)

    def _send_cancel(self, action: str, id: str) -> None:
        self._channel.send(encode({"op": "cancel_action_goal", "id": id, "action": action}))

    def _end_goal(self, id: str, values: Message | None, status: int, error: str | None) -> None:
        goal = self._goals.pop(id, None)
        if goal is None:
            self._counters.add("late_answers")
            return
        for timer in goal.timers.values():
            timer.cancel()
        self._guard_result(goal, values, status, error)

    def _guard_result(self, goal: _Goal, values: Message | None, status: int, error: str | None) -> None:
        self._callbacks.call(f"the result of {goal.action}", goal.result, values, status, error)

    def _feedback(self, id: str, values: Message) -> None:
        goal = self._goals.get(id)
        if goal is None:
            self._counters.add("late_answers")
            return
        if timer := goal.timers.pop("accept", None):
            timer.cancel()
        if goal.feedback:
            self._callbacks.call(f"the feedback of {goal.action}", goal.feedback, values)

    # Answers ----------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> bool:
        """Take an answer; False if the message is none."""
        op, id, values = message.get("op"), message.get("id"), message.get("values")
        if op not in ("service_response", "action_feedback", "action_result"):
            return False
        failed = message.get("result") is False
        if not isinstance(id, str) or not (failed or isinstance(values, dict | None)):
            self._counters.add("received.malformed")
            return True
        answer, error = (None, _reason(values)) if failed else (values or {}, None)
        if op == "service_response":
            self._end_call(id, answer, error)
        elif op == "action_feedback":
            self._feedback(id, answer or {})
        else:
            status = message.get("status")
            self._end_goal(id, answer, status if isinstance(status, int) else GoalStatus.UNKNOWN, error)
        return True

    def fail(self, reason: str) -> None:
        """End everything under way."""
        for id in list(self._calls):
            self._end_call(id, None, reason)
        for id in list(self._goals):
            self._end_goal(id, None, GoalStatus.UNKNOWN, reason)


@dataclass
class _Offer:
    kind: Literal["service", "action"]
    name: str
    type: str
    handler: Callable[[Message, Any], None]
    failed: Callable[[str], Message]
    """The response of a service that failed."""


class Servers:
    """Services and actions that we offer."""

    def __init__(self, channel: Channel, callbacks: Callbacks, counters: Counters) -> None:
        self._channel, self._callbacks, self._counters = channel, callbacks, counters
        self._lock = threading.Lock()
        self._offers: dict[tuple[str, str], _Offer] = {}
        self._goals: dict[str, _GoalHandle] = {}  # executing; of the I/O thread
        self._connection = 0  # an answer goes by the connection that its request came by, or nowhere

    def offer(self, kind: Literal["service", "action"], name: str, type: str, handler: Callable) -> Callable[[], None]:
        """Offer something; returns what ends it.

        Raises:
            ValueError: it is offered already.
        """
        offer = _Offer(kind, name, type, handler, failing(type) if kind == "service" else lambda error: {})
        with self._lock:
            if (kind, name) in self._offers:
                raise ValueError(f"the {kind} {name} is offered already")
            self._offers[kind, name] = offer
        self._channel.declare(_declaration(offer))

        def withdraw() -> None:
            with self._lock:
                if self._offers.get((kind, name)) is offer:
                    del self._offers[kind, name]
                    self._channel.declare({"op": f"unadvertise_{kind}", kind: name})

        return withdraw

    def declarations(self) -> list[Message]:
        """What a new connection must be told."""
        with self._lock:
            return [_declaration(offer) for offer in self._offers.values()]

    def receive(self, message: Message) -> bool:
        """Take a request; False if the message is none."""
        op, id = message.get("op"), message.get("id")
        if op not in ("call_service", "send_action_goal", "cancel_action_goal"):
            return False
        kind = "service" if op == "call_service" else "action"
        name, args = message.get(kind), message.get("args", {})
        if not isinstance(id, str) or not isinstance(name, str) or not isinstance(args, dict):
            self._counters.add("received.malformed")
        elif op == "cancel_action_goal":
            if handle := self._goals.get(id):
                handle.request_cancel()
        elif offer := self._offers.get((kind, name)):
            if kind == "service":
                self._serve(offer, id, args)
            else:
                self._execute(offer, id, args)
        else:
            self._counters.add("received.unexpected")
        return True

    def _serve(self, offer: _Offer, id: str, request: Message) -> None:
        respond = _Respond(self, offer, id, self._connection)
        if not self._callbacks.call(f"the service {offer.name}", offer.handler, request, respond):
            respond(None, "the service's handler failed")

    def _execute(self, offer: _Offer, id: str, goal: Message) -> None:
        handle = self._goals[id] = _GoalHandle(self, offer.name, id, self._connection)
        if not self._callbacks.call(f"the action {offer.name}", offer.handler, goal, handle):
            handle.result(None, GoalStatus.ABORTED, "the action's handler failed")

    def guard(self, what: str, callback: Callable[[], None]) -> None:
        """Call a user's callback."""
        self._callbacks.call(what, callback)

    def on_loop(self, function: Callable[..., None], *args: Any) -> bool:
        """Have the I/O thread call a function; False if there is none."""
        return self._channel.run(function, *args)

    def send(self, message: Message, connection: int, *, last: bool) -> bool:
        """Send an answer from any thread, unless its connection has gone; `last`: its request is done with.

        Raises:
            TypeError, ValueError: as `Transport.publish`.
        """
        text = encode(message)
        if connection == self._connection and self._channel.obstacle() != "disconnected":
            return self._channel.run(self._send, text, connection, message["id"] if last else None)
        self._counters.add("dropped.answer")
        return False

    def _send(self, text: bytes, connection: int, ended: str | None) -> None:
        if ended is not None:
            self._goals.pop(ended, None)
        if connection != self._connection or self._channel.send(text) is not None:
            self._counters.add("dropped.answer")

    def fail(self) -> None:
        """The connection is lost: nobody waits for the goals any more."""
        self._connection += 1
        handles = list(self._goals.values())
        self._goals.clear()
        for handle in handles:
            handle.request_cancel()


class _Once:
    """True the first time only, whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        return self._lock.acquire(blocking=False)

    def undo(self) -> None:
        self._lock.release()


class _Respond:
    def __init__(self, servers: Servers, offer: _Offer, id: str, connection: int) -> None:
        self._servers, self._name, self._failed = servers, offer.name, offer.failed
        self._id, self._connection = id, connection
        self._first = _Once()

    def __call__(self, values: Message | None, error: str | None = None) -> bool:
        if not self._first():
            return False
        head: Message = {"op": "service_response", "id": self._id, "service": self._name, "result": error is None}
        try:
            # A rosbridge_server takes an object only, of the type's fields; `error` is for our own.
            body = {"values": values or {}} if error is None else {"values": self._failed(error), "error": error}
            return self._servers.send(head | body, self._connection, last=True)
        except (TypeError, ValueError):
            self._first.undo()
            raise


class _GoalHandle:
    def __init__(self, servers: Servers, name: str, id: str, connection: int) -> None:
        self.goal_id = id
        self._servers, self._name, self._connection = servers, name, connection
        self._first = _Once()
        self._lock = threading.Lock()
        self._cancel_requested = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancel_requested(self) -> bool:
        return self._cancel_requested

    def on_cancel(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self._cancel_requested:
                self._callbacks.append(callback)
                return
        self._servers.on_loop(self._servers.guard, f"the cancel of {self._name}", callback)

    def request_cancel(self) -> None:
        """On the I/O thread."""
        with self._lock:
            self._cancel_requested = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._servers.guard(f"the cancel of {self._name}", callback)

    def feedback(self, values: Message) -> bool:
        head: Message = {"op": "action_feedback", "id": self.goal_id, "action": self._name}
        return self._servers.send(head | {"values": values}, self._connection, last=False)

    def result(self, values: Message | None, status: int, error: str | None = None) -> bool:
        if status not in (GoalStatus.SUCCEEDED, GoalStatus.CANCELED, GoalStatus.ABORTED):
            raise ValueError(f"status {status}: expected SUCCEEDED (4), CANCELED (5) or ABORTED (6)")
        if not self._first():
            return False
        if error is not None:
            status = GoalStatus.ABORTED
            LOGGER.warning("%s: a goal was aborted: %s", self._name, error)
        head: Message = {"op": "action_result", "id": self.goal_id, "action": self._name, "status": status}
        try:
            # With result false a rosbridge_server takes no values, and aborts.
            body: Message = {"values": values or {}, "result": True} if error is None else {"result": False}
            return self._servers.send(head | body, self._connection, last=True)
        except (TypeError, ValueError):
            self._first.undo()
            raise


def _declaration(offer: _Offer) -> Message:
    return {"op": f"advertise_{offer.kind}", offer.kind: offer.name, "type": offer.type}


def _cannot(name: str, obstacle: str) -> str:
    why = "not connected" if obstacle == "disconnected" else "the server has not answered lately"
    return f"{name} was not called: {why}"


def _late(name: str, timeout: float) -> str:
    return f"{name} did not answer within {timeout:g} s"


def _reason(values: object) -> str:
    return values if isinstance(values, str) and values else "failed without giving a reason"
