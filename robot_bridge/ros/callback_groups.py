"""Which callbacks may run at the same time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any
from weakref import WeakSet


class CallbackGroup(ABC):
    """Base of groups; an executor asks them before it runs a callback."""

    def __init__(self) -> None:
        self.entities: WeakSet[Any] = WeakSet()

    def add_entity(self, entity: Any) -> None:
        self.entities.add(entity)

    def has_entity(self, entity: Any) -> bool:
        return entity in self.entities

    @abstractmethod
    def can_execute(self, entity: Any) -> bool:
        """Whether a callback of this entity may begin now."""

    @abstractmethod
    def beginning_execution(self, entity: Any) -> bool:
        """Begin, if that is allowed now; returns whether it is."""

    @abstractmethod
    def ending_execution(self, entity: Any) -> None:
        """The callback that `beginning_execution` let begin has ended."""


class ReentrantCallbackGroup(CallbackGroup):
    """Everything may run at once, a callback beside itself included."""

    def can_execute(self, entity: Any) -> bool:
        return True

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        pass


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """One callback at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._active: Any = None
        self._lock = threading.Lock()

    def can_execute(self, entity: Any) -> bool:
        return self._active is None

    def beginning_execution(self, entity: Any) -> bool:
        with self._lock:
            if self._active is None:
                self._active = entity
                return True
            return False

    def ending_execution(self, entity: Any) -> None:
        with self._lock:
            if self._active is entity:
                self._active = None
