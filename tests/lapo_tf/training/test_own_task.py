"""Learning from data of one's own, with and without an environment, and what later commands make of the run folder."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import own_arm
import pytest
import yaml

from lapo_tf import export as export_command
from lapo_tf.data import Episode, write_dataset
from lapo_tf.errors import UserError
from lapo_tf.runs.bundle import export
from lapo_tf.runs.evaluation import evaluate_offline
from lapo_tf.runs.report import write_report
from lapo_tf.runs.results import read_run
from lapo_tf.runs.run import load_run
from lapo_tf.runs.trials import grid
from lapo_tf.tasks import TASKS, Task, load_task
from lapo_tf.tasks.task import RETURN
from lapo_tf.train import parse_config
from lapo_tf.training import start
from lapo_tf.training.start import run_config, train
from lapo_tf.training.trainer import Trainer

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


FOREIGN = """
env_id: own_arm:DeafArm-v0
env_options: {reach: 0.7}
wrapper: own_arm:Seeded
max_episode_steps: 5
success: reached
"""


def test_an_environment_of_other_people_through_the_bridge(tmp_path: Path) -> None:
    """Its options, wrapper, limit and success go with the run folder and the bundle."""
    pytest.importorskip("websockets", reason="the robot extra is not installed")
    own_arm.write(tmp_path / "arm.hdf5")
    (tmp_path / "reach.yaml").write_text("dataset: arm.hdf5" + FOREIGN)
    result = train(task="reach.yaml", **SMALL)
    rows = load_run(result.folder).metrics()
    assert all(0.0 <= row["eval/success"] <= 1.0 for row in rows)
    policy = export(load_run(result.folder), tmp_path / "policy", trial_episodes=3)
    direct = policy.description.score
    assert policy.description.environment == {
        "id": "own_arm:DeafArm-v0",
        "score_min": None,
        "score_max": None,
        "env_options": {"reach": 0.7},
        "wrapper": "own_arm:Seeded",
        "max_episode_steps": 5,
        "success": "reached",
    }
    told = run("robot_bridge.demo", "--policy", "policy", "--lock-step", "--episodes", 3, "--report", "report.json")
    values = json.loads(Path("report.json").read_text())["sim"]
    assert values["scores"] == direct["scores"]
    assert values["steps"] == 5
    assert np.mean(values["successes"]) == direct["success/episodes"]
    assert f"success through the bridge {direct['success/episodes']:.0%} of 3; run directly" in told


def test_an_environment_that_ignores_seeds_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    for wrapper, told in (("own_arm:Seeded", False), (None, True)):
        task = Task("deaf", "own_arm:DeafArm-v0", dataset="arm.hdf5", env_options={"reach": 0.5}, wrapper=wrapper)
        task = dataclasses.replace(task, max_episode_steps=5)
        train(task=task, run_dir=f"runs/{wrapper}", **SMALL)
        assert ("'own_arm:DeafArm-v0' ignores the seed of reset" in capsys.readouterr().out) == told


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
    own_arm.write(tmp_path / "far.hdf5", actions=own_arm.arrays()["actions"] * [1.0, 50.0])
    with pytest.raises(UserError, match=r"action 1 reaches -50 to 50, the environment allows -1 to 1: other units\?"):
        train(dataset="far.hdf5", env="own_arm:OwnArm-v0", **SMALL)
    assert not Path("runs").exists()


def test_spaces_that_do_not_fit_data_with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    names = {"observation": ["a", "b", "cube"], "action": ["lift", "turn"]}
    for name, size in (("narrow", 3), ("far", 4)):
        episodes = [Episode(np.zeros((5, size)), np.full((4, 2), (0.0, 99.0)), np.zeros(4), False) for _ in range(6)]
        write_dataset(f"own/{name}-v0", episodes, description="", metadata=names)
    with pytest.raises(UserError, match=r"observations have 3 values \(a, b, cube\) but the environment has 4"):
        train(dataset="own/narrow-v0", env="own_arm:OwnArm-v0", **SMALL)
    with pytest.raises(UserError, match=r"action 1 \(turn\) reaches 99 to 99"):
        train(dataset="own/far-v0", env="own_arm:OwnArm-v0", **SMALL)


# Without an environment


def offline(folder: Path) -> list[dict[str, float]]:
    return load_run(folder).metrics()


def test_a_data_set_without_an_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    result = train(dataset="arm.hdf5", **SMALL | {"progress": True, "steps": 200, "eval_every": 50})
    told = capsys.readouterr().out
    assert "held out     3 of 30 episodes" in told
    assert "the smallest and largest actions in the data" in told
    assert str(result).startswith("action error on the best held-out episodes ")
    values = yaml.safe_load((result.folder / "config.yaml").read_text())
    held_out = values["data"]["held_out"]
    assert (held_out["share"], held_out["seed"], len(held_out["episodes"])) == (0.1, 0, 3)
    rows = offline(result.folder)
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert not any(name.startswith("eval/") for name in rows[0])
    errors = {int(row["step"]): row["offline/action_error_best"] for row in rows}
    assert result.score == errors[200] < errors[50]
    assert load_run(result.folder, "best").step == min(errors, key=errors.__getitem__)
    assert not (result.folder / "episodes.npz").exists()

    numbers = evaluate_offline(result.folder)
    assert numbers["offline/action_error_best"] == pytest.approx(result.score, rel=1e-5)
    assert "action_error_best" in run("lapo_tf.evaluate", result.folder, "--offline")
    assert (result.folder / "evaluation/step-200-offline.json").exists()
    with pytest.raises(UserError, match="has no environment: give one with --env, or judge it --offline"):
        load_run(result.folder).rollout(1)

    resumed = train(resume=True, run_dir=result.folder, steps=250, progress=False)
    assert resumed.steps == 250
    assert yaml.safe_load((result.folder / "config.yaml").read_text())["data"]["held_out"] == held_out


def test_held_out_episodes_are_not_trained_on(tmp_path: Path) -> None:
    from lapo_tf.training.trainer import Trainer

    own_arm.write(tmp_path / "arm.hdf5")
    config = run_config({"dataset": "arm.hdf5", "held_out": 0.4} | {k: v for k, v in SMALL.items() if k != "progress"})
    trainer = Trainer(config, log=lambda line: None, progress=False)
    rows = trainer.loop._index.numpy()
    trainer.close()
    values = yaml.safe_load((config.folder() / "config.yaml").read_text())
    held_out = {e * (own_arm.STEPS) for e in values["data"]["held_out"]["episodes"]}
    assert len(held_out) == 12
    assert len(rows) == 18 * (own_arm.STEPS - 1)
    assert not any(first <= row < first + own_arm.STEPS for row in rows for first in held_out)


def test_offline_beside_an_environment_that_cannot_be_made(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    with pytest.raises(UserError, match=r"'Gone-v0' of task 'arm' cannot be made.*--offline"):
        train(dataset="arm.hdf5", env="Gone-v0", **SMALL)
    result = train(dataset="arm.hdf5", env="Gone-v0", offline=True, **SMALL)
    assert "offline/action_error" in offline(result.folder)[-1]


def test_an_environment_that_cannot_be_made_later(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    folder = train(dataset="arm.hdf5", env="own_arm:OwnArm-v0", **SMALL).folder
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("own_arm:OwnArm-v0", "Gone-v0"))
    with pytest.raises(UserError, match=r"'Gone-v0' of task 'arm' cannot be made.*--offline"):
        train(resume=True, run_dir=folder, steps=60, progress=False)
    with pytest.raises(UserError, match=r"'Gone-v0' of task 'arm' cannot be made.*--offline"):
        load_run(folder).rollout(1)
    train(resume=True, run_dir=folder, offline=True, steps=60, progress=False)
    assert np.isfinite(offline(folder)[-1]["offline/action_error"])
    assert np.isfinite(evaluate_offline(folder)["offline/action_error"])


def test_export_of_a_run_whose_environment_is_gone(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    run = load_run(train(dataset="arm.hdf5", env="own_arm:OwnArm-v0", **SMALL).folder)
    run = dataclasses.replace(run, task=dataclasses.replace(run.task, env_id="Gone-v0"))
    with pytest.raises(UserError, match=r"'Gone-v0' of task 'arm' cannot be made.*--offline"):
        export(run, tmp_path / "policy")
    d = export(run, tmp_path / "policy", offline=True, control_rate=20.0).description
    assert (d.control_rate, d.score, [novelty.alarms for novelty in d.novelty]) == (20.0, {}, [None])


@pytest.mark.parametrize(("judge", "step"), [({"env": "own_arm:OwnArm-v0"}, 20), ({}, 40)])
def test_export_takes_the_best_by_score_and_else_the_last(
    judge: dict[str, str], step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    folder = train(dataset="arm.hdf5", **judge, **SMALL).folder
    best = folder / "checkpoints" / "best.json"
    best.write_text(json.dumps(json.loads(best.read_text()) | {"step": 20}))
    options = ["--out", "policy", "--trial-episodes", "0", "--control-rate", "20"]
    monkeypatch.setattr(sys, "argv", ["export", str(folder), *options])
    export_command.main()
    assert json.loads((tmp_path / "policy" / "policy.json").read_text())["source"]["step"] == step


def test_an_environment_that_does_not_bound_actions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    options = SMALL | {"progress": True, "agent": "plas", "plas": {"hidden": (16, 16), "vae_hidden": (16, 16)}}
    options.pop("bc")
    (tmp_path / "free.py").write_text(
        "import gymnasium, numpy\n"
        "def free(env):\n"
        "    space = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (2,), numpy.float32)\n"
        "    return gymnasium.wrappers.TransformAction(env, lambda action: action, space)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = train(task=Task("free", "own_arm:OwnArm-v0", dataset="arm.hdf5", wrapper="free:free"), **options)
    told = capsys.readouterr().out
    assert "stay within the smallest and largest actions in the data, for the environment does not bound them" in told
    scaling = load_run(result.folder).agent.spec.scaling
    assert np.isfinite(scaling.act_low).all()
    assert np.isfinite(scaling.act_high).all()


def test_a_run_with_scores_goes_on_offline(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    folder = train(dataset="arm.hdf5", env="own_arm:OwnArm-v0", **SMALL).folder
    with pytest.raises(UserError, match="was trained on all episodes of its data"):
        evaluate_offline(folder)
    train(resume=True, run_dir=folder, offline=True, steps=60, progress=False)
    scored, later = offline(folder)[:2], offline(folder)[2]
    assert all(np.isfinite(row["eval/return"]) and np.isnan(row["offline/action_error"]) for row in scored)
    assert np.isnan(later["eval/return"])
    assert read_run(folder).scores.tolist() == [later["offline/action_error_best"]]


def test_reports_do_not_mix_scores_with_errors(tmp_path: Path) -> None:
    own_arm.write(tmp_path / "arm.hdf5")
    for where, options in (("with", {"env": "own_arm:OwnArm-v0"}), ("without", {"offline": True})):
        for seed in (0, 1):
            folder = tmp_path / where / "bc" / f"seed{seed}"
            train(dataset="arm.hdf5", run_dir=folder, seed=seed, **options, **SMALL)
    text = write_report([tmp_path / "with", tmp_path / "without"], tmp_path / "report").read_text()
    assert "## Own tasks, own data: return" in text
    assert "## Own tasks, own data: action error on the best held-out episodes" in text
    assert text.count("| arm | ") == 2
    assert (tmp_path / "report/curves-own-tasks-own-action_error_best.png").exists()
    runs = [read_run(path) for path in sorted((tmp_path / "without").glob("bc/*"))]
    assert runs[0].best == runs[0].scores.min()


def test_arrays_are_kept_with_the_run() -> None:
    result = train(task="my-arm", **own_arm.arrays(), **SMALL)
    assert str(result.folder) == "runs/my-arm/bc/seed0"
    assert load_run(result.folder).data()["transitions"] == 30 * (own_arm.STEPS - 1)
    numbers = evaluate_offline(result.folder)
    assert numbers["offline/action_error_best"] == pytest.approx(result.score, rel=1e-5)
    with pytest.raises(UserError, match="already holds a run"):
        train(task="my-arm", **own_arm.arrays(), **SMALL)
    train(resume=True, run_dir=result.folder, steps=60, progress=False)
    with pytest.raises(UserError, match="leave arrays out"):
        train(resume=True, run_dir=result.folder, steps=80, **own_arm.arrays())
    with pytest.raises(UserError, match="expected actions, terminals, too"):
        train(observations=np.zeros((9, 2)), rewards=np.zeros(9))


def test_arrays_of_two_trainings_at_once_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one, begun before the first has a config, neither trains nor touches the first one's data."""
    told: list[str] = []

    def overtaken(*arguments: Any, **options: Any) -> Trainer:
        monkeypatch.setattr(start, "Trainer", Trainer)
        with pytest.raises(UserError) as error:
            train(task="my-arm", **own_arm.arrays() | {"rewards": np.ones(240)}, **SMALL)
        told.append(str(error.value))
        return Trainer(*arguments, **options)

    monkeypatch.setattr(start, "Trainer", overtaken)
    result = train(task="my-arm", **own_arm.arrays(), **SMALL)
    assert "is being trained by process" in told[0]
    with h5py.File(result.folder / "data.hdf5") as file:
        np.testing.assert_array_equal(file["rewards"], own_arm.arrays()["rewards"])
    train(resume=True, run_dir=result.folder, steps=60, progress=False)  # its data are still its own; nothing is locked


