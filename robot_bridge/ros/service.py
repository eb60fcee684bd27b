"""Services."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from robot_bridge.interfaces import MessageError, from_dict, to_dict, type_name
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.context import Context
from robot_bridge.ros.entity import QueueEntity
from robot_bridge.ros.qos import QoSProfile

WAITING = 100
"""Requests that may wait for the callback; older ones are answered with an error."""


class Service(QueueEntity):
    """Answers requests with `callback(request, response)`, which fills in and returns the response.

    A request that is not of the type, or whose callback raises, is answered with an error; fields that are missing
    get their defaults, as in rosbridge_server.
    """

    def __init__(
        self,
        context: Context,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: CallbackGroup | None,
        qos_profile: QoSProfile,
    ) -> None:
        super().__init__(callback_group, WAITING)
        self.srv_type, self.srv_name, self.callback, self.qos_profile = srv_type, srv_name, callback, qos_profile
        self._offer = context.transport.advertise_service(srv_name, type_name(srv_type), self._receive)

    @property
    def service_name(self) -> str:
        return self.srv_name

    def _receive(self, values: dict[str, Any], respond: Any) -> None:
        lost = self._put((values, respond))
        if lost is not None:
            lost[1](None, f"{self.srv_name} is busy: {WAITING} requests wait")

    def _handle(self, item: Any) -> Any:
        values, respond = item
        try:
            request = from_dict(self.srv_type.Request, values or {}, partial=True)
        except MessageError as error:
            respond(None, str(error))
            return None
        try:
            response = self.callback(request, self.srv_type.Response())
            if inspect.iscoroutine(response):
                return self._finish(response, respond)
            self._answer(response, respond)
        except BaseException as error:
            respond(None, f"{type(error).__name__}: {error}")
            raise
        return None

    async def _finish(self, coroutine: Any, respond: Any) -> None:
        try:
            self._answer(await coroutine, respond)
        except BaseException as error:
            respond(None, f"{type(error).__name__}: {error}")
            raise

    def _answer(self, response: Any, respond: Any) -> None:
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(f"{self.srv_name}: callback returned {type(response)}, expected {self.srv_type.Response}")
        respond(to_dict(response), None)

    def _destroy(self) -> None:
        self._offer.close()
        while self._queue:
            self._queue.popleft()[1](None, f"{self.srv_name} was destroyed")
