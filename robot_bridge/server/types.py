"""What the server knows of types, when it is to read messages: the classes of `robot_bridge.interfaces`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from robot_bridge.errors import UserError
from robot_bridge.interfaces import from_dict, get_interface, to_dict

_PLAIN = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
_EXAMPLES = {"float64": "0.0", "float32": "0.0", "bool": "False", "string": "", "wstring": ""}
_FIELD = re.compile(
    r"(?:sequence<(?P<item>[\w/]+)(?:<\d+>)?(?:, \d+)?>|(?P<plain>[\w/]+)(?:<\d+>)?(?:\[(?P<fixed>\d+)\])?)"
)


@lru_cache(maxsize=1000)  # bounded, for clients choose the types
def reader(type: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """What reads messages of `type` as a rosbridge_server does, or None for unknown types.

    It gives the message with all its fields: missing ones get their defaults, the stamp of a header is now, floats are
    floats, bytes are base64. It raises ValueError for unknown fields and wrong values.
    """
    try:
        message_class = get_interface(type)
    except UserError:
        return None

    def read(message: dict[str, Any]) -> dict[str, Any]:
        return to_dict(from_dict(message_class, message, allow_nan=True, partial=True), allow_nan=True)

    return read


def definitions(type: str) -> list[dict[str, Any]]:
    """The rosapi_msgs/msg/TypeDef of a type and of all types in it; the request of a service is
    `std_srvs/srv/SetBool_Request`.

    Raises:
        ValueError: unknown type.
    """
    found: dict[str, dict[str, Any]] = {}
    _collect(type, found)
    return list(found.values())


def _collect(type: str, found: dict[str, dict[str, Any]]) -> None:
    package, _, name = type.rpartition("/")
    short = f"{package.split('/')[0]}/{name}"
    if short in found:
        return
    try:
        message_class = get_interface(type)
    except UserError:
        raise ValueError(f"unknown type {type}") from None
    constants = {key: value for key, value in vars(message_class).items() if key.isupper()}
    definition = found[short] = {
        "type": short,
        "fieldnames": [],
        "fieldtypes": [],
        "fieldarraylen": [],
        "examples": [],
        "constnames": list(constants),
        "constvalues": [str(value) for value in constants.values()],
    }
    for field, text in message_class.get_fields_and_field_types().items():
        match = _FIELD.fullmatch(text)
        if match is None:
            raise ValueError(f"{type}: the field {field} has the type {text}, which rosapi cannot tell")
        item = match["item"] or match["plain"]
        kind = _PLAIN.get(item, item)
        array = match["item"] is not None or match["fixed"] is not None
        definition["fieldnames"].append(field)
        definition["fieldtypes"].append(kind)
        definition["fieldarraylen"].append((int(match["fixed"] or 0)) if array else -1)
        definition["examples"].append("[]" if array else "{}" if "/" in kind else _EXAMPLES.get(kind, "0"))
        if "/" in item:
            nested_package, _, nested = item.rpartition("/")
            _collect(f"{nested_package.split('/')[0]}/msg/{nested}", found)


reader("std_msgs/msg/String")  # loads the definitions: it takes longer than a running server may stand still
