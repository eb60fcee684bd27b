"""The tasks, by family: one file each. How to add one: `docs/add-a-task.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lapo_tf.data.collectors.base import Collected
from lapo_tf.errors import unknown
from lapo_tf.tasks import antmaze, kitchen, locomotion, maze2d, toy, walker2d
from lapo_tf.tasks.task import Task, named_object
from lapo_tf.yaml_files import read_yaml, validated

TASKS: dict[str, Task] = {}
"""All tasks that are known by name, in the paper's order."""
FAMILIES: dict[str, type[Task]] = {}
"""The kind of a task, by the family's name; the paper's families come first."""


def register(task: Task) -> Task:
    """Make a task known by its name, in place of one that had it.

    Args:
        task: one of `Task`, or of a family's own subclass.

    Returns:
        The task.
    """
    FAMILIES.setdefault(task.family, type(task))
    TASKS[task.name] = task
    return task


for _family in (walker2d, maze2d, antmaze, kitchen, toy, locomotion):
    for _task in _family.TASKS:
        register(_task)
FAMILIES[Task.family] = Task


def load_task(name: str) -> Task:
    """The task of that name, or that of a YAML file.

    Raises:
        UserError: there is none, with the nearest name, or a mistake in the file.
    """
    if name in TASKS:
        return TASKS[name]
    if name.endswith((".yaml", ".yml")):
        return read_task_file(Path(name))
    raise unknown("task", name, TASKS)


def read_task(values: Mapping[str, Any], prefix: str = "task: ") -> Task:
    """The task that plain values describe, such as those of `Task.to_dict`.

    Args:
        values: a task's fields, and its `family`, by default `own`; that of somebody else's class is `module:Class`.
        prefix: what begins messages about them.

    Raises:
        UserError: an unknown family, or mistakes in the values.
    """
    values = dict(values)
    family = str(values.pop("family", Task.family))
    if family not in FAMILIES and ":" not in family:
        raise unknown("family of tasks", family, FAMILIES)
    return validated(FAMILIES[family] if family in FAMILIES else named_object(family), values, prefix)


def read_task_file(path: Path) -> Task:
    """A task of one's own, from a YAML file with `Task`'s fields. Its name is the file's, if it gives none.

    Raises:
        UserError: no such file, or mistakes in it.
    """
    values = {"name": path.stem} | read_yaml(path, "dataset: arm/reach-v0")
    task = read_task(values, f"{path.name}: ")
    if task.dataset is not None and (near := path.parent / task.dataset).is_file():  # beside the file
        return replace(task, dataset=str(near.absolute()))
    return task


def task_of_dataset(dataset: str, env_id: str | None = None) -> Task:
    """The task of learning from a data set: the known one that it was made for, or one of its own.

    Args:
        dataset: a D4RL file, or a Minari id; the task's name comes of it: `arm/reach-v0` is for `arm-reach-v0`.
        env_id: gymnasium id of an environment to judge policies in.
    """
    if env_id is None:
        for task in TASKS.values():
            if dataset in (task.minari_id, task.collected_id):
                return task
    path, stem = Path(dataset).expanduser(), dataset
    if path.suffix in (".hdf5", ".h5") or path.is_file():
        dataset, stem = str(path.absolute()), path.stem
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-")
    taken = name in TASKS and TASKS[name].family != Task.family
    return Task(f"own-{name}" if taken else name, env_id, dataset=dataset)


def collect(
    task: str,
    count: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    policies: Mapping[str, Path] | None = None,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """`Task.collect` of the task of that name."""
    return load_task(task).collect(count, seed, dataset_id, policies=policies, force=force, progress=progress)
