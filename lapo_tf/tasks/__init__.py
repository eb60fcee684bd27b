"""The tasks, by family: one file each. How to add one: `docs/add-a-task.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lapo_tf.data.collectors.base import Collected
from lapo_tf.errors import UserError, unknown
from lapo_tf.tasks import antmaze, kitchen, locomotion, maze2d, toy, walker2d
from lapo_tf.tasks.task import Task

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
    FAMILIES[task.family] = type(task)
    TASKS[task.name] = task
    return task


for _family in (walker2d, maze2d, antmaze, kitchen, toy, locomotion):
    for _task in _family.TASKS:
        register(_task)
FAMILIES[Task.family] = Task


def load_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none, with the nearest name.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def read_task(values: Mapping[str, Any]) -> Task:
    """The task that `Task.to_dict` described.

    Raises:
        UserError: an unknown family, or values that a task does not have.
    """
    values = dict(values)
    family = values.pop("family", Task.family)
    if family not in FAMILIES:
        raise unknown("family of tasks", str(family), FAMILIES)
    kind = FAMILIES[family]
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            raise unknown("field of a task", str(name), known)
    try:
        return kind(**values)
    except TypeError as error:  # something is missing
        raise UserError(f"a task is not complete ({error}): expected {', '.join(known)}") from None


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
