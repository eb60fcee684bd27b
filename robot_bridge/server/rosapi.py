"""The services under /rosapi, as the clients' libraries call them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from robot_bridge.server.graph import Graph
from robot_bridge.server.wire import MAX_NAME, ProtocolError, full_name, full_type

NODE = "/rosbridge_websocket"
"""All clients appear as this node, as behind a rosbridge_server."""

Definitions = Callable[[str], list[dict[str, Any]]]
"""Gives for a type its rosapi_msgs/msg/TypeDef (type, fieldnames, fieldtypes, fieldarraylen, examples, constnames,
constvalues) and those of the types in it; raises ValueError for unknown ones. The request of a service is
`std_srvs/srv/SetBool_Request`."""

Values = dict[str, Any]


MAX_PARAMETERS = 1_000
MAX_PARAMETER = 64 * 1024  # characters of one value


class RosApiError(Exception):
    """A call that failed; the message goes to the caller."""


class RosApi:
    """Answers from the graph. Parameters are kept in memory, for as long as the server runs."""

    def __init__(self, graph: Graph, definitions: Definitions | None) -> None:
        self._graph = graph
        self._definitions = definitions
        self._parameters: dict[str, str] = {}
        self._services: dict[str, tuple[str, Callable[[Values], Values]]] = {
            "topics": ("Topics", self._topics),
            "topic_type": ("TopicType", lambda a: {"type": dict(graph.names("topics")).get(_name(a, "topic"), "")}),
            "topics_for_type": ("TopicsForType", lambda a: {"topics": self._of_type("topics", a, "msg")}),
            "topics_and_raw_types": ("TopicsAndRawTypes", self._raw_types),
            "publishers": ("Publishers", lambda a: {"publishers": self._ends(a, "publishers")}),
            "subscribers": ("Subscribers", lambda a: {"subscribers": self._ends(a, "subscribers")}),
            "services": ("Services", lambda a: {"services": [name for name, _ in self._all_services()]}),
            "service_type": (
                "ServiceType",
                lambda a: {"type": dict(self._all_services()).get(_name(a, "service"), "")},
            ),
            "services_for_type": ("ServicesForType", lambda a: {"services": self._of_type("services", a, "srv")}),
            "service_request_details": ("ServiceRequestDetails", lambda a: self._details(a, "srv", "_Request")),
            "service_response_details": ("ServiceResponseDetails", lambda a: self._details(a, "srv", "_Response")),
            "message_details": ("MessageDetails", lambda a: self._details(a, "msg", "")),
            "action_servers": (
                "GetActionServers",
                lambda a: {"action_servers": [name for name, _ in graph.names("actions")]},
            ),
            "action_type": (
                "ActionType",
                lambda a: {"type": dict(graph.names("actions")).get(_name(a, "action"), "")},
            ),
            "nodes": ("Nodes", lambda a: {"nodes": ["/rosapi", NODE]}),
            "node_details": ("NodeDetails", self._node_details),
            "get_time": ("GetTime", self._time),
            "get_param": ("GetParam", self._get_parameter),
            "set_param": ("SetParam", self._set_parameter),
            "has_param": ("HasParam", lambda a: {"exists": _text(a, "name") in self._parameters}),
            "delete_param": ("DeleteParam", self._delete_parameter),
            "get_param_names": ("GetParamNames", lambda a: {"names": sorted(self._parameters)}),
        }

    def offers(self, name: str) -> bool:
        """Whether the service `name` is one of these."""
        return name.startswith("/rosapi/") and name.removeprefix("/rosapi/") in self._services

    def call(self, name: str, args: Values | list[Any]) -> Values:
        """The response to a call.

        Raises:
            RosApiError: the request lacks something, or asks for something unknown.
        """
        _, function = self._services[name.removeprefix("/rosapi/")]
        try:
            return function(args if isinstance(args, dict) else {})
        except ProtocolError as error:
            raise RosApiError(str(error)) from None

    def _all_services(self) -> list[tuple[str, str]]:
        own = [(f"/rosapi/{name}", f"rosapi_msgs/srv/{type}") for name, (type, _) in self._services.items()]
        return sorted([*self._graph.names("services"), *own])

    def _topics(self, args: Values) -> Values:
        pairs = self._graph.names("topics")
        return {"topics": [name for name, _ in pairs], "types": [type for _, type in pairs]}

    def _raw_types(self, args: Values) -> Values:
        return self._topics(args) | {"typedefs_full_text": ["" for _ in self._graph.names("topics")]}

    def _of_type(self, kind: str, args: Values, part: str) -> list[str]:
        wanted = full_type(_text(args, "type"), part)
        pairs = self._all_services() if kind == "services" else self._graph.names(kind)
        return [name for name, type in pairs if type == wanted]

    def _ends(self, args: Values, kind: str) -> list[str]:
        topic = self._graph.topics.get(_name(args, "topic"))
        return [NODE] if topic and getattr(topic, kind) else []

    def _node_details(self, args: Values) -> Values:
        if _name(args, "node") != NODE:
            return {"subscribing": [], "publishing": [], "services": []}
        topics = self._graph.topics.values()
        return {
            "subscribing": sorted(topic.name for topic in topics if topic.subscribers),
            "publishing": sorted(topic.name for topic in topics if topic.publishers),
            "services": [name for name, _ in self._graph.names("services")],
        }

    def _details(self, args: Values, kind: str, part: str) -> Values:
        type = full_type(_text(args, "type"), kind)
        if self._definitions is None:
            raise RosApiError("this server was started without definitions of types")
        try:
            return {"typedefs": self._definitions(f"{type}{part}")}
        except ValueError as error:
            raise RosApiError(str(error)) from None

    def _time(self, args: Values) -> Values:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        return {"time": {"sec": seconds, "nanosec": nanoseconds}}

    def _get_parameter(self, args: Values) -> Values:
        name = _text(args, "name")
        if name in self._parameters:
            return {"value": self._parameters[name], "successful": True, "reason": ""}
        default = args.get("default_value") or "null"
        return {"value": default, "successful": False, "reason": f"parameter {name} is not set"}

    def _set_parameter(self, args: Values) -> Values:
        name, value = _text(args, "name"), _text(args, "value")
        try:
            json.loads(value)
        except (ValueError, RecursionError) as error:
            return {"successful": False, "reason": f"the value of {name} is no JSON: {error}"}
        if len(value) > MAX_PARAMETER or (name not in self._parameters and len(self._parameters) >= MAX_PARAMETERS):
            reason = f"at most {MAX_PARAMETERS} parameters of {MAX_PARAMETER} characters each are kept"
            return {"successful": False, "reason": reason}
        self._parameters[name] = value
        return {"successful": True, "reason": ""}

    def _delete_parameter(self, args: Values) -> Values:
        name = _text(args, "name")
        known = self._parameters.pop(name, None) is not None
        return {"successful": known, "reason": "" if known else f"parameter {name} is not set"}


def _text(args: Values, field: str) -> str:
    value = args.get(field)
    if not isinstance(value, str):
        raise RosApiError(f"the request's '{field}' is missing, or no string")
    if field == "name" and len(value) > MAX_NAME:
        raise RosApiError(f"the request's '{field}' has {len(value)} characters: expected at most {MAX_NAME}")
    return value


def _name(args: Values, field: str) -> str:
    return full_name(_text(args, field))
