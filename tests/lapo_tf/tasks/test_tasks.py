"""Tasks as plain data: written, read back, registered."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import yaml

from lapo_tf.data import Episode
from lapo_tf.errors import UserError
from lapo_tf.tasks import FAMILIES, TASKS, Task, load_task, read_task, register, task_of_dataset
from lapo_tf.tasks.task import HELD_OUT, RETURN, SCORE


@pytest.mark.parametrize("name", TASKS)
def test_a_task_comes_back_from_its_plain_values(name: str) -> None:
    task = TASKS[name]
    again = read_task(yaml.safe_load(yaml.safe_dump(task.to_dict())))
    assert again == task
    assert type(again) is type(task)


def test_values_that_no_task_has_are_named() -> None:
    values = load_task("maze2d-umaze").to_dict()
    with pytest.raises(UserError, match="entry in task: 'sise': did you mean 'size'"):
        read_task(values | {"sise": "umaze"})
    with pytest.raises(UserError, match="family of tasks 'maze3d': did you mean 'maze2d'"):
        read_task(values | {"family": "maze3d"})
    with pytest.raises(UserError, match="name is missing"):
        read_task({"family": "maze2d"})


@dataclass(frozen=True)
class ReachTask(Task):
    side: str = "left"
    family: ClassVar[str] = "reach"


def test_a_registered_task_is_known_by_name_and_family() -> None:
    task = register(ReachTask("reach-right", "Reach-v0", 0.0, 1.0, side="right"))
    try:
        assert load_task("reach-right") is task
        assert task.to_dict()["family"] == "test_tasks:ReachTask"  # another process imports it from there
        assert read_task(task.to_dict()) == task
        assert task.normalized(np.array([0.0, 0.5])).tolist() == [0.0, 50.0]
        assert task.training_options("lapo") == {}
        with pytest.raises(UserError, match="'reach-right' has no collector"):
            task.collect()
    finally:
        del TASKS["reach-right"], FAMILIES["reach"]


SCRIPT = """
from lapo_tf import train
from lapo_tf.tasks import Task
class MyTask(Task):
    family = "mine"
try:
    train(task=MyTask("mine", dataset="nowhere.hdf5"))
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my_script.py"], "task 'mine' is a MyTask, which only this script or notebook knows"),
        (["-m", "my_script"], "data file 'nowhere.hdf5' does not exist"),  # by that name another process can import it
    ],
)
def test_a_class_of_the_script_itself(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "my_script.py").write_text(SCRIPT)
    ran = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert message in ran.stdout, ran.stderr[-2000:]
    assert not (tmp_path / "runs").exists()


def test_names_fit_the_environments() -> None:
    for name in ("kitchen-complete", "maze2d-large", "toy-navigation", "hopper-medium", "walker2d-mix-jump"):
        task = load_task(name)
        env = task.make_env()
        names, (observation, action) = task.names(env), task.channel_names()
        assert (len(names.observations), len(names.actions)) == (*env.observation_space.shape, *env.action_space.shape)
        assert (len(observation), len(action)) == (len(names.observations), len(names.actions))
        env.close()


def test_joints_are_named_only_where_they_are_what_is_observed() -> None:
    swimmer = Task("swimmer", "Swimmer-v5")
    env = swimmer.make_env()
    names = [entry.name for entry in swimmer.names(env).observations]
    assert (names[0], names[-1]) == ("free_body_rot/position", "motor2_rot/velocity")
    turned = gym.wrappers.TransformObservation(env, lambda o: o[::-1], env.observation_space)
    assert [entry.name for entry in swimmer.names(turned).observations][:2] == [
        "observation_0/position",
        "observation_1/position",
    ]
    env.close()


def test_relabelling_for_a_family_s_tasks() -> None:
    with_rule = {task.family for task in TASKS.values() if task.relabel is not None}
    assert with_rule == {"kitchen", "maze2d", "antmaze", "walker2d"}
    near_then_away = np.array([[1.0, 1.0, 0, 0], [3.0, 1.0, 0, 0], [3.0, 1.0, 0, 0]])
    episode = load_task("maze2d-umaze").relabel(Episode(near_then_away, np.zeros((2, 2)), np.zeros(2), False))
    assert np.asarray(episode.rewards).tolist() == [1.0, 0.0]


