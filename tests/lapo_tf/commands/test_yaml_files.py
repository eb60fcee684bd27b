"""YAML files: numbers as people write them, and every mistake in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from lapo_tf.errors import UserError
from lapo_tf.yaml_files import STRICT, parse_yaml, read_yaml, validated


@dataclass(frozen=True)
class Part:
    __pydantic_config__ = STRICT

    sizes: tuple[int, ...] = (1,)
    while_: Annotated[int | None, Field(alias="while")] = None


@dataclass(frozen=True)
class Machine:
    __pydantic_config__ = STRICT

    rate: float
    steps: int = 1
    goal: tuple[float, ...] | str = ()
    clock: Literal["header", "receive"] = "header"
    place: Path | None = None
    equals: Any = None
    part: Part = field(default_factory=Part)
    parts: dict[str, Part] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", 1000.0), ("1e-3", 0.001), ("5.e-3", 0.005), ("-.5E+2", -50.0), ("1_0e1", 100.0), (".inf", float("inf"))],
)
def test_numbers_with_an_exponent_are_numbers(text, value):
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is float


@pytest.mark.parametrize("text", ["e3", "1e", "1e3a", "a1e3", "'1e3'"])
def test_text_that_looks_like_a_number_is_text(text):
    assert parse_yaml(text) == text.strip("'")


def test_values_get_their_types():
    machine = validated(
        Machine,
        parse_yaml(
            "{rate: 20, steps: 1e4, goal: [1, 2.5], place: a/b, part: {sizes: [1, 2], while: 3}, parts: {a: {}}}"
        ),
    )
    assert machine == Machine(20.0, 10_000, (1.0, 2.5), place=Path("a/b"), part=Part((1, 2), 3), parts={"a": Part()})
    assert type(machine.rate) is float
    assert type(machine.steps) is int
    numpy = validated(
        Machine, {"rate": np.float32(0.5), "steps": np.int64(7), "goal": np.arange(2), "place": Path("x")}
    )
    assert numpy == Machine(0.5, 7, (0.0, 1.0), place=Path("x"))


def test_all_mistakes_are_told_with_their_paths():
    values = {"steps": 1.5, "clock": "heder", "part": {"sizes": [1, "x"], "whle": 3}, "parts": {"a": 4}, "rat": 2}
    with pytest.raises(UserError) as caught:
        validated(Machine, values, "arm.yaml: ")
    mistakes = str(caught.value).split("; also ")
    assert len(mistakes) == 6
    assert "\n" not in str(caught.value)
    for part in (
        "arm.yaml: rate is missing: expected a number",
        "arm.yaml: steps is 1.5: expected a whole number",
        "arm.yaml: clock is 'heder': expected 'header' or 'receive'",
        "arm.yaml: part.sizes[1] is 'x': expected a whole number",
        "unknown entry in arm.yaml: part: 'whle': did you mean 'while'? known: sizes, while",
        "arm.yaml: parts.a is 4: expected a mapping; and 1 more mistakes",
    ):
        assert any(mistake == part or mistake.startswith(part) for mistake in mistakes), part


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rate": True}, "rate is True: expected a number"),
        ({"rate": "1"}, "rate is '1': expected a number"),
        ({"rate": 1, "goal": 3}, "goal is 3: expected a list or text"),
        ({"rate": 1, "rte": 1}, "unknown entry 'rte': did you mean 'rate'?"),
        ({"rate": 1, "parts": {"b": {"szes": 1}}}, "unknown entry in parts.b: 'szes': did you mean 'sizes'?"),
        ([1], "[1]: expected a mapping"),
    ],
)
def test_one_mistake(values, told):
    with pytest.raises(UserError) as caught:
        validated(Machine, values)
    assert told in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.yaml"
    for text, told in (
        ("rate: 1\nrate: 2\n", "line 2: not valid YAML ('rate' is given twice)"),
        ("rate: [1\nb: 2", "not valid YAML"),
        ("- 1", "holds no mapping; expected lines like 'steps: 3'"),
    ):
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read_yaml(path, "steps: 3")
        assert told in str(caught.value)
    for place in (tmp_path / "b.yaml", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_yaml(place)
    path.write_text("base: &b {rate: 1}\nthis:\n  <<: *b\n  steps: 2\n")
    assert read_yaml(path)["this"] == {"rate": 1, "steps": 2}
