"""A node's parameters: what is declared, allowed and set. `Node` and the parameter services ask this."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from robot_bridge.ros.parameter import Parameter

Type = Parameter.Type
OnSet = Callable[[list[Parameter]], Any]


@dataclass
class _Declared:
    parameter: Parameter
    descriptor: Any


class Parameters:
    """Declared parameters with descriptors. `changed(new, changed, deleted)` is told after every change."""

    def __init__(
        self,
        overrides: dict[str, Parameter],
        allow_undeclared: bool,
        changed: Callable[[list[Parameter], list[Parameter], list[Parameter]], None],
    ) -> None:
        self._declared: dict[str, _Declared] = {}
        self.overrides = overrides
        self._allow_undeclared = allow_undeclared
        self._changed = changed
        self._lock = threading.RLock()
        self.on_set: list[OnSet] = []
        self.pre_set: list[Callable[[list[Parameter]], list[Parameter]]] = []
        self.post_set: list[Callable[[list[Parameter]], None]] = []

    # Declaring --------------------------------------------------------------------------------------------------------

    def declare(self, name: str, value: Any, descriptor: Any, ignore_override: bool) -> Parameter:
        """See `Node.declare_parameter`."""
        if not isinstance(name, str) or not name.strip():
            raise InvalidParameterException(name)
        with self._lock:
            if name in self._declared:
                raise ParameterAlreadyDeclaredException(name)
            parameter, descriptor = self._initial(name, value, descriptor, ignore_override)
            self._declared[name] = _Declared(Parameter(name), descriptor)
            result = self._refusal([parameter], declaring=True)
            if not result.successful:
                del self._declared[name]
                if parameter.type_ is not Type.NOT_SET and descriptor.type not in (0, parameter.type_.value):
                    raise InvalidParameterTypeException(parameter, Type(descriptor.type).name)
                raise InvalidParameterValueException(name, parameter.value, result.reason)
            self._declared[name].parameter = parameter
        for callback in self.post_set:
            callback([parameter])
        if parameter.type_ is not Type.NOT_SET:
            self._changed([parameter], [], [])
        return parameter

    def _initial(self, name: str, value: Any, descriptor: Any, ignore_override: bool) -> tuple[Parameter, Any]:
        given = descriptor
        descriptor = get_interface("rcl_interfaces/msg/ParameterDescriptor")() if descriptor is None else given
        descriptor.name = name
        if isinstance(value, Type):
            if value is Type.NOT_SET:
                raise ValueError(f"Cannot declare parameter {{{name}}} as statically typed of type NOT_SET")
            if descriptor.dynamic_typing:
                raise ValueError(f"When declaring parameter {{{name}}} give either a type or dynamic_typing, not both")
            descriptor.type = value.value
            parameter = Parameter(name)
        else:
            parameter = Parameter(name, value=value)
            if value is None and not descriptor.dynamic_typing and given is None:
                warnings.warn(
                    f"declaring the parameter '{name}' by its name only is deprecated: give a default value, a "
                    "Parameter.Type, or a descriptor with dynamic_typing",
                    stacklevel=4,
                )
                descriptor.dynamic_typing = True
            if not descriptor.dynamic_typing:
                if value is None:
                    raise ValueError(f"Cannot declare parameter {{{name}}} as statically typed without a value or type")
                descriptor.type = parameter.type_.value
        if not ignore_override and name in self.overrides:
            parameter = self.overrides[name]
        return parameter, descriptor

    def undeclare(self, name: str) -> None:
        with self._lock:
            known = self._known(name)
            if known.descriptor.read_only:
                raise ParameterImmutableException(name)
            del self._declared[name]

    # Asking -----------------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self._declared

    def names(self) -> list[str]:
        return list(self._declared)

    def get(self, name: str) -> Parameter:
        with self._lock:
            if name not in self._declared and self._allow_undeclared:
                return Parameter(name)
            known = self._known(name)
            if known.parameter.type_ is Type.NOT_SET and not known.descriptor.dynamic_typing:
                raise ParameterUninitializedException(name)
            return known.parameter

    def type(self, name: str) -> Parameter.Type:
        if name not in self._declared and self._allow_undeclared:
            return Type.NOT_SET
        return self._known(name).parameter.type_

    def descriptor(self, name: str) -> Any:
        if name not in self._declared and self._allow_undeclared:
            return get_interface("rcl_interfaces/msg/ParameterDescriptor")(name=name)
        return self._known(name).descriptor

    def set_descriptor(self, name: str, descriptor: Any, alternative: Any) -> Any:
        """See `Node.set_descriptor`."""
        with self._lock:
            known = self._known(name)
            if known.descriptor.read_only:
                raise ParameterImmutableException(name)
            descriptor.name = name
            descriptor.type = known.descriptor.type
            before, known.descriptor = known.descriptor, descriptor
            parameter = known.parameter
            if alternative is not None:
                parameter = Parameter.from_parameter_msg(
                    get_interface("rcl_interfaces/msg/Parameter")(name=name, value=alternative)
                )
            result = self._refusal([parameter], declaring=True)
            if not result.successful:
                known.descriptor = before
                raise InvalidParameterValueException(name, parameter.value, result.reason)
            known.parameter = parameter
        return self._declared[name].parameter.get_parameter_value()

    def _known(self, name: str) -> _Declared:
        try:
            return self._declared[name]
        except KeyError:
            raise ParameterNotDeclaredException(name) from None

    # Setting ----------------------------------------------------------------------------------------------------------

    def set(self, parameters: Iterable[Parameter]) -> Any:
        """Set all, or none; returns rcl_interfaces/msg/SetParametersResult.

        Raises:
            ParameterNotDeclaredException: one is not declared, and undeclared ones are not allowed.
        """
        batch = list(parameters)
        for change in self.pre_set:
            batch = list(change(batch))
        if not batch and self.pre_set:
            reason = "parameter list cannot be empty: a pre-set callback took everything away"
            return get_interface("rcl_interfaces/msg/SetParametersResult")(successful=False, reason=reason)
        new: list[Parameter] = []
        changed: list[Parameter] = []
        deleted: list[Parameter] = []
        with self._lock:
            if missing := [p.name for p in batch if p.name not in self._declared and not self._allow_undeclared]:
                raise ParameterNotDeclaredException(missing)
            result = self._refusal(batch)
            if not result.successful:
                return result
            for parameter in batch:
                known = self._declared.get(parameter.name)
                if parameter.type_ is Type.NOT_SET and known is not None and known.descriptor.dynamic_typing:
                    deleted.append(self._declared.pop(parameter.name).parameter)
                elif known is None:
                    descriptor = get_interface("rcl_interfaces/msg/ParameterDescriptor")
                    self._declared[parameter.name] = _Declared(
                        parameter, descriptor(name=parameter.name, dynamic_typing=True)
                    )
                    new.append(parameter)
                else:
                    (changed if known.parameter.type_ is not Type.NOT_SET else new).append(parameter)
                    known.parameter = parameter
        for callback in self.post_set:
            callback(batch)
        self._changed(new, changed, deleted)
        return result

    def _refusal(self, batch: list[Parameter], declaring: bool = False) -> Any:
        """Whether these may be set: the descriptors' word, then the callbacks'."""
        result = get_interface("rcl_interfaces/msg/SetParametersResult")
        for parameter in batch:
            known = self._declared.get(parameter.name)
            reason = _objection(parameter, known.descriptor, declaring) if known is not None else ""
            if reason:
                return result(successful=False, reason=reason)
        for callback in list(self.on_set):
            answer = callback(batch)
            if not isinstance(answer, result):
                raise TypeError(f"a parameter callback returned {type(answer)}, expected SetParametersResult")
            if not answer.successful:
                return answer
        return result(successful=True)


def _objection(parameter: Parameter, descriptor: Any, declaring: bool) -> str:
    name, value, kind = parameter.name, parameter.value, parameter.type_
    if descriptor.read_only and not declaring:
        return f"Trying to set a read-only parameter: {name}."
    if kind is Type.NOT_SET:
        if descriptor.dynamic_typing or declaring:
            return ""
        return "Static parameter cannot be undeclared"
    if descriptor.type and not descriptor.dynamic_typing and kind.value != descriptor.type:
        return f"Wrong parameter type, expected '{Type(descriptor.type)}' got '{kind}'"
    for allowed, wanted in ((descriptor.integer_range, Type.INTEGER), (descriptor.floating_point_range, Type.DOUBLE)):
        if kind is wanted and len(allowed) and (reason := _out_of_range(value, allowed[0], name)):
            return reason
    return ""


def _out_of_range(value: float, allowed: Any, name: str) -> str:
    low, high, step = allowed.from_value, allowed.to_value, allowed.step
    close = 1e-9 * max(1.0, abs(low), abs(high)) if isinstance(value, float) else 0
    if not low - close <= value <= high + close:
        return f"Parameter {name} out of range. Min: {low}, Max: {high}, value: {value}"
    if step and abs(value - high) > close:
        rest = (value - low) % step
        if min(rest, step - rest) > close:
            return f"{value} for parameter {name} is not a valid step. Min: {low}, max: {high}, step: {step}"
    return ""
