"""How a service's failure is told to callers that know only its response."""

from __future__ import annotations

from collections.abc import Callable

from robot_bridge.errors import UserError
from robot_bridge.interfaces import get_interface
from robot_bridge.transport.base import Message


def failing(type: str) -> Callable[[str], Message]:
    """What makes the response of a failed service out of an error: `success` false and the error as `message`, as far
    as the type has such fields; the rest are defaults.

    To be asked when the service is offered: the first look at a type loads all definitions, which takes a while.
    """
    try:
        fields = get_interface(type).Response.get_fields_and_field_types()
    except UserError:  # a type that nobody here knows
        return lambda error: {}

    def failed(error: str) -> Message:
        wanted = {"success": ("boolean", False), "message": ("string", error)}
        return {name: value for name, (kind, value) in wanted.items() if fields.get(name) == kind}

    return failed
