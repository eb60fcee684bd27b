"""Parameters of another node."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.callback_groups import CallbackGroup
from robot_bridge.ros.client import Client
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.parameter_files import covers, read
from robot_bridge.ros.qos import QoSProfile, qos_profile_services_default
from robot_bridge.ros.task import Future

SERVICES = {
    "list_parameters": "ListParameters",
    "get_parameters": "GetParameters",
    "get_parameter_types": "GetParameterTypes",
    "set_parameters": "SetParameters",
    "set_parameters_atomically": "SetParametersAtomically",
    "describe_parameters": "DescribeParameters",
}
Callback = Callable[[Future[Any]], None]


class AsyncParameterClient:
    """Lists, gets and sets the parameters of the node `remote_node_name`. Every method returns a future of the
    service's response, and has `callback(future)` called when it is done."""

    def __init__(
        self,
        node: Node,
        remote_node_name: str,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        self.remote_node_name = remote_node_name
        self._full_name = node.resolve_service_name(remote_node_name)
        self._clients: dict[str, Client] = {
            path: node.create_client(
                get_interface(f"rcl_interfaces/srv/{kind}"),
                f"{remote_node_name}/{path}",
                qos_profile=qos_profile,
                callback_group=callback_group,
            )
            for path, kind in SERVICES.items()
        }

    def services_are_ready(self) -> bool:
        """Whether all six services are offered."""
        return all(client.service_is_ready() for client in self._clients.values())

    def wait_for_services(self, timeout_sec: float | None = None) -> bool:
        """Wait until they are; returns whether they are."""
        end = None if timeout_sec is None else time.monotonic() + timeout_sec
        return all(
            client.wait_for_service(None if end is None else max(0.0, end - time.monotonic()))
            for client in self._clients.values()
        )

    def list_parameters(
        self, prefixes: list[str] | None = None, depth: int | None = None, callback: Callback | None = None
    ) -> Future[Any]:
        return self._call("list_parameters", callback, prefixes=prefixes or [], depth=depth or 0)

    def get_parameters(self, names: list[str], callback: Callback | None = None) -> Future[Any]:
        return self._call("get_parameters", callback, names=names)

    def get_parameter_types(self, names: list[str], callback: Callback | None = None) -> Future[Any]:
        return self._call("get_parameter_types", callback, names=names)

    def describe_parameters(self, names: list[str], callback: Callback | None = None) -> Future[Any]:
        return self._call("describe_parameters", callback, names=names)

    def set_parameters(self, parameters: Sequence[Any], callback: Callback | None = None) -> Future[Any]:
        """`parameters`: of `rclpy.parameter.Parameter`, or rcl_interfaces/msg/Parameter."""
        return self._call("set_parameters", callback, parameters=_messages(parameters))

    def set_parameters_atomically(self, parameters: Sequence[Any], callback: Callback | None = None) -> Future[Any]:
        """All or none."""
        return self._call("set_parameters_atomically", callback, parameters=_messages(parameters))

    def delete_parameters(self, names: list[str], callback: Callback | None = None) -> Future[Any]:
        """Give them no value; allowed for those of dynamic type."""
        return self.set_parameters([Parameter(name) for name in names], callback)

    def load_parameter_file(
        self, parameter_file: str, use_wildcard: bool = False, callback: Callback | None = None
    ) -> Future[Any]:
        """Set what a file has for this node; with `use_wildcard` also what it has under names with `*`."""
        given = {
            name: value
            for node, name, value in read(Path(parameter_file))
            if covers(node, self._full_name) and (use_wildcard or "*" not in node)
        }
        return self.set_parameters([Parameter(name, value=value) for name, value in given.items()], callback)

    def _call(self, path: str, callback: Callback | None, **fields: Any) -> Future[Any]:
        client = self._clients[path]
        future = client.call_async(client.srv_type.Request(**fields))
        if callback is not None:
            future.add_done_callback(callback)
        return future


def _messages(parameters: Sequence[Any]) -> list[Any]:
    return [p.to_parameter_msg() if isinstance(p, Parameter) else p for p in parameters]
