"""The values of message fields: default, check on assignment, JSON and rosbags both ways.

A `Codec` is made once per field from rosbags' description of its type. What Python type holds what follows rosidl's
generator for Python: `float64[]` is an `array('d')`, `float64[9]` an ndarray, `byte` a `bytes` of length 1, lists of
everything else are lists.
"""

from __future__ import annotations

import binascii
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from math import inf, isfinite, isinf, nan
from typing import Any, Protocol

import numpy as np
from rosbags.interfaces import Nodetype

FLOAT32_MAX = float(np.finfo(np.float32).max)
FILLER = "structure_needs_at_least_one_member"  # the field of empty messages, in IDL and CDR only
MISSING = object()
_STR, _FLOAT, _INT = {str}, {float, int}, {int}


class MessageClass(Protocol):
    """What a field needs of the class of the messages that it holds."""

    __name__: str
    __msgtype__: str

    def __call__(self) -> Any:
        """A message of defaults."""

    def __dump__(self, message: Any, allow_nan: bool) -> dict[str, Any]:
        """Its JSON."""

    def __load__(self, values: Any, allow_nan: bool, partial: bool) -> Any:
        """A message of JSON."""

    def __to_bag__(self, message: Any) -> Any:
        """As an instance of rosbags' class."""

    def __from_bag__(self, value: Any) -> Any:
        """From an instance of rosbags' class."""


class Refused(Exception):
    """A value that a field cannot take. `path` is completed on the way out."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text, self.path = text, path

    def under(self, parent: str) -> Refused:
        """The same, seen from one level further out. `parent` is a field's name or `[index]`."""
        glue = "" if not self.path or self.path.startswith("[") else "."
        self.path = parent + glue + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def mismatch(expected: str, value: object) -> Refused:
    return Refused(f"expected {expected}, got {type(value).__name__}")


@dataclass(frozen=True)
class Codec:
    """How one field is kept and converted; each function raises `Refused`."""

    text: str  # as get_fields_and_field_types() has it
    default: Callable[[], Any]
    check: Callable[[Any], Any]  # an assigned value -> the value to keep
    dump: Callable[[Any, bool], Any]  # (kept, NaN becomes null) -> JSON
    load: Callable[[Any, bool, bool], Any]  # (JSON, null becomes NaN, missing fields get defaults) -> kept
    to_bag: Callable[[Any], Any]  # kept -> what rosbags' classes hold
    from_bag: Callable[[Any], Any]
    convert: Callable[[Any], Any] | None = None  # a value given to the constructor -> the value to keep; None: `check`


@dataclass(frozen=True)
class Number:
    text: str
    typecode: str
    dtype: Any
    low: float
    high: float


