"""Choosing among checkpoints: numbers against NumPy, what is kept, what is printed, and errors."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import own_arm
import pytest

from lapo_tf.agents.fitted_q import FittedQ
from lapo_tf.data.split import split
from lapo_tf.errors import UserError
from lapo_tf.evaluate import main as evaluate
from lapo_tf.runs import selection
from lapo_tf.runs.estimates import NUMBERS, FitSettings, Judge
from lapo_tf.runs.run import Run, load_run
from lapo_tf.runs.selection import select
from lapo_tf.select import main as command
from lapo_tf.training.start import train

FIT = {"steps": 20, "seed": 0}
SMALL = {"steps": 20, "eval_every": 10, "eval_episodes": 2, "batch_size": 16, "compile": "eager", "progress": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two agents on an arm's data without a simulator; one run with it."""
    folder = tmp_path_factory.mktemp("select")
    data = str(own_arm.write(folder / "arm.hdf5"))
    for agent, options in (("bc", {}), ("td3-bc", {"reward_scale": 0.5})):
        own = {"hidden": [8, 8], **options}
        train(dataset=data, agent=agent, run_dir=folder / "runs" / agent / "seed0", **{agent: own}, **SMALL)
    place = folder / "simulated" / "bc" / "seed0"
    train(dataset=data, env="own_arm:OwnArm-v0", agent="bc", run_dir=place, bc={"hidden": [8]}, **SMALL)
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the first two."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained / "runs", "runs"))


def run_command(monkeypatch: pytest.MonkeyPatch, main, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["lapo_tf", *map(str, words)])
    main()


