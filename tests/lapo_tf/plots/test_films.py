"""Films: which way to draw, captions, frames that are left out, and what an interruption leaves."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from imageio_ffmpeg import read_frames

from lapo_tf.errors import UserError
from lapo_tf.plots import films
from lapo_tf.tasks import load_task


def test_where_nothing_draws_the_packages_are_named(monkeypatch):
    monkeypatch.setattr(films, "_works", lambda backend: False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(UserError, match=r"MUJOCO_GL=egl .*libegl1.*MUJOCO_GL=osmesa .*libosmesa6"):
        films.choose_gl()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(UserError, match="MUJOCO_GL=egl does not work here"):
        films.choose_gl()


def test_the_first_backend_that_works_is_taken(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for variables, working, chosen in (
        ({}, {"glfw", "egl", "osmesa"}, "egl"),
        ({}, {"osmesa"}, "osmesa"),
        ({"DISPLAY": ":0"}, {"glfw", "egl"}, "glfw"),
        ({"DISPLAY": ":0"}, {"egl"}, "egl"),
        ({"MUJOCO_GL": "osmesa"}, {"egl", "osmesa"}, "osmesa"),
    ):
        for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(films, "_works", working.__contains__)
        assert films.choose_gl() == chosen


def test_control_rates():
    for task, seconds in (("maze2d-umaze", 0.01), ("kitchen-complete", 0.08)):
        env = load_task(task).make_env()
        assert films.control_seconds(env) == pytest.approx(seconds)
        env.close()


def test_a_caption_stands_below_the_picture():
    frame = np.full((40, 64, 3), 200, np.uint8)
    picture = films.caption(frame, "done: kettle")
    assert picture.shape == (40 + films.CAPTION, 64, 3)
    np.testing.assert_array_equal(picture[:40], frame)
    assert picture[40:].max() > 200  # letters


def shown(path) -> list[float]:
    """Brightness of the frames."""
    frames = read_frames(str(path))
    width, height = next(frames)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3)[:64].mean() for frame in frames]


@pytest.mark.parametrize(("seconds", "every"), [(0.1, 1), (0.01, 2), (0.005, 4)])
def test_frames_are_left_out_where_control_is_fast_and_the_last_one_stays(tmp_path, seconds, every):
    grey = [10 * step for step in range(12)]
    with films.Film(tmp_path / "a" / "film.mp4", seconds) as film:
        for step, value in enumerate(grey):
            film.picture(step, lambda value=value: np.full((64, 64, 3), value, np.uint8), "", last=step == 11)
    held = round(1.0 / seconds / every)
    expected = [value for step, value in enumerate(grey) if step % every == 0 and step < 11] + [110] * (1 + held)
    np.testing.assert_allclose(shown(tmp_path / "a" / "film.mp4"), expected, atol=4)


def test_an_interrupted_film_leaves_no_file(tmp_path):
    def begin() -> None:
        with films.Film(tmp_path / "film.mp4", 0.1) as film:
            film.picture(0, lambda: np.zeros((64, 64, 3), np.uint8), "")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert list(tmp_path.iterdir()) == []
