"""Tasks as plain data: written, read back, registered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import yaml

from lapo_tf.data import Episode
from lapo_tf.errors import UserError
from lapo_tf.tasks import FAMILIES, TASKS, Task, load_task, read_task, register


@pytest.mark.parametrize("name", TASKS)
def test_a_task_comes_back_from_its_plain_values(name: str) -> None:
    task = TASKS[name]
    again = read_task(yaml.safe_load(yaml.safe_dump(task.to_dict())))
    assert again == task
    assert type(again) is type(task)


def test_values_that_no_task_has_are_named() -> None:
    values = load_task("maze2d-umaze").to_dict()
    with pytest.raises(UserError, match="field of a task 'sise': did you mean 'size'"):
        read_task({k: v for k, v in values.items() if k != "size"} | {"sise": "umaze"})
    with pytest.raises(UserError, match="family of tasks 'maze3d': did you mean 'maze2d'"):
        read_task(values | {"family": "maze3d"})
    with pytest.raises(UserError, match=r"not complete .*'name'"):
        read_task({"family": "maze2d"})


def test_a_registered_task_is_known_by_name_and_family() -> None:
    @dataclass(frozen=True)
    class ReachTask(Task):
        side: str = "left"
        family: ClassVar[str] = "reach"

    task = register(ReachTask("reach-right", "Reach-v0", 0.0, 1.0, side="right"))
    try:
        assert load_task("reach-right") is task
        assert read_task(task.to_dict()) == task
        assert task.normalized(np.array([0.0, 0.5])).tolist() == [0.0, 50.0]
        assert task.training_options("lapo") == {}
        with pytest.raises(UserError, match="'reach-right' has no collector"):
            task.collect()
    finally:
        del TASKS["reach-right"], FAMILIES["reach"]


def test_names_fit_the_environments() -> None:
    for name in ("kitchen-complete", "maze2d-large", "toy-navigation", "hopper-medium", "walker2d-mix-jump"):
        task = load_task(name)
        env = task.make_env()
        names, (observation, action) = task.names(env), task.channel_names()
        assert (len(names.observations), len(names.actions)) == (*env.observation_space.shape, *env.action_space.shape)
        assert (len(observation), len(action)) == (len(names.observations), len(names.actions))
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
