"""rclpy's exceptions, by its names."""

from __future__ import annotations

from typing import Any


class NotInitializedException(Exception):
    """`init` was not called, or the context was shut down."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.init() has not been called", *args)


class NoTypeSupportImportedException(Exception):
    """Never raised here: classes need no type support."""


class ROSInterruptException(Exception):
    """A sleep ended because the context was shut down."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.shutdown() has been called", *args)


class InvalidHandle(RuntimeError):
    """A publisher, subscription … was used after it was destroyed."""


class RCLError(RuntimeError):
    """What rclpy's C++ part raises, such as publishing in a context that was shut down."""


class ServiceError(RuntimeError):
    """A call that got no response: no such service, a time-out, a lost connection, or a refusal with its reason.

    rclpy has no such thing, its futures just never complete.
    """


class NameValidationException(Exception):
    """A name that breaks ROS's rules; `invalid_index` is where."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        mark = " " * invalid_index + "^"
        super().__init__(f"Invalid {name_type}: {error_msg}:\n  '{name}'\n   {mark}", *args)
        self.name_type, self.name, self.error_msg, self.invalid_index = name_type, name, error_msg, invalid_index


class InvalidNamespaceException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("namespace", name, error_msg, invalid_index, *args)


class InvalidNodeNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("node name", name, error_msg, invalid_index, *args)


class InvalidTopicNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("topic name", name, error_msg, invalid_index, *args)


class InvalidServiceNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("service name", name, error_msg, invalid_index, *args)


class ParameterException(Exception):
    """Base of what goes wrong with parameters."""

    def __init__(self, error_msg: str, parameters: Any, *args: Any) -> None:
        super().__init__(f"{error_msg}: {parameters}", *args)


class ParameterNotDeclaredException(ParameterException):
    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Invalid access to undeclared parameter(s)", parameters, *args)


class ParameterAlreadyDeclaredException(ParameterException):
    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Parameter(s) already declared", parameters, *args)


class InvalidParameterException(ParameterException):
    def __init__(self, parameter: str, *args: Any) -> None:
        super().__init__("Invalid parameter name", parameter, *args)


class InvalidParameterTypeException(ParameterException):
    def __init__(self, desired_parameter: Any, expected_type: str, *args: Any) -> None:
        Exception.__init__(
            self,
            f"Trying to set parameter '{desired_parameter.name}' to '{desired_parameter.value}' of type "
            f"'{desired_parameter.type_.name}', expecting type '{expected_type}'",
            *args,
        )


class ParameterUninitializedException(ParameterException):
    def __init__(self, parameter_name: str, *args: Any) -> None:
        Exception.__init__(self, f"The parameter '{parameter_name}' is not initialized", *args)


class InvalidParameterValueException(ParameterException):
    def __init__(self, parameter: str, value: Any, reason: str = "", *args: Any) -> None:
        why = f": {reason}" if reason else ""
        Exception.__init__(self, f"Invalid parameter value ({value}) for parameter '{parameter}'{why}", *args)


class ParameterImmutableException(ParameterException):
    def __init__(self, parameter: str, *args: Any) -> None:
        super().__init__("Attempted to modify read-only parameter", parameter, *args)
