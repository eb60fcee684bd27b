"""What the plots draw, and where."""

from __future__ import annotations

import io
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PatchCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle, StepPatch

from lapo_tf.envs.maze2d import BODY_OFFSET, MAPS, build_model, plan_of
from lapo_tf.envs.toy import ACTION_BOUND, toy_reward
from lapo_tf.errors import UserError
from lapo_tf.plots import style, toy
from lapo_tf.plots.curves import plot_curves
from lapo_tf.plots.latents import plot_latent_walk, plot_latents, plot_outside, principal_axes
from lapo_tf.plots.mazes import plot_maze_trajectories, plot_maze_values
from lapo_tf.plots.toy import plot_toy_histograms, plot_toy_latents


@pytest.fixture(autouse=True)
def figures():
    yield
    plt.close("all")


def rows(scores: list[float], every: int = 10) -> list[dict[str, float]]:
    return [{"step": every * (i + 1), "eval/normalized_score": s, "eval/return": s / 25} for i, s in enumerate(scores)]


def mean_lines(ax) -> list:
    return [line for line in ax.lines if line.get_gid() == "mean"]


def drawn(ax) -> bytes:
    out = io.BytesIO()
    ax.figure.savefig(out, format="png", dpi=60)
    return out.getvalue()


# Curves


