"""Where a run's values come from: the task's file, --config, flags."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import yaml

from lapo_tf.agents import AGENTS
from lapo_tf.agents.lapo_paper import LAPOPaperConfig
from lapo_tf.config import TrainConfig, config_dir
from lapo_tf.errors import UserError
from lapo_tf.tasks import FAMILIES, TASKS, load_task
from lapo_tf.train import parse_config
from lapo_tf.training.options import build_config


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_every_agent_takes_a_task_s_options(task):
    for agent in AGENTS:
        values = load_task(task).training_options(agent)
        config = build_config({"task": task, "agent": agent} | values)
        for name, value in values.items():
            if name != agent:
                assert getattr(config, name) == value
        for name, value in values.get(agent, {}).items():
            assert getattr(config.agent_config, name) == (tuple(value) if isinstance(value, list) else value)


def test_a_task_s_own_section_comes_before_its_family_s():
    options = {task: load_task(task).training_options("lapo")["lapo"] for task in ("maze2d-umaze", "maze2d-large")}
    assert options == {"maze2d-umaze": {"kl_weight": 1.0}, "maze2d-large": {"kl_weight": 0.3}}
    assert load_task("maze2d-umaze").training_options("bc") == {}
    assert load_task("antmaze-umaze-diverse").training_options("bc") == {"eval_episodes": 100}
    assert load_task("walker2d-mix-jump").training_options("cql") == load_task("hopper-medium").training_options("cql")


def test_every_file_of_options_is_a_family_s():
    families = {task.options or family for family, task in FAMILIES.items()}
    assert {path.stem for path in (config_dir() / "tasks").iterdir()} <= families


def test_presets_for_a_cpu_a_gpu_and_the_published_values():
    cpu, gpu, paper = (
        parse_config(["--task", "kitchen-mixed", "--config", name])[0] for name in ("cpu", "gpu", "paper")
    )
    own, lapo, published = cpu.agent_config, gpu.agent_config, paper.agent_config
    assert (cpu.batch_size, gpu.batch_size, paper.batch_size) == (128, None, None)
    assert cpu.steps < gpu.steps < paper.steps == 1_000_000
    assert own.critic_learning_rate == own.vae_learning_rate == own.policy_learning_rate > lapo.policy_learning_rate
    assert (own.schedule, lapo.schedule, published.schedule) == ("cosine", "cosine", "constant")
    assert (own.critic_norm, published.critic_norm, published.latent_norm) == ("layer", "none", math.inf)
    assert own.kl_weight == lapo.kl_weight == published.kl_weight
    bc = parse_config(["--task", "kitchen-mixed", "--agent", "bc", "--config", "cpu"])[0]
    assert (bc.batch_size, bc.agent_config.schedule) == (128, "cosine")


@pytest.mark.parametrize("preset", ["cpu", "gpu", "paper"])
def test_every_agent_takes_every_preset(preset):
    values = yaml.safe_load((config_dir() / "presets" / f"{preset}.yaml").read_text())
    for agent in AGENTS:
        config = parse_config(["--task", "maze2d-large", "--agent", agent, "--config", preset])[0]
        assert config.steps == values["steps"]
        for name, value in values.get(agent, {}).items():
            assert getattr(config.agent_config, name) == value
    own = set(AGENTS) - {"clone"}  # less the tests' own agent, which is there where a test before imported it
    assert own <= values.keys() or preset == "paper"  # nobody was forgotten


def test_presets_have_names_and_files_have_paths(tmp_path):
    (tmp_path / "cpu").write_text("steps: 5\n")  # a name is a preset's, whatever lies about
    assert parse_config(["--task", "kitchen-mixed", "--config", "cpu"])[0].steps > 5
    assert parse_config(["--task", "kitchen-mixed", "--config", str(tmp_path / "cpu")])[0].steps == 5
    with pytest.raises(UserError, match=r"unknown preset 'cpus': did you mean 'cpu'\? known: cpu, gpu, paper"):
        parse_config(["--task", "kitchen-mixed", "--config", "cpus"])


def test_flags_come_before_files_and_files_before_the_tasks_values(tmp_path):
    task = load_task("toy-navigation").training_options("lapo")
    assert task["steps"] != 777 != task["batch_size"]
    (tmp_path / "own.yaml").write_text("steps: 777\nbatch_size: 33\nlapo: {kl_weight: 5, polyak: 0.5}\n")
    arguments = ["--task", "toy-navigation", "--config", "own.yaml", "--batch-size", "44", "--lapo.polyak", "0.25"]
    config, options = parse_config(arguments)
    assert options.resume is None
    assert (config.steps, config.batch_size, config.eval_every) == (777, 44, task["eval_every"])
    own = config.agent_config
    assert (own.kl_weight, own.polyak, own.hidden) == (5.0, 0.25, tuple(task["lapo"]["hidden"]))
    assert parse_config(["--config", "own.yaml", "--task", "maze2d-umaze"])[0].steps == 777


def test_a_config_survives_its_file():
    changed = {
        "hidden": (3, 4),
        "latent_ratio": 1,
        "clip_value": False,
        "weight": "exponential",
        "latent_policy": "tanh",
    }
    config = TrainConfig(
        "maze2d-large",
        "lapo-paper",
        dataset="a.hdf5",
        steps=7,
        seed=8,
        batch_size=9,
        eval_every=10,
        eval_episodes=11,
        run_dir=Path("x/y"),
        compile="eager",
        precision="bfloat16",
        agent_config=LAPOPaperConfig(**changed, kl_weight=0.1 + 0.2),
    )
    for one in (config, dataclasses.replace(config, run_dir=None, dataset=None)):
        values = yaml.safe_load(yaml.safe_dump(one.to_dict()))
        assert build_config(values) == one
        assert set(values) == {f.name for f in dataclasses.fields(TrainConfig)} - {"agent_config"} | {"lapo-paper"}
    assert dataclasses.replace(config, run_dir=None).folder() == Path("runs/maze2d-large/lapo-paper/seed8")
    with pytest.raises(UserError, match="expected true or false"):
        build_config(config.to_dict() | {"lapo-paper": {"clip_value": 1}})


def test_whole_numbers_may_be_written_as_powers_of_ten():
    task = ["--task", "toy-navigation"]
    assert parse_config([*task, "--steps", "1e4"])[0].steps == 10_000
    assert parse_config([*task, "--steps", "2_0", "--lapo.polyak", "1e-3"])[0].agent_config.polyak == 0.001
    with pytest.raises(UserError, match="--steps"):
        parse_config([*task, "--steps", "1.5e0"])
