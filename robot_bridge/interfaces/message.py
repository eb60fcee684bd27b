"""The classes of messages, services and actions, made from definitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from rosbags.typesys.base import normalize_fieldname

from robot_bridge.errors import UserError
from robot_bridge.interfaces.fields import FILLER, MISSING, Codec, Refused

Getter = Callable[[Any], Any]
Setter = Callable[[Any, Any], None]


class FieldError(AssertionError):
    """A field was given what it cannot hold, or there is no such field. As in rclpy an `AssertionError`."""


class MessageError(ValueError):
    """Not a message of that type. The text names the type and the path: `position[3]: expected float, got str`."""


class Message:
    """Base of all message classes. They behave like rosidl's: keyword arguments, checked assignment, `__slots__`."""

    __slots__ = ()

    __msgtype__: ClassVar[str] = ""  # pkg/msg/Name, as on the wire
    __codecs__: ClassVar[Mapping[str, Codec]] = {}
    __plan__: ClassVar[list[tuple[str, Getter, Setter, Codec]]] = []
    __bag_class__: ClassVar[Callable[[], Any]]
    __shorthand__: ClassVar[Callable[[Any], Any] | None] = None
    """What clients of a rosbridge_server may write instead of all fields -> the fields."""

    def __init__(self, **fields: Any) -> None:
        for name in fields:
            if name not in self.__codecs__:
                known = ", ".join(self.__codecs__) or "none"
                raise FieldError(f"{self.__msgtype__} has no field '{name}': its fields are {known}")
        for name, _, put, codec in self.__plan__:
            if name in fields:
                self._put(name, fields[name], put, codec)
            else:
                put(self, codec.default())

    def _put(self, name: str, value: Any, put: Setter, codec: Codec) -> None:
        if codec.convert is None:
            setattr(self, name, value)
            return
        try:
            put(self, codec.convert(value))
        except Refused as refused:
            raise FieldError(f"{self.__msgtype__}: {refused.under(name)}") from None

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """The fields' names and their types in rosidl's words: `double[9]`, `sequence<string>`, `std_msgs/Header`."""
        return {name: codec.text for name, codec in cls.__codecs__.items()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return all(_equal(get(self), get(other)) for _, get, _, _ in self.__plan__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_text(get(self))}" for name, get, _, _ in self.__plan__)
        return f"{self.__msgtype__.replace('/', '.')}({fields})"

    @classmethod
    def __dump__(cls, message: Message, allow_nan: bool) -> dict[str, Any]:
        result = {}
        name = ""
        try:
            for name, get, _, codec in cls.__plan__:
                result[name] = codec.dump(get(message), allow_nan)
        except Refused as refused:
            raise refused.under(name) from None
        return result

    @classmethod
    def __load__(cls, values: Any, allow_nan: bool, partial: bool) -> Message:
        if partial and cls.__shorthand__ is not None:
            values = cls.__shorthand__(values)
        if type(values) is not dict:
            raise Refused(f"expected an object of {cls.__msgtype__}, got {type(values).__name__}")
        message = cls.__new__(cls)
        name, found = "", 0
        try:
            for name, _, put, codec in cls.__plan__:
                value = values.get(name, MISSING)
                if value is not MISSING:
                    put(message, codec.load(value, allow_nan, partial))
                    found += 1
                elif partial:
                    put(message, codec.default())
                else:
                    raise Refused("is missing")
        except Refused as refused:
            raise refused.under(name) from None
        if found != len(values):
            unknown = next(key for key in values if key not in cls.__codecs__)
            known = ", ".join(cls.__codecs__) or "none"
            raise Refused(f"unknown field; {cls.__msgtype__} has {known}", str(unknown))
        return message

    @classmethod
    def __to_bag__(cls, message: Message) -> Any:
        bag_class = cls.__bag_class__()
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, get, _, codec in cls.__plan__:
                values[normalize_fieldname(name)] = codec.to_bag(get(message))
        except Refused as refused:
            raise refused.under(name) from None
        if not values and FILLER in bag_class.__dataclass_fields__:  # the byte that empty messages have in CDR
            values[FILLER] = 0
        return bag_class(**values)

    @classmethod
    def __from_bag__(cls, value: Any) -> Message:
        message = cls.__new__(cls)
        for name, _, put, codec in cls.__plan__:
            put(message, codec.from_bag(getattr(value, normalize_fieldname(name))))
        return message


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", prefix="array(").join(("array(", ")"))
    return repr(value.tolist() if hasattr(value, "typecode") else value)


def _time(values: Any) -> Any:
    """ROS 1's names of a time's fields, and "now"."""
    if values == "now":
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        return {"sec": seconds, "nanosec": nanoseconds}
    return _duration(values)


def _duration(values: Any) -> Any:
    if type(values) is not dict:
        return values
    return {{"secs": "sec", "nsecs": "nanosec"}.get(name, name): value for name, value in values.items()}


def _header(values: Any) -> Any:
    return {"stamp": "now"} | values if type(values) is dict else values


_SHORTHANDS: dict[str, Callable[[Any], Any]] = {
    "builtin_interfaces/msg/Time": _time,
    "builtin_interfaces/msg/Duration": _duration,
    "std_msgs/msg/Header": _header,
}


def make_class(
    type_name: str,
    constants: Mapping[str, Any],
    codecs: Mapping[str, Codec],
    defaults: Mapping[str, Any],
    bag_class: Callable[[], type],
) -> type[Message]:
    """The class of the message `type_name`: pkg/msg/Name, or pkg/srv/Name_Request and the like."""
    package, folder, name = type_name.split("/")
    for field, value in defaults.items():
        try:
            codecs = {**codecs, field: _with_default(codecs[field], value)}
        except Refused as refused:
            raise UserError(f"{type_name}: default of {refused.under(field)}") from None
    cls: type[Message] = type(
        name,
        (Message,),
        {
            "__slots__": [f"_{field}" for field in codecs],
            "__module__": f"{__package__}.{package}.{folder}",
            "__doc__": f"{type_name}: " + ", ".join(f"{n}: {c.text}" for n, c in codecs.items()),
            "__msgtype__": type_name,
            "__codecs__": codecs,
            "__bag_class__": staticmethod(bag_class),
            "__shorthand__": staticmethod(_SHORTHANDS[type_name]) if type_name in _SHORTHANDS else None,
            **constants,
        },
    )
    plan = []
    for field, codec in codecs.items():
        slot = cls.__dict__[f"_{field}"]
        setattr(cls, field, property(slot.__get__, _setter(type_name, field, codec, slot.__set__), doc=codec.text))
        plan.append((field, slot.__get__, slot.__set__, codec))
    cls.__plan__ = plan
    return cls


def _setter(type_name: str, field: str, codec: Codec, put: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    check = codec.check

    def assign(message: Any, value: Any) -> None:
        try:
            put(message, check(value))
        except Refused as refused:
            raise FieldError(f"{type_name}: {refused.under(field)}") from None

    return assign


def _with_default(codec: Codec, value: Any) -> Codec:
    """`codec` with the definition's own default: `float64 w 1` gives 1.0."""
    kept = codec.load(value, False, False) if not isinstance(value, str) else codec.check(value)

    def default() -> Any:
        return kept[:] if hasattr(kept, "__setitem__") else kept

    return replace(codec, default=default)


class _NotInstantiable(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} is made of parts: {', '.join(cls._parts)}")  # type: ignore[attr-defined]


class Service(metaclass=_NotInstantiable):
    """Base of service classes: `Request` and `Response`."""

    __msgtype__: ClassVar[str] = ""
    _parts: ClassVar[tuple[str, ...]] = ("Request", "Response")
    Request: ClassVar[type[Message]]
    Response: ClassVar[type[Message]]


class Action(metaclass=_NotInstantiable):
    """Base of action classes: `Goal`, `Result` and `Feedback`."""

    __msgtype__: ClassVar[str] = ""
    _parts: ClassVar[tuple[str, ...]] = ("Goal", "Result", "Feedback")
    Goal: ClassVar[type[Message]]
    Result: ClassVar[type[Message]]
    Feedback: ClassVar[type[Message]]
