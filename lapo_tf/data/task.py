"""What the tools of this room need to know of the task that data are for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from lapo_tf.data.recording import OFFICIAL_SHA256, Recording
from lapo_tf.data.rewards import Relabel
from lapo_tf.data.store import environment_id


class DataTask(Protocol):
    """A task with an environment; `lapo_tf.tasks.Task`, which explains its members, is one."""

    @property
    def name(self) -> str: ...

    @property
    def env_id(self) -> str | None: ...

    @property
    def minari_id(self) -> str | None: ...

    @property
    def collected_id(self) -> str | None: ...

    @property
    def maze(self) -> Any: ...

    @property
    def positions_first(self) -> bool: ...

    @property
    def relabel(self) -> Relabel | None: ...

    def make_env(self, render_mode: str | None = None) -> Any: ...

    def channel_names(self) -> tuple[list[str], list[str]]: ...

    def success_in_data(self, best: np.ndarray) -> tuple[np.ndarray, str] | None: ...


def episode_limit(task: DataTask | None, given: int | None = None) -> int | None:
    """After how many steps episodes of a task end: as given, or by its environment's time limit."""
    if given is not None or task is None or task.env_id is None:
        return given
    env = task.make_env()
    env.close()
    return env.spec.max_episode_steps if env.spec else None


def task_of(recording: Recording, known: Iterable[DataTask]) -> DataTask | None:
    """The task among `known` that a data set says it is for: by its environment, id, or checksum."""
    env_id = environment_id(recording.metadata)
    named = OFFICIAL_SHA256.get(str(recording.source.sha256))
    for task in known:
        if (
            task.name == named
            or (env_id and env_id == task.env_id)
            or recording.source.id in (task.minari_id, task.collected_id)
        ):
            return task
    return None
