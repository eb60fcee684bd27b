"""Messages of several topics that belong together by their stamps, in the shape of ROS 2's `message_filters`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from robot_bridge.ros.duration import Duration
from robot_bridge.ros.node import Node
from robot_bridge.ros.time import Time


class SimpleFilter:
    """Passes messages on to its callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:  # noqa: N802
        """Have `cb(*messages, *args)` called; returns a number for it."""
        number = len(self.callbacks)
        self.callbacks[number] = (cb, args)
        return number

    def signalMessage(self, *msg: Any) -> None:  # noqa: N802
        """Call the callbacks."""
        for callback, arguments in list(self.callbacks.values()):
            callback(*msg, *arguments)


class Subscriber(SimpleFilter):
    """A subscription as a filter: `Subscriber(node, msg_type, topic, qos_profile=10, …)`."""

    def __init__(self, node: Node, msg_type: Any, topic: str, **kwargs: Any) -> None:
        super().__init__()
        self.node, self.topic = node, topic
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(msg_type, topic, self.signalMessage, **kwargs)

    def getTopic(self) -> str:  # noqa: N802
        return self.topic

    def unregister(self) -> None:
        """End the subscription."""
        self.node.destroy_subscription(self.sub)


class Cache(SimpleFilter):
    """Keeps the latest `cache_size` messages of a filter, by their stamps."""

    def __init__(self, f: SimpleFilter | None = None, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self._size, self._headerless = cache_size, allow_headerless
        self._kept: list[tuple[int, Any]] = []
        self._lock = threading.Lock()
        if f is not None:
            self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:  # noqa: N802
        """Take the messages of `f`."""
        self._filter = f
        f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        stamp = _stamp(msg, self._filter, self._headerless)
        with self._lock:
            self._kept = sorted([*self._kept, (stamp, msg)], key=lambda entry: entry[0])[-self._size :]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:  # noqa: N802
        """The messages from one time to another, both included."""
        return [m for stamp, m in self._kept if from_stamp.nanoseconds <= stamp <= to_stamp.nanoseconds]

    def getElemAfterTime(self, stamp: Time) -> Any:  # noqa: N802
        """The oldest message that is not before `stamp`, or None."""
        return next((m for when, m in self._kept if when >= stamp.nanoseconds), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:  # noqa: N802
        """The newest message that is not after `stamp`, or None."""
        return next((m for when, m in reversed(self._kept) if when <= stamp.nanoseconds), None)

    def getLastestTime(self) -> Time | None:  # noqa: N802 - upstream's spelling
        return Time(nanoseconds=self._kept[-1][0]) if self._kept else None

    def getOldestTime(self) -> Time | None:  # noqa: N802
        return Time(nanoseconds=self._kept[0][0]) if self._kept else None

    def getLast(self) -> Any:  # noqa: N802
        """The newest message, or None."""
        return self._kept[-1][1] if self._kept else None


class TimeSynchronizer(SimpleFilter):
    """Passes on one message of each of `fs` whenever all have the same stamp. At most `queue_size` of each wait."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self._filters = list(fs)
        self._lock = threading.Lock()
        for number, filter_ in enumerate(fs):
            filter_.registerCallback(self._receive, number)

    def _stamp_of(self, msg: Any, number: int) -> int:
        return _stamp(msg, self._filters[number], False)

    def _receive(self, msg: Any, number: int) -> None:
        stamp = self._stamp_of(msg, number)
        with self._lock:
            queue = self.queues[number]
            queue[stamp] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            chosen = self._choose(stamp, number)
            messages = None
            if chosen is not None:
                messages = [queue.pop(when) for queue, when in zip(self.queues, chosen, strict=True)]
        if messages is not None:
            self.signalMessage(*messages)

    def _choose(self, stamp: int, number: int) -> Sequence[int] | None:
        """The stamps, one of each queue, of messages that belong together; the newest is one of them."""
        return [stamp] * len(self.queues) if all(stamp in queue for queue in self.queues) else None


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """As `TimeSynchronizer`, for stamps that differ by at most `slop` seconds; those closest to the
    newest message are taken.

    `allow_headerless`: messages without a header count as of the time when they come.
    """

    def __init__(
        self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def _stamp_of(self, msg: Any, number: int) -> int:
        return _stamp(msg, self._filters[number], self.allow_headerless)

    def _choose(self, stamp: int, number: int) -> Sequence[int] | None:
        slop = self.slop.nanoseconds
        near = [
            sorted((when for when in queue if abs(when - stamp) <= slop), key=lambda when: abs(when - stamp))
            for queue in self.queues
        ]
        near[number] = [stamp]
        return next((some for some in itertools.product(*near) if max(some) - min(some) <= slop), None)


def _stamp(msg: Any, source: SimpleFilter, headerless: bool) -> int:
    """ns of a message's stamp.

    Raises:
        TypeError: it has no header, and needs one.
    """
    if hasattr(msg, "header"):
        return Time.from_msg(msg.header.stamp).nanoseconds
    if not headerless:
        raise TypeError(f"{type(msg).__name__} has no header: use allow_headerless=True to take the time it comes")
    clock_node = getattr(source, "node", None)
    if clock_node is None:
        raise TypeError("only messages of a Subscriber may be without a header")
    return clock_node.get_clock().now().nanoseconds
