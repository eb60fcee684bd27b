"""`policy.json`: covered by a checksum, and of values that make sense; older ones without a checksum still load."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from robot_fakes import arm_policy

from robot_bridge.errors import UserError
from robot_bridge.robot.description import CHECKSUM, Description, NoveltyScore

GOOD = replace(
    arm_policy().description,
    novelty=(NoveltyScore("observation", 2.5, "of held-out data"),),
    sha256={"policy.tflite": "0" * 64},
    score={"scores": [1.5, 2.0], "by": {10: "ten", 9: "nine"}},
)


def written(folder: Path, spoil: Callable[[dict[str, Any]], object] | None = None, *, seal: bool = True) -> Path:
    values = json.loads(GOOD.to_json())
    if spoil is not None:
        spoil(values)
    if not seal:
        del values[CHECKSUM]
    (folder / "policy.json").write_text(json.dumps(values))
    return folder


def test_a_description_comes_back_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read = Description.read(written(tmp_path))
    assert read == replace(GOOD, score={"scores": [1.5, 2.0], "by": {"10": "ten", "9": "nine"}})
    assert not caplog.text


def test_an_older_one_loads_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Description.read(written(tmp_path, seal=False)).actions == GOOD.actions
    assert "has no checksum of its own" in caplog.text


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "scale": lambda v: v["actions"][0].update(scale=1000.0),
    "threshold": lambda v: v["novelty"][0].update(threshold=1e9),
    "order": lambda v: v["observations"].reverse(),
    "range": lambda v: v["observations"][0].update(low=-1e9),
    "rate": lambda v: v.update(control_rate=49.0),
    "constant": lambda v: v["observations"][0].update(constant=0.0),
    "task": lambda v: v.update(task="other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_noticed(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="was changed after it was made"):
        Description.read(written(tmp_path, CHANGES[name]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v["novelty"][0].update(threshold=float("inf")), r"novelty\[0\]\.threshold expected a number"),
        (lambda v: v["novelty"][0].update(threshold=-1.0), r"novelty\[0\]\.threshold expected a number"),
        (lambda v: v["novelty"][0].update(threshold=float("nan")), r"novelty\[0\]\.threshold expected a number"),
        (lambda v: v["novelty"][0].update(threshold="x"), r"novelty\[0\]\.threshold expected a number"),
        (lambda v: v["actions"][0].update(scale=-1.0), r"actions\[0\]\.scale expected a number"),
        (lambda v: v["actions"][0].update(quantity="speed"), "expected velocity, position or effort"),
        (lambda v: v["actions"][0].update(joint="b"), "'b' is named twice"),
        (lambda v: v["actions"][0].update(low=1.0, high=-1.0), "expected low < high"),
        (lambda v: v["observations"][0].update(low=3.0), "expected low <= high"),
        (lambda v: v["observations"][0].update(quantiles=[1.0, 0.0]), "quantiles in order"),
        (lambda v: v.update(control_rate=0), "control_rate expected a number"),
        (lambda v: v.update(control_rate="50"), "control_rate expected a number"),
        (lambda v: v.update(sha256=[]), "sha256"),
        (lambda v: v.update(surplus=1), "surplus"),
        (lambda v: v.pop("actions"), "actions"),
    ],
)
def test_values_must_make_sense(tmp_path: Path, spoil: Callable, message: str) -> None:
    """Of bundles without a checksum, too."""
    with pytest.raises(UserError, match="is damaged") as caught:
        Description.read(written(tmp_path, spoil, seal=False))
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
