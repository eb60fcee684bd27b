"""What an executor runs: timers, subscriptions, clients, services, actions, guard conditions."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ReferenceType, ref

from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.exceptions import InvalidHandle


class Owner(Protocol):
    """What an entity belongs to: a node."""

    @property
    def executor(self) -> Any:
        """The executor that runs the entities."""

    def _wake(self) -> None:
        """Have the executor look for work."""

    def _forget(self, entity: Entity) -> None:
        """Let go of an entity that has ended."""


class Entity:
    """Something with callbacks. An executor asks `_is_ready`, then `_take`s a job and runs it."""

    def __init__(self, callback_group: CallbackGroup | None) -> None:
        self.callback_group = callback_group
        self._node: ReferenceType[Owner] | None = None
        self._destroyed = False

    def _attach(self, node: Owner) -> None:
        """Belong to a node: its executor runs this from now on."""
        self._node = ref(node)
        if self.callback_group is not None:
            self.callback_group.add_entity(self)
        self._wake()

    def _wake(self) -> None:
        node = self._node() if self._node is not None else None
        if node is not None:
            node._wake()

    def _is_ready(self) -> bool:
        """Whether there is something to do. Never for an entity without callbacks, such as a publisher."""
        return False

    def _take(self) -> Callable[[], Any] | None:
        """The next thing to do, taken from the queue; None if somebody else took it. Called under the executor's lock:
        must be quick and run nothing of the user's."""
        return None

    def _wait_until(self) -> float | None:
        """When it becomes ready by itself, in `time.monotonic` seconds; None: by a wake-up only."""
        return None

    def _destroy(self) -> None:
        """Let go of what it holds at the transport. Twice does nothing."""

    def destroy(self) -> None:
        """End it: nothing of it is run any more."""
        if not self._destroyed:
            self._destroyed = True
            node = self._node() if self._node is not None else None
            if node is not None:
                node._forget(self)
            self._destroy()

    def _check_alive(self) -> None:
        if self._destroyed:
            raise InvalidHandle(f"cannot use this {type(self).__name__.lower()}: it was destroyed")


class QueueEntity(Entity, ABC):
    """An entity that the I/O thread feeds: at most `depth` jobs wait, the oldest give way and are counted."""

    def __init__(self, callback_group: CallbackGroup | None, depth: int) -> None:
        super().__init__(callback_group)
        self._depth = depth
        self._queue: deque[Any] = deque()
        self._queue_lock = threading.Lock()
        self.dropped = 0
        """What was dropped because the executor did not keep up (not in rclpy)."""

    def _put(self, item: Any) -> Any:
        """Queue an item and wake the executor; returns the item that gave way, or None. Of any thread."""
        lost = None
        with self._queue_lock:
            if len(self._queue) >= self._depth:
                lost = self._queue.popleft()
                self.dropped += 1
            self._queue.append(item)
        self._wake()
        return lost

    def _is_ready(self) -> bool:
        return bool(self._queue)

    def _take(self) -> Callable[[], Any] | None:
        with self._queue_lock:
            if not self._queue or self._destroyed:
                return None
            item = self._queue.popleft()
        return lambda: self._handle(item)

    @abstractmethod
    def _handle(self, item: Any) -> Any:
        """Do what an item asks for, in an executor's thread; may return a coroutine."""
