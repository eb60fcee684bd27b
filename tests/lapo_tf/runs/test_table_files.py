"""Tables as files: their trials, parts of them, and mistakes in them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lapo_tf.errors import UserError
from lapo_tf.runs.sweep import core_shares
from lapo_tf.runs.trials import Cluster
from lapo_tf.sweep import SweepCommand, all_trials

TABLE = """
tasks: [toy-navigation, maze2d-umaze]
config: preset.yaml
options: {steps: 40, eval_every: 20}
agents:
  lapo: {seeds: 0-1}
  lapo-free: {agent: lapo, seeds: "0", options: {latent_bound: .inf}}
  bc: {seeds: "1"}
"""


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "preset.yaml").write_text("batch_size: 16\nsteps: 7\nlapo: {kl_weight: 5, latent_bound: 1}\n")
    path = tmp_path / "small.yaml"
    path.write_text(TABLE)
    return path


def trials(table: Path, **options):
    return all_trials(SweepCommand(table=table, **options))


def test_the_trials_of_a_table(table, tmp_path):
    names = [t.name for t in trials(table)]
    assert names == [
        *("toy-navigation/lapo/seed0", "toy-navigation/lapo-free/seed0"),
        *("maze2d-umaze/lapo/seed0", "maze2d-umaze/lapo-free/seed0"),
        *("toy-navigation/lapo/seed1", "toy-navigation/bc/seed1", "maze2d-umaze/lapo/seed1", "maze2d-umaze/bc/seed1"),
    ]
    plain, free = trials(table)[:2]
    assert plain.folder == Path("runs/small/toy-navigation/lapo/seed0")
    assert (plain.config.steps, plain.config.batch_size, plain.config.eval_every) == (40, 16, 20)
    assert (plain.config.agent_config.kl_weight, plain.config.agent_config.latent_bound) == (5.0, 1.0)
    assert (free.config.agent, free.config.agent_config.kl_weight) == ("lapo", 5.0)
    assert math.isinf(free.config.agent_config.latent_bound)


def test_episodes_of_the_last_policies(table):
    assert {t.evaluate for t in trials(table)} == {0}
    table.write_text(f"{TABLE}evaluate: 100\n")
    assert {t.evaluate for t in trials(table)} == {100}
    assert {t.evaluate for t in trials(table, evaluate=5)} == {5}
    assert {t.evaluate for t in trials(table, evaluate=0)} == {0}


def test_a_part_of_a_table(table, tmp_path):
    part = trials(table, tasks="maze2d-umaze", agents="lapo-free,bc", steps=10, run_dir=tmp_path)
    assert [t.folder for t in part] == [tmp_path / "maze2d-umaze" / name for name in ("lapo-free/seed0", "bc/seed1")]
    assert {t.config.steps for t in part} == {10}
    assert [t.name for t in trials(table, tasks="toy-navigation", seeds="1")] == [
        "toy-navigation/lapo/seed1",
        "toy-navigation/bc/seed1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agents: {bc: {}}", "small.yaml: tasks is missing: expected a list"),
        ("tasks: [maze2d-umaze]\nagents: {bc: {seed: 1}}", "unknown entry in small.yaml: agents.bc: 'seed'"),
        ("tasks: [maze2d-umaze]\nagents: {bcc: {}}", "unknown agent 'bcc': did you mean 'bc'"),
        ("tasks: [maze2d-umaze]\nagents: {bc: {}}\nevaluate: -1", "small.yaml: evaluate is -1: expected 0 or more"),
        ("tasks: [maze-umaze]\nagents: {bc: {}}", "unknown task 'maze-umaze'"),
        ("tasks: [maze2d-umaze]\nagents: {bc: {seeds: x}}", "x is no list of seeds"),
        ("tasks: [maze2d-umaze]\nagents: {bc: {options: {kl: 1}}}", "unknown"),
    ],
)
def test_mistakes_in_a_table(table, text, message):
    table.write_text(text)
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        trials(table)


def test_names_that_a_table_lacks(table):
    with pytest.raises(UserError, match=r"unknown agent of small\.yaml 'lapo-fre': did you mean 'lapo-free'"):
        trials(table, agents="lapo-fre")
    with pytest.raises(UserError, match="no tasks given: expected --tasks"):
        all_trials(SweepCommand())
    with pytest.raises(UserError, match="--config"):
        trials(table, config=Path("x.yaml"))


def test_each_trial_has_cores_of_its_own(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7, 8}, raising=False)
    assert core_shares(Cluster(cpus_per_trial=2), 2) == [[2, 3], [5, 7]]
    assert core_shares(Cluster(address="auto"), 3) == [[], [], []]
    monkeypatch.delattr("os.sched_setaffinity", raising=False)  # macOS, Windows
    assert core_shares(Cluster(), 2) == [[], []]
