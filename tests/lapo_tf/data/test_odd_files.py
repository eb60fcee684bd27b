"""Files as people bring them: without time limits, with odd columns, from elsewhere; each is read rightly or named."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
from data_episodes import command, episode, own_minari_folder  # noqa: F401 (a fixture)
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from test_data import fails, flat_steps, write

from lapo_tf.data import inspect_dataset, load_dataset, open_recording, relabel_dataset
from lapo_tf.data.importers import import_d4rl
from lapo_tf.data.rewards import reward_rule
from lapo_tf.data.store import write_dataset
from lapo_tf.tasks import load_task

# Time limits ----------------------------------------------------------------------------------------------------------


def maze_file(path: Path, steps: int = 1000, terminals: tuple[int, ...] = ()) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(steps, 4)).astype("f4"),
        "actions": rng.uniform(-1, 1, (steps, 2)).astype("f4"),
        "rewards": rng.random(steps).astype("f4"),
        "terminals": np.isin(np.arange(steps), terminals),
    }
    return write(path, arrays)


def test_episodes_without_timeouts_are_cut_at_the_environments_limit(tmp_path: Path) -> None:
    """As D4RL's `qlearning_dataset` does; maze2d-umaze has 300 steps."""
    data = load_task("maze2d-umaze").load_dataset(str(maze_file(tmp_path / "a.hdf5", 1000, (149,))))
    # 0-149 terminal, 150-449, 450-749, 750-999: of the last three, the last step has no next observation.
    assert data.episodes[:, 1].tolist() == [150, 299, 299, 249]
    (warning,) = data.summary.warnings
    assert warning == "no timeouts: 2 episodes cut after 300 steps; --max-episode-steps gives another limit"


def test_a_limit_can_be_given_and_is_not_needed_with_timeouts(tmp_path: Path) -> None:
    path, task = maze_file(tmp_path / "a.hdf5"), load_task("maze2d-umaze")
    assert task.load_dataset(str(path), max_episode_steps=500).episodes[:, 1].tolist() == [499, 499]
    with h5py.File(path, "a") as file:
        file["timeouts"] = np.zeros(1000, bool)
    data = task.load_dataset(str(path))
    assert data.episodes[:, 1].tolist() == [999]
    assert data.summary.warnings == ()


def test_where_no_limit_is_known_it_is_said(tmp_path: Path) -> None:
    (warning,) = load_dataset(maze_file(tmp_path / "a.hdf5", 1000, (149, 899))).summary.warnings
    assert warning == (
        "no timeouts: episodes end at terminals alone, the longest after 750 steps; --max-episode-steps cuts them"
    )


def test_every_command_cuts_and_says_so(tmp_path: Path) -> None:
    path = str(maze_file(tmp_path / "a.hdf5"))
    ran = command("inspect", path, "--task", "maze2d-umaze", "--out", str(tmp_path))
    assert "996 in 4 episodes" in ran.stdout, ran.stderr
    assert "3 episodes cut after 300 steps" in ran.stdout
    ran = command("import", "d4rl", path, "--id", "own/a-v0", "--max-episode-steps", "100")
    assert "990 steps in 10 episodes, 10 steps dropped" in ran.stdout, ran.stderr
    assert "note: no timeouts: 9 episodes cut after 100 steps" in ran.stdout
    done = relabel_dataset(path, "own/b-v0", task=load_task("maze2d-umaze"), progress=False)
    assert done.written.episodes == 4
    assert "cut after 300 steps" in done.written.warnings[0]
    assert import_d4rl(path, "own/c-v0", task=load_task("maze2d-umaze"), progress=False).episodes == 4


# Columns --------------------------------------------------------------------------------------------------------------


