"""Data: alignment of transitions, D4RL files, and every error they can cause.

What is expected is worked out independently here: by plain loops over what was written, or by hand.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
import yaml
from places import SHARED

from lapo_tf.data import Episode, OfflineDataset, Source, check_spaces, from_episodes, load_dataset, open_recording
from lapo_tf.data.layouts import KITCHEN, KITCHEN_MIXED
from lapo_tf.errors import UserError

BOX = gym.spaces.Box(-1, 1, (2,))
SOURCE = Source("test")


def fails(call, *parts: str) -> None:
    """`call` raises a `UserError` of one line that contains all the parts."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def assert_transitions(dataset: OfflineDataset, expected: list[tuple]) -> None:
    """Compare with a list of (s, a, r, s', terminal)."""
    got = dataset.transitions()
    assert len(dataset) == len(expected) == dataset.summary.transitions
    keys = ("observations", "actions", "rewards", "next_observations", "terminals")
    for key, values in zip(keys, zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(got[key], np.asarray(values, np.float32), err_msg=key)
        assert got[key].dtype == np.float32


# Alignment ------------------------------------------------------------------------------------------------------------


def random_episode(rng: np.random.Generator, *, final: bool, terminated: bool, per_step: bool = False) -> Episode:
    length = int(rng.integers(1, 9))
    flags = rng.random(length) < 0.3
    flags[-1] = terminated
    return Episode(
        rng.normal(size=(length + final, 3)),
        rng.uniform(-1, 1, (length, 2)),
        rng.normal(size=length),
        flags if per_step else terminated,
    )


def naive(episodes: list[Episode]) -> tuple[list[tuple], int]:
    transitions, dropped = [], 0
    for episode in episodes:
        s, a, r = np.asarray(episode.observations), np.asarray(episode.actions), np.asarray(episode.rewards)
        for t in range(len(r)):
            last = t == len(r) - 1
            done = np.asarray(episode.terminated)[t] if np.ndim(episode.terminated) else episode.terminated and last
            if t + 1 < len(s):
                transitions.append((s[t], a[t], r[t], s[t + 1], done))
            elif done:
                transitions.append((s[t], a[t], r[t], s[t], done))
            else:
                dropped += 1
    return transitions, dropped


def test_alignment_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    kinds = [(f, t, p) for f in (True, False) for t in (True, False) for p in (True, False)]
    episodes = [random_episode(rng, final=f, terminated=t, per_step=p) for f, t, p in kinds * 40]
    dataset = from_episodes(iter(episodes), SOURCE)
    expected, dropped = naive(episodes)
    assert_transitions(dataset, expected)
    assert dropped > 0
    assert dataset.summary.dropped == dropped
    assert dataset.summary.episodes == len(episodes)
    assert dataset.summary.terminated_episodes == len(episodes) // 2


@pytest.mark.parametrize(
    ("final", "terminated", "nexts", "terminals"),
    [
        (True, True, [1, 2, 3], [0, 0, 1]),
        (True, False, [1, 2, 3], [0, 0, 0]),
        (False, True, [1, 2, 2], [0, 0, 1]),  # repeated, masked by the terminal
        (False, False, [1, 2], [0, 0]),  # dropped
    ],
)
def test_last_step(final, terminated, nexts, terminals):
    episode = Episode(np.arange(3.0 + final)[:, None], np.zeros((3, 1)), np.ones(3), terminated)
    got = from_episodes([episode], SOURCE).transitions()
    assert got["next_observations"][:, 0].tolist() == nexts
    assert got["terminals"].tolist() == terminals


def test_layout_is_flat_read_only_and_stores_observations_once():
    rng = np.random.default_rng(1)
    episodes = [random_episode(rng, final=True, terminated=False) for _ in range(50)]
    dataset = from_episodes(episodes, SOURCE, capacity=7)
    rows = sum(len(np.asarray(e.observations)) for e in episodes)
    assert dataset.observations.shape == (rows, 3)
    assert dataset.index.dtype == np.int32
    first, length = dataset.episodes.T
    np.testing.assert_array_equal(
        dataset.index, np.concatenate([np.arange(a, a + n) for a, n in dataset.episodes.tolist()])
    )
    np.testing.assert_array_equal(first[1:], (first + length + 1)[:-1])
    np.testing.assert_array_equal(dataset.observations, np.concatenate([e.observations for e in episodes]).astype("f4"))
    final_rows = first + length
    assert not dataset.actions[final_rows].any()
    assert not dataset.terminals[final_rows].any()
    with pytest.raises(ValueError, match="read-only"):
        dataset.rewards[0] = 1


def test_summary_is_plain_and_readable():
    episodes = [Episode(np.zeros((3, 4)), np.zeros((2, 2)), [value, 0.0], value > 2) for value in (1.0, 2.0, 3.0)]
    summary = from_episodes(episodes, Source("mine.hdf5", sha256="ab" * 32), warnings=["odd"]).summary
    plain = summary.to_dict()
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain
    assert plain["return_quantiles"] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert (plain["episodes"], plain["transitions"], plain["mean_length"]) == (3, 6, 2.0)
    assert (plain["obs_dim"], plain["act_dim"], plain["reward_range"]) == (4, 2, [0.0, 3.0])
    text = str(summary).splitlines()
    assert 4 <= len(text) <= 6
    assert max(map(len, text)) <= 100
    assert "6 in 3 episodes" in str(summary)
    assert "odd" in text[-1]


def test_episode_errors():
    def load(*episodes):
        return lambda: from_episodes(episodes, SOURCE)

    good = Episode(np.zeros((3, 4)), np.zeros((2, 2)), np.zeros(2), True)
    fails(load(), "no episodes")
    fails(load(good, Episode(np.zeros((1, 4)), np.zeros((0, 2)), [], False)), "episode 1", "empty")
    fails(load(Episode(np.zeros((1, 4)), np.zeros((1, 2)), [0.0], False)), "no transition", "1 steps")
    fails(load(Episode(np.zeros((5, 4)), np.zeros((2, 2)), np.zeros(2), True)), "episode 0", "(5, 4)", "one length")
    fails(load(Episode(np.zeros((3, 4)), np.zeros((2, 2)), np.zeros(2), [True])), "terminals (1,)")
    fails(load(Episode(np.zeros((3, 4, 4)), np.zeros((2, 2)), np.zeros(2), True)), "(3, 4, 4)")
    fails(load(good, Episode(np.zeros((3, 5)), np.zeros((2, 2)), np.zeros(2), True)), "one layout")


def test_not_finite_values_are_counted_and_located():
    observations, rewards = np.zeros((5, 3)), np.zeros(5)
    observations[2], observations[3, 0], rewards[4] = np.nan, np.inf, -np.inf
    good = Episode(np.zeros((5, 3)), np.zeros((4, 2)), np.zeros(4), False)
    bad = Episode(observations, np.zeros((5, 2)), rewards, True)
    fails(
        lambda: from_episodes([good, bad], SOURCE),
        "observations: 4 NaN or infinite, first at step 6 (episode 1, its step 2)",
        "rewards: 1 NaN or infinite, first at step 8 (episode 1, its step 4)",
    )
    huge = Episode(np.zeros((2, 1)), np.zeros((1, 1)), [1e300], True)  # infinite in float32
    with np.errstate(over="ignore"):
        fails(lambda: from_episodes([huge], SOURCE), "rewards: 1")


def test_spaces():
    def dataset(largest: float) -> OfflineDataset:
        return from_episodes([Episode(np.zeros((3, 4)), [[0, 0], [0, largest]], np.zeros(2), True)], SOURCE)

    observations = gym.spaces.Box(-np.inf, np.inf, (4,))
    assert check_spaces(dataset(1.0005), observations, BOX).summary.warnings == ()
    assert check_spaces(dataset(99.0), 4, 2).summary.warnings == ()
    (warning,) = check_spaces(dataset(1.5), observations, BOX).summary.warnings
    assert "action 1 reaches 0 to 1.5" in warning
    fails(lambda: check_spaces(dataset(-10.5), None, BOX), "action 1 reaches -10.5", "other units")
    fails(lambda: check_spaces(dataset(0), 5, BOX), "observations have 4 values but the environment has 5")
    fails(lambda: check_spaces(dataset(0), None, gym.spaces.Box(-1, 1, (3,))), "actions have 2 values")
    fails(lambda: check_spaces(dataset(0), gym.spaces.Dict(a=BOX), None), "flat Box")
    # Zeros in rows of final observations are not actions.
    assert (
        check_spaces(
            from_episodes([Episode(np.zeros((2, 1)), [[1.5]], [0.0], True)], SOURCE), 1, gym.spaces.Box(1, 2, (1,))
        ).summary.warnings
        == ()
    )


# D4RL HDF5 files ------------------------------------------------------------------------------------------------------


def flat_steps(steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(steps, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "terminals": np.zeros(steps, bool),
    }


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def naive_d4rl(arrays: dict[str, np.ndarray], ends: np.ndarray) -> list[tuple]:
    s, a, r, done = (arrays[key] for key in ("observations", "actions", "rewards", "terminals"))
    out = []
    for t in range(len(r)):
        if done[t]:
            out.append((s[t], a[t], r[t], s[t], 1))
        elif not ends[t] and t + 1 < len(r):
            out.append((s[t], a[t], r[t], s[t + 1], 0))
    return out


@pytest.mark.parametrize("steps", [1000, 70_000])  # one block and several
def test_d4rl_file_equals_a_plain_loop(tmp_path, steps):
    arrays = flat_steps(steps)
    rng = np.random.default_rng(1)
    arrays["terminals"] = rng.random(steps) < 0.02
    arrays["timeouts"] = rng.random(steps) < 0.02
    arrays["terminals"][-1] = arrays["timeouts"][-1] = False  # the recording was cut
    dataset = load_dataset(write(tmp_path / "a.hdf5", arrays), observation_space=3, action_space=BOX)
    assert_transitions(dataset, naive_d4rl(arrays, arrays["timeouts"]))
    summary = dataset.summary
    assert summary.episodes == int((arrays["terminals"] | arrays["timeouts"]).sum()) + 1
    assert summary.dropped == int((arrays["timeouts"] & ~arrays["terminals"]).sum()) + 1
    assert (summary.id, summary.provenance) == ("a.hdf5", "own")


def test_known_next_observations_keep_truncated_steps(tmp_path):
    arrays = flat_steps(10)
    arrays["timeouts"] = np.arange(10) == 4
    after = np.roll(arrays["observations"], -1, axis=0)
    after[4], after[9] = 40, 90
    arrays["next_observations"] = after
    dataset = load_dataset(write(tmp_path / "a.h5", arrays))
    np.testing.assert_array_equal(dataset.transitions()["next_observations"], after)
    assert dataset.episodes[:, 1].tolist() == [5, 5]
    assert dataset.summary.dropped == 0
    assert dataset.summary.warnings == ()


def test_jumps_in_next_observations_cut_the_episode(tmp_path):
    arrays = flat_steps(10)  # shuffled transitions, as some tools write them: every row stands alone
    arrays["next_observations"] = arrays["observations"] + 1
    dataset = load_dataset(write(tmp_path / "a.hdf5", arrays))
    np.testing.assert_array_equal(dataset.transitions()["next_observations"], arrays["next_observations"])
    assert len(dataset) == len(dataset.episodes) == 10
    assert "jump at step 0" in dataset.summary.warnings[0]


def test_max_episode_steps_cuts_files_without_timeouts(tmp_path):
    arrays = flat_steps(23)
    arrays["terminals"][4] = True
    path = write(tmp_path / "a.hdf5", arrays)
    cut = load_dataset(path, max_episode_steps=7)  # 0-4 terminal, 5-11, 12-18, 19-22
    ends = np.isin(np.arange(23), (4, 11, 18, 22))
    assert_transitions(cut, naive_d4rl(arrays, ends))
    assert cut.episodes[:, 1].tolist() == [5, 6, 6, 3]
    assert len(load_dataset(path).episodes) == 2
    timeouts = {**arrays, "timeouts": np.zeros(23, bool)}
    assert len(load_dataset(write(tmp_path / "b.hdf5", timeouts), max_episode_steps=7).episodes) == 2


def test_file_without_any_end_is_read_with_a_warning(tmp_path):
    dataset = load_dataset(write(tmp_path / "a.hdf5", flat_steps(9)))
    assert len(dataset) == 8
    assert "one episode" in dataset.summary.warnings[0]


def test_recorded_infos_are_read_with_their_steps(tmp_path):
    arrays = flat_steps(6)
    arrays["terminals"][[2, 5]] = True
    arrays["infos/speed"] = np.arange(6.0)
    arrays["infos/deep/position"] = np.arange(12.0).reshape(6, 2)
    arrays["infos/seed"] = np.arange(3)  # not per step
    with open_recording(write(tmp_path / "a.hdf5", arrays), infos=True) as recording:
        first, second = recording.episodes
    assert (recording.steps, recording.count) == (6, 2)
    assert set(first.infos) == {"speed", "deep/position"}
    assert second.infos["speed"].tolist() == [3, 4, 5]
    assert second.infos["deep/position"].tolist() == [[6, 7], [8, 9], [10, 11]]


def test_unusable_files(tmp_path):
    good = flat_steps(5)
    path = write(tmp_path / "walker.hdf5", good)
    fails(lambda: load_dataset(tmp_path / "walkr.hdf5"), "does not exist", "did you mean 'walker.hdf5'")
    (tmp_path / "cut.hdf5").write_bytes(path.read_bytes()[:3000])
    fails(
        lambda: load_dataset(tmp_path / "cut.hdf5"), "cut.hdf5", "cannot be read as HDF5", "download or copy it again"
    )
    (tmp_path / "text.h5").write_text("hello")
    fails(lambda: load_dataset(tmp_path / "text.h5"), "cannot be read as HDF5")
    fails(lambda: load_dataset(write(tmp_path / "f.h5", {"x": np.zeros(3)})), "no observations, actions", "found x")
    fails(lambda: load_dataset(write(tmp_path / "m.h5", {"episode_0/x": np.zeros(3)})), "give its id")
    fails(lambda: load_dataset(path, observation_space=4), "have 3 values but the environment has 4")

    def variant(**changes) -> Path:
        return write(tmp_path / "variant.hdf5", {**good, **changes})

    for wrong in (
        {"rewards": np.zeros(4)},
        {"rewards": np.zeros((5, 2))},
        {"actions": np.zeros(5)},
        {"observations": np.zeros((5, 4, 4))},
        {"next_observations": np.zeros((4, 3))},
        {"timeouts": np.zeros(6, bool)},
    ):
        fails(lambda wrong=wrong: load_dataset(variant(**wrong)), "expected observations and actions [S, size]")
    fails(lambda: load_dataset(variant(terminals=np.full(5, 0.5))), "terminals hold other values than 0 and 1")
    fails(lambda: load_dataset(variant(actions=np.full((5, 2), np.nan))), "actions: 10 NaN or infinite", "step 0")
    fails(lambda: load_dataset(write(tmp_path / "e.h5", flat_steps(0))), "no steps")


def test_damaged_chunk_is_one_line(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for name, array in flat_steps(4000).items():
            file.create_dataset(name, data=array, compression="gzip")
        offset = file["observations"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    fails(lambda: load_dataset(path), "a.hdf5", "damaged or cut short?")


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the project")
def test_official_kitchen_complete():
    dataset = load_dataset(SHARED / "data" / "mini_kitchen_microwave_kettle_light_slider-v0.hdf5", action_space=9)
    summary = dataset.summary
    assert (summary.transitions, summary.episodes, summary.dropped) == (3680, 19, 0)
    assert summary.provenance == "official"
    assert summary.sha256 is not None
    assert summary.sha256.startswith("cd797c38cd52dfbe")
    assert (dataset.obs_dim, dataset.act_dim, summary.reward_range) == (60, 9, (0.0, 4.0))
    assert dataset.transitions()["terminals"].sum() == 19
    np.testing.assert_array_equal(dataset.observations[0, 30:], np.asarray(KITCHEN[2], np.float32))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the project")
def test_kitchen_stand_in_is_not_official():
    dataset = load_dataset(SHARED / "data" / "kitchen-mixed-standin.hdf5")
    assert (len(dataset), len(dataset.episodes), dataset.summary.provenance) == (149_209, 601, "own")
    np.testing.assert_array_equal(dataset.observations[0, 30:], np.asarray(KITCHEN_MIXED[2], np.float32))


# Size -----------------------------------------------------------------------------------------------------------------


def measured(spec) -> tuple[OfflineDataset, float, float]:
    """The data set, seconds, and peak memory as a multiple of the arrays' size."""
    tracemalloc.start()
    start = time.perf_counter()
    dataset = load_dataset(spec)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    arrays = (
        dataset.observations,
        dataset.actions,
        dataset.rewards,
        dataset.terminals,
        dataset.index,
        dataset.episodes,
    )
    return dataset, seconds, peak / sum(a.nbytes for a in arrays)


def test_a_million_transitions_from_hdf5(tmp_path):
    rng = np.random.default_rng(8)
    steps = 1_000_000
    arrays = {
        "observations": rng.random((steps, 11), np.float32),
        "actions": rng.random((steps, 3), np.float32),
        "rewards": rng.random(steps, np.float32),
        "terminals": rng.random(steps) < 0.006,
        "timeouts": rng.random(steps) < 0.006,
    }
    path = write(tmp_path / "big.hdf5", arrays)
    dataset, seconds, memory = measured(path)
    keep = arrays["terminals"] | ~arrays["timeouts"]
    keep[-1] &= arrays["terminals"][-1]
    assert len(dataset) == keep.sum()
    assert len(dataset.episodes) > 11_000
    np.testing.assert_array_equal(dataset.actions[dataset.index], arrays["actions"][keep])
    assert seconds < 30  # 1.8 s measured on two shared cores, memory tracing included
    assert memory < 1.5  # 1.21 measured
