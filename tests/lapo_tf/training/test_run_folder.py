"""The run folder: its files, callbacks, checkpoints that are damaged, Ctrl-C, and what must never be overwritten."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import probe
import pytest
import tensorflow as tf
import yaml

from lapo_tf import runtime
from lapo_tf.agents import Scaling
from lapo_tf.agents.lapo_paper import AUTHORS
from lapo_tf.errors import UserError
from lapo_tf.runs.run import load_run
from lapo_tf.train import main
from lapo_tf.training.metrics import EVALUATION
from lapo_tf.training.run_folder import PACKAGES, Checkpoints, RunFolder
from lapo_tf.training.trainer import Interrupted, Trainer


class Finished:
    """A finished run, with everything that callbacks saw."""

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, []
        self.options = probe.config(path / "run", steps=100)
        self.data = probe.dataset()
        record = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.calls.append((epoch, dict(logs))),
            on_train_begin=lambda logs: self.calls.append("begin"),
            on_train_end=lambda logs: self.calls.append("end"),
        )
        users = [
            record,
            keras.callbacks.CSVLogger(str(path / "user.csv")),
            keras.callbacks.TensorBoard(str(path / "user_board")),
            keras.callbacks.EarlyStopping(monitor="eval/normalized_score", mode="max", patience=50),
        ]
        self.trainer = Trainer(self.options, dataset=self.data, callbacks=users, log=probe.quiet)
        self.result = self.trainer.run()
        self.folder = RunFolder.open(path / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Finished:
    return Finished(tmp_path_factory.mktemp("finished"))


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


# Files ----------------------------------------------------------------------------------------------------------------


def test_metrics_csv(run):
    with (run.path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    assert columns[:4] == ["step", "eval/normalized_score", "eval/return", "eval/episode_length"]
    assert columns[1:] == [*(name for name in EVALUATION if name != "eval/success"), *probe.Clone.METRICS]
    assert {"vae/loss", "time/seconds", "time/steps_per_second"} < set(columns)
    assert [row["step"] for row in rows] == ["20", "40", "60", "80", "100"]
    episodes = run.folder.episodes()
    for i, row in enumerate(rows):
        assert float(row["eval/return"]) == episodes["returns"][i].mean()
        assert float(row["eval/normalized_score"]) == pytest.approx(20 * episodes["returns"][i].mean())
        assert float(row["eval/normalized_score_std"]) == pytest.approx(20 * episodes["returns"][i].std())
        assert float(row["eval/episode_length"]) == probe.STEPS
    assert all(np.isfinite(float(v)) for row in rows for v in row.values())
    assert float(rows[-1]["vae/loss"]) < float(rows[0]["vae/loss"])  # it learns


def test_episodes_npz(run):
    with np.load(run.path / "run" / "episodes.npz") as file:
        episodes = dict(file)
    assert {k: v.shape for k, v in episodes.items()} == {"steps": (5,), "returns": (5, 3), "lengths": (5, 3)}
    assert episodes["steps"].tolist() == [20, 40, 60, 80, 100]
    assert (episodes["returns"].dtype, episodes["lengths"].dtype) == (np.float64, np.int64)
    assert np.all(episodes["lengths"] == probe.STEPS)
    assert len(np.unique(episodes["returns"])) == 15  # no two episodes start alike


def test_config_yaml(run):
    values = yaml.safe_load((run.path / "run" / "config.yaml").read_text())
    assert values["config"] == run.options.to_dict()
    assert run.folder.config() == run.options
    assert values["data"] == run.data.summary.to_dict() | {"checksum": run.data.checksum()}
    assert {"id", "provenance", "transitions", "episodes", "return_quantiles", "sha256"} < set(values["data"])
    assert set(values["versions"]) == {"python", *PACKAGES}
    assert values["versions"]["tensorflow"] == tf.__version__
    assert (values["agent"]["obs_dim"], values["agent"]["act_dim"]) == (3, 2)
    scaling, ours = Scaling.from_dict(values["agent"]["scaling"]), run.trainer.agent.spec.scaling
    for name, value in vars(ours).items():
        np.testing.assert_array_equal(value, getattr(scaling, name), err_msg=name)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for path in folder.rglob("*tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_tensorboard(run):
    for folder in (run.path / "run" / "tensorboard", run.path / "user_board"):
        board = scalars(folder)
        for name in ("eval/normalized_score", "eval/return", "vae/loss"):
            (tag,) = [tag for tag in board if tag.endswith(name)]
            assert list(board[tag]) == [20, 40, 60, 80, 100]
            for row in run.folder.metrics():
                assert board[tag][row["step"]] == pytest.approx(row[name], rel=1e-6)


def test_the_last_line(run):
    last = run.folder.metrics()[-1]
    score = f"{last['eval/normalized_score']:.1f} ± {last['eval/normalized_score_std']:.1f}"
    text = str(run.result)
    assert text.startswith(f"normalized score {score} after 100 steps in ")
    assert text.endswith(f" s: {run.path / 'run'}")


def test_nothing_temporary_stays(run):
    names = {p.name for p in (run.path / "run").iterdir()}
    assert names == {".lock", "checkpoints", "config.yaml", "episodes.npz", "metrics.csv", "tensorboard"}
    assert not list((run.path / "run" / "checkpoints").glob(".*"))


def test_an_existing_run_is_never_overwritten(run):
    before = contents(run.path / "run")
    with pytest.raises(UserError, match=r"already holds a run: continue it with --resume"):
        Trainer(run.options, dataset=run.data, log=probe.quiet)
    assert contents(run.path / "run") == before


def test_a_resume_that_fails_changes_nothing(run):
    before = contents(run.path / "run")
    wider = probe.config(run.path / "run", agent="lapo", steps=100)
    for options, data, message in (
        (run.options, None, "observations of 3 and actions of 2"),
        (wider, run.data, "options it was made with"),
        (probe.config(run.path / "run", eval_episodes=4), run.data, "evaluated with 3 episodes, not 4"),
    ):
        other = data or probe.from_episodes(
            [probe.Episode(np.zeros((2, 5)), np.zeros((1, 2)), np.ones(1), True)], probe.Source("other")
        )
        with pytest.raises(UserError, match=message) as error:
            Trainer(options, dataset=other, resume=True, log=probe.quiet)
        assert "\n" not in str(error.value)
        assert contents(run.path / "run") == before


def test_resuming_a_finished_run_says_the_same(run, tmp_path):
    shutil.copytree(run.path / "run", tmp_path / "run")
    options = probe.config(tmp_path / "run", steps=100)
    result = Trainer(options, dataset=run.data, resume=True, log=probe.quiet).run()
    assert (result.steps, result.score, result.score_std) == (100, run.result.score, run.result.score_std)
    assert len(RunFolder(tmp_path / "run").metrics()) == 5


# Callbacks ------------------------------------------------------------------------------------------------------------


def test_callbacks_see_every_evaluation(run):
    assert run.calls[0] == "begin"
    assert run.calls[-1] == "end"
    rows = run.folder.metrics()
    assert [step for step, _ in run.calls[1:-1]] == [row["step"] for row in rows]
    for (_, logs), row in zip(run.calls[1:-1], rows, strict=True):
        assert logs == {k: v for k, v in row.items() if k != "step"}
    with (run.path / "user.csv").open() as file:
        user = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in user] == [20, 40, 60, 80, 100]
    assert [float(row["vae/loss"]) for row in user] == [row["vae/loss"] for row in rows]


def test_early_stopping(tmp_path):
    """The score is made to fall after the third evaluation: with patience 2 the fifth is the last."""
    stop = keras.callbacks.EarlyStopping(monitor="eval/normalized_score", mode="max", patience=2)
    options = probe.config(tmp_path / "run", steps=1000, eval_every=10)
    trainer = Trainer(options, dataset=probe.dataset(), callbacks=[stop], log=probe.quiet)
    scores, seeds = iter([1.0, 2.0, 3.0, 2.9, 2.8, 9.0]), []
    run = trainer.judge.evaluator.run

    def evaluate(policy, seed):
        seeds.append(seed)
        episodes = run(policy, seed)
        episodes.returns.fill(next(scores))
        return episodes

    trainer.judge.evaluator.run = evaluate  # type: ignore[method-assign]
    assert trainer.run().steps == 50
    assert trainer.checkpoints.best() == 30
    assert min(np.diff(seeds)) >= options.eval_episodes  # no two evaluations share an episode
    resumed = Trainer(
        probe.config(tmp_path / "run", steps=60, eval_every=10), dataset=probe.dataset(), resume=True, log=probe.quiet
    )
    assert resumed.run().steps == 60


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def state() -> tf.train.Checkpoint:
    return tf.train.Checkpoint(small=tf.Variable(0), large=tf.Variable(tf.zeros([1000])))


def save(checkpoints: Checkpoints, state: tf.train.Checkpoint, step: int, score: float | None = None) -> None:
    state.small.assign(step)
    state.large.assign(np.full(1000, step, np.float32))
    checkpoints.save(state, step, score)


def holds(state: tf.train.Checkpoint, step: int) -> bool:
    return int(state.small) == step and np.all(state.large.numpy() == step)


def test_the_last_ones_and_the_best_are_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, score in ((10, 1.0), (20, 5.0), (25, None), (30, 4.0), (40, 5.0), (50, -1.0), (60, 2.0)):
        save(checkpoints, state, step, score)
    assert checkpoints.steps() == [20, 40, 50, 60]
    assert checkpoints.best() == 20
    for step in (20, 50):
        assert checkpoints.restore(state, step) == (step, None)
        assert holds(state, step)
    save(checkpoints, state, 70, 6.0)
    assert checkpoints.steps() == [50, 60, 70]
    assert (checkpoints.best(), checkpoints.restore(state)) == (70, (70, None))
    with pytest.raises(UserError, match="damaged"):
        checkpoints.restore(state, 65)


def truncate(folder: Path) -> None:
    (data,) = folder.glob("*.data-*")
    data.write_bytes(data.read_bytes()[:-100])


def flip(folder: Path) -> None:
    (data,) = folder.glob("*.data-*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x55
    data.write_bytes(content)


def cut_index(folder: Path) -> None:
    (index,) = folder.glob("*.index")
    index.write_bytes(index.read_bytes()[:40])


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, cut_index, empty])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, state, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30):
        save(checkpoints, state, step, float(step))
    damage(tmp_path / "step-000000030")
    step, note = checkpoints.restore(state)
    assert (step, note) == (20, "checkpoint of step 30 is damaged: going on from step 20")
    assert holds(state, 20)
    for step in (10, 20):
        damage(tmp_path / f"step-{step:09d}")
    with pytest.raises(UserError, match=r"checkpoints of steps \[30, 20, 10\] are damaged") as error:
        checkpoints.restore(state)
    assert "\n" not in str(error.value)


def test_going_on_from_an_older_checkpoint_gives_the_same_run(run, tmp_path):
    """The rows of metrics.csv that the older checkpoint does not know of are made again, equal."""
    shutil.copytree(run.path / "run", tmp_path / "run")
    flip(tmp_path / "run" / "checkpoints" / "step-000000100")
    said: list[str] = []
    resumed = Trainer(probe.config(tmp_path / "run", steps=100), dataset=run.data, resume=True, log=said.append)
    assert resumed.step == 80
    assert any("checkpoint of step 100 is damaged: going on from step 80" in line for line in said)
    resumed.run()
    assert probe.fingerprint(resumed) == probe.fingerprint(run.trainer)


def test_checkpoints_of_other_networks(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, state, 10)
    for other in (
        tf.train.Checkpoint(small=tf.Variable(0), large=tf.Variable(tf.zeros([999]))),
        tf.train.Checkpoint(small=tf.Variable(0), large=tf.Variable(tf.zeros([1000])), more=tf.Variable(1.0)),
    ):
        with pytest.raises(UserError, match="resume with the options it was made with") as error:
            checkpoints.restore(other)
        assert "\n" not in str(error.value)


def test_runs_of_the_version_before(tmp_path):
    """Checkpoints with a vector of sums give their agent, but cannot go on; LAPO's options of old find their place."""
    options = probe.config(tmp_path / "run", steps=20)
    Trainer(options, dataset=probe.dataset(), log=probe.quiet, progress=False).run()
    agent = load_run(tmp_path / "run").agent
    old = tf.train.Checkpoint(agent=agent, metric_sums=tf.Variable(tf.zeros(64)))
    tf.train.Checkpoint(loop=old).write(str(tmp_path / "run/checkpoints/step-000000040/state"))
    again = load_run(tmp_path / "run")
    assert again.step == 40
    np.testing.assert_array_equal(again.policy(np.ones((2, 3))), agent.act(np.ones((2, 3))))
    with pytest.raises(UserError, match="is an earlier version's, whose training cannot go on"):
        Trainer(options, resume=True, dataset=probe.dataset(), log=probe.quiet, progress=False)

    values = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    own = {"kl_weight": 0.3, "weight": "exponential"}
    for chosen, agent_name in ((AUTHORS, "lapo"), (AUTHORS | {"order": "decoder_first"}, "lapo-paper")):
        values["config"] = {"task": "probe", "agent": "lapo", "lapo": own | chosen}
        (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(values))
        config = RunFolder.open(tmp_path / "run").config()
        assert config.agent == agent_name
        assert own.items() <= vars(config.agent_config).items()
        assert (config.agent_config.critic_norm, config.agent_config.latent_norm) == ("none", np.inf)  # no options then
        assert agent_name == "lapo" or chosen.items() <= vars(config.agent_config).items()
    values["config"]["lapo"] = own
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(values))
    assert RunFolder.open(tmp_path / "run").config().agent == "lapo"
    values["config"]["lapo"] = own | {"critic_norm": "layer", "latent_norm": 2.0}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(values))
    assert RunFolder.open(tmp_path / "run").config().agent_config.critic_norm == "layer"


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, state, 10, 1.0)

    class Full:
        def write(self, path: str) -> None:
            Path(path).write_bytes(b"half")
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with pytest.raises(tf.errors.ResourceExhaustedError):
        checkpoints.save(Full(), 10)  # type: ignore[arg-type]
    assert checkpoints.restore(state) == (10, None)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["step-000000010"]


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["the last steps before it", "the evaluation itself"])
def test_ctrl_c_never_skips_an_evaluation(run, tmp_path, moment):
    trainer = Trainer(probe.config(tmp_path / "run", steps=100), dataset=run.data, log=probe.quiet)
    if moment == "the last steps before it":
        probe.interrupt_after(trainer, 60)
    else:  # which is waited for, unless Ctrl-C comes twice
        evaluate = trainer.judge.evaluator.run

        def impatient(policy, seed):
            if trainer.step == 60:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            return evaluate(policy, seed)

        trainer.judge.evaluator.run = impatient  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="saved at step 60"):
        trainer.run()
    assert [row["step"] for row in RunFolder(tmp_path / "run").metrics()] == [20, 40]
    resumed = Trainer(probe.config(tmp_path / "run", steps=100), dataset=run.data, resume=True, log=probe.quiet)
    resumed.run()
    assert probe.fingerprint(resumed) == probe.fingerprint(run.trainer)


