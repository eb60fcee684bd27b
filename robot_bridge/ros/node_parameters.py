"""What nodes do with parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from robot_bridge.interfaces import get_interface, to_dict
from robot_bridge.ros.clock import Clock
from robot_bridge.ros.context import Context
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.parameters import Parameters
from robot_bridge.ros.publisher import Publisher


class NodeParameters(ABC):
    """The part of `Node` that declares, gets and sets parameters."""

    _parameters: Parameters
    _parameter_events: Publisher | None
    _context: Context
    _clock: Clock

    @abstractmethod
    def get_fully_qualified_name(self) -> str:
        """The node's name after its namespace."""

    def declare_parameter(
        self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False
    ) -> Parameter:
        """Declare a parameter; its value is `value` (or a `Parameter.Type`: to be set) unless an override is given.

        Raises:
            ParameterAlreadyDeclaredException, InvalidParameterException (name), InvalidParameterValueException
            (a descriptor or callback refuses), InvalidParameterTypeException (an override of another type).
        """
        return self._parameters.declare(name, value, descriptor, ignore_override)

    def declare_parameters(
        self, namespace: str, parameters: list[tuple[Any, ...]], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare several, each (name), (name, value) or (name, value, descriptor), behind `namespace.`"""
        prefix = f"{namespace}." if namespace else ""
        result = []
        for entry in parameters:
            if not isinstance(entry, tuple) or not 1 <= len(entry) <= 3 or not isinstance(entry[0], str):
                raise TypeError(
                    f"invalid parameter {entry!r}: expected (name), (name, value) or (name, value, descriptor)"
                )
            name, value, descriptor = (*entry, None, None)[:3]
            result.append(self.declare_parameter(prefix + name, value, descriptor, ignore_override))
        return result

    def undeclare_parameter(self, name: str) -> None:
        self._parameters.undeclare(name)

    def has_parameter(self, name: str) -> bool:
        return self._parameters.has(name)

    def get_parameter(self, name: str) -> Parameter:
        """Raises ParameterNotDeclaredException; ParameterUninitializedException if it has no value yet."""
        return self._parameters.get(name)

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        if not all(isinstance(name, str) for name in names):
            raise TypeError("All names must be instances of type str")
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """The parameter, or if it is not declared or has no value, `alternative_value`."""
        if self.has_parameter(name) and self.get_parameter_type(name) is not Parameter.Type.NOT_SET:
            return self.get_parameter(name)
        return alternative_value if alternative_value is not None else Parameter(name)

    def get_parameter_type(self, name: str) -> Parameter.Type:
        return self._parameters.type(name)

    def get_parameter_types(self, names: list[str]) -> list[Parameter.Type]:
        return [self.get_parameter_type(name) for name in names]

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Those whose names begin with `prefix.`, by the rest of their names."""
        start = f"{prefix}." if prefix else ""
        names = [name for name in self._parameters.names() if name.startswith(start)]
        return {name[len(start) :]: self.get_parameter(name) for name in names}

    def set_parameters(self, parameter_list: list[Parameter]) -> list[Any]:
        """Set one after the other; a SetParametersResult for each.

        Raises:
            ParameterNotDeclaredException: one is not declared, and undeclared ones are not allowed.
        """
        return [self._parameters.set([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Set all or none; one SetParametersResult."""
        return self._parameters.set(parameter_list)

    def list_parameters(self, prefixes: list[str], depth: int) -> Any:
        """Names and prefixes below `prefixes` ([]: all), `depth` levels deep (0: all), as ListParametersResult."""
        if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
            raise TypeError("The prefixes argument must be a list of str")
        if not isinstance(depth, int):
            raise TypeError("The depth must be instance of type int")
        if depth < 0:
            raise ValueError("The depth must be greater than or equal to zero")
        names = [name for name in self._parameters.names() if _listed(name, prefixes, depth)]
        above = dict.fromkeys(name.rpartition(".")[0] for name in names if "." in name)
        return get_interface("rcl_interfaces/msg/ListParametersResult")(names=names, prefixes=list(above))

    def describe_parameter(self, name: str) -> Any:
        return self._parameters.descriptor(name)

    def describe_parameters(self, names: list[str]) -> list[Any]:
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(self, name: str, descriptor: Any, alternative_value: Any = None) -> Any:
        """Give a parameter a new descriptor, and `alternative_value` (ParameterValue) where that is given."""
        return self._parameters.set_descriptor(name, descriptor, alternative_value)

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        """Have `callback(parameters)` allow or refuse changes with a SetParametersResult; the latest is asked first."""
        self._parameters.on_set.insert(0, callback)

    def remove_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self._parameters.on_set.remove(callback)

    def add_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        """Have `callback(parameters)` change what is to be set."""
        self._parameters.pre_set.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        self._parameters.pre_set.remove(callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Have `callback(parameters)` called after they were set."""
        self._parameters.post_set.insert(0, callback)

    def remove_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        self._parameters.post_set.remove(callback)

    def _publish_parameter_event(
        self, new: list[Parameter], changed: list[Parameter], deleted: list[Parameter]
    ) -> None:
        publisher = self._parameter_events
        if publisher is None or publisher._destroyed or not self._context.ok() or not (new or changed or deleted):
            return
        event = publisher.msg_type(node=self.get_fully_qualified_name(), stamp=self._clock.now().to_msg())
        event.new_parameters = [p.to_parameter_msg() for p in new]
        event.changed_parameters = [p.to_parameter_msg() for p in changed]
        event.deleted_parameters = [p.to_parameter_msg() for p in deleted]
        values = to_dict(event, allow_nan=True)
        publisher._transport.publish(publisher.topic, values)


def _listed(name: str, prefixes: list[str], depth: int) -> bool:
    """Whether a name lies below one of the prefixes (none: everything), at most `depth` levels (0: any) deep."""
    if not prefixes:
        return depth == 0 or name.count(".") < depth
    for prefix in prefixes:
        rest = name[len(prefix) + 1 :]
        if name == prefix or (name.startswith(f"{prefix}.") and (depth == 0 or rest.count(".") < depth)):
            return True
    return False
