"""Operations as JSON texts."""

from __future__ import annotations

import json
import math
from typing import Any

from robot_bridge.transport.base import Message

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode(message: Message) -> bytes:
    """JSON text of an operation, as bytes.

    Raises:
        TypeError, ValueError: as `Transport.publish`.
    """
    try:
        return _ENCODER.encode(message).encode()
    except TypeError as error:
        raise TypeError(f"{error}: convert it first, e.g. array.tolist(), float(x)") from None
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None
    except ValueError as error:
        if place := _not_finite(message, ""):
            raise ValueError(f"{place} is not finite: JSON has neither NaN nor infinity") from None
        raise error from None


def _not_finite(value: Any, path: str) -> str | None:
    """Where the first number that is not finite stands."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path.lstrip('.')} = {value}"
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts = [(f"{path}.{key}", v) for key, v in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{i}]", v) for i, v in enumerate(value)]
    return next((found for place, v in parts if (found := _not_finite(v, place))), None)
