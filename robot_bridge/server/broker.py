"""The operations of rosbridge v2 on the graph of topics, services and actions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.errors import unknown
from robot_bridge.server.client import LEVELS, Client, Delivery, Throttle
from robot_bridge.server.faults import Faults
from robot_bridge.server.graph import Graph, Provider, Topic
from robot_bridge.server.requests import OPERATIONS, Requests
from robot_bridge.server.rosapi import Definitions, RosApi
from robot_bridge.server.wire import (
    ProtocolError,
    decode,
    encode,
    full_name,
    full_type,
    refuse_null_in_arrays,
)

LOGGER = logging.getLogger(__name__)

MAX_QUEUE = 10_000
MAX_HELD = 1_000  # advertisements, subscriptions, services and actions of one client

Reader = Callable[[str], Callable[[dict[str, Any]], dict[str, Any]] | None]
"""Gives for a type, `sensor_msgs/msg/JointState`, a function that completes a message and raises ValueError for one
that does not fit, or None where the type is unknown. `std_srvs/srv/Trigger_Request` and the like are types, too."""


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
        self._counters = counters
        self._reader = reader
        rosapi = RosApi(self.graph, definitions)
        self._requests = Requests(self.graph, rosapi, faults, self._read, service_timeout)
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
        if op in OPERATIONS:
            return getattr(self._requests, op)(client, message)
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
        self._requests.remove(client)

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
        self._requests.withdraw(provider)

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