def test_tasks_are_known_without_a_simulator_or_tensorflow() -> None:
    heavy = ("mujoco", "gymnasium_robotics", "tensorflow")
    code = f"import sys, lapo_tf.tasks; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_task_of_one_s_own_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "arm.hdf5").touch()
    path = tmp_path / "my-arm.yaml"
    path.write_text(
        "dataset: arm.hdf5\nenv_id: Pendulum-v1\nenv_options: {g: 5.0}\nmax_episode_steps: 7\n"
        "training: {steps: 40, lapo: {kl_weight: 0.3}}\n"
    )
    task = load_task(str(path))
    assert (task.name, task.dataset, task.criterion) == ("my-arm", str(tmp_path / "arm.hdf5"), RETURN)
    assert task.training_options("lapo") == {"steps": 40, "lapo": {"kl_weight": 0.3}}
    assert task.training_options("bc") == {"steps": 40}
    env = task.make_env()
    env.reset(seed=0)
    assert env.unwrapped.g == 5.0
    assert [env.step(np.zeros(1))[3] for _ in range(7)] == [False] * 6 + [True]
    assert task.normalized(3.0) == 3.0
    path.write_text("dataset: arm.hdf5\nscore_max: 1\n")
    with pytest.raises(UserError, match="one of score_min and score_max"):
        load_task(str(path))
    path.write_text("datset: arm.hdf5\nmax_episode_steps: many\n")
    with pytest.raises(UserError, match=r"max_episode_steps is 'many'.*; also .*did you mean 'dataset'"):
        load_task(str(path))


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("arm/reach-v0", "arm-reach-v0"),
        ("logs/arm 2.hdf5", "arm-2"),
        ("maze2d-umaze.hdf5", "own-maze2d-umaze"),
        ("lapo/maze2d-umaze-v0", "maze2d-umaze"),
        ("D4RL/kitchen/mixed-v2", "kitchen-mixed"),
    ],
)
def test_a_data_set_names_its_task(dataset: str, name: str) -> None:
    task = task_of_dataset(dataset)
    assert task.name == name
    assert (task is TASKS[name]) if name in TASKS else (task.criterion == HELD_OUT and task.dataset.endswith(dataset))


class Narrow(gym.Wrapper):
    """A wrapper, named by `module:class`."""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ("no environment", "--env", "--offline")),
        ({"env_id": "NoSuchArm-v3"}, ("'NoSuchArm-v3'", "cannot be made", "module:Name-v0", "--offline")),
        ({"env_id": "no_such_package:Arm-v0"}, ("cannot be made", "no_such_package")),
        ({"env_id": "Pendulum-v1", "env_options": {"gee": 1}}, ("cannot be made", "gee")),
        ({"env_id": "CartPole-v1"}, ("actions of 'CartPole-v1' are Discrete(2)", "continuous")),
        ({"env_id": "Blackjack-v1"}, ("observations", "Tuple", "wrapper")),
        ({"env_id": "Pendulum-v1", "wrapper": "test_tasks:Wide"}, ("'test_tasks:Wide' cannot be imported",)),
    ],
)
def test_environments_that_will_not_do_are_refused_in_one_line(values: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as told:
        Task("arm", **values).make_env()
    for word in words:
        assert word in str(told.value)
    assert "\n" not in str(told.value)


def test_an_environment_is_wrapped_and_success_is_read_from_its_info() -> None:
    task = Task("arm", "Pendulum-v1", wrapper="test_tasks:Narrow", success="reached")
    assert isinstance(task.make_env(), Narrow)
    numbers = task.success_numbers(np.zeros(4), [{"reached": r} for r in (True, 0, np.True_, np.array([0.0]))])
    assert numbers == {"success/episodes": 0.5}
    assert task.describe(numbers) == ["success      50 % of the episodes"]
    with pytest.raises(UserError, match="has no 'reached', but done"):
        task.success_numbers(np.zeros(1), [{"done": True}])


def test_the_page_s_family_is_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs/add-a-task.md").read_text()
    code, yaml_file = (re.search(rf"```{kind}\n(.*?)```", page, re.S)[1] for kind in ("python", "yaml"))
    module = types.ModuleType("lapo_tf.tasks.reacher")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)
    (task,) = module.TASKS
    env = task.make_env()
    assert len(task.names(env).actions) == 2
    assert task.collected_id == "lapo/reacher-random-v0"
    assert read_task({"name": "reach"} | yaml.safe_load(yaml_file)).criterion == SCORE
