"""Guard conditions: callbacks that any thread may trigger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.entity import Entity


class GuardCondition(Entity):
    """`trigger` has the callback run once, however often it is called before that."""

    def __init__(self, callback: Callable[[], Any] | None, callback_group: CallbackGroup | None) -> None:
        super().__init__(callback_group)
        self.callback = callback
        self._triggered = False

    def trigger(self) -> None:
        self._triggered = True
        self._wake()

    def _is_ready(self) -> bool:
        return self._triggered

    def _take(self) -> Callable[[], Any] | None:
        triggered, self._triggered = self._triggered, False
        return (self.callback or (lambda: None)) if triggered else None
