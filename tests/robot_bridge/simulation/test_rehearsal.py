"""The record of a rehearsal, and its picture; a whole rehearsal is in `test_export`."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

from lapo_tf.plots.robots import plot_rehearsal
from robot_bridge.simulation.rehearsal import Record


@pytest.fixture
def record() -> Record:
    """Commands at 10 Hz from 1 to 3 s and from 5 s on; joint b moves faster in the beginning, joint a at the end."""
    times = [0.1 * k for k in range(61)]
    return Record(
        joints=["a", "b"],
        commands=[(t, [t, -t]) for t in times if 1.0 <= t <= 3.0 or t >= 5.0],
        positions=[(t, [2 * t, 3 * t]) for t in times],
        velocities=[(t, [0.5 * t, -1.0]) for t in times],
        states=[(0.0, "inactive", "not enabled yet"), (1.0, "active", "enabled"), (3.0, "fault", "stale: a")],
        events=[(1.0, "enabled"), (2.5, "sensor silent"), (5.0, "enabled")],
        end=6.0,
    )


def test_record(record: Record) -> None:
    np.testing.assert_allclose(record.commanded("b")[1], -record.commanded("b")[0])
    np.testing.assert_allclose(record.moved("a", "position")[1], 0.2 * np.arange(61))
    assert record.when("enabled") == 1.0
    assert record.speeds() == pytest.approx({"a": 3.0, "b": 1.0})
    assert record.speeds(0.0, 1.0) == pytest.approx({"a": 0.5, "b": 1.0})
    assert record.speeds(7.0) == {"a": 0.0, "b": 0.0}


def test_picture(record: Record) -> None:
    ax = plot_rehearsal(record)
    assert ax.get_ylabel() == "a (rad/s)"
    moved, commanded = ax.lines[:2]
    np.testing.assert_allclose(moved.get_ydata(), 0.05 * np.arange(61))
    gaps = np.asarray(commanded.get_xdata())[np.isnan(commanded.get_ydata())]
    np.testing.assert_allclose(gaps, [5.0], atol=0.01)  # the line is broken before the command at 5 s
    assert [text.get_text() for text in ax.texts] == ["enabled", "sensor silent", "enabled"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["moves", "commanded", "inactive", "active", "fault"]
    part = plot_rehearsal(record, begin=0.0, end=1.5, quantity="position")
    assert part.get_ylabel() == "b (rad)"
    assert [text.get_text() for text in part.texts] == ["enabled"]
