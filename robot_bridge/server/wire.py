"""The wire: JSON texts to checked operations and back, names and types of ROS 2, fragments."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from robot_bridge.errors import unknown


class ProtocolError(Exception):
    """What a client sent is wrong; the message tells it what. It answers to the operation `id`, where there was one."""

    def __init__(self, message: str, id: str | None = None) -> None:
        super().__init__(message)
        self.id = id


MAX_DEPTH = 64  # of nested objects and arrays; no message of ROS comes near
MAX_VALUES = 500_000  # of one message: more take so long to read that everybody's messages grow old; images are text
MAX_OBJECTS = 20_000  # objects and arrays of one message, likewise
MAX_ID = 1_000  # characters
MAX_NAME = 255  # characters, as in ROS
NUMBER = (int, float)
_NULL = type(None)

# Of each operation: its fields, their types, and whether they must be there.
FIELDS: dict[str, tuple[tuple[str, type | tuple[type, ...], bool], ...]] = {
    "advertise": (("topic", str, True), ("type", str, True), ("latch", bool, False), ("queue_size", int, False)),
    "unadvertise": (("topic", str, True),),
    "publish": (("topic", str, True), ("msg", dict, True), ("latch", bool, False)),
    "subscribe": (
        ("topic", str, True),
        ("type", (str, _NULL), False),
        ("throttle_rate", NUMBER, False),
        ("queue_length", int, False),
        ("compression", (str, _NULL), False),
    ),
    "unsubscribe": (("topic", str, True),),
    "call_service": (("service", str, True), ("args", (dict, list), False), ("timeout", (*NUMBER, _NULL), False)),
    "advertise_service": (("service", str, True), ("type", str, True)),
    "unadvertise_service": (("service", str, True),),
    "service_response": (("id", str, True), ("service", str, True), ("result", bool, True)),
    "send_action_goal": (
        ("id", str, True),
        ("action", str, True),
        ("action_type", str, True),
        ("args", (dict, list), False),
        ("feedback", bool, False),
    ),
    "cancel_action_goal": (("id", str, True), ("action", str, True)),
    "advertise_action": (("action", str, True), ("type", str, True)),
    "unadvertise_action": (("action", str, True),),
    "action_feedback": (("id", str, True), ("action", str, True), ("values", dict, True)),
    "action_result": (("id", str, True), ("action", str, True), ("status", int, True), ("result", bool, True)),
    "fragment": (("id", str, True), ("data", str, True), ("num", int, True), ("total", int, True)),
    "set_level": (("level", str, True),),
    "auth": (),
}

_NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_TYPE = re.compile(r"\w+/(\w+/)?\w+", re.ASCII)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_CHECK_NAMES = ("topic", "service", "action")


def decode(text: str | bytes) -> dict[str, Any]:
    """A frame as an operation with all its fields checked.

    NaN and Infinity, which some clients write though JSON lacks them, are read as such, as rosbridge_server does.

    Raises:
        ProtocolError: anything wrong with it.
    """
    if isinstance(text, bytes):
        raise ProtocolError("binary frames (BSON, CBOR) are not supported: send JSON text")
    if text.count(",") > MAX_VALUES:
        raise ProtocolError(f"more than {MAX_VALUES:,} values: send bytes as base64 text")
    try:
        message = json.loads(text)
    except RecursionError:  # at a depth that depends on the version of Python
        raise ProtocolError("nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_nesting(message)
    if not isinstance(message, dict):
        raise ProtocolError(f"a {type(message).__name__} where an object with 'op' was expected")
    id = message.get("id")
    if not isinstance(id, str | None):
        raise ProtocolError(f"id is a {type(id).__name__}: expected a string")
    if id is not None and len(id) > MAX_ID:
        raise ProtocolError(f"id has {len(id)} characters: expected at most {MAX_ID}")
    op = message.get("op")
    if not isinstance(op, str):
        raise ProtocolError("no 'op', or not a string", id)
    if op not in FIELDS:
        raise ProtocolError(str(unknown("op", op[:100], FIELDS)), id)
    for name, kind, required in FIELDS[op]:
        if name not in message:
            if required:
                raise ProtocolError(f"{op}: '{name}' is missing", id)
            continue
        value = message[name]
        wrong = isinstance(value, bool) and kind is not bool  # a bool is an int to Python only
        if wrong or not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            expected = " or ".join(k.__name__ for k in kinds if k is not _NULL)
            raise ProtocolError(f"{op}: '{name}' is a {type(value).__name__}, expected {expected}", id)
        if isinstance(value, float) and not math.isfinite(value):
            raise ProtocolError(f"{op}: '{name}' is not finite", id)
        if name in _CHECK_NAMES and isinstance(value, str) and not (len(value) <= MAX_NAME and _NAME.fullmatch(value)):
            raise ProtocolError(f"{op}: '{value[:100]}' is no valid name", id)
    return message


def _check_nesting(value: Any) -> None:
    """Raises `ProtocolError`: nested too deeply, or too many objects and arrays."""
    level, count = [value], 1
    for _ in range(MAX_DEPTH):
        inside = (v for outer in level for v in (outer.values() if isinstance(outer, dict) else outer))
        level = [v for v in inside if isinstance(v, dict | list)]
        count += len(level)
        if count > MAX_OBJECTS:
            raise ProtocolError(f"more than {MAX_OBJECTS:,} objects and arrays")
        if not level:
            return
    raise ProtocolError("nested too deeply")


def encode(message: dict[str, Any]) -> str:
    """JSON, with NaN and infinity as null: so they leave a rosbridge_server."""
    try:
        return _ENCODER.encode(message)
    except ValueError:
        return _ENCODER.encode(_without_nan(message))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_null_in_arrays(value: Any, path: str = "msg") -> None:
    """No array of ROS holds null, so a rosbridge_server refuses such a message.

    Raises:
        ProtocolError: `value` holds an array with a null somewhere.
    """
    if isinstance(value, dict):
        for key, v in value.items():
            if isinstance(v, dict | list):
                refuse_null_in_arrays(v, f"{path}.{key}")
    elif isinstance(value, list):
        if None in value:
            raise ProtocolError(f"{path}[{value.index(None)}] is null, which no array of ROS holds")
        if value and isinstance(value[0], dict | list):
            for i, v in enumerate(value):
                refuse_null_in_arrays(v, f"{path}[{i}]")


def full_name(name: str) -> str:
    """A name as it stands in the graph: relative ones are resolved in the root namespace."""
    return name if name.startswith("/") else "/" + name


def full_type(name: str | None, kind: str) -> str | None:
    """A type in ROS 2's spelling, `std_msgs/msg/String`; `kind` is msg, srv or action. ROS 1's is accepted too.

    Raises:
        ProtocolError: no type at all.
    """
    if name is None or name in ("", "*"):
        return None
    if not _TYPE.fullmatch(name):
        raise ProtocolError(f"'{name[:100]}' is no type: expected e.g. std_msgs/{kind}/Name")
    package, _, rest = name.partition("/")
    return name if "/" in rest else f"{package}/{kind}/{rest}"


class Fragments:
    """Puts the fragments of one client's messages together, within bounds."""

    MAX_OPEN = 8
    MAX_PARTS = 10_000
    TIMEOUT = 10.0  # s, after which an unfinished message is forgotten

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._open: dict[str, tuple[float, int, dict[int, str]]] = {}

    def add(self, message: dict[str, Any], now: float) -> str | None:
        """Add a fragment (`now` in seconds of any clock); returns the whole text once it is complete.

        Raises:
            ProtocolError: out of order numbers, too many, too large; the message is then forgotten.
        """
        id, num, total = message["id"], message["num"], message["total"]
        self._open = {key: value for key, value in self._open.items() if now - value[0] < self.TIMEOUT}
        if not 0 < total <= self.MAX_PARTS or not 0 <= num < total:
            raise ProtocolError(f"fragment {num} of {total}: expected 0 <= num < total <= {self.MAX_PARTS}", id)
        _, expected, parts = self._open.setdefault(id, (now, total, {}))
        parts[num] = message["data"]
        problem = None
        if expected != total:
            problem = f"'total' changed from {expected} to {total}"
        elif sum(map(len, parts.values())) > self._max_size:
            problem = f"longer than {self._max_size} bytes"
        elif len(self._open) > self.MAX_OPEN:
            problem = f"more than {self.MAX_OPEN} unfinished messages"
        if problem:
            del self._open[id]
            raise ProtocolError(f"fragmented message: {problem}", id)
        if len(parts) < total:
            return None
        del self._open[id]
        return "".join(parts[i] for i in range(total))
