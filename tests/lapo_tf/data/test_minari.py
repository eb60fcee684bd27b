"""Minari data sets: reading, layouts of dictionary observations, downloads, and every error they can cause."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import yaml
from minari.data_collector import EpisodeBuffer
from test_data import BOX, assert_transitions, fails, measured

from lapo_tf.data import download, load_dataset, open_recording
from lapo_tf.data.layouts import flatten


@pytest.fixture(autouse=True)
def minari_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(download, "check_connection", lambda: None)  # its own test is in test_cli
    return tmp_path / "minari"


def create(dataset_id: str, buffers: list[EpisodeBuffer], observations: gym.Space, act_dim: int = 2) -> None:
    minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=observations,
        action_space=gym.spaces.Box(-1, 1, (act_dim,)),
        data_format="hdf5",
    )


def buffer(rng: np.random.Generator, number: int, observations, length: int, terminated: bool) -> EpisodeBuffer:
    last = np.arange(length) == length - 1
    return EpisodeBuffer(
        id=number,
        observations=observations,
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=rng.normal(size=length),
        terminations=last & terminated,
        truncations=last & (not terminated),
        infos={"speed": np.arange(length + 1.0)},
    )


def test_minari_equals_a_plain_loop():
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 7, 12).tolist()  # more than ten: episode_10 must not come before episode_2
    buffers = [buffer(rng, i, rng.normal(size=(n + 1, 3)), n, i % 3 == 0) for i, n in enumerate(lengths)]
    create("lapo/walk-v0", buffers, gym.spaces.Box(-np.inf, np.inf, (3,), np.float64))
    dataset = load_dataset("lapo/walk-v0", observation_space=3, action_space=BOX)
    expected = [
        (b.observations[t], b.actions[t], b.rewards[t], b.observations[t + 1], b.terminations[t])
        for b in buffers
        for t in range(len(b.rewards))
    ]
    assert_transitions(dataset, expected)
    summary = dataset.summary
    assert (summary.provenance, summary.minari_version, summary.sha256) == ("collected", minari.__version__, None)
    assert (summary.episodes, summary.terminated_episodes, summary.dropped) == (12, 4, 0)

    with open_recording("lapo/walk-v0", infos=True) as recording:
        speeds = [episode.infos["speed"].tolist() for episode in recording.episodes]
    assert speeds == [[float(t) for t in range(n + 1)] for n in lengths]


def test_minari_kitchen_becomes_d4rls_observation():
    rng = np.random.default_rng(3)
    recorded = rng.normal(size=(5, 59))
    kettle = gym.spaces.Dict(kettle=gym.spaces.Box(-9, 9, (7,), np.float64))
    space = gym.spaces.Dict(
        observation=gym.spaces.Box(-np.inf, np.inf, (59,), np.float64), achieved_goal=kettle, desired_goal=kettle
    )
    goals = {"kettle": rng.normal(size=(5, 7))}
    observations = {"observation": recorded, "achieved_goal": goals, "desired_goal": goals}
    create("D4RL/kitchen/complete-v2", [buffer(rng, 0, observations, 4, False)], space)
    dataset = load_dataset("D4RL/kitchen/complete-v2")
    robot, objects = recorded[:, :9], recorded[:, 18:39]
    np.testing.assert_array_equal(dataset.observations[:, :30], np.hstack([robot, objects]).astype(np.float32))
    goal = np.zeros(30, np.float32)
    goal[[17, 18, 19, 22]] = -0.69, -0.05, 0.37, -0.75
    goal[23:] = -0.23, 0.75, 1.62, 0.99, 0, 0, -0.06
    np.testing.assert_array_equal(dataset.observations[:, 30:], np.tile(goal, (5, 1)))
    assert dataset.summary.provenance == "official"

    own = load_dataset(
        "D4RL/kitchen/complete-v2", layout=yaml.safe_load("[desired_goal/kettle, [1.5], 'observation[2:4]']")
    )
    np.testing.assert_array_equal(
        own.observations, np.hstack([goals["kettle"], np.full((5, 1), 1.5), recorded[:, 2:4]]).astype(np.float32)
    )
    fails(lambda: load_dataset("D4RL/kitchen/complete-v2", layout=["velocity"]), "no observations/velocity")
    fails(lambda: load_dataset("D4RL/kitchen/complete-v2", layout=["observation[50:70]"]), "59 values", "slice")


def test_pointmaze_layout_and_missing_layout():
    rng = np.random.default_rng(4)
    part = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    space = gym.spaces.Dict(observation=part, desired_goal=part)
    observations = {"observation": rng.normal(size=(4, 4)), "desired_goal": np.zeros((4, 4))}
    for dataset_id in ("D4RL/pointmaze/umaze-v2", "mine-v0"):
        create(dataset_id, [buffer(rng, 0, observations, 3, False)], space)
    dataset = load_dataset("D4RL/pointmaze/umaze-v2")
    np.testing.assert_array_equal(dataset.observations, observations["observation"].astype(np.float32))
    fails(lambda: load_dataset("mine-v0"), "dictionary of observation, desired_goal", "--layout")
    assert load_dataset("mine-v0", layout=["observation"]).summary.provenance == "own"


def test_layout_errors():
    fails(lambda: flatten(["a[1]"], lambda _: np.zeros((2, 3))), "cannot read 'a[1]'")
    fails(lambda: flatten([[1.0]], lambda _: np.zeros((2, 3))), "only constants")


def test_missing_minari_data_sets(monkeypatch, minari_folder):
    rng = np.random.default_rng(5)
    create("lapo/walk-v0", [buffer(rng, 0, rng.normal(size=(3, 3)), 2, True)], gym.spaces.Box(-9, 9, (3,), np.float64))
    fails(lambda: load_dataset("lapo/wolk-v0"), "did you mean 'lapo/walk-v0'?", "lapo_tf.collect")
    fails(lambda: load_dataset("not an id"), "unknown data set 'not an id'", "FILE.hdf5")
    fails(lambda: load_dataset("kitchen"), "unknown data set 'kitchen'")

    def offline(dataset_id: str) -> None:
        (minari_folder / dataset_id / "data").mkdir(parents=True)  # a download that broke off
        raise ConnectionError("Name or service not known\nsecond line")

    monkeypatch.setattr(minari, "download_dataset", offline)
    for _ in range(2):  # what the first attempt left behind is not taken for the data set
        fails(
            lambda: load_dataset("D4RL/kitchen/complete-v2"),
            "ConnectionError: Name or service not known",
            "--dataset FILE.hdf5",
            "minari download D4RL/kitchen/complete-v2",
            "MINARI_DATASETS_PATH",
        )

    def absent(dataset_id: str) -> None:
        raise ValueError("Couldn't find any version for dataset")

    monkeypatch.setattr(minari, "download_dataset", absent)
    fails(lambda: load_dataset("D4RL/kitchn/complete-v2"), "unknown data set", "Couldn't find any version")


def test_minari_data_set_is_downloaded_once(monkeypatch):
    calls = []

    def download(dataset_id: str) -> None:
        calls.append(dataset_id)
        rng = np.random.default_rng(6)
        create(dataset_id, [buffer(rng, 0, rng.normal(size=(3, 3)), 2, True)], gym.spaces.Box(-9, 9, (3,), np.float64))

    monkeypatch.setattr(minari, "download_dataset", download)
    assert [len(load_dataset("mujoco/hopper/medium-v0")) for _ in range(2)] == [2, 2]
    assert calls == ["mujoco/hopper/medium-v0"]


def test_damaged_minari_data_set(minari_folder):
    rng = np.random.default_rng(7)
    space = gym.spaces.Box(-9, 9, (3,), np.float64)
    create("mine-v0", [buffer(rng, i, rng.normal(size=(3, 3)), 2, True) for i in range(2)], space)
    main = minari_folder / "mine-v0" / "data" / "main_data.hdf5"
    with h5py.File(main, "a") as file:
        del file["episode_1/rewards"]
    fails(lambda: load_dataset("mine-v0"), "mine-v0: its files cannot be read", "delete", "download or copy it again")
    main.write_bytes(main.read_bytes()[:1000])
    fails(lambda: load_dataset("mine-v0"), "cannot be read")
    (main.parent / "metadata.json").write_text("{")
    fails(lambda: load_dataset("mine-v0"), "cannot be read", "JSON")


@pytest.mark.slow
def test_a_million_transitions_from_minari():
    rng = np.random.default_rng(9)
    lengths = rng.integers(60, 107, 12_000).tolist()
    buffers = [buffer(rng, i, rng.random((n + 1, 11)), n, i % 2 == 0) for i, n in enumerate(lengths)]
    create("lapo/big-v0", buffers, gym.spaces.Box(0, 1, (11,), np.float64))
    dataset, seconds, memory = measured("lapo/big-v0")
    assert len(dataset) == sum(lengths)
    np.testing.assert_array_equal(dataset.episodes[:, 1], lengths)
    assert seconds < 120  # 11 s measured on two shared cores, memory tracing included
    assert memory < 1.5  # 1.16 measured
