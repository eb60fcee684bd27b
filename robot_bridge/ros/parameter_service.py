"""The services by which others list, get and set a node's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from robot_bridge.ros.node_parameters import NodeParameters
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.qos import qos_profile_parameters


class ParameterService:
    """Offers ~/list_parameters and its five siblings; `create_service` is the node's."""

    def __init__(self, parameters: NodeParameters, create_service: Callable[..., Any]) -> None:
        self._parameters = parameters
        for name, answer in (
            ("DescribeParameters", self._describe),
            ("GetParameters", self._get),
            ("GetParameterTypes", self._types),
            ("ListParameters", self._list),
            ("SetParameters", self._set),
            ("SetParametersAtomically", self._set_atomically),
        ):
            path = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
            service = get_interface(f"rcl_interfaces/srv/{name}")
            create_service(service, f"~/{path}", answer, qos_profile=qos_profile_parameters)

    def _describe(self, request: Any, response: Any) -> Any:
        try:
            response.descriptors = self._parameters.describe_parameters(request.names)
        except ParameterNotDeclaredException:
            response.descriptors = []
        return response

    def _get(self, request: Any, response: Any) -> Any:
        try:
            response.values = [self._value(name) for name in request.names]
        except ParameterNotDeclaredException:
            response.values = []
        return response

    def _value(self, name: str) -> Any:
        try:
            return self._parameters.get_parameter(name).get_parameter_value()
        except ParameterUninitializedException:
            return Parameter(name).get_parameter_value()

    def _types(self, request: Any, response: Any) -> Any:
        try:
            response.types = [self._value(name).type for name in request.names]
        except ParameterNotDeclaredException:
            response.types = []
        return response

    def _list(self, request: Any, response: Any) -> Any:
        response.result = self._parameters.list_parameters(request.prefixes, request.depth)
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._try([parameter]) for parameter in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._try(request.parameters)
        return response

    def _try(self, messages: list[Any]) -> Any:
        try:
            return self._parameters.set_parameters_atomically([Parameter.from_parameter_msg(m) for m in messages])
        except (ParameterNotDeclaredException, ValueError) as error:
            return get_interface("rcl_interfaces/msg/SetParametersResult")(successful=False, reason=str(error))
