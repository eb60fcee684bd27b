"""Start a training, or go on with one: the options' one place for the command, Python and sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from lapo_tf import runtime
from lapo_tf.agents import AGENTS
from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError, unknown
from lapo_tf.tasks import load_task
from lapo_tf.training.options import build_config
from lapo_tf.training.run_folder import RunFolder
from lapo_tf.training.trainer import Result, Trainer


def run_config(options: Mapping[str, Any], *, resume: bool = False) -> TrainConfig:
    """A run's config from `options`, on top of what the run in its folder has, or else of the task's own values.

    Args:
        options: fields of `TrainConfig`, and the agent's under its name; of a new run, at least `task`.
        resume: whether it goes on with the run in the options' run folder.

    Raises:
        UserError: no run there, one of another task or agent, or an option that cannot be.
    """
    task, agent = str(options.get("task") or ""), str(options.get("agent") or "lapo")
    if not resume:
        if agent not in AGENTS:
            raise unknown("agent", agent, AGENTS)
        own = load_task(task).training_options(agent) if task else {}
        return build_config(options, build_config({"task": task, "agent": agent} | own))
    place = {name: options[name] for name in ("run_dir", "seed") if options.get(name) is not None}
    folder = build_config({"task": task, "agent": agent} | place).folder()
    base = dataclasses.replace(RunFolder.open(folder).config(), run_dir=folder)  # it may have been moved
    if options.get("task") not in (None, base.task) or options.get("agent") not in (None, base.agent):
        raise UserError(f"{folder} is a run of {base.agent} on {base.task}: leave task and agent out, or give these")
    return build_config(options, base)


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
        callbacks: Keras callbacks, called at every evaluation with `epoch` = step and the metrics.
        progress: show what the data are and a bar of the steps.
        options: fields of `TrainConfig`, and the agent's under its name: `lapo={"kl_weight": 0.3}`.

    Raises:
        UserError: something the caller can put right.
    """
    config = run_config(options, resume=resume)
    runtime.configure(config.compile)
    return Trainer(config, resume=resume, other_data=other_data, callbacks=callbacks, progress=progress).run()
