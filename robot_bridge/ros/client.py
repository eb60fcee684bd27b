"""Service clients."""

from __future__ import annotations

import threading
import time
from typing import Any

from robot_bridge.interfaces import MessageError, from_dict, to_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from robot_bridge.ros.context import Context
from robot_bridge.ros.entity import QueueEntity
from robot_bridge.ros.exceptions import ServiceError
from robot_bridge.ros.executors import SingleThreadedExecutor, current_entity
from robot_bridge.ros.qos import QoSProfile
from robot_bridge.ros.rosapi import ask
from robot_bridge.ros.task import Future

POLL = 0.1  # s, between questions whether a service is there


class Client(QueueEntity):
    """Calls a service. A call without response within `response_timeout_sec` fails with `ServiceError`."""

    def __init__(
        self,
        context: Context,
        srv_type: Any,
        srv_name: str,
        qos_profile: QoSProfile,
        callback_group: CallbackGroup | None,
    ) -> None:
        super().__init__(callback_group, depth=1_000_000)  # every response has its future; calls bound them
        self.srv_type, self.srv_name, self.qos_profile = srv_type, srv_name, qos_profile
        self._context = context
        self._transport = context.transport
        self._pending: set[Future[Any]] = set()
        self.response_timeout_sec = 30.0
        """How long to wait for responses; rclpy waits for ever (not in rclpy)."""

    @property
    def service_name(self) -> str:
        return self.srv_name

    def call_async(self, request: Any) -> Future[Any]:
        """Send a request; the future gets the response when the node is spun.

        Raises:
            TypeError: not a request of this service.
        """
        future: Future[Any] = Future()
        self._pending.add(future)
        future.add_done_callback(self.remove_pending_request)
        try:
            self._send(request, lambda values, error: self._put((future, values, error)), self.response_timeout_sec)
        except BaseException:
            self._pending.discard(future)
            raise
        return future

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Send a request and wait for the response.

        Raises:
            TypeError: not a request of this service.
            RuntimeError: called where rclpy would wait for ever: in a callback of the executor that had to receive the
                response. Use `call_async`, or another callback group and a MultiThreadedExecutor.
            TimeoutError: none within `timeout_sec`.
            ServiceError: no response, for another reason.
        """
        executor, entity = current_entity()
        node = self._node() if self._node is not None else None
        if executor is not None and node is not None and node.executor is executor:
            group = entity.callback_group if entity is not None else None
            same = group is self.callback_group and isinstance(group, MutuallyExclusiveCallbackGroup)
            if isinstance(executor, SingleThreadedExecutor) or same:
                raise RuntimeError(
                    f"call of {self.srv_name} in a callback would wait for ever: await call_async instead, or use "
                    "another callback group and a MultiThreadedExecutor"
                )
        ready = threading.Event()
        answer: list[Any] = []

        def done(values: dict[str, Any] | None, error: str | None) -> None:
            answer.extend((values, error))
            ready.set()

        self._send(request, done, self.response_timeout_sec if timeout_sec is None else timeout_sec + 1.0)
        if not ready.wait(timeout_sec):
            raise TimeoutError(f"no response from {self.srv_name} within {timeout_sec} s")
        return self._response(*answer)

    def remove_pending_request(self, future: Future[Any]) -> None:
        """Forget a call: its future stays as it is."""
        self._pending.discard(future)

    def service_is_ready(self) -> bool:
        """Whether somebody offers the service; asks rosapi."""
        return self._offered(2.0)

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Wait until somebody offers the service. Returns whether somebody does."""
        end = None if timeout_sec is None else time.monotonic() + timeout_sec
        pause = threading.Condition()
        with self._context._waking(pause):
            while self._context.ok():
                rest = None if end is None else end - time.monotonic()
                if self._offered(2.0 if rest is None else max(0.05, min(2.0, rest))):
                    return True
                if rest is not None and rest <= 0:
                    return False
                with pause:
                    pause.wait(POLL if rest is None else min(POLL, max(0.0, rest)))
        return False

    def _offered(self, timeout: float) -> bool:
        self._check_alive()
        if not self._transport.connected:
            return False
        return bool(ask(self._transport, "service_type", {"service": self.srv_name}, timeout).get("type"))

    def _send(self, request: Any, done: Any, timeout: float) -> None:
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        self._check_alive()
        self._transport.call_service(self.srv_name, type_name(self.srv_type), to_dict(request), done, timeout)

    def _response(self, values: dict[str, Any] | None, error: str | None) -> Any:
        if values is None:
            raise ServiceError(f"{self.srv_name}: {error}")
        try:
            return from_dict(self.srv_type.Response, values, allow_nan=True, partial=True)
        except MessageError as wrong:
            raise ServiceError(f"{self.srv_name}: {wrong}") from None

    def _handle(self, item: Any) -> None:
        future, values, error = item
        if future not in self._pending:
            return
        try:
            future.set_result(self._response(values, error))
        except ServiceError as failed:
            future.set_exception(failed)

    def _destroy(self) -> None:
        for future in list(self._pending):
            future.cancel()
