"""The paper's Table 1 and Figure 2 of actions that are made up."""

from __future__ import annotations

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lapo_tf.data.collectors.toy import toy_dataset
from lapo_tf.plots.toy import plot_figure_2
from lapo_tf.runs.toy import PAPER, table


@pytest.fixture
def actions() -> dict[str, list[np.ndarray]]:
    """Of two seeds: one all right, one all left."""
    return {name: [np.full((10, 1), 1.0), np.full((10, 1), -1.0)] for name in PAPER}


def test_the_table(actions):
    lines = table(actions).splitlines()
    assert lines[2] == "| AWAC, Gaussian policy | 2.43 | 5.50 ± 4.50 |"
    assert len(lines) == 2 + len(PAPER)
    assert table({name: seeds[:1] for name, seeds in actions.items()}).splitlines()[-1].endswith("| 10.00 | 10.00 |")


def test_the_figure(actions):
    axes = plot_figure_2(toy_dataset()[0], actions)
    legends = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in axes.flat]
    assert legends == [["data", "policy"]] * 2 + [["data", "generative model", "latent policy"]] * 2
    mine = plt.subplots(2, 2)[1]
    assert plot_figure_2(toy_dataset()[0], actions, mine) is mine
    plt.close("all")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_the_better_mode(share):
    rewards = toy_dataset(400, right=share)[1]
    assert (rewards == 10).sum() == pytest.approx(400 * share, abs=2)  # hardly any misses its interval
