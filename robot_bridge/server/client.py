"""One client: what waits for it, and when to give up on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from websockets.asyncio.server import ServerConnection

from robot_bridge.counters import Counters
from robot_bridge.server.faults import Faults
from robot_bridge.server.wire import Fragments, encode

DEFAULT_QUEUE = 100  # messages of a topic that wait for a client that asked for no other length
MAX_WAITING_BYTES = 16 * 2**20  # per client, all together
MAX_ANSWERS = 1000  # answers and goals must not be dropped, so who leaves this many unread is disconnected
SEND_TIMEOUT = 5.0  # s that one frame may take to leave
LEVELS = ("none", "error", "warning", "info")


class Throttle(NamedTuple):
    """How one subscription wants its topic."""

    interval: float
    """Least time between messages, s."""
    queue_length: int
    """Messages that may wait; 0: the server decides, and messages that come too early are dropped."""


@dataclass(eq=False)
class Delivery:
    """The messages of one topic on their way to one client."""

    topic: str
    """As the client spells it."""
    subscriptions: dict[str | None, Throttle] = field(default_factory=dict)
    throttle: Throttle = field(default_factory=lambda: Throttle(0.0, 0))
    """Of all subscriptions together: every message is sent once for all of them, so the most demanding one decides, as
    in rosbridge_server."""
    waiting: deque[tuple[float, str]] = field(default_factory=deque)
    next_time: float = 0.0
    scheduled: bool = False

    def combine(self) -> None:
        """Work out `throttle` after a change of `subscriptions`."""
        wanted = self.subscriptions.values()
        self.throttle = Throttle(min(t.interval for t in wanted), min(t.queue_length for t in wanted))


class Client:
    """One connection. Lives on the server's event loop.

    Messages of topics wait in one short queue per topic, the oldest dropped first: a slow client gets fewer of them and
    slows down nobody. Everything else must arrive, so a client that does not read is disconnected.

    Args:
        stalled: tells, and acts accordingly, whether the server stood still, so that what waits here is old.
    """

    def __init__(
        self,
        websocket: ServerConnection,
        counters: Counters,
        faults: Faults,
        max_size: int,
        stalled: Callable[[], bool],
    ) -> None:
        self.websocket = websocket
        self.level = LEVELS.index("error")
        self.fragments = Fragments(max_size)
        self.closed = False
        self.under_way = 0
        """Calls and goals of this client that wait for their answers."""
        self._counters = counters
        self._faults = faults
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self._answers: deque[tuple[float, str]] = deque()
        self._ready: deque[Delivery] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._sending_since: float | None = None

    def answer(self, message: dict[str, Any]) -> None:
        """Send a message that must not be lost."""
        text = encode(message)
        self._answers.append((self._loop.time(), text))
        self._bytes += len(text)
        if len(self._answers) > MAX_ANSWERS or self._bytes > MAX_WAITING_BYTES:
            self.give_up("unread")
        self._wake.set()

    def status(self, level: str, text: str, id: str | None = None) -> None:
        """Tell the client about a problem, if it wants to hear of such."""
        if self._faults.silent_errors or LEVELS.index(level) > self.level:
            return
        self.answer({"op": "status", "level": level, "msg": text} | ({"id": id} if id is not None else {}))

    def deliver(self, delivery: Delivery, text: str) -> None:
        """Queue a topic's message, dropping the oldest ones where there is no room."""
        now = self._loop.time()
        interval, length = delivery.throttle
        if interval and not length and now < delivery.next_time:
            self._counters.add("dropped.throttled")
            return
        waiting = delivery.waiting
        while waiting and (len(waiting) >= (length or DEFAULT_QUEUE) or self._bytes + len(text) > MAX_WAITING_BYTES):
            self._bytes -= len(waiting.popleft()[1])
            self._counters.add("dropped.overrun")
        if self._bytes + len(text) > MAX_WAITING_BYTES:
            self._counters.add("dropped.overrun")
            return
        waiting.append((now, text))
        self._bytes += len(text)
        if interval and not length:
            delivery.next_time = now + interval
        if not delivery.scheduled:
            self._schedule(delivery, now)

    def forget(self, delivery: Delivery) -> None:
        """Drop what waits for a subscription that has ended."""
        self._bytes -= sum(len(text) for _, text in delivery.waiting)
        delivery.waiting.clear()

    def _schedule(self, delivery: Delivery, now: float) -> None:
        delivery.scheduled = True
        interval, length = delivery.throttle
        wait = delivery.next_time - now if interval and length else 0.0
        if wait > 0:
            self._loop.call_later(wait, self._now_ready, delivery)
        else:
            self._now_ready(delivery)

    def _now_ready(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._wake.set()

    def _next(self) -> tuple[float, str] | None:
        if self._answers:
            item = self._answers.popleft()
        else:
            while self._ready and not self._ready[0].waiting:  # unsubscribed since
                self._ready.popleft().scheduled = False
            if not self._ready:
                return None
            delivery = self._ready.popleft()
            item = delivery.waiting.popleft()
            delivery.scheduled = False
            now = self._loop.time()
            interval, length = delivery.throttle
            if interval and length:
                delivery.next_time = now + interval
            if delivery.waiting:
                self._schedule(delivery, now)
        self._bytes -= len(item[1])
        return item

    async def write(self) -> None:
        """Send what waits, until cancelled or disconnected. Answers go first, topics take turns."""
        while not self.closed:
            item = self._next()
            if item is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            since, text = item
            if self._faults.delay:
                await asyncio.sleep(since + self._faults.delay - self._loop.time())
            if self._stalled():
                return
            self._sending_since = self._loop.time()
            await self.websocket.send(text)
            self._sending_since = None
            self._counters.add("sent")

    def check(self, now: float) -> None:
        """Give up if a frame has not left for too long."""
        if self._sending_since is not None and now - self._sending_since > SEND_TIMEOUT:
            self.give_up("stuck")

    def give_up(self, reason: str) -> None:
        """Cut the connection, without a closing handshake that would wait for the client."""
        if not self.closed:
            self.closed = True
            self._counters.add(f"disconnected.{reason}")
            self.websocket.transport.abort()
