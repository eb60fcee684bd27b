"""The operations of rosbridge v2 on the graph of topics, services and actions."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.errors import unknown
from robot_bridge.server.client import LEVELS, Client, Delivery, Throttle
from robot_bridge.server.faults import Faults
from robot_bridge.server.graph import Graph, Provider, Topic
from robot_bridge.server.rosapi import Definitions, RosApi, RosApiError
from robot_bridge.server.wire import (
    ProtocolError,
    decode,
    encode,
    full_name,
    full_type,
    refuse_null_in_arrays,
)

LOGGER = logging.getLogger(__name__)

UNKNOWN, CANCELED, ABORTED = 0, 5, 6  # action_msgs/msg/GoalStatus
MAX_QUEUE = 10_000

MAX_HELD = 1_000  # advertisements, subscriptions, services and actions of one client
MAX_UNDER_WAY = 1_000  # calls and goals of one client

Reader = Callable[[str], Callable[[dict[str, Any]], dict[str, Any]] | None]
"""Gives for a type, `sensor_msgs/msg/JointState`, a function that completes a message and raises ValueError for one
that does not fit, or None where the type is unknown. `std_srvs/srv/Trigger_Request` and the like are types, too."""


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


class Broker:
    """All clients' common graph. Lives on the server's event loop."""

    def __init__(
        self,
        counters: Counters,
        faults: Faults,
        *,
        service_timeout: float,
        reader: Reader | None,
        definitions: Definitions | None,
    ) -> None:
        self.clients: set[Client] = set()
        self.graph = Graph()
        self._calls: dict[str, Request] = {}
        self._goals: dict[str, Request] = {}
        self._counters = counters
        self._faults = faults
        self._service_timeout = service_timeout
        self._reader = reader
        self._rosapi = RosApi(self.graph, definitions)
        self._ids = itertools.count(1)
        self._loop = asyncio.get_running_loop()

    # Clients ----------------------------------------------------------------------------------------------------------

    def receive(self, client: Client, text: str | bytes) -> asyncio.Future[None] | None:
        """Carry out what a client sent; what is wrong with it, it is told.

        Returns a future if nothing more of this client may be processed before that is done (`Faults.blocking_calls`).
        """
        self._counters.add("received")
        id = None
        try:
            message = decode(text)
            id = message.get("id")
            return self._handle(client, message)
        except ProtocolError as error:
            self._counters.add("refused")
            client.status("error", str(error), error.id or id)
        except Exception:
            self._counters.add("internal_errors")
            LOGGER.exception("a message could not be processed: %.200r", text)
            client.status("error", "internal error of the server", id)
        return None

    def _handle(self, client: Client, message: dict[str, Any]) -> asyncio.Future[None] | None:
        op = message["op"]
        if op == "fragment":
            text = client.fragments.add(message, self._loop.time())
            if text is None:
                return None
            message = decode(text)
            op = message["op"]
            if op == "fragment":
                raise ProtocolError("a fragment of fragments", message.get("id"))
        handler = getattr(self, f"_{op}", None)
        return handler(client, message) if handler else None

    def remove(self, client: Client) -> None:
        """Take a client that has gone out of the graph, and end what it had under way."""
        self.clients.discard(client)
        for topic in list(self.graph.topics.values()):
            topic.publishers.pop(client, None)
            topic.subscribers.pop(client, None)
            self._tidy(topic)
        for registry in (self.graph.services, self.graph.actions):
            for provider in [p for p in registry.values() if p.client is client]:
                self._withdraw(registry, provider)
        for call in [c for c in self._calls.values() if c.caller is client]:
            self._end_call(call, None)
        for goal in [g for g in self._goals.values() if g.caller is client]:
            self._forward_cancel(goal)
            self._end_goal(goal, None)

    def _set_level(self, client: Client, message: dict[str, Any]) -> None:
        if message["level"] not in LEVELS:
            raise ProtocolError(str(unknown("level", message["level"][:100], LEVELS)))
        client.level = LEVELS.index(message["level"])

    def _check_room(self, client: Client) -> None:
        """Raises `ProtocolError`: this client has declared enough."""
        providers = (*self.graph.services.values(), *self.graph.actions.values())
        held = sum(provider.client is client for provider in providers)
        for topic in self.graph.topics.values():
            held += len(topic.publishers.get(client, ()))
            if client in topic.subscribers:
                held += len(topic.subscribers[client].subscriptions)
        if held >= MAX_HELD:
            raise ProtocolError(f"more than {MAX_HELD} topics, services and actions of one client")

    def _read(self, type: str | None, values: Any) -> Any:
        """A message as the reader of its type gives it; as it is, where nobody knows the type.

        Raises:
            ValueError: it does not fit.
        """
        read = self._reader(type) if self._reader and type else None
        return read(values) if read and isinstance(values, dict) else values

    # Topics -----------------------------------------------------------------------------------------------------------

    def _topic(self, message: dict[str, Any]) -> Topic:
        """The topic of an advertise or subscribe; both must agree on its type."""
        name, type = full_name(message["topic"]), full_type(message.get("type"), "msg")
        topic = self.graph.topics.get(name) or Topic(name)
        if type and topic.type and type != topic.type:
            raise ProtocolError(f"{name} has the type {topic.type}, not {type}")
        topic.type = topic.type or type
        return self.graph.topics.setdefault(name, topic)

    def _tidy(self, topic: Topic) -> None:
        topic.latching &= topic.publishers.keys()
        if topic.latched and topic.latched[0] not in topic.publishers:
            topic.latched = None
        if not topic.publishers and not topic.subscribers:
            self.graph.topics.pop(topic.name, None)

    def _advertise(self, client: Client, message: dict[str, Any]) -> None:
        self._check_room(client)
        topic = self._topic(message)
        topic.publishers.setdefault(client, set()).add(message.get("id"))
        if message.get("latch"):
            topic.latching.add(client)

    def _unadvertise(self, client: Client, message: dict[str, Any]) -> None:
        topic = self.graph.topics.get(full_name(message["topic"]))
        if topic is None or client not in topic.publishers:
            raise ProtocolError(f"{message['topic']} is not advertised by this client")
        ids = topic.publishers[client]
        ids.discard(message.get("id"))
        if "id" not in message or not ids:
            del topic.publishers[client]
        self._tidy(topic)

    def _publish(self, client: Client, message: dict[str, Any]) -> None:
        name, msg = full_name(message["topic"]), message["msg"]
        topic = self.graph.topics.get(name)
        if topic is None or topic.type is None:
            raise ProtocolError(f"{name} has no type: advertise it before publishing")
        refuse_null_in_arrays(msg)
        try:
            msg = self._read(topic.type, msg)
        except ValueError as error:
            raise ProtocolError(f"{name}: {error}") from None
        topic.publishers.setdefault(client, set())
        if message.get("latch") or client in topic.latching:
            topic.latched = (client, msg)
        texts: dict[str, str] = {}
        for subscriber, delivery in topic.subscribers.items():
            text = texts.get(delivery.topic)
            if text is None:
                text = texts[delivery.topic] = self._text(delivery, msg)
            subscriber.deliver(delivery, text)

    def _text(self, delivery: Delivery, msg: dict[str, Any]) -> str:
        return encode({"op": "publish", "topic": delivery.topic, "msg": msg})

    def _subscribe(self, client: Client, message: dict[str, Any]) -> None:
        self._check_room(client)
        topic = self._topic(message)
        new = client not in topic.subscribers
        delivery = topic.subscribers.setdefault(client, Delivery(message["topic"]))
        interval = min(max(message.get("throttle_rate", 0), 0), 10**9) / 1000
        length = min(max(message.get("queue_length", 0), 0), MAX_QUEUE)
        delivery.subscriptions[message.get("id")] = Throttle(interval, length)
        delivery.combine()
        if message.get("compression") not in (None, "none"):
            client.status("warning", f"{topic.name} comes uncompressed: only 'none' is supported", message.get("id"))
        if new and topic.latched:
            client.deliver(delivery, self._text(delivery, topic.latched[1]))

    def _unsubscribe(self, client: Client, message: dict[str, Any]) -> None:
        topic = self.graph.topics.get(full_name(message["topic"]))
        delivery = topic.subscribers.get(client) if topic else None
        if topic is None or delivery is None:
            raise ProtocolError(f"{message['topic']} is not subscribed by this client")
        delivery.subscriptions.pop(message.get("id"), None)
        if "id" not in message or not delivery.subscriptions:
            del topic.subscribers[client]
            client.forget(delivery)
        else:
            delivery.combine()
        self._tidy(topic)

    # Services and actions: who offers them ----------------------------------------------------------------------------

    def _offer(self, registry: dict[str, Provider], provider: Provider) -> None:
        """The newest provider wins: it may be the old one's client, reconnected before the loss of its old connection
        was noticed."""
        self._check_room(provider.client)
        if old := registry.get(provider.name):
            self._withdraw(registry, old)
            if old.client is not provider.client:
                old.client.status("error", f"{provider.name} is now offered by another client")
        registry[provider.name] = provider

    def _withdraw(self, registry: dict[str, Provider], provider: Provider) -> None:
        registry.pop(provider.name, None)
        for call in [c for c in self._calls.values() if c.provider is provider]:
            self._end_call(call, self._failed_call(call, f"{provider.name} was withdrawn during the call"))
        for goal in [g for g in self._goals.values() if g.provider is provider]:
            self._end_goal(goal, self._failed_goal(goal, f"{provider.name} was withdrawn during the goal", ABORTED))

    def _own(self, registry: dict[str, Provider], client: Client, name: str) -> Provider:
        provider = registry.get(full_name(name))
        if provider is None or provider.client is not client:
            raise ProtocolError(f"{name} is not offered by this client")
        return provider

    def _advertise_service(self, client: Client, message: dict[str, Any]) -> None:
        spelling, type = message["service"], full_type(message["type"], "srv")
        self._offer(self.graph.services, Provider(full_name(spelling), type, client, spelling))

    def _unadvertise_service(self, client: Client, message: dict[str, Any]) -> None:
        self._withdraw(self.graph.services, self._own(self.graph.services, client, message["service"]))

    def _advertise_action(self, client: Client, message: dict[str, Any]) -> None:
        spelling, type = message["action"], full_type(message["type"], "action")
        self._offer(self.graph.actions, Provider(full_name(spelling), type, client, spelling))

    def _unadvertise_action(self, client: Client, message: dict[str, Any]) -> None:
        self._withdraw(self.graph.actions, self._own(self.graph.actions, client, message["action"]))

    # Service calls ----------------------------------------------------------------------------------------------------

    def _call_service(self, client: Client, message: dict[str, Any]) -> asyncio.Future[None] | None:
        spelling, args = message["service"], message.get("args", {})
        name = full_name(spelling)
        call = Request(
            f"call_service:{name}:{next(self._ids)}",
            client,
            message.get("id"),
            spelling,
            self.graph.services.get(name),
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

    def _service_response(self, client: Client, message: dict[str, Any]) -> None:
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

    def _send_action_goal(self, client: Client, message: dict[str, Any]) -> asyncio.Future[None] | None:
        spelling = message["action"]
        name, type = full_name(spelling), full_type(message["action_type"], "action")
        provider = self.graph.actions.get(name)
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

    def _cancel_action_goal(self, client: Client, message: dict[str, Any]) -> None:
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

    def _action_feedback(self, client: Client, message: dict[str, Any]) -> None:
        goal = self._goal_of(client, message["id"])
        if goal.feedback:
            head = {"op": "action_feedback", "id": goal.caller_id, "action": goal.spelling}
            goal.caller.answer(head | {"values": self._part(goal, "Feedback", message["values"])})

    def _action_result(self, client: Client, message: dict[str, Any]) -> None:
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
