"""The sweep: its grid and states, and that killing its driver or a worker loses nothing."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lapo_tf.errors import UserError
from lapo_tf.runs.results import read_run
from lapo_tf.runs.sweep import Progress, finish, sweep
from lapo_tf.runs.trials import DONE, FAILED, NEW, RESUME, Cluster, Trial, grid, parse_agent, parse_seeds, state
from lapo_tf.runs.watch import describe, duration
from lapo_tf.sweep import SweepCommand, all_trials
from lapo_tf.training.lock import InUseError
from lapo_tf.training.options import resolved
from lapo_tf.training.run_folder import RunFolder

TOY = "toy-navigation"


def command(run_dir: Path, **options) -> SweepCommand:
    return SweepCommand(**{"tasks": TOY, "agents": "bc", "seeds": "0", "run_dir": run_dir, "steps": 20} | options)


# The grid -------------------------------------------------------------------------------------------------------------


def test_seeds_and_agents():
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("7,0-1,1") == [7, 0, 1]
    for bad in ("", "a", "3-1", "1.5"):
        with pytest.raises(UserError, match=r"expected e\.g\. 0-4"):
            parse_seeds(bad)
    assert parse_agent("lapo") == ("lapo", {}, "lapo")
    expected = ("awac", {"policy": "gmm", "temperature": 0.5}, "awac-policy=gmm-temperature=0.5")
    assert parse_agent("awac:policy=gmm:temperature=0.5") == expected
    assert parse_agent("lapo:latent-bound=.inf")[1:] == ({"latent_bound": float("inf")}, "lapo-latent_bound=.inf")
    assert parse_agent("bc:policy-learning-rate=1e-3")[1] == {"policy_learning_rate": 0.001}
    with pytest.raises(UserError, match="agent:name=value"):
        parse_agent("awac:gmm")
    with pytest.raises(UserError, match=r"--agents bc:hidden=\[16: '\[16' is no value"):
        parse_agent("bc:hidden=[16")


def test_the_grid(tmp_path):
    """Task's values, then the file's, then flags', then the agent's own; seed by seed."""
    (tmp_path / "own.yaml").write_text("eval_every: 7\neval_episodes: 3\nlapo: {kl_weight: 5, polyak: 0.5}\n")
    options = command(
        tmp_path, tasks=f"{TOY},maze2d-umaze", agents="lapo,lapo:polyak=0.25", seeds="0-1",
        config=tmp_path / "own.yaml", eval_episodes=4,
    )  # fmt: skip
    trials = all_trials(options)
    assert [t.name for t in trials[:4]] == [
        f"{task}/{label}/seed0" for task in (TOY, "maze2d-umaze") for label in ("lapo", "lapo-polyak=0.25")
    ]
    assert [t.config.seed for t in trials] == [0] * 4 + [1] * 4
    config = trials[1].config
    assert (config.steps, config.batch_size, config.eval_every, config.eval_episodes) == (20, 256, 7, 4)
    own = config.agent_config
    assert (own.hidden, own.kl_weight, own.polyak) == ((128, 128), 5.0, 0.25)
    assert trials[0].folder == tmp_path / TOY / "lapo" / "seed0"
    lists = all_trials(command(tmp_path, agents="bc:hidden=[16,8],lapo:hidden=[4]:polyak=0.5,iql"))
    assert [t.label for t in lists] == ["bc-hidden=[16,8]", "lapo-hidden=[4]-polyak=0.5", "iql"]
    assert [t.config.agent_config.hidden for t in lists[:2]] == [(16, 8), (4,)]
    assert [t.config.seed for t in grid(TOY, "bc", np.arange(2), tmp_path)] == [0, 1]
    for bad in ({"tasks": "toy"}, {"agents": "lapoo"}, {"agents": "lapo:kl=1"}, {"agents": "lapo:polyak=7"}):
        with pytest.raises(UserError):
            all_trials(command(tmp_path, **bad))


def test_states_and_dry_run(tmp_path):
    def trial(**options):
        return all_trials(command(tmp_path, **options))[0]

    def train_to(step: int, **options) -> None:
        made = trial(**options)
        folder = RunFolder(made.folder)
        folder.write_config(resolved(made.config), {"id": "x", "provenance": "own"}, {})
        folder.write_metrics([{"step": step, "eval/normalized_score": 1.0, "time/seconds": 5.0}])

    assert state(trial()) == NEW
    train_to(10)
    assert state(trial()) == RESUME
    train_to(20, seeds="1")
    assert state(trial(seeds="1")) == DONE
    assert state(trial(seeds="1", steps=30)) == RESUME  # extended
    few = dataclasses.replace(trial(), config=dataclasses.replace(trial().config, keep_checkpoints=1))
    assert state(few) == RESUME  # what is kept makes no other run
    with pytest.raises(UserError, match=r"other options \(bc.polyak\)"):
        state(all_trials(command(tmp_path, config=_file(tmp_path, "bc: {polyak: 0.5}")))[0])
    trial(seeds="2").folder.mkdir(parents=True)
    (trial(seeds="2").folder / "error.txt").write_text("it broke\n")
    assert state(trial(seeds="2")) == FAILED

    lines = describe(all_trials(command(tmp_path, seeds="0-3")), Cluster()).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["resume", "done", "failed", "new"]
    assert lines[0].endswith("20 steps  5 s")  # 10 more steps at 0.5 s
    assert lines[3].endswith("20 steps  8 s")  # 20 at the mean of 0.5 and 0.25 s
    assert lines[4].startswith("1 done, 0 running, 2 waiting, 1 failed of 4 trials")
    assert "benchmark --agents all" in describe(all_trials(command(tmp_path, agents="cql")), Cluster())


def _file(folder: Path, text: str) -> Path:
    (folder / "options.yaml").write_text(text)
    return folder / "options.yaml"


@pytest.mark.parametrize("broken", [False, True])
def test_a_sweep_in_python(tmp_path, monkeypatch, broken):
    """Lists and options in, the seeds of each agent together out; a failed trial is an error with its reason."""

    def run_trials(trials, *options):
        report = options[-1]
        progress = Progress(trials, {t.name: NEW for t in trials})
        report(progress)
        for trial in trials:
            folder = RunFolder(trial.folder)
            folder.write_config(resolved(trial.config), {"id": "x", "provenance": "own"}, {})
            folder.write_metrics([{"step": 20, "eval/normalized_score": trial.config.seed, "time/seconds": 5.0}])
            progress.states[trial.name] = DONE
            report(progress)
        progress.errors |= {"toy-navigation/bc/seed0": "it broke"} if broken else {}
        return progress

    monkeypatch.setattr("lapo_tf.runs.sweep.run_trials", run_trials)
    arguments = ([TOY], ["bc", "awac:policy=gmm"], range(2), tmp_path)
    if broken:
        with pytest.raises(UserError, match="toy-navigation/bc/seed0 failed: it broke"):
            sweep(*arguments, steps=20, progress=False)
        return
    groups = sweep(*arguments, steps=20, bc={"policy_learning_rate": 0.5}, progress=False)
    assert [(group.label, group.values("last").tolist()) for group in groups] == [("bc", [0, 1]), ("awac-gmm", [0, 1])]
    assert groups[0].runs[0].config.agent_config.policy_learning_rate == 0.5
    assert groups[0].runs[1].folder == tmp_path / TOY / "bc" / "seed1"


@pytest.mark.parametrize("kind", [InUseError, UserError])
def test_a_trial_that_another_process_trains_has_not_failed_for_good(tmp_path, kind):
    """Its folder is the other process's, which would find a failure there."""

    class Ray:
        class exceptions:  # noqa: N801
            class RayTaskError(Exception):
                cause = kind("no")

            WorkerCrashedError = OutOfMemoryError = NodeDiedError = KeyError

        def get(self, future: object) -> None:
            raise self.exceptions.RayTaskError

    (trial,) = all_trials(command(tmp_path))
    progress = Progress([trial], {trial.name: NEW})
    assert finish(Ray(), None, trial, progress) == FAILED
    assert progress.errors == {trial.name: "no"}
    assert state(trial) == (NEW if kind is InUseError else FAILED)


