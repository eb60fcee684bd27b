"""Faults over real sockets: nothing stale, out of limits or unasked reaches the robot. The table: docs/faults.md."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge import faults
from robot_bridge.faults import FAULTS, Arm, Result, provoke, table

QUICK = ("sensor stopped", "server killed, 2 s")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAULTS]
)
def test_faults_are_survived(name: str) -> None:
    result = provoke(name)
    assert result.commands > 20
    assert (result.stale, result.out_of_limits, result.unasked) == (0, 0, 0)
    assert result.safe
    assert "NOT" not in result.recovery
    if result.must_stop:
        assert result.stop is not None
        assert result.stop < 2.0  # 0.15 s of age, 0.2 s of braking, and a busy machine


def test_the_arm_tells_wrong_commands_from_right_ones() -> None:
    """What is counted can be more than zero."""
    arm = Arm.__new__(Arm)
    arm._last = None
    step = 1.0 / faults.RATE
    ramp = np.cumsum(step * np.array([0.1, 0.2, 0.2, 0.1, 0.0]))[:, None] * np.ones(2)
    assert not arm._outside(ramp, 1.0)
    assert not arm._outside(ramp + ramp[0], 1.0 + step)
    assert arm._outside(np.zeros((2, 2)) + 1.01, 2.0)  # position
    assert arm._outside(np.array([[0.0, 0.0], [0.03, 0.0]]), 3.0)  # 1.5 rad/s
    assert arm._outside(np.array([[0.0, 0.0], [0.015, 0.0], [0.015, 0.0]]), 4.0)  # 37 rad/s²
    arm._outside(np.array([[0.0, 0.0], [0.018, 0.0]]), 5.0)
    assert arm._outside(np.array([[0.02, 0.0], [0.002, 0.0]]), 5.0 + step)  # turned round within a tick


def test_table_tells_what_was_not_safe() -> None:
    good = Result("a", True, 100, 0, 0, 0, 0.3, "moves again")
    for change in ({"stale": 1}, {"out_of_limits": 1}, {"unasked": 1}, {"stop": None}):
        assert not Result(**{**vars(good), **change}).safe
    text = table([good, Result("b", False, 9, 0, 0, 0, None, "goes on"), Result("c", True, 9, 0, 0, 0, None, "-")])
    assert "| a | 100 | 0 | 0 | 0 | 0.30 s | moves again |" in text
    assert "| b | 9 | 0 | 0 | 0 | no need | goes on |" in text
    assert "| c | 9 | 0 | 0 | 0 | NEVER | - |" in text