def test_numbers_of_a_checkpoint(trained: Path) -> None:
    run = load_run(trained / "runs" / "td3-bc" / "seed0")
    data = run.dataset()
    fitted, judged = split(data, run.data()["held_out"]["episodes"])
    numbers = Judge(fitted, judged, FitSettings(**FIT, discount=0.9)).numbers(run)
    assert list(numbers) == list(NUMBERS)
    values = judged.transitions()
    chosen = run.policy(values["observations"])
    unit = fitted.actions[fitted.index].std(axis=0)
    error = (((chosen - values["actions"]) / unit) ** 2).mean(axis=1)
    assert numbers["action_error"] == pytest.approx(error.mean(), rel=1e-4)
    count = len(judged.episodes)  # all of one length
    returns = values["rewards"].reshape(count, -1).sum(axis=1)
    assert numbers["action_error_best"] == pytest.approx(error.reshape(count, -1)[returns.argmax()].mean(), rel=1e-4)

    def q(observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        pair = np.concatenate([run.agent.scale_observation(observations), run.agent.scale_action(actions)], axis=1)
        return np.minimum(run.agent.q1(pair), run.agent.q2(pair))[:, 0] / 0.5  # in raw rewards

    starts = judged.observations[judged.episodes[:, 0]]
    assert numbers["critic_value"] == pytest.approx(q(starts, run.policy(starts)).mean(), rel=1e-4)
    after = values["next_observations"]
    target = values["rewards"] + 0.99 * (1 - values["terminals"]) * q(after, run.policy(after))
    squared = (target - q(values["observations"], values["actions"])) ** 2
    assert numbers["td_error"] == pytest.approx(np.sqrt(squared.mean()), rel=1e-4)
    assert numbers["fqe_low"] <= numbers["fqe"] <= numbers["fqe_high"]


def test_a_second_call_fits_what_is_new_only(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[tuple[str, int]] = []
    judge = Judge.numbers

    def counted(self: Judge, run: Run, *more: object) -> dict[str, float]:
        fitted.append((run.config.agent, run.step))
        return judge(self, run, *more)

    monkeypatch.setattr(Judge, "numbers", counted)
    first = select([runs], **FIT)
    assert sorted(fitted) == [("bc", 10), ("bc", 20), ("td3-bc", 10), ("td3-bc", 20)]
    estimates = [c.numbers["fqe"] for c in first.candidates]
    assert estimates == sorted(estimates, reverse=True)
    assert all(c.unseen and c.score is None for c in first.candidates)
    assert select([runs], **FIT).candidates == first.candidates
    assert len(fitted) == 4
    checkpoints = runs / "bc" / "seed0" / "checkpoints"
    shutil.rmtree(checkpoints / "step-000000010")
    shutil.copytree(checkpoints / "step-000000020", checkpoints / "step-000000010")  # other weights
    again = select([runs], **FIT)
    assert fitted[4:] == [("bc", 10)]
    same = [c.numbers for c in again.candidates if c.agent == "bc"]
    assert same[0] == same[1]  # one policy, one number
    select([runs / "bc"], steps=20, seed=1)
    assert fitted[5:] == [("bc", 10), ("bc", 20)]


def test_what_the_command_prints_works(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run_command(monkeypatch, command, runs, "--steps", 20)
    out = capsys.readouterr().out
    assert "4 checkpoints by fitted Q evaluation, gamma 0.99" in out
    assert "how far to trust this" in out
    assert "by action error one would take " in out
    with (runs / "selection.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert all((row["critic_value"] == "") == (row["agent"] == "bc") for row in rows)
    kept = json.loads((Path(rows[0]["run"]) / "evaluation" / f"step-{rows[0]['step']}-fqe.json").read_text())
    assert kept["metrics"]["fqe"] == float(rows[0]["fqe"])
    words = next(line for line in out.splitlines() if "lapo_tf.evaluate" in line).split("lapo_tf.evaluate ")[1].split()
    assert words == [rows[0]["run"], "--checkpoint", rows[0]["step"], "--offline"]
    run_command(monkeypatch, evaluate, *words)
    assert f"step {rows[0]['step']}" in capsys.readouterr().out


def test_runs_with_a_simulator(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = select([trained / "simulated"], **FIT)
    assert {c.score for c in chosen.candidates} == {
        row["eval/return"] for row in load_run(trained / "simulated" / "bc" / "seed0").metrics()
    }
    assert "--offline" not in str(chosen)
    assert "* on episodes it was trained on" in str(chosen)
    assert "a simulator has scored" not in str(chosen)
    monkeypatch.setattr(selection, "FEWEST_SCORES", 2)
    assert "a simulator has scored 2 of these: rank correlation of FQE with its scores " in str(chosen)
    fresh = own_arm.write(trained / "fresh.hdf5", **own_arm.arrays(seed=1))
    other = select([trained / "simulated"], **FIT, held_out=str(fresh))
    assert all(c.unseen for c in other.candidates)
    assert other.candidates[0].numbers["action_error"] != chosen.candidates[0].numbers["action_error"]


def test_damaged_checkpoints_are_left_out(runs: Path) -> None:
    (runs / "bc" / "seed0" / "checkpoints" / "step-000000010" / "state.data-00000-of-00001").write_bytes(b"")
    chosen = select([runs / "bc"], **FIT)
    assert [c.step for c in chosen.candidates] == [20]
    assert "note: " in str(chosen)
    assert "checkpoints of steps [10] are damaged" in str(chosen)


def test_mistakes_are_told_in_a_line(runs: Path, trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    constant = str(own_arm.write(tmp_path / "constant.hdf5", rewards=np.zeros(240, np.float32)))
    train(dataset=constant, agent="bc", run_dir=tmp_path / "constant", bc={"hidden": [8]}, **SMALL)
    capsys.readouterr()
    for words, expected in (
        ([], "no run given: expected run folders"),
        (["nowhere"], "no such folder: nowhere"),
        ([tmp_path / "constant"], "are 0, so fitted Q evaluation says nothing"),
        ([tmp_path / "constant", runs], "expected runs of the same data"),
        ([runs, "--steps", 3], "steps is 3: expected at least 10"),
        ([runs, "--held-out", "no/such-v0"], "no/such-v0"),
        ([runs, "--step", 3], "did you mean '--steps'?"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_command(monkeypatch, command, *words)
        error = capsys.readouterr().err
        assert stopped.value.code == 1
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert expected in error
    shutil.rmtree(runs / "bc" / "seed0" / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint yet"):
        select([runs / "bc"])


def test_the_critics_of_fqe_are_no_agent() -> None:
    """Nothing trains a policy with it: `--agent fqe` is unknown."""
    with pytest.raises(UserError, match="unknown agent 'fqe'"):
        train(task="toy-navigation", agent=FittedQ.Config.name)