def test_columns_of_other_kinds_are_named(tmp_path: Path) -> None:
    good = flat_steps(6)
    lists = np.empty((6, 3), object)
    for place in np.ndindex(lists.shape):
        lists[place] = np.zeros(2, "f4")
    record = np.dtype([("a", "f4"), ("b", "f4")])
    for name, values, told in (
        ("observations", np.full((6, 3), b"a"), "observations holds text (|S1): expected numbers"),
        ("rewards", np.full(6, b"1.0"), "rewards holds text (|S3)"),
        ("terminals", np.full(6, b"False"), "terminals holds text"),
        ("rewards", h5py.Empty("f4"), "rewards holds nothing"),
        ("observations", good["observations"].astype("c8"), "holds complex numbers"),
        ("actions", np.zeros((6, 2), record), "actions holds records"),
        ("observations", lists, "holds text or lists"),
        ("next_observations", np.zeros((6, 4)), "next_observations have 4 values, observations 3"),
        ("observations", np.zeros((6, 0)), "expected observations and actions [S, size]"),
    ):
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            for key, array in (good | {name: values}).items():
                if array is lists:
                    column = file.create_dataset(key, lists.shape, h5py.vlen_dtype("f4"))
                    for place in np.ndindex(lists.shape):
                        column[place] = lists[place]
                else:
                    file[key] = array
        fails(lambda: load_dataset(tmp_path / "a.hdf5"), "a.hdf5: ", told)
    grouped = good | {"timeouts/x": np.zeros(6)}
    fails(lambda: load_dataset(write(tmp_path / "b.hdf5", grouped)), "timeouts is a group of x")


def test_a_next_observation_that_is_none_is_named_also_inside_an_episode(tmp_path: Path) -> None:
    arrays = flat_steps(8)
    arrays["next_observations"] = np.roll(arrays["observations"], -1, axis=0)
    arrays["next_observations"][3, 1] = np.nan
    fails(lambda: load_dataset(write(tmp_path / "a.hdf5", arrays)), "observations: 1 NaN or infinite, first at step 4")


def test_marks_for_missing_values_are_named_and_spoil_no_scale(tmp_path: Path) -> None:
    from lapo_tf.agents import AGENTS
    from lapo_tf.training.loop import scaling_of

    arrays = flat_steps(50)
    arrays["observations"][7, 1] = 1e20
    data = load_dataset(write(tmp_path / "a.hdf5", arrays), max_episode_steps=50)
    (warning,) = data.summary.warnings
    assert warning == "observation 1 reaches 1e+20: a mark for missing values? replace or remove it"
    scaling = scaling_of(data, np.full(2, -1.0), np.full(2, 1.0), AGENTS["bc"].Config(), "bounds")
    assert np.isfinite(scaling.obs_std).all()


def test_flags_and_bytes_are_numbers(tmp_path: Path) -> None:
    arrays = flat_steps(8)
    arrays["observations"] = np.arange(24).reshape(8, 3) % 2 == 0
    arrays["next_observations"] = np.roll(arrays["observations"], -1, axis=0)
    arrays["next_observations"][-1] = True
    transitions = load_dataset(write(tmp_path / "a.hdf5", arrays)).transitions()
    np.testing.assert_array_equal(transitions["next_observations"], arrays["next_observations"])


