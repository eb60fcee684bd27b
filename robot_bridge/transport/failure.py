"""How a service's failure is told to callers that know only its response."""

from __future__ import annotations

from robot_bridge.errors import UserError
from robot_bridge.interfaces import get_interface
from robot_bridge.transport.base import Message


def failure(type: str, error: str) -> Message:
    """The response of a service of this type that failed: `success` false and the error as `message`, as far as the
    type has such fields; the rest are defaults."""
    try:
        fields = get_interface(type).Response.get_fields_and_field_types()
    except UserError:  # a type that nobody here knows
        return {}
    wanted = {"success": ("boolean", False), "message": ("string", error)}
    return {name: value for name, (kind, value) in wanted.items() if fields.get(name) == kind}
