"""The data commands: writing completely or not at all, importing, relabelling, inspecting and playing.

What is expected is worked out independently: by plain loops, from the official file, or planted in the data.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
import yaml
from test_data import SHARED, fails, flat_steps, write

from lapo_tf.data import Episode, load_dataset, open_recording
from lapo_tf.data.importers import import_d4rl, import_lerobot
from lapo_tf.data.inspection import inspect_dataset
from lapo_tf.data.inspection_page import write_page
from lapo_tf.data.relabel import RELABEL, relabel_dataset
from lapo_tf.data.rewards import reward_rule
from lapo_tf.data.store import check_new, write_dataset
from lapo_tf.envs.maze2d import goal_of

COMPLETE = SHARED / "mini_kitchen_microwave_kettle_light_slider-v0.hdf5"
needs_shared = pytest.mark.skipif(not COMPLETE.exists(), reason="needs ../shared/data, which is not in the project")


@pytest.fixture(autouse=True)
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def episode(rng: np.random.Generator, length: int, **changes: Any) -> Episode:
    values: dict[str, Any] = {
        "observations": rng.normal(size=(length + 1, 4)),
        "actions": rng.uniform(-1, 1, (length, 2)),
        "rewards": rng.normal(size=length),
        "terminated": False,
    }
    return Episode(**(values | changes))


def stored(dataset_id: str) -> list[Episode]:
    with open_recording(dataset_id, infos=True) as recording:
        return list(recording.episodes)


def command(*arguments: str, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lapo_tf.data", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **options,
    )


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
    assert child.stderr is not None
    seen = ""
    while not re.search(r"[1-9]\d*/3001", seen):  # it has begun to write
        read = child.stderr.read(1)
        assert read, seen
        seen += read
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    assert not list(minari.list_local_datasets())
    assert not list(minari_folder.glob(".writing-*"))


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


# Relabelling ----------------------------------------------------------------------------------------------------------


@needs_shared
def test_relabelling_the_official_kitchen_reproduces_it(tmp_path: Path) -> None:
    done = relabel_dataset(str(COMPLETE), "own/again-v0", task="kitchen-complete", progress=False)
    assert done.changed == 0
    before, after = load_dataset(COMPLETE).transitions(), load_dataset("own/again-v0").transitions()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)

    mixed = relabel_dataset(str(COMPLETE), "own/mixed-v0", task="kitchen-mixed", progress=False)
    after = load_dataset("own/mixed-v0").transitions()
    goal = np.zeros(30)  # microwave, kettle, bottom burner, light switch: D4RL's numbers
    goal[22], goal[23:30] = -0.75, (-0.23, 0.75, 1.62, 0.99, 0, 0, -0.06)
    goal[11:13], goal[17:19] = (-0.88, -0.01), (-0.69, -0.05)
    np.testing.assert_allclose(after["observations"][:, 30:], np.tile(goal, (3680, 1)), atol=1e-6)
    counted = np.zeros(len(after["rewards"]))
    for element in ([11, 12], [17, 18], [22], range(23, 30)):
        element = list(element)
        apart = np.linalg.norm(before["observations"][:, element] - goal[element], axis=1)
        counted += apart < 0.3
    np.testing.assert_array_equal(after["rewards"], counted)
    assert mixed.return_after < mixed.return_before
    again = relabel_dataset("own/mixed-v0", "own/back-v0", task="kitchen-complete", progress=False)
    assert again.return_after == pytest.approx(done.return_before)


def maze_data(dataset_id: str = "own/maze-v0") -> list[Episode]:
    rng = np.random.default_rng(5)
    episodes = [
        episode(rng, 40, observations=rng.uniform(0, 4, (41, 4)), infos={"speed": np.arange(41.0)}) for _ in range(3)
    ]
    write_dataset(dataset_id, episodes, description="")
    return stored(dataset_id)


def test_relabelling_a_maze_for_its_goal_and_another() -> None:
    episodes = maze_data()
    done = relabel_dataset("own/maze-v0", "own/goal-v0", task="maze2d-umaze", progress=False)
    for old, new in zip(episodes, stored("own/goal-v0"), strict=True):
        near = [np.hypot(*(np.asarray(s)[:2] - goal_of("umaze"))) <= 0.5 for s in old.observations[:-1]]
        assert new.rewards.tolist() == near
        np.testing.assert_array_equal(new.infos["speed"], old.infos["speed"])
        np.testing.assert_array_equal(new.actions, old.actions)
    assert done.written.steps == 120
    other = reward_rule({"rule": "maze", "maze": "umaze", "goal": [3, 1]}, "reward")(episodes[0])
    near = np.hypot(episodes[0].observations[:-1, 0] - 3, episodes[0].observations[:-1, 1] - 1) <= 0.5
    np.testing.assert_array_equal(other.rewards, near)


def test_relabelling_by_rule_and_by_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = maze_data()
    rule = tmp_path / "rule.yaml"
    rule.write_text(yaml.safe_dump({"rule": "recorded", "field": "speed"}))
    relabel_dataset("own/maze-v0", "own/rule-v0", rule=rule, progress=False)
    assert stored("own/rule-v0")[1].rewards.tolist() == list(range(1, 41))  # after the step

    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def reach(episode):\n"
        "    x = np.asarray(episode.observations)[1:, 0]\n"
        "    return x, x > 3\n"
        "def wrong(episode):\n"
        "    return [1.0]\n"
        "def fails(episode):\n"
        "    return 1 / 0\n"
    )
    done = relabel_dataset("own/maze-v0", "own/f-v0", function=f"{tmp_path}/mine.py:reach", progress=False)
    for old, new in zip(episodes, stored("own/f-v0"), strict=True):
        np.testing.assert_array_equal(new.rewards, old.observations[1:, 0])
        np.testing.assert_array_equal(new.terminated, old.observations[1:, 0] > 3)
    assert done.return_after == pytest.approx(np.mean([e.observations[1:, 0].sum() for e in episodes]), rel=1e-5)

    def relabel(**what: Any) -> Callable[[], object]:
        return lambda: relabel_dataset("own/maze-v0", "own/x-v0", progress=False, **what)

    fails(relabel(function=f"{tmp_path}/mine.py:wrong"), "episode 0", "[(1,)]", "expected [40]")
    fails(relabel(function=f"{tmp_path}/mine.py:fails"), "mine.py:fails failed", "ZeroDivisionError")
    fails(relabel(function=f"{tmp_path}/mine.py:absent"), "no function 'absent'")
    fails(relabel(function="mine"), "MODULE:FUNCTION")
    fails(relabel(task="kitchen-mixed"), "4 values", "60")
    fails(relabel(task="maze2d-umase"), "did you mean 'maze2d-umaze'")
    fails(relabel(), "--task NAME, --reward FILE.yaml")
    fails(relabel(rule=tmp_path / "none.yaml"), "no such file")
    rule.write_text("rule: distance\nfield: observation[2:9]\ngoal: [1]\nthreshold: 1")
    fails(relabel(rule=rule), "episode 0", "rule.yaml.field", "observations have 4 values")
    assert not any(name.startswith("own/x") for name in minari.list_local_datasets())
    assert {"kitchen-mixed", "maze2d-large"} <= set(RELABEL)


# Inspecting -----------------------------------------------------------------------------------------------------------


def suspicious(seed: int = 7) -> list[Episode]:
    """Ten episodes with planted faults."""
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(10):
        t = np.arange(61)
        observations = np.stack(
            [np.sin(t / 9 + number), np.cos(t / 7 + 2 * number), np.full(61, 3.0), rng.normal(size=61)], axis=1
        )
        rewards = np.zeros(60)
        rewards[50:] = number % 2
        actions = np.clip(rng.normal(0, 1.5, (60, 2)), -1, 1)
        actions[:, 1] = 0.5
        episodes.append(Episode(observations, actions, rewards, False, {"time": t / 10.0}))
    episodes[3].observations[30, 1] += 40  # type: ignore[index]  # a sensor drops out
    episodes[4].observations[20:32] = episodes[4].observations[20]  # type: ignore[index]  # a frozen driver
    episodes[5].infos["time"][12] = 0.0  # type: ignore[index]
    episodes[7] = Episode(
        *(np.array(a) for a in (episodes[1].observations, episodes[1].actions, episodes[1].rewards)), False
    )
    return episodes


def test_inspection_finds_what_was_planted(tmp_path: Path) -> None:
    from gymnasium.spaces import Box

    write_dataset("own/odd-v0", suspicious(), description="", action_space=Box(-1, 1, (2,)))
    found = inspect_dataset("own/odd-v0")
    text = str(found)
    assert found.lengths.tolist() == [60] * 10
    assert found.returns.tolist() == [0, 10] * 5
    assert found.successes is not None
    assert found.successes.mean() == 0.5
    assert found.rewarded == pytest.approx(1 / 12)
    pairs = [np.hstack([e.observations[:60], e.actions]).astype(np.float32) for e in suspicious()]
    rows = [row.tobytes() for pair in pairs for row in pair]
    repeated = len(rows) - len(set(rows))
    assert repeated >= 60  # all of episode 7, and where episode 4 is frozen with equal actions
    raw = np.concatenate([e.actions for e in suspicious()])
    assert found.at_bounds[0] == pytest.approx((np.abs(raw[:, 0]) == 1).mean(), abs=0.01)
    for part in (
        "actions that never change: a1",
        "more than a quarter of a0 lies at a bound",
        "observations that never change: s2",
        "s1 jumps in 2 steps, first in episode 3, step 29",
        "frozen: 1 stretches of 5 steps or more",
        "the longest 11 steps (episode 4, step 20)",
        "time does not go on in 1 step: episode 5, step 11",
        f"{repeated} transitions ({repeated / 600:.1%}) repeat another's",
        "2 episodes are nearly the same as another: 1 and 7",
    ):
        assert part in text
    page, picture = write_page(found, tmp_path / "out")
    written = page.read_text()
    assert written.count("data:image/png;base64,") == 5
    assert "http" not in written  # nothing is fetched
    assert "frozen: 1 stretches" in written
    assert picture.stat().st_size > 50_000


def test_inspection_of_clean_data_finds_nothing() -> None:
    rng = np.random.default_rng(1)
    episodes = [episode(rng, 30, rewards=rng.random(30)) for _ in range(40)]
    write_dataset("own/clean-v0", episodes, description="")
    found = inspect_dataset("own/clean-v0")
    assert found.findings == []
    assert found.successes is None
    assert "nothing suspicious" in str(found)


def test_angles_that_wrap_and_data_without_rewards_are_named() -> None:
    t = np.arange(200)
    angle = (t * 0.1 + np.pi) % (2 * np.pi) - np.pi
    observations = np.stack([angle, np.sin(t / 5)], axis=1)
    write_dataset("own/turn-v0", [Episode(observations, np.sin(t[:199, None]), np.zeros(199), False)], description="")
    text = str(inspect_dataset("own/turn-v0"))
    assert "s0 jumps by about 2 pi in 3 steps" in text
    assert "no step has a reward" in text


@needs_shared
def test_inspection_knows_the_official_kitchen() -> None:
    found = inspect_dataset(str(COMPLETE))
    assert found.task is not None
    assert found.task.name == "kitchen-complete"
    assert found.successes is not None
    assert found.successes.all()
    assert found.reward_values is not None
    assert set(found.reward_values) == {0, 1, 2, 3, 4}
    assert found.observation_names[22] == "microwave"
    assert found.constant[30:].all()
    assert not any(finding.grave for finding in found.findings)


# Commands -------------------------------------------------------------------------------------------------------------


def test_commands_end_to_end(tmp_path: Path) -> None:
    arrays = flat_steps(60)
    arrays["terminals"][::15] = True
    done = command("import", "d4rl", str(write(tmp_path / "a.hdf5", arrays)), "--id", "own/a-v0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("own/a-v0: 59 steps in 5 episodes, 1 steps dropped")
    done = command("inspect", "own/a-v0", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "transitions  59 in 5 episodes" in done.stdout
    assert (tmp_path / "own-a-v0.html").exists()


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | None:
    from lapo_tf.data.__main__ import main

    monkeypatch.setattr(sys, "argv", ["lapo_tf/data/__main__.py", *arguments])
    try:
        main()
    except SystemExit as exit:
        return exit.code  # type: ignore[return-value]
    return 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("improt", "did you mean 'import"),
        ("import d4lr x", "did you mean 'import d4rl'"),
        ("import d4rl x --id own/b-v0", "data file 'x' does not exist"),
        ("import d4rl x", "--id"),
        ("relabel own/maze-v0 --id own/c-v0 --tsk x", "did you mean '--task'"),
        ("relabel own/maze-v0 --id own/maze-v0 --task maze2d-umaze", "data set 'own/maze-v0' exists"),
        ("inspect own/maze-v0 --task maze2d", "did you mean 'maze2d-"),
        ("inspect own/maze-v0 --out /proc/nowhere", "cannot write to /proc/nowhere"),
        ("play own/maze-v0", "does not say which task"),
        ("play own/maze-v0 --task toy-navigation", "no picture"),
        ("play own/maze-v0 --task kitchen-mixed", "observations have 4 values but task 'kitchen-mixed' has 60"),
        ("play own/maze-v0 --episode 9 --task maze2d-umaze", "has 3 episodes: expected --episode from 0 to 2"),
        ("benchmark --steps 5", "expected 1,000 or more"),
    ],
)
def test_errors_of_the_command_line(
    arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if "own/maze-v0" in arguments:
        maze_data()
    assert run_main(monkeypatch, *arguments.split()) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_help_teaches_layouts_and_rules(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for arguments, part in (
        (["--help"], "import bag       Import rosbag2"),
        (["import"], "import lerobot"),
        (["import", "bag", "--help"], "resample: linear"),
        (["relabel", "--help"], "rule: distance"),
    ):
        assert not run_main(monkeypatch, *arguments)
        assert part in capsys.readouterr().out


def test_nothing_here_loads_tensorflow() -> None:
    modules = ("inspection_page", "play", "relabel", "bag_import", "importers", "data_benchmark", "__main__")
    code = "import sys, importlib\n" + "\n".join(f"importlib.import_module('lapo_tf.data.{m}')" for m in modules)
    ran = subprocess.run(
        [sys.executable, "-c", code + "\nassert 'tensorflow' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_a_recorded_episode_is_filmed(tmp_path: Path) -> None:
    from lapo_tf.errors import UserError
    from lapo_tf.video import choose_gl

    try:
        choose_gl()
    except UserError as error:
        pytest.skip(str(error))
    import imageio.v3 as iio

    t = np.arange(80)[:, None] / 79
    observations = np.hstack([1 + 2 * t, 0 * t + 3, 0 * t, 0 * t])  # along the top of the U, left to right
    write_dataset("own/line-v0", [Episode(observations, np.zeros((79, 2)), np.ones(79), False)], description="")
    ran = command(
        "play", "own/line-v0", "--task", "maze2d-umaze", "--out", str(tmp_path / "film.mp4"), env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    film = np.stack(list(iio.imiter(tmp_path / "film.mp4")))[:, :480].astype(int)  # without the caption
    red = (film[..., 0] - film[..., 2] > 100).nonzero()
    first, last = (red[2][red[0] == n].mean() for n in (0, len(film) - 1))
    assert abs(last - first) > 100  # pixels
    assert len(film) >= 40
