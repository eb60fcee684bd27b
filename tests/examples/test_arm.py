"""The story of `examples/arm`, from recorded bags to trials of a policy on the twin, and the notebook that tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from places import ROOT

pytest.importorskip("roslibpy", reason="the robot extra is not installed")
pytest.importorskip("rosbags", reason="the bags extra is not installed")
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import Description

ARM = ROOT / "examples" / "arm"
STORY = [sys.executable, str(ARM / "story.py"), "--short", "--out"]


@pytest.fixture(scope="module", name="told")
def tell_the_story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The story's folder, and what it printed."""
    out = tmp_path_factory.mktemp("story") / "arm"
    done = subprocess.run([*STORY, str(out)], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out, done.stdout


def test_the_story_ends_in_counted_trials_of_every_policy(told: tuple[Path, str]) -> None:
    out, said = told
    for agent in ("lapo", "bc"):
        trials = json.loads((out / f"trials-{agent}.json").read_text())
        assert len(trials) == 4
        starts = np.array([trial["path"][0] for trial in trials])
        assert np.abs(starts - [0.5, -0.3, 0.1]).max() < 0.05  # each was led to a start of its own
        assert np.ptp(starts[:, 0]) > 0.01
        assert f"{agent.upper():6} " in said
    outcomes = json.loads((out / "logs" / "outcomes.json").read_text())
    assert sum(outcomes["anna"]) >= 36  # of 40
    assert not any(outcomes["carl"])
    assert (out / "ways.png").stat().st_size > 10_000


def test_what_was_recorded_names_what_drives_the_arm(told: tuple[Path, str]) -> None:
    out, _ = told
    policy, robot = Description.read(out / "policies" / "lapo"), load_robot(out / "my-arm.yaml")
    assert [source.topic for source in robot.inputs] == ["/joint_states"]
    assert [(o.kind, o.topic) for o in robot.outputs] == [
        ("trajectory", "/scaled_joint_trajectory_controller/joint_trajectory")
    ]
    assert not robot.mistakes_with(policy)
    assert robot.guards.speed == 0.1
    assert policy.control_rate == 6.25


def test_a_step_that_is_done_is_not_done_again(told: tuple[Path, str]) -> None:
    out, _ = told
    again = subprocess.run([*STORY, str(out)], capture_output=True, text=True, timeout=300, check=True).stdout
    assert again.count("done before") == len(list((out / "done").iterdir()))
    assert again.count("$ python") == 1  # the summary


def test_the_notebook_tells_it(told: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_STORY", str(told[0]))  # where all steps are done
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(ROOT / "notebooks" / "07_own_arm.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code), "clear its outputs before committing it"
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
