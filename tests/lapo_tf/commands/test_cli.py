"""The command line: what --help teaches, and one line for every error a user can cause."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import subprocess
import sys
import time
from pathlib import Path

import gymnasium_robotics  # noqa: F401 (says much on stderr; the command imports it with stderr shut)
import h5py
import numpy as np
import probe  # noqa: F401 (registers the task and the agent)
import pytest

from lapo_tf import runtime
from lapo_tf.agents import AgentConfig
from lapo_tf.agents.lapo import LAPOConfig
from lapo_tf.cli import options
from lapo_tf.config import TrainConfig
from lapo_tf.tasks import TASKS
from lapo_tf.train import TrainCommand, main
from lapo_tf.training.run_folder import RunFolder

QUICK = ["--agent", "clone", "--steps", "20", "--eval-every", "20", "--eval-episodes", "2", "--batch-size", "8"]
QUICK += ["--compile", "graph"]


@pytest.fixture(autouse=True)
def process(tmp_path, monkeypatch) -> None:
    """Every test in its own folder; TensorFlow's settings, which are for a whole process, are left alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(runtime, "configure", lambda *_: None)
    monkeypatch.setattr(runtime, "quiet", lambda: None)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `python -m lapo_tf.train ARGUMENTS` in this process: exit status, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fails(command, tmp_path):
    """The command fails with one line on stderr that contains all the parts, and no file changes or appears."""

    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def check(arguments: list[str], *parts: str, trains: bool = False) -> None:
        before = contents()
        code, _, err = command(*arguments)
        assert code == 1, err
        lines = err.splitlines()
        if trains:  # a progress bar may stand before it
            lines = lines[-1:]
        else:
            assert contents() == before
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        for part in parts:
            assert part in lines[0]
        assert "Traceback" not in err

    return check


def write(path: Path, *, obs: int = 3, act: int = 2, steps: int = 60, **changes) -> str:
    """A file in D4RL's layout, by default one that fits the probe task."""
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(steps, obs)),
        "actions": rng.uniform(-1, 1, (steps, act)),
        "rewards": rng.random(steps),
        "terminals": np.arange(steps) % 5 == 4,
    } | changes
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return str(path)


# Errors ---------------------------------------------------------------------------------------------------------------


def test_unknown_names(fails):
    fails([], "no task given", "--task maze2d-umaze")
    fails(["--task", "maze2d-umaz"], "unknown task 'maze2d-umaz': did you mean 'maze2d-umaze'?", "kitchen-mixed")
    fails(["--task", "list"], *TASKS)
    fails(["--task"], "--task", "expected one argument")
    fails(["--task", "probe", "--agent", "lappo"], "unknown agent 'lappo': did you mean 'lapo'?")
    fails(["--task", "probe", "--step", "10"], "unknown option '--step': did you mean '--steps'?")
    fails(
        ["--task", "probe", "--lapo.kl-wieght", "1"],
        "unknown option '--lapo.kl-wieght': did you mean '--lapo.kl-weight'?",
    )
    fails(
        ["--task", "probe", "--lapo.kl-wieght=1"], "unknown option '--lapo.kl-wieght': did you mean '--lapo.kl-weight'?"
    )
    fails(["--task", "probe", "extra"], "unknown option 'extra'")
    known = options(TrainCommand) + options(LAPOConfig, "--lapo.")
    assert {"--steps", "--lapo.kl-weight"} < set(known)
    assert not [name for name in known if "pydantic" in name]


def test_values_that_do_not_fit(fails):
    task = ["--task", "probe"]
    fails([*task, "--steps", "many"], "error: --steps: invalid literal for int() with base 10: 'many' (see --help)")
    fails([*task, "--steps"], "Missing value for argument '--steps'. Expected 1 values. (see --help)")
    fails([*task, "--steps", "0"], "--steps 0 is too small: expected at least 1")
    fails([*task, "--eval-every", "-5"], "--eval-every -5 is too small")
    fails([*task, "--batch-size", "0"], "--batch-size 0")
    fails([*task, "--observation-noise", "-1"], "--observation-noise -1.0 is out of range: expected 0 or more")
    fails([*task, "--seed", "-1"], "--seed -1 is out of range")
    fails([*task, "--seed", "99999999999999999999"], "--seed 99999999999999999999 is out of range")
    fails([*task, "--compile", "xls"], "xla", "graph", "eager")
    fails([*task, "--lapo.weight", "linear"], "step", "exponential")
    fails([*task, "--agent", "lapo-paper", "--lapo-paper.order", "any"], "decoder_first", "critic_first")
    fails([*task, "--lapo.discount", "1"], "lapo.discount is 1.0: expected at least 0 and below 1")
    fails([*task, "--lapo.hidden", "0"], "lapo.hidden is (0,)")
    fails([*task, "--lapo.latent-scale-min", "2"], "lapo.latent_scale_min is 2.0")
    for name in ("critic-learning-rate", "temperature", "latent-ratio", "polyak"):
        fails([*task, f"--lapo.{name}", "0"], f"lapo.{name.replace('-', '_')} is 0")


