"""Parameters and their values."""

from __future__ import annotations

from array import array
from enum import Enum
from typing import Any

import numpy as np

from robot_bridge.interfaces import get_interface

PARAMETER_SEPARATOR_STRING = "."


class Parameter:
    """A name and a value of one of ROS's types; the type follows from the value where it is not given.

    Raises:
        TypeError: no such type, or a value that is none of them.
        ValueError: the value is not of `type_`.
    """

    class Type(Enum):
        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> Parameter.Type:
            """The type that a Python value has as a parameter."""
            if parameter_value is None:
                return cls.NOT_SET
            if isinstance(parameter_value, bool):
                return cls.BOOL
            for kind, result in ((int, cls.INTEGER), (float, cls.DOUBLE), (str, cls.STRING)):
                if isinstance(parameter_value, kind):
                    return result
            if isinstance(parameter_value, list | tuple | array | np.ndarray):
                items = list(parameter_value)
                for kinds, result in (
                    (bytes, cls.BYTE_ARRAY),
                    (bool, cls.BOOL_ARRAY),
                    (int, cls.INTEGER_ARRAY),
                    (float, cls.DOUBLE_ARRAY),
                    (str, cls.STRING_ARRAY),
                ):
                    if all(isinstance(item, kinds) for item in items):
                        return result
            raise TypeError(f"The given value is not one of the allowed types '{parameter_value}'.")

        def check(self, parameter_value: Any) -> bool:
            """Whether a value is of this type."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            is_array = isinstance(parameter_value, list | tuple | array | np.ndarray)
            if self.name.endswith("_ARRAY") and is_array and len(parameter_value) == 0:
                return True
            try:
                return Parameter.Type.from_parameter_value(parameter_value) is self
            except TypeError:
                return False

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of {Parameter.Type!r}")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_, self._name, self._value = type_, name, value

    @property
    def name(self) -> str:
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        return self._type_

    @property
    def value(self) -> Any:
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return False
        return (self.name, self.type_, _plain(self.value)) == (other.name, other.type_, _plain(other.value))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Parameter(name={self._name!r}, type={self._type_.name}, value={self._value!r})"

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> Parameter:
        """From rcl_interfaces/msg/Parameter."""
        type_ = cls.Type(param_msg.value.type)
        return cls(param_msg.name, type_, parameter_value_to_python(param_msg.value))

    def get_parameter_value(self) -> Any:
        """The value as rcl_interfaces/msg/ParameterValue."""
        message = get_interface("rcl_interfaces/msg/ParameterValue")(type=self._type_.value)
        if field := _FIELDS.get(self._type_):
            setattr(message, field, _plain(self._value))
        return message

    def to_parameter_msg(self) -> Any:
        """As rcl_interfaces/msg/Parameter."""
        return get_interface("rcl_interfaces/msg/Parameter")(name=self._name, value=self.get_parameter_value())


_FIELDS = {
    Parameter.Type.BOOL: "bool_value",
    Parameter.Type.INTEGER: "integer_value",
    Parameter.Type.DOUBLE: "double_value",
    Parameter.Type.STRING: "string_value",
    Parameter.Type.BYTE_ARRAY: "byte_array_value",
    Parameter.Type.BOOL_ARRAY: "bool_array_value",
    Parameter.Type.INTEGER_ARRAY: "integer_array_value",
    Parameter.Type.DOUBLE_ARRAY: "double_array_value",
    Parameter.Type.STRING_ARRAY: "string_array_value",
}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | array | np.ndarray) else value


def parameter_value_to_python(parameter_value: Any) -> Any:
    """The Python value of an rcl_interfaces/msg/ParameterValue.

    Raises:
        RuntimeError: an unknown type.
    """
    try:
        kind = Parameter.Type(parameter_value.type)
    except ValueError:
        raise RuntimeError(f"unexpected parameter type {parameter_value.type}") from None
    return _plain(getattr(parameter_value, _FIELDS[kind])) if kind in _FIELDS else None


__all__ = ["PARAMETER_SEPARATOR_STRING", "Parameter", "parameter_value_to_python"]
