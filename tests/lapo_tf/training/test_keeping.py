"""Nothing silent, nothing lost: locks, signals, checkpoints by time, other data, damaged files, moved folders."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import killed
import numpy as np
import probe
import pytest
import tensorflow as tf
import yaml

from lapo_tf.errors import UserError
from lapo_tf.training.lock import RunLock
from lapo_tf.training.run_folder import Checkpoints, RunFolder
from lapo_tf.training.start import run_config, train
from lapo_tf.training.trainer import Interrupted, Trainer


def trainer(path: Path, data=None, *, resume: bool = False, **options) -> Trainer:
    more = {name: options.pop(name) for name in ("other_data", "callbacks") if name in options}
    return Trainer(
        probe.config(path, **options), dataset=data or probe.dataset(), resume=resume, log=probe.quiet, **more
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of 40 steps with evaluations at 20 and 40."""
    path = tmp_path_factory.mktemp("finished") / "run"
    trainer(path).run()
    return path


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


# One process at a time ------------------------------------------------------------------------------------------------


def test_two_trainings_of_one_folder(tmp_path, monkeypatch):
    """The second passes the first check before the first has written anything, and is refused nevertheless."""
    create, first = RunFolder.create, []

    def overtaken(path: Path) -> RunFolder:
        folder = create(path)
        if not first:
            first.append(None)
            first[0] = trainer(tmp_path / "run", seed=1)
        return folder

    monkeypatch.setattr(RunFolder, "create", staticmethod(overtaken))
    with pytest.raises(UserError, match=rf"run is being trained by process {os.getpid()} on .*: wait for it"):
        trainer(tmp_path / "run", seed=2)
    first[0].run()
    assert RunFolder(tmp_path / "run").config().seed == 1
    with pytest.raises(UserError, match="already holds a run"):
        trainer(tmp_path / "run", seed=2)


def test_two_resumes_of_one_folder(run):
    one = trainer(run, resume=True, steps=60)
    with pytest.raises(UserError, match="is being trained by process"):
        trainer(run, resume=True, steps=80)
    one.run()
    assert trainer(run, resume=True, steps=80).run().steps == 80  # the end of `run` lets go of it


def test_a_dead_process_keeps_no_lock(tmp_path):
    code = "import sys, time; from pathlib import Path; from lapo_tf.training.lock import RunLock\n"
    code += "lock = RunLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(100)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"is being trained by process {holder.pid} on "):
        RunLock(tmp_path)
    holder.kill()
    holder.communicate()
    RunLock(tmp_path).release()


def test_a_failed_start_lets_go(run, tmp_path):
    with pytest.raises(UserError, match="other networks"):
        trainer(run, resume=True, agent="lapo")
    trainer(run, resume=True).close()
    with pytest.raises(UserError, match="cannot write to"):
        trainer(Path("/proc/run"))
    with pytest.raises(UserError, match="does not exist"):
        Trainer(probe.config(tmp_path / "new", dataset="absent.hdf5"), log=probe.quiet)
    assert not (tmp_path / "new").exists()


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signals_save_and_say_how_to_go_on(tmp_path, name):
    number = getattr(signal, name)
    one, before = trainer(tmp_path / "a run", steps=1000, eval_every=1000), signal.getsignal(number)
    run = one.loop.run

    def running(steps: int) -> None:
        run(steps)
        if one.step >= 30:
            os.kill(os.getpid(), number)

    one.loop.run = running  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match=r"saved at step \d+; continue with: .* --resume '.*/a run'") as stopped:
        one.run()
    assert stopped.value.code == 128 + number
    assert one.checkpoints.steps() == [one.step]
    assert signal.getsignal(number) == before
    assert trainer(tmp_path / "a run", resume=True, steps=1000, eval_every=1000).step == one.step


def test_a_scheduler_does_not_wait_for_an_evaluation(tmp_path):
    one = trainer(tmp_path / "run")
    one.judge.evaluator.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM) or pytest.fail("went on")  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(Interrupted, match="saved at step 20"):
        one.run()
    whole = trainer(tmp_path / "whole")
    whole.run()
    again = trainer(tmp_path / "run", resume=True)
    again.run()
    assert probe.fingerprint(again) == probe.fingerprint(whole)


def test_a_signal_while_the_state_is_saved_changes_nothing(tmp_path):
    """Impatient people press Ctrl-C again and again."""
    one = trainer(tmp_path / "run", steps=1000, eval_every=1000)
    run, save = one.loop.run, one.checkpoints.save

    def running(steps: int) -> None:
        run(steps)
        os.kill(os.getpid(), signal.SIGINT)

    def saving(*arguments) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return save(*arguments)

    one.loop.run, one.checkpoints.save = running, saving  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        one.run()
    assert one.checkpoints.steps() == [one.step]