def test_killed_before_the_first_checkpoint(run, tmp_path):
    options = probe.config(tmp_path / "run", steps=100)
    Trainer(options, dataset=run.data, log=probe.quiet).close()  # writes config.yaml, and goes no further
    said: list[str] = []
    resumed = Trainer(options, dataset=run.data, resume=True, log=said.append)
    assert any("no checkpoint yet: starting from step 0" in line for line in said)
    resumed.run()
    assert probe.fingerprint(resumed) == probe.fingerprint(run.trainer)


@pytest.fixture(scope="module", autouse=True)
def interrupted(tmp_path_factory):
    """Folder, exit status and stderr of a real command that gets SIGINT after its first evaluation.

    Started before the module's other tests, so as to use a second core.
    """
    path = tmp_path_factory.mktemp("interrupted")
    command = [sys.executable, "-m", "lapo_tf.train", "--task", "toy-navigation", "--run-dir", "run"]
    command += ["--steps", "1000000", "--eval-every", "5", "--eval-episodes", "2", "--batch-size", "8"]
    command += ["--lapo.hidden", "8", "--lapo.latent-policy", "tanh", "--compile", "eager"]
    environment = os.environ | {"MINARI_DATASETS_PATH": str(path / "minari")}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=path, env=environment, text=True, **pipes)

    def interrupt() -> tuple[Path, int, str]:
        while not (path / "run" / "metrics.csv").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        return path, process.returncode, err

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(interrupt)
        process.kill()


def test_ctrl_c_in_the_command(interrupted, monkeypatch, capsys):
    """SIGINT saves, prints how to go on, exits with 130; and what it prints works."""
    path, code, err = interrupted.result(timeout=120)
    assert code == 130, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "saved at step" in line]
    step = int(line.split("saved at step ")[1].split(";")[0].replace(",", ""))
    assert step > 0
    resume = line.split("continue with: ")[1].split()
    assert resume == ["python", "-m", "lapo_tf.train", "--resume", "run"]
    steps = (step // 5 + 1) * 5
    monkeypatch.chdir(path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(path / "minari"))
    monkeypatch.setattr(runtime, "configure", lambda *_: None)  # it is for a whole process
    monkeypatch.setattr(sys, "argv", ["train", *resume[3:], "--steps", str(steps)])
    main()
    out = capsys.readouterr().out
    assert f"resuming run from step {step:,}" in out
    assert f"after {steps:,} steps" in out.splitlines()[-1]
    assert [row["step"] for row in RunFolder(path / "run").metrics()] == list(range(5, steps + 1, 5))
