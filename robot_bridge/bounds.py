"""Numbers within bounds, for the fields of pydantic's dataclasses and models."""

from __future__ import annotations

import math
from typing import Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError


def between(low: float, high: float = math.inf) -> PlainValidator:
    """Annotates a float that is finite, at least `low` and at most `high`: `Annotated[float, between(0.0, 1.0)]`."""

    def check(value: Any) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and low <= value <= high and abs(value) < math.inf):
            bounds = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
            raise PydanticCustomError("between", f"expected a number, {bounds}")
        return float(value)

    return PlainValidator(check)
