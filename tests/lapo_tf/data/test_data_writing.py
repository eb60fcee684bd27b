"""Writing and importing data sets: completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
from data_episodes import (
    episode,
    own_minari_folder,  # noqa: F401 (a fixture)
    stored,
)
from test_data import fails, flat_steps, write

from lapo_tf.data import load_dataset, open_recording
from lapo_tf.data.importers import import_d4rl
from lapo_tf.data.store import check_new, write_dataset
from lapo_tf.data.tables import import_lerobot
from lapo_tf.tasks import load_task

# Writing --------------------------------------------------------------------------------------------------------------


def test_written_episodes_come_back_and_final_steps_are_treated_as_documented() -> None:
    rng = np.random.default_rng(0)
    infos = {"speed": np.arange(6.0), "deep/place": np.arange(12.0).reshape(6, 2)}
    whole = episode(rng, 5, infos=infos)
    ended = episode(rng, 4, observations=rng.normal(size=(4, 4)), terminated=True)
    cut = episode(rng, 3, observations=rng.normal(size=(3, 4)))
    short = episode(rng, 1, observations=rng.normal(size=(1, 4)))
    done = write_dataset("own/a-v0", iter([whole, ended, cut, short]), description="", metadata={"control_hz": 20})
    assert (done.steps, done.episodes, done.dropped) == (5 + 4 + 2, 3, 2)
    first, second, third = stored("own/a-v0")
    np.testing.assert_array_equal(first.observations, np.asarray(whole.observations, np.float32))
    assert {name: np.asarray(values).tolist() for name, values in first.infos.items()} == {
        name: values.tolist() for name, values in infos.items()
    }
    np.testing.assert_array_equal(second.observations[-1], second.observations[-2])
    assert np.asarray(second.terminated).tolist() == [False, False, False, True]
    np.testing.assert_array_equal(third.observations, np.asarray(cut.observations, np.float32))
    dataset = minari.load_dataset("own/a-v0")  # Minari reads it, too
    assert dataset.storage.metadata["lapo"] == {"control_hz": 20}
    assert dataset[2].truncations.tolist() == [False, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("bug")])
def test_interrupted_writing_keeps_what_was_there(error: BaseException, minari_folder: Path) -> None:
    rng = np.random.default_rng(0)
    write_dataset("own/a-v0", [episode(rng, 3)], description="")

    def breaks_off():
        yield episode(rng, 5)
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_dataset("own/a-v0", breaks_off(), description="")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_dataset("own/b-v0", breaks_off(), description="")
    assert list(minari.list_local_datasets()) == ["own/a-v0"]
    assert len(load_dataset("own/a-v0")) == 3
    assert not list(minari_folder.glob(".writing-*"))


def test_what_cannot_be_written(minari_folder: Path) -> None:
    rng = np.random.default_rng(0)
    one = episode(rng, 3)
    fails(lambda: write_dataset("own/a-v0", [], description=""), "no episode is left")
    fails(
        lambda: write_dataset("own/a-v0", [episode(rng, 1, observations=np.zeros((1, 4)))], description=""),
        "no transition is left of 1 steps",
    )
    fails(
        lambda: write_dataset("own/a-v0", [one, episode(rng, 2, actions=np.zeros((2, 3)))], description=""),
        "episode 1",
        "one kind",
    )
    fails(
        lambda: write_dataset("own/a-v0", [one, episode(rng, 2, rewards=[0.0, np.nan])], description=""),
        "episode 1, step 1: rewards are NaN",
    )
    assert not list(minari.list_local_datasets())
    write_dataset("own/a-v0", [one], description="")
    fails(lambda: check_new("own/a-v0"), "exists", "--force", "--id")
    fails(lambda: check_new("what is this"), "namespace/name-v0")


def test_full_disk_is_told_in_one_line_and_leaves_nothing(minari_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while episodes are written."""
    rng = np.random.default_rng(0)
    write_dataset("own/a-v0", [episode(rng, 3)], description="")
    free = iter([1 << 30, 40 << 20, 32 << 20, 32 << 20])
    usage = shutil.disk_usage(minari_folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    fails(
        lambda: write_dataset("own/a-v0", (episode(rng, 9) for _ in range(9)), description=""),
        "cannot write 'own/a-v0' (No space left on device; 34 MB free",
        "nothing was kept",
        "MINARI_DATASETS_PATH",
    )
    assert len(load_dataset("own/a-v0")) == 3  # the old one
    assert not list(minari_folder.glob(".writing-*"))


def test_interrupted_import_leaves_nothing(tmp_path: Path, minari_folder: Path) -> None:
    arrays = flat_steps(60_000)
    arrays["terminals"][::20] = True
    path = write(tmp_path / "a.hdf5", arrays)
    arguments = ["import", "d4rl", str(path), "--id", "own/big-v0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "lapo_tf.data", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(minari_folder.glob(".writing-*/**/main_data.hdf5")):  # until it has begun to write
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    assert not list(minari.list_local_datasets())
    assert not list(minari_folder.glob(".writing-*"))


WRITES = """
import os, signal, sys
import numpy as np
from lapo_tf.data import Episode, hidden
from lapo_tf.data.store import write_dataset
real, calls = os.replace, 0
def replace(source, target):
    global calls
    calls += 1
    if calls > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
hidden.os = type("os", (), {"replace": staticmethod(replace)})
episode = Episode(np.ones((8, 4)), np.ones((7, 2)), np.ones(7), False)
write_dataset(sys.argv[2], [episode], description="")
"""


@pytest.mark.parametrize(("moves", "steps"), [(0, 3), (1, 7), (2, 7)])
def test_a_process_killed_while_it_replaces_a_data_set_takes_none_away(
    minari_folder: Path, moves: int, steps: int
) -> None:
    """Before the old one is moved away, after it, and (not killed) after the new one is in its place."""
    write_dataset("own/a-v0", [episode(np.random.default_rng(0), 3)], description="")
    died = subprocess.run([sys.executable, "-c", WRITES, str(moves), "own/a-v0"], check=False).returncode
    assert died == (0 if moves == 2 else -signal.SIGKILL)
    assert len(list(minari_folder.glob(".writing-*"))) == (moves < 2)
    assert len(load_dataset("own/a-v0")) == steps
    write_dataset("own/b-v0", [episode(np.random.default_rng(0), 3)], description="")
    assert not list(minari_folder.glob(".writing-*"))
    assert len(load_dataset("own/a-v0")) == steps


def test_what_another_process_is_writing_stays(minari_folder: Path) -> None:
    def others() -> Any:
        yield episode(np.random.default_rng(0), 3)
        environment = os.environ | {"MINARI_DATASETS_PATH": str(minari_folder)}
        subprocess.run([sys.executable, "-c", WRITES, "99", "own/b-v0"], env=environment, check=True)
        (folder,) = minari_folder.glob(".writing-*")
        assert list(folder.glob("**/main_data.hdf5"))
        yield episode(np.random.default_rng(0), 3)

    write_dataset("own/a-v0", others(), description="")
    assert (len(load_dataset("own/a-v0")), len(load_dataset("own/b-v0"))) == (6, 7)


def test_an_empty_minari_folder_is_none(tmp_path: Path) -> None:
    code = "import os, lapo_tf; print('MINARI_DATASETS_PATH' in os.environ)"
    for value, kept in (("", "False"), (str(tmp_path), "True")):
        environment = os.environ | {"MINARI_DATASETS_PATH": value}
        ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout.split() == [kept]


def test_data_of_other_dimensions_than_the_tasks_are_not_imported(tmp_path: Path, minari_folder: Path) -> None:
    path = write(tmp_path / "a.hdf5", flat_steps(20))
    observations, actions = (flat_steps(20)[name].shape[1] for name in ("observations", "actions"))
    fails(
        lambda: import_d4rl(path, "own/c-v0", task=load_task("kitchen-mixed"), progress=False),
        f"has {observations} observations and {actions} actions per step, expected 60 and 9",
    )
    assert not list(minari.list_local_datasets())


# Importing ------------------------------------------------------------------------------------------------------------


def test_d4rl_file_becomes_the_same_transitions(tmp_path: Path) -> None:
    arrays = flat_steps(50)
    arrays["terminals"][[9, 30]] = True
    arrays["timeouts"] = np.isin(np.arange(50), (17, 49))
    arrays["infos/qpos"] = np.arange(100.0).reshape(50, 2)
    path = write(tmp_path / "a.hdf5", arrays)
    done = import_d4rl(path, "own/a-v0", progress=False)
    assert (done.episodes, done.dropped) == (4, 2)
    before, after = load_dataset(path).transitions(), load_dataset("own/a-v0").transitions()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(stored("own/a-v0")[1].infos["qpos"], arrays["infos/qpos"][10:18])
    for name in ("D4RL/kitchen/mine-v0", "mujoco/x-v0", "lapo/x-v0"):  # nothing own passes for published data
        fails(lambda name=name: import_d4rl(path, name, progress=False), "namespace", "own/my-data-v0")
    fails(lambda: import_d4rl(tmp_path / "b.hdf5", "own/b-v0", progress=False), "does not exist", "a.hdf5")


def lerobot(folder: Path, version: str) -> dict[str, np.ndarray]:
    """Three episodes in LeRobot's layout, in a file each (v2) or in two files, the first ending mid-episode (v3)."""
    import pyarrow
    import pyarrow.parquet

    rng = np.random.default_rng(3)
    lengths = (5, 7, 4)
    columns: dict[str, Any] = {
        "observation.state": rng.normal(size=(16, 2)).astype(np.float32),
        "observation.force": rng.normal(size=16).astype(np.float32),
        "action": rng.normal(size=(16, 2)).astype(np.float32),
        "next.reward": rng.normal(size=16).astype(np.float32),
        "next.done": np.arange(16) == 11,
        "episode_index": np.repeat(np.arange(3), lengths),
        "frame_index": np.concatenate([np.arange(n) for n in lengths]),
        "timestamp": np.concatenate([np.arange(n) for n in lengths]).astype(np.float32) / 10,
        "task_index": np.zeros(16, np.int64),
    }
    names: dict[str, Any] = {"observation.state": {"motors": ["a", "b"]}, "action": ["a", "b"]}
    features = {
        name: {"dtype": str(v.dtype), "shape": list(v.shape[1:]) or [1], "names": names.get(name)}
        for name, v in columns.items()
    } | {"observation.images.top": {"dtype": "video", "shape": [4, 4, 3], "names": None}}
    edges, path = {
        "v2.1": ([0, 5, 12, 16], "data/chunk-000/episode_{:06d}.parquet"),
        "v3.0": ([0, 8, 16], "data/chunk-000/file-{:03d}.parquet"),
    }[version]
    for number, (a, b) in enumerate(pairwise(edges)):
        file = folder / path.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        table = {name: list(v[a:b]) if v.ndim == 2 else v[a:b] for name, v in columns.items()}
        pyarrow.parquet.write_table(pyarrow.table(table), file)
    (folder / "meta").mkdir()
    info = {"codebase_version": version, "fps": 10, "total_episodes": 3, "features": features}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    return columns


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_data_sets(version: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs lapo-tf[lerobot]")
    columns = lerobot(tmp_path / "robot", version)
    done = import_lerobot(tmp_path / "robot", "own/robot-v0", progress=False)
    assert (done.episodes, done.steps, done.dropped) == (3, 4 + 7 + 3, 2)  # only the second is known to have ended
    state = np.hstack([columns["observation.state"], columns["observation.force"][:, None]])
    _, second, third = stored("own/robot-v0")
    np.testing.assert_array_equal(second.observations, np.vstack([state[5:12], state[11:12]]))
    np.testing.assert_array_equal(second.rewards, columns["next.reward"][5:12])
    assert np.asarray(second.terminated).tolist() == [False] * 6 + [True]
    np.testing.assert_array_equal(third.observations, state[12:])
    np.testing.assert_array_equal(third.actions, columns["action"][12:15])
    with open_recording("own/robot-v0") as recording:
        known = recording.metadata["lapo"]
    assert known["observation"] == ["observation.state.a", "observation.state.b", "observation.force"]
    assert known["fields"] == {"observation.state": [0, 2], "observation.force": [2, 3]}
    assert known["report"] == {"left_out": ["observation.images.top"]}
    some = import_lerobot(tmp_path / "robot", "own/b-v0", observation=["observation.force"], progress=False)
    assert np.shape(stored(some.dataset_id)[0].observations) == (5, 1)
    fails(
        lambda: import_lerobot(tmp_path / "robot", "own/c-v0", observation=["observation.stat"], progress=False),
        "did you mean 'observation.state'",
    )
    fails(lambda: import_lerobot(tmp_path, "own/c-v0", progress=False), "meta/info.json")