def test_nohup_is_left_alone(tmp_path):
    hang_up = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    one = trainer(tmp_path / "run", callbacks=[hang_up])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert one.run().steps == 40
    finally:
        signal.signal(signal.SIGHUP, before)


def test_checkpoints_by_time(tmp_path):
    """Far from any evaluation, so a killed process loses minutes; and what is saved goes on to the same bits."""
    one = trainer(tmp_path / "run", steps=200, eval_every=200, checkpoint_minutes=1e-9)
    run, seen = one.loop.run, []

    def running(steps: int) -> None:
        seen.append(list(one.checkpoints.steps()))
        if one.step > 100:
            raise SystemExit  # no chance to save
        run(min(steps, 20))

    one.loop.run = running  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        one.run()
    assert seen[0] == []
    assert seen[-1][-1] == one.step > 100
    resumed = trainer(tmp_path / "run", resume=True, steps=200, eval_every=200)
    assert resumed.step == one.step
    resumed.run()
    whole = trainer(tmp_path / "whole", steps=200, eval_every=200)
    whole.run()
    assert whole.checkpoints.steps() == [200]
    assert probe.fingerprint(resumed) == probe.fingerprint(whole)


@pytest.mark.parametrize("reason", ["No space left on device", "Disk quota exceeded", "File too large"])
def test_no_room_for_a_checkpoint_is_one_line(tmp_path, reason):
    one = trainer(tmp_path / "run")

    class Full:
        def write(self, path: str) -> None:
            raise tf.errors.OutOfRangeError(None, None, f"{path}; {reason} [Op:SaveV2]")

    one.state = Full()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"cannot write to .*run \(.*\): make room and run .*--resume") as error:
        one.run()
    assert "\n" not in str(error.value)
    trainer(tmp_path / "run", resume=True).run()


# A resumed run is the run it was --------------------------------------------------------------------------------------


def test_a_resume_in_python_keeps_the_runs_options(tmp_path):
    own = {"batch_size": 8, "observation_noise": 1.0, "eval_every": 20, "eval_episodes": 2, "compile": "graph"}
    config = run_config(
        {"task": "probe", "agent": "clone", "run_dir": tmp_path / "run", "clone": {"polyak": 0.5}} | own
    )
    Trainer(dataclasses.replace(config, steps=20), dataset=probe.dataset(), log=probe.quiet).run()
    before = RunFolder(tmp_path / "run").config()
    assert run_config({"run_dir": tmp_path / "run"}, resume=True) == before
    extended = run_config({"run_dir": str(tmp_path / "run"), "steps": 30, "task": "probe"}, resume=True)
    assert extended == dataclasses.replace(before, steps=30)
    for other in ({"task": "maze2d-umaze"}, {"agent": "bc"}):
        with pytest.raises(UserError, match="is a run of clone on probe"):
            train(resume=True, run_dir=tmp_path / "run", **other)


def test_a_moved_folder(run, tmp_path):
    """Its config names the old place; its new one counts."""
    moved = Path(shutil.move(run, tmp_path / "elsewhere"))
    config = run_config({"run_dir": moved, "steps": 60}, resume=True)
    assert config.folder() == moved
    assert Trainer(config, dataset=probe.dataset(), resume=True, log=probe.quiet).run().folder == moved
    assert not run.exists()


