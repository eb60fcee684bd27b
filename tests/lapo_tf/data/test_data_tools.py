"""The data commands: relabelling, playing, errors and help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
import yaml
from data_episodes import (
    COMPLETE,
    command,
    episode,
    needs_shared,
    own_minari_folder,  # noqa: F401 (a fixture)
    stored,
)
from test_data import fails, flat_steps, write

from lapo_tf.data import Episode, load_dataset
from lapo_tf.data.relabel import relabel_dataset
from lapo_tf.data.rewards import reward_rule
from lapo_tf.data.store import write_dataset
from lapo_tf.envs.maze2d import goal_of
from lapo_tf.tasks import load_task

# Relabelling ----------------------------------------------------------------------------------------------------------


@needs_shared
def test_relabelling_the_official_kitchen_reproduces_it(tmp_path: Path) -> None:
    done = relabel_dataset(str(COMPLETE), "own/again-v0", task=load_task("kitchen-complete"), progress=False)
    assert done.changed == 0
    before, after = load_dataset(COMPLETE).transitions(), load_dataset("own/again-v0").transitions()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)

    mixed = relabel_dataset(str(COMPLETE), "own/mixed-v0", task=load_task("kitchen-mixed"), progress=False)
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
    again = relabel_dataset("own/mixed-v0", "own/back-v0", task=load_task("kitchen-complete"), progress=False)
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
    done = relabel_dataset("own/maze-v0", "own/goal-v0", task=load_task("maze2d-umaze"), progress=False)
    for old, new in zip(episodes, stored("own/goal-v0"), strict=True):
        near = [np.hypot(*(np.asarray(s)[:2] - goal_of("umaze"))) <= 0.5 for s in old.observations[:-1]]
        assert new.rewards.tolist() == near
        np.testing.assert_array_equal(new.infos["speed"], old.infos["speed"])
        np.testing.assert_array_equal(new.actions, old.actions)
    assert done.written.steps == 120
    other = reward_rule({"rule": "maze", "maze": "umaze", "goal": [3, 1]})(episodes[0])
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
    fails(relabel(task=load_task("kitchen-mixed")), "4 values", "60")
    fails(relabel(task=load_task("hopper-medium")), "'hopper-medium' has no rule", "--reward FILE")
    fails(relabel(), "--task NAME, --reward FILE.yaml")
    fails(relabel(rule=tmp_path / "none.yaml"), "no such file")
    rule.write_text("rule: distance\nfield: observation[2:9]\ngoal: [1]\nthreshold: 1")
    fails(relabel(rule=rule), "episode 0", "rule.yaml: field", "observations have 4 values")
    assert not any(name.startswith("own/x") for name in minari.list_local_datasets())


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
    modules = ("inspect.page", "play", "relabel", "bags.importer", "importers", "__main__")
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
    from lapo_tf.plots.films import choose_gl

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