_INTEGERS = {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q"}
_INTEGERS |= {"uint64": "Q"}
NUMBERS = {
    name: Number(name, code, np.dtype(name), *map(int, (np.iinfo(name).min, np.iinfo(name).max)))
    for name, code in _INTEGERS.items()
}
NUMBERS["char"] = NUMBERS["uint8"]  # ROS 2's char is unsigned
NUMBERS["float32"] = Number("float", "f", np.dtype("float32"), -FLOAT32_MAX, FLOAT32_MAX)
NUMBERS["float64"] = Number("double", "d", np.dtype("float64"), -inf, inf)


def codec_for(description: Any, message_class: Callable[[str], MessageClass]) -> Codec:
    """The codec of a field, from rosbags' description of its type; `message_class` finds nested classes by name."""
    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        element, size = detail
        fixed = size if kind == Nodetype.ARRAY else 0
        limit = 0 if kind == Nodetype.ARRAY else size
        if element[0] == Nodetype.BASE and (number := NUMBERS.get(element[1][0])):
            return _ndarray(number, fixed) if fixed else _array(number, limit)
        return _list(codec_for(element, message_class), fixed, limit)
    if kind == Nodetype.NAME:
        return _nested(message_class(detail))
    name, length = detail
    if name in ("string", "wstring"):
        return _string(name, length)
    if name == "bool":
        return _BOOL
    if name in ("byte", "octet"):
        return _BYTE
    number = NUMBERS[name]
    return _float(number) if number.typecode in "fd" else _integer(number)


# Scalars --------------------------------------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _dump_same(value: Any, allow_nan: bool) -> Any:
    return value


def _float(number: Number) -> Codec:
    low, high = number.low, number.high

    def check(value: Any) -> float:
        if not isinstance(value, float):
            raise mismatch("float", value)
        if not low <= value <= high and isfinite(value):
            raise Refused(f"{value} is beyond float32")
        return value

    def dump(value: float, allow_nan: bool) -> float | None:
        if isfinite(value):
            return value
        if allow_nan:
            return None
        raise Refused(f"{value} has no place in JSON")

    def load(value: Any, allow_nan: bool, partial: bool) -> float:
        kind = type(value)
        if kind is float or kind is int:
            try:
                value = float(value)
            except OverflowError:
                raise Refused("an integer beyond float64") from None
            if isfinite(value):
                return check(value)
            if allow_nan:
                return value
            raise Refused(f"{value} is not finite")
        if value is None and allow_nan:
            return nan
        raise mismatch("float", value)

    return Codec(number.text, float, check, dump, load, _same, float)


def _integer(number: Number) -> Codec:
    low, high, text = number.low, number.high, number.text

    def check(value: Any) -> int:
        if not isinstance(value, int):
            raise mismatch("int", value)
        if not low <= value <= high:
            raise Refused(f"{value} is beyond {text}")
        return int(value)

    def load(value: Any, allow_nan: bool, partial: bool) -> int:
        if type(value) is not int:
            raise mismatch("int", value)
        if not low <= value <= high:
            raise Refused(f"{value} is beyond {text}")
        return value

    return Codec(text, int, check, _dump_same, load, _same, int)


def _check_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise mismatch("bool", value)
    return value


def _check_byte(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview) or len(value) != 1:
        raise mismatch("bytes of length 1", value) if not isinstance(value, bytes) else Refused("expected one byte")
    return bytes(value)


_OCTET = _integer(NUMBERS["uint8"])
_BOOL = Codec("boolean", bool, _check_bool, _dump_same, lambda v, *_: _check_bool(v), _same, bool)
_BYTE = Codec(
    "octet",
    lambda: b"\0",
    _check_byte,
    lambda value, _: value[0],
    lambda value, *_: bytes((_OCTET.load(value, False, False),)),
    lambda value: int.from_bytes(value, "little", signed=True),  # rosbags takes ROS's byte for signed
    lambda value: bytes((int(value) & 0xFF,)),
)


def _string(name: str, length: int) -> Codec:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise mismatch("str", value)
        if length and len(value) > length:
            raise Refused(f"{len(value)} characters, at most {length} allowed")
        return value

    def load(value: Any, allow_nan: bool, partial: bool) -> str:
        value = check(value)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused("is not valid Unicode") from None
        return value

    return Codec(f"{name}<{length}>" if length else name, str, check, _dump_same, load, _same, _same)


def _nested(cls: MessageClass) -> Codec:
    def check(value: Any) -> Any:
        if not isinstance(value, cls):  # type: ignore[arg-type]
            raise mismatch(cls.__name__, value)
        return value

    package, _, name = cls.__msgtype__.split("/")
    return Codec(f"{package}/{name}", cls, check, cls.__dump__, cls.__load__, cls.__to_bag__, cls.__from_bag__)


# Sequences ------------------------------------------------------------------------------------------------------------


def _sized(text: str, fixed: int, limit: int) -> str:
    return f"{text}[{fixed}]" if fixed else f"sequence<{text}, {limit}>" if limit else f"sequence<{text}>"


def _check_size(n: int, fixed: int, limit: int) -> None:
    if fixed and n != fixed:
        raise Refused(f"{n} elements, expected {fixed}")
    if limit and n > limit:
        raise Refused(f"{n} elements, at most {limit} allowed")


def _check_sequence(value: Any, expected: str) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence | Set):
        hint = "; use .tolist()" if isinstance(value, np.ndarray) else ""
        raise Refused(f"expected a sequence of {expected}, got {type(value).__name__}{hint}")


def _numbers(value: Any, number: Number) -> array[Any]:
    """Check a sequence given by the user, as rosidl does: floats for floats, ints for ints, in range."""
    expected: Any = float if number.typecode in "fd" else int
    _check_sequence(value, expected.__name__)
    items: list[Any] = list(value)
    for i, item in enumerate(items):
        if not isinstance(item, expected):
            raise mismatch(expected.__name__, item).under(f"[{i}]")
        if not number.low <= item <= number.high and (expected is int or isfinite(item)):
            raise Refused(f"{item} is beyond {number.dtype}").under(f"[{i}]")
    return array(number.typecode, items)


