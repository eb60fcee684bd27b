"""Data of one's own: NumPy arrays, episodes held out, bounds of actions where no environment gives them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer
from test_data import fails

from lapo_tf.data import Episode, Source, from_episodes, load_dataset
from lapo_tf.data.arrays import write_arrays
from lapo_tf.data.bounds import action_bounds
from lapo_tf.data.split import held_out_episodes, split
from lapo_tf.data.store import write_dataset

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def episode(length: int, number: int) -> Episode:
    observations = np.full((length + 1, 2), number, np.float32)
    return Episode(observations, RNG.uniform(-0.5, 0.5, (length, 1)), np.arange(length), number % 2 == 0)


def test_held_out_episodes_are_whole_and_always_the_same() -> None:
    data = from_episodes([episode(3 + i % 4, i) for i in range(20)], Source("own"))
    numbers = held_out_episodes(data, 0.1)
    assert numbers == held_out_episodes(data, 0.1)
    assert len(numbers) == 2
    training, held_out = split(data, numbers)
    assert len(training) + len(held_out) == len(data)
    assert set(held_out.transitions()["observations"][:, 0]) == set(numbers)
    assert set(training.transitions()["observations"][:, 0]) == set(range(20)) - set(numbers)
    both = np.concatenate([training.transitions()["rewards"], held_out.transitions()["rewards"]])
    assert both.sum() == data.rewards.sum()
    assert len(held_out_episodes(data, 0.999)) == 19  # one is left
    few = from_episodes([episode(3, i) for i in range(4)], Source("few"))
    fails(lambda: held_out_episodes(few, 0.1), "few has 4 episodes", "at least 5", "--env")


def test_arrays_become_a_data_set(tmp_path: Path) -> None:
    observations, actions = RNG.normal(size=(7, 3)), RNG.uniform(-1, 1, (7, 2))
    ends = np.array([0, 0, 1, 0, 0, 0, 0])
    path = tmp_path / "runs" / "data.hdf5"
    write_arrays(path, observations=observations, actions=actions, rewards=np.arange(7), terminals=ends)
    data = load_dataset(path)
    assert [length for _, length in data.episodes] == [3, 3]  # the last step has no next observation
    np.testing.assert_array_equal(data.transitions()["actions"], np.float32(actions[:6]))
    assert data.transitions()["terminals"].tolist() == [0, 0, 1, 0, 0, 0]
    arrays = {"observations": observations, "rewards": np.zeros(7), "terminals": ends}
    fails(lambda: write_arrays(path, actions=np.arange(7), **arrays), "whole numbers", "discrete")
    fails(lambda: write_arrays(path, actions=np.array(["a"] * 7), **arrays), "actions are of type <U1")


def test_bounds_of_actions_are_the_space_s_or_the_data_s() -> None:
    episodes = [episode(4, i) for i in range(3)]
    actions = np.concatenate([np.float32(e.actions) for e in episodes])
    write_dataset("own/free-v0", episodes, description="")
    low, high, whose = action_bounds(load_dataset("own/free-v0"))
    assert (low, high) == (actions.min(), actions.max())
    assert "in the data" in whose
    free = Box(np.array([-np.inf], np.float32), np.array([1.0], np.float32))
    assert action_bounds(load_dataset("own/free-v0"), free) == (low, high, whose)
    assert action_bounds(load_dataset("own/free-v0"), Box(-9.0, 9.0, (1,)))[:2] == (-9.0, 9.0)
    write_dataset("own/bounded-v0", episodes, description="", action_space=Box(-2.0, 3.0, (1,), np.float32))
    low, high, whose = action_bounds(load_dataset("own/bounded-v0"))
    assert (low, high) == (-2.0, 3.0)
    assert "action space" in whose
    assert action_bounds(load_dataset("own/bounded-v0"), free)[:2] == (-2.0, 3.0)


def test_an_action_that_never_changes_has_a_little_room() -> None:
    still = [dataclasses.replace(e, actions=np.full_like(e.actions, 50.0)) for e in (episode(4, i) for i in range(3))]
    write_dataset("own/still-v0", still, description="")
    low, high, _ = action_bounds(load_dataset("own/still-v0"))
    assert (low, high) == (pytest.approx(49.95), pytest.approx(50.05))


def test_discrete_actions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "discrete.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = np.zeros((5, 2)), np.arange(5)
        file["rewards"], file["terminals"] = np.zeros(5), np.zeros(5, bool)
    fails(lambda: load_dataset(path), "discrete.hdf5", "whole numbers", "discrete actions")
    buffer = EpisodeBuffer(
        observations=np.zeros((6, 2), np.float32),
        actions=np.zeros(5, np.int64),
        rewards=np.zeros(5),
        terminations=np.arange(5) == 4,
        truncations=np.zeros(5, bool),
    )
    spaces = {"observation_space": Box(-1, 1, (2,), np.float32), "action_space": Discrete(3)}
    create_dataset_from_buffers("own/discrete-v0", [buffer], data_format="hdf5", **spaces)
    fails(lambda: load_dataset("own/discrete-v0"), "'Discrete'", "expected a Box")