def test_durations():
    assert [duration(s) for s in (None, 3.4, 100, 7500)] == ["unknown", "3 s", "2 min", "2 h 05 min"]


# Ray ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """With a toy data set of its own."""
    pytest.importorskip("ray", reason="needs the extra lapo-tf[sweep]")
    path = tmp_path_factory.mktemp("minari")
    environment = os.environ | {"MINARI_DATASETS_PATH": str(path)}
    subprocess.run([sys.executable, "-m", "lapo_tf.collect", TOY], env=environment, check=True, capture_output=True)
    return environment


def test_a_trial_is_evaluated_once_it_is_trained(tmp_path, environment):
    """By as many episodes as are wanted; one that was trained before is not trained again."""
    trial = all_trials(command(tmp_path, evaluate=7, compile="graph"))[0]
    code = "import pickle, sys; from lapo_tf.runs.sweep import run_trial; run_trial(pickle.load(sys.stdin.buffer))"

    def run(one: Trial) -> None:
        settled = dataclasses.replace(one, config=resolved(one.config))
        subprocess.run([sys.executable, "-c", code], env=environment, input=pickle.dumps(settled), check=True)

    run(dataclasses.replace(trial, evaluate=0))
    metrics = (trial.folder / "metrics.csv").stat().st_mtime_ns
    assert state(dataclasses.replace(trial, evaluate=0)) == DONE
    assert state(trial) == RESUME
    run(trial)
    assert state(trial) == DONE
    assert state(dataclasses.replace(trial, evaluate=8)) == RESUME
    assert (trial.folder / "metrics.csv").stat().st_mtime_ns == metrics
    result = read_run(trial.folder)
    with np.load(trial.folder / "evaluation" / "step-20.npz") as file:
        assert result.last == pytest.approx(trial.task.normalized(file["returns"]).mean())
        assert len(file["returns"]) == result.episodes == 7


