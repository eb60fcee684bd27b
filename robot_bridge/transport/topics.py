"""Topics: what this transport publishes and subscribes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from robot_bridge.counters import Counters
from robot_bridge.transport.base import Message
from robot_bridge.transport.callbacks import Callbacks
from robot_bridge.transport.channel import Channel
from robot_bridge.transport.encoding import encode

MAX_HANDOVER = 1000  # messages on their way to the I/O thread


class Topics:
    """Everything about topics. The registries belong to whoever holds the lock; messages, to the I/O thread."""

    def __init__(self, channel: Channel, callbacks: Callbacks, counters: Counters, max_age: float) -> None:
        self._channel, self._callbacks, self._counters = channel, callbacks, counters
        self._max_age = max_age
        self._lock = threading.Lock()
        self._advertised: dict[str, _Advertised] = {}
        self._topics: dict[str, _Topic] = {}
        self._handover: list[tuple[float | None, bytes]] = []  # when, what; None: a declaration, in its order
        self._awake = False  # whether the I/O thread will look at it

    def declarations(self) -> list[Message]:
        """What a new connection must be told."""
        with self._lock:
            advertised = [a.operation(name) for name, a in self._advertised.items()]
            return advertised + [topic.operation() for topic in self._topics.values()]

    def fail(self) -> None:
        """The connection is lost: drop what was on its way."""
        if lost := sum(since is not None for since, _ in self._take()):
            self._counters.add("dropped.disconnected", lost)
        with self._lock:
            subscriptions = [s for topic in self._topics.values() for s in topic.subscriptions]
        for subscription in subscriptions:
            if subscription.waiting:
                self._counters.add("received.lost", len(subscription.waiting))
                subscription.waiting.clear()

    # Outwards ---------------------------------------------------------------------------------------------------------

    def advertise(self, topic: str, type: str, latch: bool) -> Callable[[], None]:
        """See `Transport.advertise`; returns what ends it."""
        with self._lock:
            advertised = self._advertised.setdefault(topic, _Advertised(type))
            if advertised.type != type:
                raise ValueError(f"{topic} is advertised with the type {advertised.type} already, not {type}")
            advertised.users += 1
            advertised.latch = advertised.latch or latch
            self._declare(advertised.operation(topic))
        return lambda: self._unadvertise(topic, advertised)

    def _unadvertise(self, topic: str, advertised: _Advertised) -> None:
        with self._lock:
            advertised.users -= 1
            if not advertised.users and self._advertised.get(topic) is advertised:
                del self._advertised[topic]
                self._declare({"op": "unadvertise", "id": f"advertise:{topic}", "topic": topic})

    def _declare(self, operation: Message) -> None:
        """Tell the server, if connected, between the messages before and after; the lock is held."""
        if not self._channel.open:
            return  # the start of the next connection will
        self._handover.append((None, encode(operation)))
        awake, self._awake = self._awake, True
        if not awake and not self._channel.run(self._write):
            self._handover, self._awake = [], False

    def publish(self, topic: str, message: Message) -> bool:
        """See `Transport.publish`."""
        advertised = self._advertised.get(topic)
        if advertised is None:
            raise ValueError(f"{topic} is not advertised: call advertise() first")
        latch = {"latch": True} if advertised.latch else {}
        text = encode({"op": "publish", "topic": topic, "msg": message} | latch)
        obstacle = self._channel.obstacle()
        if obstacle is None:
            with self._lock:
                if len(self._handover) < MAX_HANDOVER:
                    self._handover.append((time.monotonic(), text))
                else:
                    obstacle = "backlog"
                awake, self._awake = self._awake, True
            if obstacle is None and (awake or self._channel.run(self._write)):
                return True
            obstacle = obstacle or "disconnected"
        self._counters.add(f"dropped.{obstacle}")
        return False

    def _write(self) -> None:
        """On the I/O thread: write what was handed over, as far as it may still be sent."""
        for since, text in self._take():
            if since is None:
                self._channel.tell(text)
                continue
            obstacle = self._channel.obstacle()
            if obstacle is None and time.monotonic() - since > self._max_age:
                obstacle = "late"
            if obstacle is None:
                obstacle = self._channel.send(text)
            if obstacle is not None:
                self._counters.add(f"dropped.{obstacle}")

    def _take(self) -> list[tuple[float | None, bytes]]:
        with self._lock:
            taken, self._handover, self._awake = self._handover, [], False
        return taken

    # Inwards ----------------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        topic: str,
        type: str,
        callback: Callable[[Message], None],
        queue_length: int,
        throttle_ms: int,
        renew_after: float | None,
    ) -> Callable[[], None]:
        """See `Transport.subscribe`; returns what ends it."""
        if queue_length < 1 or throttle_ms < 0:
            raise ValueError(f"queue_length {queue_length}, throttle_ms {throttle_ms}: expected at least 1 and 0")
        with self._lock:
            subscribed = self._topics.setdefault(topic, _Topic(topic, type))
            if subscribed.type != type:
                raise ValueError(f"{topic} is subscribed with the type {subscribed.type} already, not {type}")
            subscription = _Subscription(callback, queue_length, throttle_ms)
            subscribed.subscriptions = (*subscribed.subscriptions, subscription)
            self._declare(subscribed.operation())
        if renew_after is not None:
            self._channel.run(self._watch, subscribed, subscription, renew_after)
        return lambda: self._unsubscribe(subscribed, subscription)

    def _watch(self, topic: _Topic, subscription: _Subscription, renew_after: float) -> None:
        """On the I/O thread: subscribe anew while nothing comes."""
        if subscription.closed:
            return
        now = time.monotonic()
        if self._channel.connected and now - topic.heard >= renew_after:
            topic.heard = now
            with self._lock:
                if self._topics.get(topic.name) is topic:
                    self._declare(topic.ending())
                    self._declare(topic.operation())
                    self._counters.add("renewed")
        asyncio.get_running_loop().call_later(renew_after / 4, self._watch, topic, subscription, renew_after)

    def _unsubscribe(self, topic: _Topic, subscription: _Subscription) -> None:
        with self._lock:
            subscription.closed = True
            topic.subscriptions = tuple(s for s in topic.subscriptions if s is not subscription)
            if topic.subscriptions:
                self._declare(topic.operation())
            elif self._topics.get(topic.name) is topic:
                del self._topics[topic.name]
                self._declare(topic.ending())

    def receive(self, message: Message) -> bool:
        """Take a message of a topic; False if it is none."""
        if message.get("op") != "publish":
            return False
        name, values = message.get("topic"), message.get("msg")
        if not isinstance(name, str) or not isinstance(values, dict):
            self._counters.add("received.malformed")
            self._callbacks.warn(f"a message of {name!s:.100} is no object of fields but {type(values).__name__}")
            return True
        topic = self._topics.get(name)
        if topic is None:
            self._counters.add("received.unexpected")
            return True
        topic.heard = time.monotonic()
        for subscription in topic.subscriptions:
            # Delivered only after everything that has arrived was read: so a slow callback sees the latest.
            if len(subscription.waiting) == subscription.waiting.maxlen:
                self._counters.add("received.overrun")
            subscription.waiting.append(values)
            if not subscription.scheduled:
                subscription.scheduled = True
                asyncio.get_running_loop().call_soon(self._deliver, name, subscription)
        return True

    def _deliver(self, name: str, subscription: _Subscription) -> None:
        self._channel.check_stall()
        message = subscription.waiting.popleft() if subscription.waiting else None  # or dropped with the connection
        if subscription.waiting:
            asyncio.get_running_loop().call_soon(self._deliver, name, subscription)
        else:
            subscription.scheduled = False
        if message is not None and not subscription.closed:
            self._callbacks.call(f"the subscription of {name}", subscription.callback, message)


@dataclass
class _Advertised:
    type: str
    users: int = 0
    latch: bool = False

    def operation(self, topic: str) -> Message:
        # A queue of one: rosbridge_server's publishers are transient local, and late subscribers get what is queued.
        head: Message = {"op": "advertise", "id": f"advertise:{topic}", "topic": topic, "type": self.type}
        return head | {"latch": self.latch, "queue_size": 1}


class _Subscription:
    """Of one user."""

    def __init__(self, callback: Callable[[Message], None], queue_length: int, throttle_ms: int) -> None:
        self.callback = callback
        self.throttle_ms = throttle_ms
        self.waiting: deque[Message] = deque(maxlen=queue_length)
        self.scheduled = False
        self.closed = False


@dataclass
class _Topic:
    """All subscriptions of a topic; the server knows of one."""

    name: str
    type: str
    subscriptions: tuple[_Subscription, ...] = field(default=())
    heard: float = field(default_factory=time.monotonic)
    """When the last message came, or it was subscribed."""

    def ending(self) -> Message:
        return {"op": "unsubscribe", "id": f"subscribe:{self.name}", "topic": self.name}

    def operation(self) -> Message:
        return {
            "op": "subscribe",
            "id": f"subscribe:{self.name}",
            "topic": self.name,
            "type": self.type,
            "throttle_rate": min(s.throttle_ms for s in self.subscriptions),
            "queue_length": max(s.waiting.maxlen or 1 for s in self.subscriptions),
        }