def test_what_cannot_be_judged_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = np.arange(240) == 239
    own_arm.write(tmp_path / "one.hdf5", timeouts=ends)
    with pytest.raises(UserError, match=r"one.hdf5 has 1 episodes: expected at least 5"):
        train(dataset="one.hdf5", **SMALL)
    own_arm.write(tmp_path / "flat.hdf5", rewards=np.zeros(240))
    train(dataset="flat.hdf5", **SMALL | {"progress": True})
    assert "all rewards are 0, so critics learn nothing" in capsys.readouterr().out
    train(dataset="flat.hdf5", env="own_arm:OwnArm-v0", run_dir="with", **SMALL | {"progress": True})
    assert "all rewards are 0, so critics learn nothing" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--held-out 1.5 is out of range"):
        train(dataset="flat.hdf5", held_out=1.5, **SMALL)


def test_a_bundle_without_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    arrays = own_arm.arrays()
    spans = [slice(i, i + own_arm.STEPS) for i in range(0, 240, own_arm.STEPS)]
    write_dataset(
        "arm/reach-v0",
        [Episode(arrays["observations"][s], arrays["actions"][s], arrays["rewards"][s], False) for s in spans],
        description="",
        metadata={
            "observation": ["joint.a", "joint.b", "tool.x", "tool.y"],
            "action": ["command.a", "command.b"],
            "channels": {
                "action": [
                    {"name": f"command.{j}", "joint": j, "path": "velocity", "unit": "rad/s"} for j in ("a", "b")
                ],
                "observation": [
                    {"name": f"joint.{j}", "joint": j, "path": "position", "unit": "", "scale": 0.5, "max_age": None}
                    | {"topic": "/joint_states", "type": "sensor_msgs/msg/JointState", "time": "header", "field": "q"}
                    for j in ("a", "b")
                ]
                + [{"name": "tool.x", "unit": "m"}, {"name": "tool.y", "unit": "m"}],
            },
            "control_hz": 20.0,
        },
    )
    run = load_run(train(dataset="arm/reach-v0", **SMALL).folder)
    d = export(run, tmp_path / "policy").description
    assert d.control_rate == 20.0
    assert [entry.name for entry in d.observations] == [f"{n}/position" for n in ("a", "b", "tool.x", "tool.y")]
    assert [entry.scale for entry in d.observations] == [0.5, 0.5, 1.0, 1.0]
    assert [entry.recorded and (entry.recorded.topic, entry.recorded.joint) for entry in d.observations] == [
        ("/joint_states", "a"),
        ("/joint_states", "b"),
        None,
        None,
    ]
    assert run.data()["names"]["channels"]["observation"][0]["topic"] == "/joint_states"
    assert "names" not in d.data
    assert [(a.joint, a.quantity, a.unit) for a in d.actions] == [
        ("a", "velocity", "rad/s"),
        ("b", "velocity", "rad/s"),
    ]
    data = run.task.load_dataset(offline=True)
    assert [a.low for a in d.actions] == pytest.approx(data.actions[data.index].min(axis=0).tolist())
    assert not d.score
    assert d.environment == {}
    (novelty,) = d.novelty  # BC has no CVAE
    assert 0 <= novelty.alarms <= 1
    own_arm.write(tmp_path / "arm.hdf5")
    nameless = load_run(train(dataset="arm.hdf5", **SMALL).folder)
    with pytest.raises(UserError, match="does not say how many steps a second it has: give --control-rate"):
        export(nameless, tmp_path / "other")