def start(run_dir: Path, environment: dict[str, str], *options: str) -> subprocess.Popen:
    arguments = ["--tasks", TOY, "--run-dir", str(run_dir), "--compile", "graph", "--eval-episodes", "2", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "lapo_tf.sweep", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def workers() -> list[int]:
    """Processes that train a trial."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"ray::run_trial" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has just ended
                continue
    return found


def wait_for(condition, process: subprocess.Popen, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_killed_workers_and_drivers(tmp_path, environment):
    """A killed worker's trial is resumed; after the driver is killed, too, a second one does only what is left."""
    options = ("--agents", "bc", "--seeds", "0-2", "--steps", "8000", "--eval-every", "500")
    folders = [RunFolder(tmp_path / TOY / "bc" / f"seed{seed}") for seed in range(3)]

    def last(folder: RunFolder) -> int:
        rows = folder.metrics()
        return int(rows[-1]["step"]) if rows else 0

    first = start(tmp_path, environment, *options)
    try:
        # The second row follows the first checkpoint: whichever worker is killed has something to resume from.
        wait_for(lambda: 0 < len(workers()) <= sum(last(f) >= 1000 for f in folders), first)
        before = [last(f) for f in folders]
        os.kill(workers()[0], signal.SIGKILL)
        wait_for(lambda: any(last(f) >= 8000 for f in folders), first)
        assert max(before) < 8000
    finally:
        first.kill()  # no chance to tidy up
        first.communicate()
    end = time.monotonic() + 30
    while workers() and time.monotonic() < end:
        time.sleep(0.2)
    assert not workers()  # nobody trains on in the background
    finished = [f for f in folders if last(f) >= 8000]
    stamps = {f.path: (f.path / "metrics.csv").stat().st_mtime_ns for f in finished}

    second = start(tmp_path, environment, *options)
    out, err = second.communicate(timeout=400)
    assert second.returncode == 0, err
    assert out.strip().endswith("3 done, 0 running, 0 waiting, 0 failed of 3 trials; left: 0 s")
    for folder in folders:
        assert [row["step"] for row in folder.metrics()] == list(range(500, 8001, 500))
    assert {f.path: (f.path / "metrics.csv").stat().st_mtime_ns for f in finished} == stamps
    logs = [(f.path / "train.log").read_text() for f in folders]
    assert any("resuming" in log for log in logs)


@pytest.mark.slow
def test_a_failed_trial(tmp_path, environment):
    """The others finish; it is reported with its reason, left alone, and tried again on request."""
    options = ("--agents", "bc,iql:policy-learning-rate=1.0e+30", "--seeds", "0", "--steps", "20", "--eval-every", "10")
    process = start(tmp_path, environment, *options)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "1 done, 0 running, 0 waiting, 1 failed of 2 trials" in out
    error = tmp_path / TOY / "iql-policy_learning_rate=1.0e+30" / "seed0" / "error.txt"
    assert "not finite at step" in error.read_text()
    reason, told = err.strip().splitlines()
    assert reason.startswith(f"failed: {TOY}/iql-policy_learning_rate=1.0e+30/seed0: not finite at step")
    assert told.startswith("error: 1 trials failed")
    assert "--retry-failed" in told
    stamp = error.stat().st_mtime_ns
    again = start(tmp_path, environment, *options)
    assert "not finite" in again.communicate(timeout=400)[1]
    assert error.stat().st_mtime_ns == stamp
    retried = start(tmp_path, environment, *options, "--retry-failed")
    assert "not finite" in retried.communicate(timeout=400)[1]
    assert error.stat().st_mtime_ns > stamp
