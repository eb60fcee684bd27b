"""Curves that grow during a training."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from lapo_tf.plots import live
from lapo_tf.plots.curves import plot_curves
from lapo_tf.plots.live import LiveCurve


def train(curve: LiveCurve, steps: list[int]) -> None:
    curve.on_train_begin()
    for step in steps:
        curve.on_epoch_end(step, {"eval/normalized_score": 2.0 * step, "critic/q_mean": 0.1 * step})


def test_it_writes_a_picture_outside_jupyter(tmp_path):
    curve = LiveCurve("eval/normalized_score", "critic/q_mean", path=tmp_path / "curve.png")
    train(curve, [10, 20, 30])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    score, q = curve.draw().axes
    assert list(score.lines[0].get_xdata()) == [10, 20, 30]
    assert list(score.lines[0].get_ydata()) == [20, 40, 60]
    assert list(q.lines[0].get_ydata()) == pytest.approx([1, 2, 3])


def test_a_resumed_training_goes_on_and_a_new_one_begins_again():
    curve = LiveCurve()
    train(curve, [10, 20])
    train(curve, [20, 30])
    assert [row["step"] for row in curve.rows] == [10, 20, 30]
    train(curve, [10])
    assert [row["step"] for row in curve.rows] == [10]


def test_jupyter_shows_one_picture_per_training_and_updates_it(monkeypatch):
    shown, updated = [], []

    def display(image, display_id):
        shown.append(image)
        return SimpleNamespace(update=updated.append)

    class Image:
        def __init__(self, data, width):
            self.data = data

    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Image=Image, display=display))
    assert live.in_notebook()
    curve = LiveCurve()
    train(curve, [10, 20, 30])
    train(curve, [40])
    assert [len(shown), len(updated)] == [2, 2]
    assert all(image.data.startswith(b"\x89PNG") for image in shown + updated)


@pytest.mark.parametrize("metric", ["eval/return", "offline/action_error_best"])
def test_what_a_policy_is_judged_by_is_drawn_unless_told(metric):
    curve = LiveCurve()
    for step in (10, 20):
        curve.on_epoch_end(step, {metric: 0.5 * step, "critic/q_mean": 1.0})
    (ax,) = curve.draw().axes
    assert list(ax.lines[0].get_ydata()) == [5.0, 10.0]
    assert list(plot_curves(curve.rows).lines[0].get_ydata()) == [5.0, 10.0]
