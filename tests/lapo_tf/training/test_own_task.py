"""Learning from data of one's own, with and without an environment, and what later commands make of the run folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import own_arm
import pytest
import yaml

from lapo_tf.errors import UserError
from lapo_tf.runs.run import load_run
from lapo_tf.runs.trials import grid
from lapo_tf.tasks import TASKS, Task, load_task
from lapo_tf.tasks.task import RETURN
from lapo_tf.train import parse_config
from lapo_tf.training.start import train

SMALL: dict[str, Any] = {
    "agent": "bc",
    "steps": 40,
    "eval_every": 20,
    "eval_episodes": 2,
    "batch_size": 32,
    "compile": "graph",
    "bc": {"hidden": (16, 16)},
    "progress": False,
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in; what was registered by name is forgotten afterwards, as in another process."""
    monkeypatch.chdir(tmp_path)
    known = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(known)


def run(*arguments: object) -> str:
    """What a command says, in a process of its own that can import `own_arm`."""
    path = os.pathsep.join([str(Path(own_arm.__file__).parent), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_a_data_set_with_an_environment(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    result = train(dataset="arm.hdf5", env="own_arm:OwnArm-v0", **SMALL)
    assert str(result.folder) == "runs/arm/bc/seed0"
    values = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert values["config"]["task"] == "arm"
    assert values["task"]["env_id"] == "own_arm:OwnArm-v0"
    assert values["task"]["dataset"] == values["config"]["dataset"] == str(tmp_path / "arm.hdf5")
    del TASKS["arm"]  # as in another process
    loaded = load_run(result.folder)
    assert loaded.task == Task("arm", "own_arm:OwnArm-v0", dataset=str(tmp_path / "arm.hdf5"))
    assert loaded.task.criterion == RETURN
    assert loaded.rollout(3).returns.shape == (3,)
    assert "over 3 episodes" in run("lapo_tf.evaluate", result.folder, "--episodes", 3)
    train(resume=True, run_dir=result.folder, steps=60, progress=False)
    assert [row["step"] for row in load_run(result.folder).metrics()] == [20, 40, 60]


def test_a_folder_that_knows_its_task_by_name_only() -> None:
    from probe import config, dataset, quiet

    from lapo_tf.training.trainer import Trainer

    folder = Trainer(config(Path("old")), dataset=dataset(), log=quiet).run().folder
    values = yaml.safe_load((folder / "config.yaml").read_text())
    assert values.pop("task")["name"] == "probe"
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    assert load_run(folder).task is TASKS["probe"]


def test_command_line_and_file_name_the_same_task(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    (tmp_path / "reach.yaml").write_text(
        "dataset: arm.hdf5\nenv_id: own_arm:OwnArm-v0\nscore_min: 0\nscore_max: 8\nsuccess: reached\n"
        "training: {steps: 77, lapo: {kl_weight: 0.5}}\n"
    )
    config, _ = parse_config(["--task", "reach.yaml"])
    assert (config.task, config.steps, config.agent_config.kl_weight) == ("reach", 77, 0.5)
    assert load_task("reach").env_id == "own_arm:OwnArm-v0"
    config, _ = parse_config(["--dataset", "arm.hdf5", "--env", "own_arm:OwnArm-v0", "--steps", "5"])
    assert (config.task, config.steps, config.folder()) == ("arm", 5, Path("runs/arm/lapo/seed0"))
    (trial,) = grid(["reach.yaml"], ["bc"], [3], Path("runs"))
    assert (trial.name, trial.task.name, trial.config.task) == ("reach/bc/seed3", "reach", "reach")
    with pytest.raises(UserError, match=r"no task given.*--dataset with data of your own"):
        parse_config([])
    with pytest.raises(UserError, match="'kitchen-mixed' has an environment of its own"):
        parse_config(["--task", "kitchen-mixed", "--env", "own_arm:OwnArm-v0"])


def test_spaces_that_do_not_fit_the_data(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "wide.hdf5", observations=np.zeros((240, 5), np.float32))
    with pytest.raises(UserError, match=r"observations have 5 values but the environment has 4"):
        train(dataset="wide.hdf5", env="own_arm:OwnArm-v0", **SMALL)
    assert not Path("runs").exists()
