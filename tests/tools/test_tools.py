"""The maintainers' tools: each explains itself, and those that need no GPU work."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import train_sac

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path for path in (ROOT / "tools").rglob("*.py") if path.stem != "d3rlpy_worker")


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_every_tool_has_help(path: Path) -> None:
    ran = tool(str(path), "--help")
    assert ran.returncode == 0, ran.stderr
    assert "usage: " in ran.stdout
    assert "--help" in ran.stdout


def test_the_kitchens_curves_are_drawn_from_the_results(tmp_path: Path) -> None:
    ran = tool("figures/kitchen_curves.py", "--out", str(tmp_path / "curves.png"))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_kitchen_noise_is_drawn_anew_in_all_copies_but_the_first(tmp_path: Path) -> None:
    arrays = {
        "observations": np.random.default_rng(0).normal(size=(50, 60)),
        "actions": np.zeros((50, 9)),
        "rewards": np.zeros(50),
        "terminals": np.zeros(50),
        "timeouts": np.zeros(50),
    }
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    ran = tool("kitchen_noise.py", str(tmp_path / "in.hdf5"), str(tmp_path / "out.hdf5"), "--copies", "3")
    assert ran.returncode == 0, ran.stderr
    with h5py.File(tmp_path / "out.hdf5") as file:
        first, *others = np.split(file["observations"][()], 3)
    np.testing.assert_array_equal(first, arrays["observations"])
    for other in others:
        apart = np.abs(other - first)
        assert 0 < apart[:, :30].max() <= 0.02  # D4RL's: a tenth of up to 0.1
        assert not apart[:, 30:].any()
    assert not np.array_equal(*others)


@pytest.mark.slow
def test_the_data_benchmark_measures_every_command(tmp_path: Path) -> None:
    ran = tool("data_benchmark.py", "--steps", "1000", "--json", str(tmp_path / "b.json"))
    assert ran.returncode == 0, ran.stderr
    results = json.loads((tmp_path / "b.json").read_text())["results"]
    assert {"import d4rl", "load Minari", "relabel", "inspect"} <= set(results)
    assert all(row["seconds"] > 0 and row["peak_mb"] > 10 for row in results.values())


def test_the_data_benchmark_refuses_what_it_cannot_measure() -> None:
    ran = tool("data_benchmark.py", "--steps", "5")
    assert ran.returncode == 1
    assert ran.stderr == "error: --steps is 5: expected 1,000 or more\n"


def test_every_result_that_is_kept_has_its_config_and_scores() -> None:
    """What a table is made from: `python -m lapo_tf.report results/<table>`."""
    configs = sorted((ROOT / "results").rglob("config.yaml"))
    assert len(configs) > 80
    for path in configs:
        with path.with_name("metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(np.isfinite(float(row["eval/normalized_score"])) for row in rows)
    index = (ROOT / "results" / "README.md").read_text()
    for folder in (ROOT / "results").iterdir():
        assert folder.name == "README.md" or f"`{folder.name}`" in index


# SAC ------------------------------------------------------------------------------------------------------------------


def sac(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train_sac", "--goal", "jump", "--batch-size", "8", *options])
    train_sac.main()


def test_sac_overwrites_nothing_and_resumes_only_what_there_is(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.zip").touch()
    for options, expected in (
        (("--out", "old"), "old.zip exists: go on with it by --resume"),
        (("--out", "old", "--resume"), "old.replay.pkl does not exist: nothing to resume"),
        (("--resume",), "walker2d-jump.zip does not exist: nothing to resume"),
    ):
        with pytest.raises(SystemExit) as stopped:
            sac(monkeypatch, *options)
        error = capsys.readouterr().err
        assert stopped.value.code != 0
        assert expected in error
        assert error.count("\n") == 1
    assert (tmp_path / "old.zip").stat().st_size == 0


@pytest.mark.slow
def test_sac_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.chdir(tmp_path)
    sac(monkeypatch, "--steps", "150")
    sac(monkeypatch, "--steps", "250", "--resume")
    assert "; 100 steps in" in capsys.readouterr().out
    from stable_baselines3 import SAC

    model = SAC.load("walker2d-jump.zip")
    model.load_replay_buffer("walker2d-jump.replay.pkl")
    assert (model.num_timesteps, model.replay_buffer.size()) == (250, 250)
    steps = {int(s["step"]) for s in model.policy.critic.optimizer.state_dict()["state"].values()}
    assert steps == {150}  # one update a step after the first 100, the optimiser state kept over the stop
    with pytest.raises(SystemExit):
        sac(monkeypatch, "--steps", "250", "--resume")
    assert "give a larger --steps than 250" in capsys.readouterr().err
