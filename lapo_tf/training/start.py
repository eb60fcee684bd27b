"""Start a training, or go on with one: the options' one place for the command, Python and sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from lapo_tf import runtime
from lapo_tf.agents import AGENTS
from lapo_tf.config import TrainConfig
from lapo_tf.data.arrays import write_arrays
from lapo_tf.errors import UserError, unknown
from lapo_tf.tasks import TASKS, Task, load_task, register, task_of_dataset
from lapo_tf.training.lock import RunLock
from lapo_tf.training.options import build_config
from lapo_tf.training.run_folder import RunFolder
from lapo_tf.training.trainer import Result, Trainer

ARRAYS = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
"""What `train` takes in place of a data set; the first four are needed."""
KEPT = "data.hdf5"  # where they are kept, in the run folder


def run_config(options: Mapping[str, Any], *, resume: bool = False) -> TrainConfig:
    """A run's config from `options`, on top of what the run in its folder has, or else of the task's own values.

    Args:
        options: fields of `TrainConfig`, and the agent's under its name. Of a new run, at least `task` (a name, a YAML
            file or a `Task`) or `dataset`; `env` is the gymnasium id of an environment for the data set.
        resume: whether it goes on with the run in the options' run folder.

    Raises:
        UserError: no run there, one of another task or agent, or an option that cannot be.
    """
    agent = str(options.get("agent") or "lapo")
    if not resume:
        if agent not in AGENTS:
            raise unknown("agent", agent, AGENTS)
        task = chosen_task(options)
        name = {"task": "" if task is None else task.name}
        own = {} if task is None else task.training_options(agent)
        options = {k: v for k, v in options.items() if k != "env"} | name
        return build_config(options, build_config(name | {"agent": agent} | own))
    place = {name: options[name] for name in ("run_dir", "seed") if options.get(name) is not None}
    task = chosen_task({"task": options.get("task")})
    name = {} if task is None else {"task": task.name}
    folder = build_config({"task": "", "agent": agent} | name | place).folder()
    base = dataclasses.replace(RunFolder.open(folder).config(), run_dir=folder)  # it may have been moved
    if name.get("task") not in (None, base.task) or options.get("agent") not in (None, base.agent):
        raise UserError(f"{folder} is a run of {base.agent} on {base.task}: leave task and agent out, or give these")
    return build_config({k: v for k, v in options.items() if k != "env"} | {"task": base.task}, base)


def chosen_task(options: Mapping[str, Any]) -> Task | None:
    """The task that options name, which is registered: `task`, or what comes of `dataset` and `env`; None without both.

    Raises:
        UserError: there is no such task, one that a run folder cannot keep, or an environment for one that has its own.
    """
    task, env_id, dataset = (options.get(name) for name in ("task", "env", "dataset"))
    if isinstance(task, Task):
        known = task
    elif task:
        known = load_task(str(task))
    elif dataset:
        known = task_of_dataset(str(dataset), env_id)
    else:
        return None
    if env_id and known.env_id != env_id:
        if known.family != Task.family:
            raise UserError(f"task '{known.name}' has an environment of its own: leave --env out, or --task")
        known = dataclasses.replace(known, env_id=env_id)
    known.to_dict()  # one that a run folder cannot keep is refused now
    return register(known)


def train(
    *,
    resume: bool = False,
    other_data: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
    **options: Any,
) -> Result:
    """Train as `python -m lapo_tf.train` does.

    Args:
        resume: continue the run in the options' run folder, with its own options unless others are given.
        other_data: let a resumed run go on with other data than it was begun with.
        callbacks: Keras callbacks, called at every evaluation with `epoch` = step and the metrics; see
            `docs/callbacks.md`.
        progress: show what the data are and a bar of the steps.
        options: see `run_config`; an agent's: `lapo={"kl_weight": 0.3}`. Or NumPy arrays in place of a data set, see
            `lapo_tf.data.arrays.write_arrays`; `task` is then the name of a new task, if none has it.

    Raises:
        UserError: something the caller can put right.
    """
    arrays = {name: options.pop(name) for name in ARRAYS if options.get(name) is not None}
    if arrays and resume:
        raise UserError(f"the run keeps its data in its folder, {KEPT}: leave arrays out to resume it")
    lock = None
    try:
        if arrays:
            options, lock = _kept(arrays, options)
        config = run_config(options, resume=resume)
        runtime.configure(config.compile)
        return Trainer(
            config, resume=resume, other_data=other_data, callbacks=callbacks, progress=progress, lock=lock
        ).run()
    finally:
        if lock is not None:
            lock.release()


def _kept(arrays: Mapping[str, Any], options: dict[str, Any]) -> tuple[dict[str, Any], RunLock]:
    """A new run's options with its arrays as the data set, which is a file in the run folder, and the folder's lock.

    The lock is held from before the file is written, so that the run's data stay those it is trained on.
    """
    if missing := [name for name in ARRAYS[:4] if name not in arrays]:
        raise UserError(f"arrays of {', '.join(arrays)}: expected {', '.join(missing)}, too")
    if options.get("dataset"):
        raise UserError("a data set and arrays are given: leave one of them out")
    task, env_id = options.get("task") or "arrays", options.pop("env", None)
    if isinstance(task, str) and task not in TASKS and not task.endswith((".yaml", ".yml")):
        task = Task(task, env_id)
    options |= {"task": task}
    path = run_config(options).folder() / KEPT
    RunFolder.create(path.parent)
    lock = RunLock(path.parent)
    try:
        RunFolder.create(path.parent)  # nobody was faster
        write_arrays(path, **arrays)
    except BaseException:
        lock.release()
        raise
    return options | {"dataset": str(path)}, lock
