"""Data of other tools: LeRobot's features of all shapes, CSV and Parquet with a layout, robomimic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from data_episodes import command, own_minari_folder, stored  # noqa: F401 (a fixture)
from test_data import fails

from lapo_tf.data import import_lerobot, import_robomimic, import_table, load_dataset, open_recording

pa = pytest.importorskip("pyarrow", reason="needs lapo-tf[lerobot]")
import pyarrow.parquet as pq  # noqa: E402

ROWS, EPISODES = 12, 2
KEPT = EPISODES * (ROWS - 1)  # the last row of each has no next observation


def known(dataset_id: str) -> dict[str, Any]:
    with open_recording(dataset_id) as recording:
        return dict(recording.metadata["lapo"])


# LeRobot --------------------------------------------------------------------------------------------------------------


def state(rows: int) -> np.ndarray:
    return np.arange(3.0 * rows).reshape(rows, 3)


def lerobot(folder: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    """A data set of a state, an action and what is given: rows (of one episode) by name."""
    standard = {name: {"dtype": "int64", "shape": [1]} for name in ("frame_index", "episode_index", "index")}
    standard["timestamp"] = {"dtype": "float32", "shape": [1]}
    standard["observation.state"] = {"dtype": "float32", "shape": [3]}
    standard["action"] = {"dtype": "float32", "shape": [2]}
    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    description = {"codebase_version": "v2.1", "fps": 10, "total_episodes": EPISODES}
    (folder / "meta" / "info.json").write_text(json.dumps(description | {"features": standard | (features or {})}))
    for e in range(EPISODES):
        rows = {
            "timestamp": np.arange(ROWS) / 10,
            "frame_index": np.arange(ROWS),
            "episode_index": np.full(ROWS, e),
            "index": np.arange(ROWS) + e * ROWS,
            "observation.state": list(state(ROWS)),
            "action": list(np.ones((ROWS, 2))),
        } | columns
        table = pa.table(
            {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in rows.items()}
        )
        pq.write_table(table, folder / "data" / "chunk-000" / f"episode_{e:06d}.parquet")
    return folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (list(range(ROWS)), [[i] for i in range(ROWS)]),
        ([[[1.0, 2.0], [3.0, 4.0]]] * ROWS, [[1, 2, 3, 4]] * ROWS),
        ([[[1.0, 2.0, 3.0]]] * ROWS, [[1, 2, 3]] * ROWS),
        (pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * ROWS)), 2), np.arange(2 * ROWS).reshape(-1, 2)),
        ([i % 2 == 0 for i in range(ROWS)], [[1 - i % 2] for i in range(ROWS)]),
    ],
)
def test_features_of_all_shapes_become_vectors(values, expected, tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", {"observation.state": values})
    assert import_lerobot(folder, "own/a-v0", progress=False).steps == KEPT
    np.testing.assert_array_equal(stored("own/a-v0")[0].observations, np.array(expected, "f4"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([[1.0, None, 3.0]] * ROWS, "lists that lack values"),
        ([[1.0, 2.0, 3.0]] * (ROWS - 1) + [None], f"row {ROWS - 1} holds nothing"),
        ([[1.0, 2.0, 3.0]] * (ROWS - 1) + [[1.0]], "lists of 1 to 3 values"),
        (["pick"] * ROWS, "it holds string"),
    ],
)
def test_what_was_asked_for_must_hold_numbers(values, told, tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", {"observation.state": values})
    fails(lambda: import_lerobot(folder, "own/a-v0", progress=False), "column observation.state cannot be used", told)


ODD = {
    "camera.intrinsics": ([[[1.0] * 3] * 3] * ROWS, {"dtype": "float32", "shape": [3, 3]}),
    "annotation.boxes": ([[1.0] * (i % 3) for i in range(ROWS)], {"dtype": "float32", "shape": [-1]}),
    "language_instruction": (["pick"] * ROWS, {"dtype": "language", "shape": [1]}),
    "observation.images.top": ([{"bytes": b"x", "path": None}] * ROWS, {"shape": [3, 4, 4]}),
    "observation.images.side": (None, {"dtype": "video", "shape": [3, 4, 4]}),
}


def test_the_rest_is_kept_or_listed_as_left_out(tmp_path: Path) -> None:
    columns = {name: values for name, (values, _) in ODD.items() if values is not None}
    folder = lerobot(tmp_path / "a", columns, {name: feature for name, (_, feature) in ODD.items()})
    done = import_lerobot(folder, "own/a-v0", progress=False)
    left_out = {"annotation.boxes", "language_instruction", "observation.images.top", "observation.images.side"}
    assert set(known("own/a-v0")["report"]["left_out"]) == left_out
    (warning,) = done.warnings
    for part in ("annotation.boxes (lists of 0 to 2 values)", "language_instruction (it holds string)"):
        assert part in warning
    assert stored("own/a-v0")[0].infos["camera.intrinsics"].shape == (ROWS, 9)
    ran = command("import", "lerobot", str(folder), "--id", "own/b-v0")
    assert "note: left out: " in ran.stdout, ran.stderr


def test_columns_can_be_chosen_in_parts(tmp_path: Path) -> None:
    names = {"observation.state": {"dtype": "float32", "shape": [3], "names": {"arm": ["x", "y"], "grip": ["z"]}}}
    chosen = ["observation.state[1:3]", "action[0:1]", "0.5"]
    folder = lerobot(tmp_path / "b", {"extra": np.arange(ROWS)}, names | {"extra": {"dtype": "int64", "shape": [1]}})
    arguments = ["--observation", *chosen, "--action", "action[1:2]", "--infos", "extra"]
    ran = command("import", "lerobot", str(folder), "--id", "own/b-v0", *arguments)
    assert ran.returncode == 0, ran.stderr
    first, told = stored("own/b-v0")[0], known("own/b-v0")
    np.testing.assert_array_equal(first.observations, np.hstack([state(ROWS)[:, 1:], np.tile([1, 0.5], (ROWS, 1))]))
    assert np.shape(first.actions) == (ROWS - 1, 1)
    assert set(first.infos) == {"extra", "time"}
    assert told["observation"] == ["observation.state.y", "observation.state.z", "action.0", "constant"]
    assert told["fields"] == {"observation.state[1:3]": [0, 2], "action[0:1]": [2, 3]}
    assert told["action"] == ["action.1"]
    fails(lambda: import_lerobot(folder, "own/c-v0", infos=["extr"], progress=False), "did you mean 'extra'")


def test_a_description_that_is_none_is_told(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", {})
    (folder / "meta" / "info.json").write_text("[1, 2]")
    fails(lambda: import_lerobot(folder, "own/a-v0", progress=False), "info.json names no features")


# Tables ---------------------------------------------------------------------------------------------------------------

LAYOUT = """
observation: [q, "pose[0:2]", 0.5]
action: [u]
low: -2
high: 2
reward: score
terminal: done
episode: run
order: step
time: t
rate: 20
units: {q: rad, pose: m, u: rad/s}
"""


def table(path: Path, runs: list[str], **changes: Any) -> Path:
    """Five rows of each run, in the wrong order; the first run ends with success."""
    step = np.tile([1, 0, 2, 3, 4], len(runs))
    columns = {
        "run": np.repeat(runs, 5).tolist(),
        "step": step,
        "t": step / 20,
        "q": 10.0 + step,
        "pose": [[float(s), -float(s), 9.0] for s in step],
        "u": step / 10,
        "score": step * 1.0,
        "done": [run == "a" and s == 4 for run, s in zip(np.repeat(runs, 5), step, strict=True)],
        "note": ["text"] * len(step),
        "force": step * 2.0,
    } | changes
    if path.suffix == ".csv":
        columns["pose"] = step * 1.0  # no lists in CSV
        import pyarrow.csv

        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def test_parquet_with_a_layout(tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(LAYOUT)
    files = [table(tmp_path / "1.parquet", ["a", "b"]), table(tmp_path / "2.parquet", ["b2", "c"])]
    done = import_table(files, tmp_path / "layout.yaml", "own/t-v0", progress=False)
    assert (done.episodes, done.steps, done.dropped) == (4, 5 + 3 * 4, 3)
    assert done.warnings == ("left out: note (it holds string)",)
    first, second = stored("own/t-v0")[:2]
    step = np.arange(5.0)
    expected = np.stack([10 + step, step, -step, np.full(5, 0.5)], 1)
    np.testing.assert_array_equal(first.observations[:5], expected)
    np.testing.assert_array_equal(second.observations, expected)
    np.testing.assert_allclose(first.actions[:, 0], step / 10, rtol=1e-6)
    np.testing.assert_array_equal(first.rewards, step)
    assert np.asarray(first.terminated).tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(second.infos["force"], 2 * step)
    np.testing.assert_allclose(second.infos["time"], step / 20)
    told = known("own/t-v0")
    assert told["observation"] == ["q", "pose.0", "pose.1", "constant"]
    assert [channel["unit"] for channel in told["channels"]["observation"]] == ["rad", "m", "m", ""]
    assert told["channels"]["action"] == [{"name": "u", "unit": "rad/s"}]
    assert told["control_hz"] == 20
    assert minari.load_dataset("own/t-v0").action_space.high.tolist() == [2.0]


def test_csv_and_an_episode_that_goes_on_in_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text("observation: [q]\naction: [u]\nepisode: run\n")
    files = [table(tmp_path / "1.csv", ["a", "b"]), table(tmp_path / "2.csv", ["b", "c"])]
    ran = command("import", "table", *map(str, files), "--layout", str(tmp_path / "layout.yaml"), "--id", "own/c-v0")
    assert ran.returncode == 0, ran.stderr
    assert load_dataset("own/c-v0").episodes[:, 1].tolist() == [4, 9, 4]
    (tmp_path / "layout.yaml").write_text("observation: [q]\naction: [u]\n")  # each file one episode
    import_table(files, tmp_path / "layout.yaml", "own/d-v0", progress=False)
    assert load_dataset("own/d-v0").episodes[:, 1].tolist() == [9, 9]


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ("observation: [q]\naction: [uu]\n", "unknown column in 1.parquet: 'uu': did you mean 'u'?"),
        ("observation: [note]\naction: [u]\n", "column note cannot be used: it holds string; expected numbers"),
        ("observation: [q]\naction: [u]\nrate: -1\nlow: 0\n", "rate is -1: expected a number above 0"),
        ("observation: []\naction: [u]\n", "observation is []: expected at least 1 entry"),
        ("observation: [q]\naction: [u]\nlow: 0\n", "low/high is half given"),
        ("observation: [q]\naction: [u]\nunits: {uu: m}\n", "unknown column in units: 'uu': did you mean 'u'?"),
        ("observation: ['pose[0:9]']\naction: [u]\n", "pose has 3 values"),
        ("observation: [q]\naction: [u]\nlow: [0, 1]\nhigh: 3\n", "low has 2 values: expected 1 or 1"),
    ],
)
def test_errors_of_tables(layout: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(layout)
    file = table(tmp_path / "1.parquet", ["a"])
    fails(lambda: import_table([file], tmp_path / "layout.yaml", "own/t-v0", progress=False), told)
    assert not minari.list_local_datasets()


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text("observation: [q]\naction: [u]\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for name, told in (
        ("none.csv", "does not exist"),
        ("a.xlsx", "expected a .csv"),
        ("cut.parquet", "cannot be read"),
    ):
        fails(lambda name=name: import_table([tmp_path / name], tmp_path / "layout.yaml", "own/t-v0"), name, told)


# robomimic ------------------------------------------------------------------------------------------------------------


def robomimic(path: Path, demos: int = 11) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(demos):
            length, rng = 4 + number, np.random.default_rng(number)
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"], demo["rewards"] = rng.uniform(-1, 1, (length, 7)), np.arange(length) == length - 1
            demo["dones"] = np.arange(length) == length - 1
            for name, shape in (("eef_pos", (3,)), ("gripper", (2,)), ("agentview", (8, 8, 3))):
                values = rng.normal(size=(length + 1, *shape))
                demo[f"obs/{name}"], demo[f"next_obs/{name}"] = values[:-1], values[1:]
        env = {"env_name": "Lift", "env_kwargs": {"control_freq": 20}}
        file["data"].attrs["env_args"] = json.dumps(env)
        file["mask/train"] = np.array([b"demo_10", b"demo_2"])
    return path


def test_robomimic_files(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low_dim.hdf5")
    done = import_robomimic(path, "own/lift-v0", progress=False)
    assert (done.episodes, done.steps, done.dropped) == (11, sum(range(4, 15)), 0)
    assert done.warnings == ("left out: agentview",)
    episodes, told = stored("own/lift-v0"), known("own/lift-v0")
    with h5py.File(path) as file:
        for number in (2, 10):  # in the order of their numbers
            demo = file[f"data/demo_{number}"]
            joined = [np.concatenate([demo[f"obs/{k}"], demo[f"next_obs/{k}"][-1:]]) for k in ("eef_pos", "gripper")]
            np.testing.assert_allclose(episodes[number].observations, np.hstack(joined), rtol=1e-6)
            np.testing.assert_allclose(episodes[number].actions, demo["actions"][()], rtol=1e-6)
            assert np.asarray(episodes[number].terminated).tolist() == demo["dones"][()].tolist()
    assert told["observation"] == ["eef_pos.0", "eef_pos.1", "eef_pos.2", "gripper.0", "gripper.1"]
    assert (told["control_hz"], told["source"]["environment"]) == (20, "Lift")
    ran = command(
        "import", "robomimic", str(path), "--id", "own/some-v0", "--observation", "gripper[1:2]", "--mask", "train"
    )
    assert ran.returncode == 0, ran.stderr
    assert [len(e.rewards) for e in stored("own/some-v0")] == [6, 14]
    assert load_dataset("own/some-v0").obs_dim == 1


def test_errors_of_robomimic_files(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "a.hdf5", 2)
    fails(lambda: import_robomimic(path, "own/a-v0", mask="trian"), "did you mean 'train'")
    fails(lambda: import_robomimic(path, "own/a-v0", observation=["eef_pose"]), "did you mean 'eef_pos'")
    fails(lambda: load_dataset(path), "a.hdf5: no observations", "import robomimic")
    with h5py.File(path, "a") as file:
        del file["data/demo_1/rewards"]
    fails(lambda: import_robomimic(path, "own/a-v0", progress=False), "data/demo_1: no rewards")
    assert not minari.list_local_datasets()