def test_the_curve_is_the_mean_over_seeds():
    ax = plot_curves([rows([0, 10, 20]), rows([20, 30, 60])], label="lapo")
    (mean,) = mean_lines(ax)
    np.testing.assert_array_equal(mean.get_xdata(), [10, 20, 30])
    np.testing.assert_array_equal(mean.get_ydata(), [10, 20, 40])
    assert len(ax.lines) == 3  # and each seed
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lapo"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gradient steps", "normalized score")
    assert drawn(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize(("band", "low", "high"), [("std", 0.0, 20.0), ("range", 0.0, 20.0)])
def test_the_band_is_the_spread(band, low, high):
    ax = plot_curves([rows([0, 0]), rows([20, 20]), *([rows([10, 10])] if band == "range" else [])], band=band)
    (shade,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = shade.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (low, high)


def test_seeds_that_are_not_done_shorten_the_mean_only():
    ax = plot_curves([rows([0, 10, 20, 30]), rows([10, 20])])
    np.testing.assert_array_equal(mean_lines(ax)[0].get_xdata(), [10, 20])
    assert sorted(len(line.get_xdata()) for line in ax.lines) == [2, 2, 4]


def test_settings_differ_in_colour():
    ax = plot_curves(rows([1, 2]), label="a")
    assert plot_curves(rows([2, 3]), ax=ax, label="b") is ax
    assert [to_hex(line.get_color()).upper() for line in mean_lines(ax)] == [style.BLUE, style.VERMILION]
    assert len(ax.lines) == 2  # one seed has no thin line beside its own


def test_a_run_will_do_and_a_published_score_is_drawn_once():
    metrics: list[dict[str, float]] = []
    run = SimpleNamespace(metrics=lambda: metrics, path="runs/a")
    with pytest.raises(UserError, match="runs/a has no evaluation yet"):
        plot_curves(run)
    metrics += rows([5, 50])
    for source in (run, [run]):
        ax = plot_curves(source, paper=62.42)
        np.testing.assert_array_equal(mean_lines(ax)[0].get_ydata(), [5, 50])
        (dashed,) = [line for line in ax.lines if str(line.get_gid()).startswith("paper")]
        assert set(dashed.get_ydata()) == {62.42}
        assert ax.texts[0].get_text() == "paper: 62.4"
    plot_curves(run, ax=ax, paper=62.42)
    assert len(ax.texts) == 1


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'eval/return'"):
        plot_curves(rows([1]), "eval/returns")


# Mazes


@pytest.mark.parametrize("maze", MAPS)
def test_walls_stand_where_the_simulator_has_them(maze):
    model = build_model(maze)
    boxes = np.flatnonzero(model.geom_type == 6)  # mjGEOM_BOX
    expected = {tuple(np.round(model.geom_pos[i, :2] - BODY_OFFSET, 6)) for i in boxes}
    ax = plot_maze_trajectories(plan_of(maze), [])
    (walls,) = [c for c in ax.collections if isinstance(c, PatchCollection)]
    boxes = [path.get_extents() for path in walls.get_paths()]
    assert {tuple(np.round([(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2], 6)) for b in boxes} == expected
    assert {(round(b.width, 6), round(b.height, 6)) for b in boxes} == {(1.0, 1.0)}
    assert ax.get_aspect() == 1.0
    assert drawn(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize("episodes", [1, 6, 20])
def test_every_episode_has_its_path_and_colour(episodes):
    rng = np.random.default_rng(0)
    paths = [rng.uniform(1, 3, (5 + i, 4)) for i in range(episodes)]
    ax = plot_maze_trajectories(plan_of("umaze"), paths)
    lines = [line for line in ax.lines if len(line.get_xdata()) > 1]
    for line, path in zip(lines, paths, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path[:, :2])
    assert len({to_hex(line.get_color()) for line in lines}) == episodes
    (goal,) = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert (goal.center, goal.radius) == ((1.0, 1.0), 0.5)


def test_an_unknown_maze_is_told():
    with pytest.raises(UserError, match="did you mean 'umaze'"):
        plan_of("umase")


def test_values_are_drawn_where_the_ball_can_be():
    """A map of a made-up value, x + 10 y, is read back place by place; walls have none."""
    plan, paths = plan_of("umaze"), [np.ones((4, 4))] * 3
    ax = plot_maze_values(plan, lambda observations: observations[:, 0] + 10 * observations[:, 1], paths)
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    corners = mesh.get_coordinates()
    x, y = np.moveaxis((corners[:-1, :-1] + corners[1:, 1:]) / 2, -1, 0)
    values = mesh.get_array()
    np.testing.assert_allclose(values.compressed(), (x + 10 * y)[~values.mask])
    (walls,) = [c for c in ax.collections if isinstance(c, PatchCollection)]
    boxes = [path.get_extents() for path in walls.get_paths()]
    covered = np.zeros(x.shape, bool)
    for box in boxes:
        covered |= (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
    np.testing.assert_array_equal(values.mask, covered)
    assert {to_hex(line.get_color()) for line in ax.lines if len(line.get_xdata()) > 1} == {"#ffffff"}


# The toy task


def test_the_map_of_a_latent_space():
    """A made-up decoder whose action is the first latent; a latent policy far outside is drawn at the edge."""
    run = SimpleNamespace(
        agent=SimpleNamespace(latent_dim=2),
        config=SimpleNamespace(agent_config=SimpleNamespace(latent_bound=2.0)),
        decode=lambda observations, latents: latents[:, :1],
        latents=lambda observations: np.array([[9.0, 0.5]]),
    )
    ax = plot_toy_latents(run)
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    np.testing.assert_allclose(mesh.get_array()[0], np.linspace(-4, 4, 161))
    assert ax.lines[-1].get_xydata().tolist() == [[4.0, 0.5]]
    (square,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert (square.get_xy(), square.get_width()) == ((-2.0, -2.0), 4.0)
    assert not [patch for patch in plot_toy_latents(run, bound=np.inf).patches if isinstance(patch, Rectangle)]
    run.agent.latent_dim = 18
    with pytest.raises(UserError, match="dimensions of the latent space is 18"):
        plot_toy_latents(run)


def test_principal_axes_are_those_of_the_spread():
    along = np.array([0.6, 0.8, 0.0])
    values = np.linspace(-3, 3, 50)[:, None] * along + [5.0, 0.0, 1.0]
    values[::2, 2] += 0.1
    axes, shares = principal_axes(values)
    np.testing.assert_allclose(abs(axes[0] @ along), 1.0, atol=1e-3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] > 0.99


def test_latents_are_drawn_along_their_axes_and_coloured_about_zero():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 5)) * [1, 9, 3, 1, 1]
    values = latents[:, 1] - 2
    ax = plot_latents(latents, values, label="worth")
    (points,) = ax.collections
    x, colours = points.get_offsets()[:, 0], points.get_array()
    assert abs(np.corrcoef(x, colours)[0, 1]) > 0.99
    assert points.norm.vmin == -points.norm.vmax
    assert drawn(ax).startswith(b"\x89PNG")


def test_a_walk_through_the_latent_space():
    """A made-up decoder whose action is the latent, clipped to 1."""
    run = SimpleNamespace(
        config=SimpleNamespace(agent_config=SimpleNamespace(latent_bound=2.0)),
        decode=lambda observations, latents: np.clip(latents, -1, 1),
    )
    taken = np.array([[0.0, -0.5], [0.0, 0.25]])
    ax = plot_latent_walk(run, np.zeros(7), np.eye(2), 1, taken=taken, extent=4.0, scale=2.0)
    walks = [line for line in ax.lines if line.get_label().startswith("direction")]
    assert [line.get_ydata()[[0, 60, -1]].tolist() for line in walks] == [[0, 0, 0], [-2, 0, 2]]
    (band,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_height()) == (-1.0, 1.5)
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [-2.0, 2.0]


def test_no_bound_stands_right_of_all_bounds():
    ax = plot_outside([1, 2, 4], [0.0, 0.1, 0.5], {2.0: 0.2, np.inf: 1.0})
    (stars,) = [line for line in ax.lines if line.get_marker() == "*"]
    assert stars.get_xdata()[0] == 2.0
    assert stars.get_xdata()[1] > 4.0
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "2", "4", "none"]


def test_histograms_peak_at_one_where_the_actions_are():
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(-1, 0.15, 900), rng.normal(1, 0.1, 100)])[:, None]
    ax = plot_toy_histograms(data, rng.normal(1, 0.1, 1000), np.full(1000, 0.93))
    filled = [patch for patch in ax.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    assert [patch.get_label() for patch in filled] == ["data", "generative model", "latent policy"]
    colours = [to_hex(patch.get_facecolor()).upper() for patch in filled]
    assert colours == [style.BLUE, style.GREEN, style.PINK]
    for patch, peak in zip(filled, (-1.0, 1.0, 0.93), strict=True):
        values, edges, _ = patch.get_data()
        assert values.max() == 1.0
        assert abs(edges[np.argmax(values)] - peak) < 0.15
    values, *_ = filled[2].get_data()
    assert (values > 0).sum() == 1
    assert drawn(ax).startswith(b"\x89PNG")


def test_the_shaded_intervals_are_the_rewarded_ones():
    ax = plot_toy_histograms(np.zeros(3))
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches[:2]]
    for span, text in zip(spans, ax.texts, strict=True):
        inside, outside = np.array([span.x0, span.x1]), np.array([span.x0 - 1e-3, span.x1 + 1e-3])
        rewards = toy_reward(inside + np.array([1e-6, -1e-6]))
        assert text.get_text() == f"reward +{rewards[0]:.0f}"
        assert rewards[0] == rewards[1] > 0
        np.testing.assert_array_equal(toy_reward(outside), 0)
    assert toy.BOUND == ACTION_BOUND