def test_nothing_outside_a_file_is_read(tmp_path: Path) -> None:
    """A data set from elsewhere could point to any file here."""
    arrays = flat_steps(20)
    secret = write(tmp_path / "secret.hdf5", {"x": np.full((20, 3), 7.0, "f4"), "r": np.zeros(20)})
    raw = tmp_path / "secret.bin"
    raw.write_bytes(np.full((20, 3), 7.0, "f4").tobytes())

    def linked(file: h5py.File) -> None:
        file["observations"] = h5py.ExternalLink(secret, "x")

    def stored(file: h5py.File) -> None:
        file.create_dataset("observations", (20, 3), "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])

    def mapped(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((20, 3), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "x", (20, 3))
        file.create_virtual_dataset("observations", layout)

    for make in (linked, stored, mapped):
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            make(file)
            for name in ("actions", "rewards", "terminals"):
                file[name] = arrays[name]
        fails(lambda: load_dataset(tmp_path / "a.hdf5"), "observations lie in another file, which is not read")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["infos/secret"] = h5py.ExternalLink(secret, "r")
        file["infos/mine"] = np.arange(20.0)
    with open_recording(tmp_path / "a.hdf5", infos=True) as recording:
        assert set(next(recording.episodes).infos) == {"mine"}


def test_a_minari_data_set_points_nowhere_else(minari_folder: Path) -> None:
    write_dataset("own/a-v0", [episode(np.random.default_rng(0), 5)], description="")
    main = minari_folder / "own" / "a-v0" / "data" / "main_data.hdf5"
    other = write(minari_folder / "other.hdf5", {"x": np.zeros((5, 2), "f4")})
    with h5py.File(main, "a") as file:
        del file["episode_0/actions"]
        file["episode_0/actions"] = h5py.ExternalLink(other, "x")
    fails(lambda: load_dataset("own/a-v0"), "episode_0/actions lie in another file")


# Spaces of other people's data sets -----------------------------------------------------------------------------------


def sampled(space: spaces.Space, count: int):
    if isinstance(space, spaces.Dict):
        return {key: sampled(inner, count) for key, inner in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(sampled(inner, count) for inner in space)
    values = [space.sample() for _ in range(count)]
    return values if isinstance(space, spaces.Text) else np.stack([np.asarray(value) for value in values])


def box(*shape: int) -> spaces.Box:
    return spaces.Box(-1, 1, shape, np.float32)


def make(name: str, seen: spaces.Space, acted: spaces.Space = box(2), episodes: int = 2) -> list:  # noqa: B008
    flags = np.arange(7) == 6
    buffers = [
        EpisodeBuffer(
            observations=sampled(seen, 8),
            actions=sampled(acted, 7),
            rewards=np.ones(7),
            terminations=flags,
            truncations=np.zeros(7, bool),
        )
        for _ in range(episodes)
    ]
    minari.create_dataset_from_buffers(name, buffers, observation_space=seen, action_space=acted, algorithm_name="x")
    return buffers


NESTED = spaces.Dict(arm=spaces.Dict(position=box(3), speed=box(3)), touch=spaces.MultiBinary(2))


@pytest.mark.parametrize(
    ("seen", "acted", "parts"),
    [
        (box(3), spaces.Dict(arm=box(2)), ("actions are of a space 'Dict'", "one array")),
        (box(3), spaces.Tuple((box(2), box(1))), ("actions are of a space 'Tuple'", "one array")),
        (box(3), spaces.MultiDiscrete([2, 3]), ("'MultiDiscrete'", "discrete actions")),
        (spaces.Text(5), box(2), ("observations are of a space 'Text'", "write them as numbers")),
        (spaces.Discrete(5), box(2), ("observations are of a space 'Discrete'",)),
        (box(8, 8, 3), box(2), ("observations are arrays of shape [8, 8, 3]", "images")),
        (NESTED, box(2), ("a dictionary of arm, touch", "--layout arm touch")),
        (spaces.Tuple((box(3), box(2))), box(2), ("a dictionary of _index_0, _index_1", "--layout _index_0 _index_1")),
    ],
)
def test_spaces_that_cannot_be_learned_for_are_named(seen, acted, parts) -> None:
    make("someone/odd-v0", seen, acted)
    for read in (load_dataset, inspect_dataset):
        fails(lambda read=read: read("someone/odd-v0"), "someone/odd-v0", *parts)


def test_matrices_and_single_numbers_are_vectors() -> None:
    buffers = make("someone/a-v0", box(2, 2), box(1, 3))
    data = load_dataset("someone/a-v0")
    expected = np.concatenate([np.reshape(b.observations, (8, 4)) for b in buffers])
    np.testing.assert_array_equal(data.observations, expected)
    assert data.act_dim == 3


def test_dictionary_observations_work_in_every_command(tmp_path: Path) -> None:
    buffers = make("someone/dict-v0", NESTED)
    layout = ["arm/position", "touch", "0.5", "arm/speed[1:3]"]
    first = buffers[0].observations
    expected = np.hstack(
        [first["arm"]["position"], first["touch"], np.full((8, 1), 0.5), first["arm"]["speed"][:, 1:3]]
    ).astype(np.float32)
    np.testing.assert_array_equal(load_dataset("someone/dict-v0", layout=layout).observations[:8], expected)
    ran = command("inspect", "someone/dict-v0", "--out", str(tmp_path), "--layout", *layout)
    assert "8 channels" in ran.stdout, ran.stderr
    rule = tmp_path / "rule.yaml"
    rule.write_text("rule: distance\nfield: observation[0:3]\ngoal: [0, 0, 0]\nthreshold: 1\n")
    ran = command("relabel", "someone/dict-v0", "--id", "own/flat-v0", "--reward", str(rule), "--layout", *layout)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_array_equal(load_dataset("own/flat-v0").observations[:8], expected)


def test_dictionaries_in_d4rl_files_too(tmp_path: Path) -> None:
    arrays = flat_steps(10)
    pos, vel = arrays.pop("observations"), np.arange(20.0).reshape(10, 2)
    path = write(tmp_path / "a.hdf5", {**arrays, "observations/pos": pos, "observations/vel": vel})
    fails(lambda: load_dataset(path), "a.hdf5: observations are a dictionary of pos, vel", "--layout pos vel")
    data = load_dataset(path, layout=["vel[1:2]", "pos"])
    np.testing.assert_array_equal(data.observations[:9], np.hstack([vel[:9, 1:], pos[:9]]).astype("f4"))
    fails(lambda: load_dataset(path, layout=["speed"]), "no observations/speed")
    fails(lambda: load_dataset(path, layout=["vel[1:5]"]), "vel has 2 values")
    plain = write(tmp_path / "b.hdf5", flat_steps(10))
    fails(lambda: load_dataset(plain, layout=["pos"]), "observations are an array, no dictionary")


def test_a_run_keeps_the_layout_and_the_limit_it_was_trained_with(tmp_path: Path) -> None:
    from lapo_tf.runs.run import load_run
    from lapo_tf.training.start import train  # lapo_tf.train may be the module of the command here

    make("someone/dict-v0", spaces.Dict(arm=box(3), touch=box(2)))
    options = {"task": "maze2d-umaze", "agent": "bc", "eval_every": 2, "eval_episodes": 1, "batch_size": 4}
    options |= {"run_dir": tmp_path / "run", "bc": {"hidden": (4,)}, "compile": "eager", "progress": False}
    train(dataset="someone/dict-v0", layout=["arm", "touch[0:1]"], max_episode_steps=50, steps=2, **options)
    train(run_dir=tmp_path / "run", resume=True, steps=4, progress=False)
    config = load_run(tmp_path / "run").config
    assert (config.layout, config.max_episode_steps) == (("arm", "touch[0:1]"), 50)


def test_inspecting_with_the_wrong_task_is_told() -> None:
    write_dataset("own/a-v0", [episode(np.random.default_rng(0), 9)], description="")
    for task in ("kitchen-mixed", "toy-navigation"):
        fails(lambda task=task: inspect_dataset("own/a-v0", task=load_task(task)), "observations have 4 values", task)


# Trust ----------------------------------------------------------------------------------------------------------------


def test_a_rule_says_which_python_file_it_runs_before_it_does(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    mine = tmp_path / "their_rewards.py"
    mine.write_text("import sys\nprint('running', file=sys.stderr)\ndef zero(episode): return 0 * episode.rewards\n")
    rule = reward_rule({"function": f"{mine}:zero"}, "rule.yaml: ")
    told = capsys.readouterr().err.splitlines()
    assert told == [f"rule.yaml: function runs Python code: {mine}", "running"]
    assert not np.any(rule(episode(np.random.default_rng(0), 5)).rewards)


def test_a_relabelled_data_set_keeps_the_bounds_of_its_actions() -> None:
    bounds = gym.spaces.Box(-2, 2, (2,), np.float32)
    write_dataset("own/a-v0", [episode(np.random.default_rng(0), 5)], description="", action_space=bounds)
    relabel_dataset("own/a-v0", "own/b-v0", task=load_task("maze2d-umaze"), progress=False)
    assert minari.load_dataset("own/b-v0").action_space == bounds