def test_other_data_are_refused_or_remembered(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    negated = probe.dataset()
    other = dataclasses.replace(negated, actions=-negated.actions)  # the same summary
    assert other.summary == probe.dataset().summary
    with pytest.raises(UserError, match=r"was trained on probe \(200 transitions, checksum .*--other-data"):
        trainer(run, other, resume=True, steps=60)
    assert yaml.safe_load((run / "config.yaml").read_text()) == values
    trainer(run, other, resume=True, steps=60, other_data=True).run()
    now = yaml.safe_load((run / "config.yaml").read_text())
    assert now["history"] == [{"until": 40, "data": values["data"]}]
    assert now["data"]["checksum"] == other.checksum() != values["data"]["checksum"]
    trainer(run, other, resume=True, steps=80).run()  # it is this run's now
    assert yaml.safe_load((run / "config.yaml").read_text())["history"] == now["history"]
    with pytest.raises(UserError, match="other data"):
        trainer(run, resume=True, steps=100)


def test_runs_made_before_there_was_a_checksum(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    del values["data"]["checksum"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="other data"):
        trainer(run, probe.dataset(30), resume=True)
    trainer(run, resume=True, steps=60).run()
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["checksum"] == probe.dataset().checksum()


def test_a_relative_file_is_remembered_by_its_place(tmp_path, monkeypatch):
    from lapo_tf.training.options import resolved

    monkeypatch.chdir(tmp_path)
    config = resolved(probe.config(tmp_path / "run", dataset="data/x.hdf5"))
    assert config.dataset == str(tmp_path / "data" / "x.hdf5")
    assert resolved(config) == config
    assert resolved(probe.config(tmp_path / "run", dataset="own/x-v0")).dataset == "own/x-v0"
    home = probe.config(Path("~/run"), dataset="~/x.hdf5")
    assert (home.folder(), resolved(home).dataset) == (Path.home() / "run", str(Path.home() / "x.hdf5"))


# Foreign and damaged files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["step-000000040 copy", "step-000000040 (1)", "step-best", ".DS_Store"])
def test_foreign_files_are_no_checkpoints(run, name):
    shutil.copytree(run / "checkpoints" / "step-000000040", run / "checkpoints" / name)
    one = trainer(run, resume=True, steps=60)
    assert (one.step, one.checkpoints.steps()) == (40, [20, 40])
    one.run()
    assert (run / "checkpoints" / name).is_dir()


@pytest.mark.parametrize("name", ["checkpoints/best.json", "metrics.csv", "episodes.npz"])
@pytest.mark.parametrize("content", [b"", "half", b"\x00" * 100])
def test_damaged_files_are_one_line_with_their_path(run, name, content):
    path = run / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 30] if content == "half" else content)
    if name == "checkpoints/best.json" and content == "half":
        path.write_bytes(b'{"step": 4')
    with pytest.raises(UserError, match=rf"{name} is damaged .*: restore it from a copy, or delete it") as error:
        trainer(run, resume=True, steps=60)
    assert "\n" not in str(error.value)
    path.unlink()
    trainer(run, resume=True, steps=60).run()


def test_leftovers_of_killed_processes_go(run):
    (run / ".metrics.csv.4711").write_text("half")
    (run / ".config.yaml.12").write_text("half")
    (run / "checkpoints" / ".step-000000060.4711").mkdir()
    (run / "checkpoints" / ".best.json.9").write_text("{")
    (run / ".note.txt").write_text("mine")
    trainer(run, resume=True).close()
    left = {path.name for path in run.rglob(".*")}
    assert left == {".lock", ".note.txt"}


def test_numbers_of_unusual_kinds(tmp_path):
    """As notebooks and YAML have them."""
    values = {"task": "probe", "agent": "lapo", "seed": np.int64(3), "steps": 4e1, "dataset": Path("x.hdf5")}
    config = run_config(values | {"lapo": {"hidden": [np.int64(8), 8], "kl_weight": np.float32(0.5)}})
    assert (config.seed, config.steps, config.dataset, config.agent_config.hidden) == (3, 40, "x.hdf5", (8, 8))
    assert config.agent_config.kl_weight == 0.5
    with pytest.raises(UserError, match=r"seed is 1\.5: expected a whole number"):
        run_config(values | {"seed": 1.5})


# SIGKILL --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """What an undisturbed training leaves."""
    one = trainer(tmp_path_factory.mktemp("whole") / "run", **killed.OPTIONS)
    one.run()
    return probe.fingerprint(one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        ("loop", 1),
        ("loop", 6),
        ("evaluation", 4),
        ("half metrics.csv", 2),
        ("after metrics.csv", 2),
        ("half episodes.npz", 3),
        ("after episodes.npz", 3),
        ("half best.json", 1),
        ("after best.json", 1),
        ("checkpoint", 4),
        ("half checkpoint folder", 3),
        ("after checkpoint folder", 5),
        ("half config.yaml", 1),
        ("after config.yaml", 1),
    ],
    ids=lambda point: " ".join(map(str, point)),
)
def test_kill_nine_loses_nothing_but_time(tmp_path, whole, point):
    """Wherever a training is killed, the one that goes on ends equal to the bit, and nothing half-written stays."""
    arguments = [sys.executable, killed.__file__, point[0], str(point[1]), str(tmp_path / "run")]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert process.returncode == -signal.SIGKILL, process.stderr
    resume = (tmp_path / "run" / "config.yaml").exists()
    assert resume == (point[0] != "half config.yaml")
    one = trainer(tmp_path / "run", resume=resume, **killed.OPTIONS)
    one.run()
    assert probe.fingerprint(one) == whole
    assert {path.name for path in (tmp_path / "run").rglob(".*")} == {".lock"}


def test_as_many_checkpoints_are_kept_as_asked_for(tmp_path):
    trainer(tmp_path / "few", steps=50, eval_every=10, keep_checkpoints=1).run()
    trainer(tmp_path / "all", steps=50, eval_every=10, keep_checkpoints=9).run()
    best = json.loads((tmp_path / "few/checkpoints/best.json").read_text())["step"]
    steps = {name: Checkpoints(tmp_path / name / "checkpoints").steps() for name in ("few", "all")}
    assert steps == {"few": sorted({best, 50}), "all": [10, 20, 30, 40, 50]}