def _from_any(value: Any, number: Number) -> array[Any]:
    """Numbers given to a constructor: as rosidl's, it takes integers for floats, and any iterable, an ndarray too."""
    if isinstance(value, bytes | bytearray) and number.typecode != "B":
        raise mismatch(f"numbers for {number.dtype}", value)
    try:
        return array(number.typecode, np.ravel(value) if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(f"expected numbers for {number.dtype}: {error}") from None


def _dump_numbers(values: Any, number: Number, allow_nan: bool) -> Any:
    """JSON of an array or ndarray: base64 for uint8, refusing NaN and infinity unless they may become null."""
    if number.typecode == "B":
        return b64encode(values.tobytes()).decode("ascii")
    items = values.tolist()
    if number.typecode in "fd" and not isfinite(sum(items)):  # a finite sum has finite terms
        for i, item in enumerate(items):
            if not isfinite(item):
                if not allow_nan:
                    raise Refused(f"{item} has no place in JSON").under(f"[{i}]")
                items[i] = None
    return items


def _load_numbers(value: Any, number: Number, allow_nan: bool) -> array[Any]:
    if number.typecode == "B" and type(value) is str:
        try:
            return array("B", b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise Refused("is not base64") from None
    real = number.typecode in "fd"
    if type(value) is not list:
        raise mismatch("list" if number.typecode != "B" else "base64 or list", value)
    kinds = set(map(type, value))
    if not kinds <= (_FLOAT if real else _INT):
        if not (real and allow_nan and kinds <= {float, int, type(None)}):
            allowed = (float, int) if real else (int,)
            i, item = next((i, v) for i, v in enumerate(value) if type(v) not in allowed)
            raise mismatch("float" if real else "int", item).under(f"[{i}]")
        value = [nan if item is None else item for item in value]
    result: array[Any]
    try:
        result = array(number.typecode, value)
    except OverflowError:
        i = next(i for i, v in enumerate(value) if not number.low <= v <= number.high or (real and isinf(_finite(v))))
        raise Refused(f"{value[i]} is beyond {number.dtype}").under(f"[{i}]") from None
    if real and not isfinite(sum(result)):
        for i, (item, given) in enumerate(zip(result, value, strict=True)):
            if isinf(item) and isfinite(given):
                raise Refused(f"{given} is beyond {number.dtype}").under(f"[{i}]")
            if not isfinite(item) and not allow_nan:
                raise Refused(f"{item} is not finite").under(f"[{i}]")
    return result


def _finite(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf


def _array(number: Number, limit: int) -> Codec:
    code, dtype = number.typecode, number.dtype

    def check(value: Any) -> array[Any]:
        if isinstance(value, array):
            if value.typecode != code:
                raise Refused(f"expected array('{code}'), got array('{value.typecode}')")
        else:
            value = _numbers(value, number)
        _check_size(len(value), 0, limit)
        return value

    def convert(value: Any) -> array[Any]:
        return check(_from_any(value, number))

    doubles = code == "d" and not limit  # joint positions: worth a short cut

    def load(value: Any, allow_nan: bool, partial: bool) -> array[Any]:
        if doubles and type(value) is list and set(map(type, value)) <= _FLOAT:
            try:
                if isfinite(sum(value)):
                    return array("d", value)
            except OverflowError:  # an integer beyond float64
                pass
        result = _load_numbers(value, number, allow_nan)
        _check_size(len(result), 0, limit)
        return result

    return Codec(
        _sized(number.text, 0, limit),
        lambda: array(code),
        check,
        lambda value, allow_nan: _dump_numbers(value, number, allow_nan),
        load,
        lambda value: np.array(value, dtype),
        lambda value: array(code, np.ascontiguousarray(value, dtype).tobytes()),
        convert,
    )


def _ndarray(number: Number, size: int) -> Codec:
    dtype = number.dtype

    def check(value: Any) -> np.ndarray:
        if isinstance(value, np.ndarray):
            if value.dtype != dtype:
                raise Refused(f"expected an array of {dtype}, got {value.dtype}")
            _check_size(value.size, size, 0)
            return value
        items = _numbers(value, number)
        _check_size(len(items), size, 0)
        return np.array(items, dtype)

    def convert(value: Any) -> np.ndarray:
        return check(np.array(_from_any(value, number), dtype))

    def load(value: Any, allow_nan: bool, partial: bool) -> np.ndarray:
        items = _load_numbers(value, number, allow_nan)
        _check_size(len(items), size, 0)
        return np.array(items, dtype)

    return Codec(
        _sized(number.text, size, 0),
        lambda: np.zeros(size, dtype),
        check,
        lambda value, allow_nan: _dump_numbers(value.ravel(), number, allow_nan),
        load,
        lambda value: np.array(value, dtype).ravel(),
        lambda value: np.array(value, dtype),
        convert,
    )


def _list(element: Codec, fixed: int, limit: int) -> Codec:
    """Strings, booleans, bytes and messages. The list may be changed after it was checked, so `dump` checks again."""

    def each(function: Callable[[Any], Any], value: Any) -> list[Any]:
        result = []
        for i, item in enumerate(value):
            try:
                result.append(function(item))
            except Refused as refused:
                raise refused.under(f"[{i}]") from None
        _check_size(len(result), fixed, limit)
        return result

    def check(value: Any) -> list[Any]:
        _check_sequence(value, element.text)
        checked = each(element.check, value)
        return value if isinstance(value, list) else checked

    strings = element.text == "string" and not fixed and not limit  # joint names: worth a short cut

    def dump(value: list[Any], allow_nan: bool) -> list[Any]:
        if strings and set(map(type, value)) <= _STR:
            return list(value)
        return each(lambda item: element.dump(element.check(item), allow_nan), value)

    def load(value: Any, allow_nan: bool, partial: bool) -> list[Any]:
        if type(value) is not list:
            raise mismatch("list", value)
        if strings and set(map(type, value)) <= _STR and "".join(value).isascii():
            return list(value)
        return each(lambda item: element.load(item, allow_nan, partial), value)

    plain = {"boolean": np.bool_, "octet": np.int8}.get(element.text)

    def to_bag(value: list[Any]) -> Any:
        items = each(lambda item: element.to_bag(element.check(item)), value)
        return np.array(items, plain) if plain else items

    return Codec(
        _sized(element.text, fixed, limit),
        lambda: [element.default() for _ in range(fixed)],
        check,
        dump,
        load,
        to_bag,
        lambda value: [element.from_bag(item) for item in value],
    )