def test_config_files(fails, tmp_path):
    def file(text: str) -> list[str]:
        (tmp_path / "own.yaml").write_text(text)
        return ["--task", "probe", "--config", "own.yaml"]

    fails(["--task", "probe", "--config", "none.yaml"], "no such file: none.yaml")
    fails(["--task", "probe", "--config", "."], "no such file: .")
    fails(file("a: [1"), "own.yaml, line 1: not valid YAML")
    fails(file("- 1"), "own.yaml: holds no mapping; expected lines like 'steps: 10000'")
    fails(file("stepps: 3"), "unknown option 'stepps': did you mean 'steps'?")
    fails(file("lapo: {kl_wieght: 3}"), "unknown entry in lapo: 'kl_wieght': did you mean 'kl_weight'?")
    fails(file("lapo: 3"), "lapo is 3: expected a mapping")
    fails(file("config: 3"), "'config' in own.yaml is 3")
    fails(file("steps: many"), "steps is 'many': expected a whole number")
    fails(file("lapo: {weight: linear}"), "lapo.weight is 'linear': expected 'step' or 'exponential'")
    fails(file("lapo: {hidden: 64}"), "lapo.hidden is 64: expected a list")
    fails(file("agent: [lapo]"), "unknown agent")


def test_data(fails, tmp_path):
    good = write(tmp_path / "good.hdf5")
    task = ["--task", "probe", *QUICK, "--dataset"]
    fails([*task, "godo.hdf5"], "godo.hdf5' does not exist: did you mean 'good.hdf5'?")
    (tmp_path / "cut.hdf5").write_bytes(Path(good).read_bytes()[:2000])
    fails([*task, "cut.hdf5"], "cannot be read as HDF5", "download or copy it again")
    (tmp_path / "text.hdf5").write_text("hello")
    fails([*task, "text.hdf5"], "cannot be read as HDF5")
    with h5py.File("foreign.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
    fails([*task, "foreign.hdf5"], "no observations, actions, rewards, terminals; found weights")
    fails([*task, write(tmp_path / "wide.hdf5", obs=5)], "observations have 5 values but the environment has 3")
    fails([*task, write(tmp_path / "thin.hdf5", act=1)], "actions have 1 values but the environment has 2")
    rewards = np.zeros(60)
    rewards[33] = np.nan
    fails([*task, write(tmp_path / "nan.hdf5", rewards=rewards)], "rewards: 1 NaN or infinite, first at step 33")
    fails([*task, "no-such-data-set"], "unknown data set 'no-such-data-set'", "FILE.hdf5")
    assert not (tmp_path / "runs").exists()


def test_no_network(fails, monkeypatch):
    """Nothing answers at this address; Hugging Face's own retries would take 24 s."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    parts = (
        "D4RL/kitchen/mixed-v2",
        "no connection to http://127.0.0.1:9",
        "--dataset FILE.hdf5",
        "MINARI_DATASETS_PATH",
    )
    fails(["--task", "kitchen-mixed", "--data", "official", "--compile", "graph"], *parts)
    assert time.monotonic() - started < 10


@pytest.fixture
def run(tmp_path, command) -> Path:
    """A run made by the command."""
    code, out, err = command("--task", "probe", "--dataset", write(tmp_path / "good.hdf5"), *QUICK)
    assert code == 0, err
    path = Path("runs/probe/clone/seed0")
    assert out.splitlines()[-1].startswith("normalized score ")
    assert out.splitlines()[-1].endswith(f": {path}")
    return path


def test_existing_runs(run, fails, command, tmp_path):
    task = ["--task", "probe", "--dataset", "good.hdf5", *QUICK]
    fails(task, f"{run} already holds a run: continue it with --resume {run}")
    fails(["--resume", "runs"], "runs holds no run (no config.yaml)")
    fails(["--resume", "nowhere"], "nowhere holds no run")
    fails(["--resume", run, "--task", "maze2d-umaze"], "is a run of clone on probe: leave task and agent out")
    wide = write(tmp_path / "wide.hdf5", obs=5)
    fails(["--resume", run, "--dataset", wide], "observations have 5 values but the environment has 3")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.yaml").write_text("a: 1")
    fails(["--resume", "foreign"], "config.yaml is not a run's")
    code, out, _ = command("--resume", run, "--steps", "40")
    assert code == 0
    assert f"resuming {run} from step 20" in out
    assert "after 40 steps" in out.splitlines()[-1]
    assert RunFolder(run).config().steps == 40
    assert [row["step"] for row in RunFolder(run).metrics()] == [20, 40]
    code, out, _ = command("--config", run / "config.yaml", "--seed", "1")  # a run's config starts another one
    assert (code, out.splitlines()[-1].split(": ")[-1]) == (0, "runs/probe/clone/seed1")


def test_resuming_with_other_networks(fails, command, tmp_path):
    data = write(tmp_path / "good.hdf5")
    lapo = ["--task", "probe", "--dataset", data, *QUICK, "--lapo-paper.hidden", "4", "--run-dir", "r"]
    lapo[lapo.index("clone")] = "lapo-paper"
    policy = ["--lapo-paper.latent-policy", "tanh", "--lapo-paper.value", "policy"]
    assert command(*lapo, *policy, "--compile", "eager", "--steps", "1")[0] == 0
    for other in (["hidden", "5"], ["hidden", "4", "4"], ["value", "network"]):
        changed = ["--resume", "r", f"--lapo-paper.{other[0]}", *other[1:]]
        fails(changed, "is of other networks", "resume with the options it was made with")


def test_a_loss_that_is_not_finite(fails, tmp_path):
    rewards = np.zeros(60)
    rewards[1], rewards[7] = 1, -1e30
    bad = write(tmp_path / "bad.hdf5", rewards=rewards)
    parts = ("not finite at step ", "critic/q_mean is inf", "saved the state of step ", "lower the learning rates")
    fails(["--task", "probe", "--dataset", bad, *QUICK, "--steps", "1000"], *parts, trains=True)


def test_a_run_folder_that_cannot_be_written(fails, tmp_path):
    """Root may write anywhere, so: below a file, and where the kernel forbids it."""
    good = write(tmp_path / "good.hdf5")
    for place in (f"{good}/run", "/proc/run"):
        fails(["--task", "probe", "--dataset", good, *QUICK, "--run-dir", place], place, "cannot write to")


def mounted(path: Path, size: str) -> bool:
    path.mkdir(exist_ok=True)
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True).returncode
        == 0
    )


def test_a_full_disk(fails, command, tmp_path):
    """On a small disk: at every size one line, nothing half-written, and with more space the run goes on."""
    good, disk = write(tmp_path / "good.hdf5"), tmp_path / "disk"
    if not mounted(disk, "4k"):
        pytest.skip("needs the right to mount a file system")
    try:
        for size in ("4k", "20k"):  # for the first file; for checkpoints
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            resume = (disk / "run" / "config.yaml").exists()
            run = ["--resume", disk / "run"] if resume else ["--task", "probe", *QUICK, "--run-dir", disk / "run"]
            fails([*run, "--dataset", good], "o space left", trains=True)
            assert {path.name for path in disk.rglob(".*")} <= {".lock"}
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        assert "after 20 steps" in command("--resume", disk / "run")[1]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_while_metrics_are_written(fails, tmp_path, monkeypatch):
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device", "episodes.npz")

    monkeypatch.setattr(np, "savez", full)
    good = write(tmp_path / "good.hdf5")
    fails(["--task", "probe", "--dataset", good, *QUICK], "No space left on device: episodes.npz", trains=True)


@pytest.fixture(scope="module", autouse=True)
def real_command():
    """Started before the module's other tests, so as to use a second core."""
    command = [sys.executable, "-m", "lapo_tf.train", "--task", "kitchen-ful"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()


def test_the_real_command_says_nothing_but_the_error(real_command):
    out, err = real_command.communicate()
    assert (real_command.returncode, out) == (1, "")
    assert err.startswith("error: unknown task 'kitchen-ful': did you mean 'kitchen-")
    assert err.count("\n") == 1


# Help and values ------------------------------------------------------------------------------------------------------


def docstrings(cls: type) -> dict[str, str]:
    """Field -> the string that follows it in the source."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body)  # type: ignore[attr-defined]
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = text.value.value  # type: ignore[union-attr]
    return found


def test_help_explains_every_option(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    words = " ".join(out.replace("│", " ").split())
    texts = {f"--{k.replace('_', '-')}": v for k, v in docstrings(TrainConfig).items() if k != "agent_config"}
    texts |= {f"--{k.replace('_', '-')}": v for k, v in docstrings(TrainCommand).items()}
    own = docstrings(AgentConfig) | docstrings(LAPOConfig)
    assert set(own) == {f.name for f in dataclasses.fields(LAPOConfig)}
    texts |= {f"--lapo.{k.replace('_', '-')}": v for k, v in own.items()}
    flags = "task agent dataset steps seed batch-size eval-every eval-episodes run-dir config resume compile precision"
    assert {f"--{flag}" for flag in flags.split(" ")} < set(texts)
    for flag, text in texts.items():
        assert re.search(rf" {flag}[ ,]", words), flag
        assert " ".join(text.split()[:8]) in words, flag
    assert "maze2d-umaze" in words


def test_a_reader_that_goes_away_is_no_error():
    """As in `python -m lapo_tf.train --help | head`."""
    code = "from lapo_tf.errors import command\n@command\ndef main(): [print('line') for _ in range(100_000)]\nmain()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
