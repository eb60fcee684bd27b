"""Collected data sets, read back through Minari, and the command that makes them."""

import subprocess
import sys
from pathlib import Path

import minari
import numpy as np
import pytest

from lapo_tf.data.collectors import toy
from lapo_tf.data.collectors.maze2d import WaypointController, collect_maze2d, run_maze2d
from lapo_tf.data.collectors.toy import collect_toy, toy_dataset
from lapo_tf.envs.maze2d import Maze2dEnv
from lapo_tf.errors import UserError


@pytest.fixture(autouse=True)
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_maze2d_reads_back_with_d4rl_s_rewards() -> None:
    done = collect_maze2d("umaze", 3000, seed=1, progress=False)
    dataset = minari.load_dataset(done.dataset_id)
    assert done.dataset_id == "lapo/maze2d-umaze-v0"
    assert dataset.total_steps == done.steps == 3000
    assert dataset.total_episodes == done.episodes > 20
    previous = None
    for episode in dataset:
        steps = len(episode.rewards)
        assert episode.observations.shape == (steps + 1, 4)
        assert episode.actions.shape == (steps, 2)
        assert steps <= 300
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * (steps - 1) + [True]
        near = np.hypot(episode.observations[:-1, 0] - 1, episode.observations[:-1, 1] - 1) <= 0.5
        np.testing.assert_array_equal(episode.rewards, near)
        assert previous is None or np.array_equal(episode.observations[0], previous)  # one continuous run
        previous = episode.observations[-1]
    assert dataset.recover_environment().spec.id == "lapo/Maze2dUmaze-v0"


def test_maze2d_transitions_are_the_environment_s() -> None:
    observations, actions, _ = run_maze2d("medium", 400, seed=0, progress=False)
    env = Maze2dEnv("medium")
    env.reset(seed=0)
    env.data.qpos[:], env.data.qvel[:] = observations[0, :2], observations[0, 2:]
    replayed = np.array([env.step(action)[0] for action in actions])
    np.testing.assert_allclose(replayed[:50], observations[1:51], atol=1e-4)  # float32 storage, before it grows
    assert np.abs(actions).max() == 1


def test_maze2d_run_repeats_and_depends_on_the_seed() -> None:
    first, again, other = (run_maze2d("umaze", 500, seed, progress=False) for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_goal_interval_is_that_of_the_official_data() -> None:
    """D4RL's umaze file has 80.3 steps between goals; 60,000 steps leave a standard error of 2."""
    ends = run_maze2d("umaze", 60_000, seed=0, progress=False)[2]
    assert np.diff(ends).mean() == pytest.approx(80.3, abs=6)


def test_controller_walks_the_shortest_path() -> None:
    controller = WaypointController("umaze", np.random.default_rng(0))
    controller.head_for(3.0, 1.0, (1, 1))
    shifts = np.array([(3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (1, 1)]) - controller._waypoints
    assert (shifts[:-1] > 0).all()
    assert (shifts < 0.2).all()
    np.testing.assert_array_equal(shifts[-1], 0)


def test_toy_has_a_rare_better_mode() -> None:
    actions, rewards = toy_dataset(1000, seed=0)
    assert actions.shape == (1000, 1)
    assert (rewards == 10).sum() == pytest.approx(60, abs=1)
    assert (rewards == 1).sum() == pytest.approx(940, abs=3)
    dataset = minari.load_dataset(collect_toy(50).dataset_id)
    assert dataset.total_episodes == dataset.total_steps == 50
    assert all(episode.terminations.tolist() == [True] and len(episode.observations) == 2 for episode in dataset)


def test_existing_data_is_kept_unless_forced() -> None:
    collect_toy(5)
    with pytest.raises(UserError, match="--force"):
        collect_toy(6)
    collect_toy(7, force=True)
    assert minari.load_dataset("lapo/toy-navigation-v0").total_steps == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_collection_leaves_nothing(
    error: type[BaseException], minari_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = toy.Episode, iter(range(100))

    def fail_late(*values: object) -> object:
        if next(calls) == 5:
            raise error
        return real(*values)

    collect_toy(3)
    monkeypatch.setattr(toy, "Episode", fail_late)
    with pytest.raises(error):
        collect_toy(20, force=True)
    assert list(minari.list_local_datasets()) == ["lapo/toy-navigation-v0"]
    assert minari.load_dataset("lapo/toy-navigation-v0").total_steps == 3  # the old one
    assert not list(minari_root.glob(".writing-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maze2d-umase"], "did you mean 'maze2d-umaze'"),
        (["toy-navigation", "--steps", "0"], "positive"),
        (["toy-navigation", "--seed", "-1"], "0 or more"),
        (["toy-navigation", "--dataset-id", "no/id/"], "namespace/name-v0"),
        (["toy-navigation", "--dataset-id", "D4RL/kitchen/complete-v2"], "published"),
        (["kitchen-mixed", "--steps", "100"], "--episodes instead of --steps"),
        (["kitchen-mixed", "--episodes", "0"], "positive"),
    ],
)
def test_command_explains_errors_in_one_line(arguments: list[str], message: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "lapo_tf.collect", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_command_collects_and_says_how_to_train() -> None:
    command = [sys.executable, "-m", "lapo_tf.collect", "maze2d-umaze", "--steps", "500"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    note, result = ran.stdout.splitlines()
    assert note.endswith("steps between goals")
    assert result.startswith("lapo/maze2d-umaze-v0: 500 steps in ")
    assert "python -m lapo_tf.train --task maze2d-umaze" in result
    assert minari.load_dataset("lapo/maze2d-umaze-v0").total_steps == 500
