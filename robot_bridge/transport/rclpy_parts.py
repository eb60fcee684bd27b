"""What `RclpyTransport` is made of: conversion between two sets of message classes, declarations, answers and goals."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from robot_bridge.transport import GoalStatus, Message

if TYPE_CHECKING:
    from robot_bridge.transport.rclpy import RclpyTransport

_ELEMENT = re.compile(r"(?:sequence<)?([\w/]+)")


def convert(message: Any, find: Callable[[str], Any], cls: Any) -> Any:
    """`message` as an instance of `cls`: the same type in another set of classes, which `find` gives by name.

    Raises:
        AttributeError: their fields differ: another distribution's definition.
    """
    if type(message) is cls:
        return message
    result = cls()
    for name, text in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        element = _ELEMENT.match(text)
        if element is not None and "/" in element[1]:
            nested = find(element[1].replace("/", "/msg/"))
            many = text != element[1]
            value = [convert(v, find, nested) for v in value] if many else convert(value, find, nested)
        setattr(result, name, value)
    return result


class Closer:
    def __init__(self, close: Callable[[], None]) -> None:
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()


class Part:
    """Something declared, that is made anew with every start."""

    def __init__(self, transport: RclpyTransport, make: Callable[[Any], Callable[[], None]]) -> None:
        self._transport, self._make = transport, make
        self.undo: Callable[[], None] | None = None

    def open(self) -> None:
        self.undo = self._make(self._transport.node)


class Respond:
    def __init__(self, transport: RclpyTransport, ours: Any, theirs: Any) -> None:
        self._transport, self._ours, self._theirs = transport, ours, theirs
        self.future = transport.future()
        self._once = threading.Lock()

    def __call__(self, values: Message | None, error: str | None = None) -> bool:
        if values is None:
            fields = self._ours.get_fields_and_field_types()
            values = {"message": error or ""} if {"success", "message"} <= fields.keys() else {}
        response = self._transport.outward(values, self._ours, self._theirs)
        if not self._once.acquire(blocking=False):
            return False
        self.future.set_result(response)
        self._transport.wake()
        return True


class Goal:
    """A goal that we sent; its methods run on the I/O thread."""

    def __init__(self, transport: RclpyTransport, id: str, action: str, ours: Any, feedback: Any, result: Any) -> None:
        self._transport, self.id, self._action, self._ours = transport, id, action, ours
        self._feedback, self._result = feedback, result
        self._once = threading.Lock()
        self._handle: Any = None
        self._cancelled = False
        self.heard = self.ended = False

    def finish(self, values: Message | None, status: int, error: str | None) -> None:
        if self._once.acquire(blocking=False):
            self.ended = True
            self._transport.under_way.pop(self.id, None)
            self._transport.goals.pop(self.id, None)
            text = None if error is None else f"{self._action}: {error}"
            self._transport.post(self._result, values, status, text)

    def expire(self, reason: str) -> None:
        if not self.ended:
            self.cancel()
            self.finish(None, GoalStatus.UNKNOWN, reason)

    def cancel(self) -> None:
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel_goal_async()

    def fed_back(self, message: Any) -> None:
        self.heard = True
        if self._feedback is not None and not self.ended:
            values = self._transport.inward(message.feedback, self._ours.Feedback)
            self._transport.guard(f"feedback of {self._action}", self._feedback, values)

    def answered(self, future: Any) -> None:
        handle = future.result()
        if not handle.accepted:
            self.finish(None, GoalStatus.UNKNOWN, "the goal was rejected")
            return
        self._handle = handle
        if self._cancelled:
            handle.cancel_goal_async()
        handle.get_result_async().add_done_callback(self._done)

    def _done(self, future: Any) -> None:
        self.heard = True
        outcome = future.result()
        self.finish(self._transport.inward(outcome.result, self._ours.Result), outcome.status, None)


class ServedGoal:
    """A goal at an action server of ours; see `GoalHandle`."""

    def __init__(self, transport: RclpyTransport, goal_handle: Any, ours: Any, theirs: Any) -> None:
        self._transport, self._goal, self._ours, self._theirs = transport, goal_handle, ours, theirs
        self.goal_id = bytes(goal_handle.goal_id.uuid).hex()
        self.ended = transport.future()
        self._once = threading.Lock()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.cancel_requested = False

    def on_cancel(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self.cancel_requested:
                self._callbacks.append(callback)
                return
        self._transport.post(callback)

    def cancel(self) -> None:
        with self._lock:
            self.cancel_requested = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._transport.guard("a cancel callback", callback)

    def feedback(self, values: Message) -> bool:
        message = self._transport.outward(values, self._ours.Feedback, self._theirs.Feedback)
        if self.ended.done() or not self._transport.connected:
            self._transport.counters.add("dropped.answer")
            return False
        self._goal.publish_feedback(message)
        return True

    def result(self, values: Message | None, status: int, error: str | None = None) -> bool:
        if values is None:
            fields = self._ours.Result.get_fields_and_field_types()
            values = {"error_string": error} if error and "error_string" in fields else {}
        message = self._transport.outward(values, self._ours.Result, self._theirs.Result)
        if not self._once.acquire(blocking=False):
            return False
        self.ended.set_result((status, message))
        self._transport.wake()
        return True
