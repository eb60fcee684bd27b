"""The same episodes for another task: `python -m lapo_tf.data relabel`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lapo_tf.data.dataset import Episode
from lapo_tf.data.readers import open_recording
from lapo_tf.data.rewards import Fields, Relabel, read_rule, reward_function, reward_rule
from lapo_tf.data.store import METADATA, Written, check_new, check_own, environment_id, write_dataset
from lapo_tf.envs import ANTMAZE_MAX_STEPS, COMPLETE_TASKS, MAZE_MAX_STEPS, MIXED_TASKS
from lapo_tf.errors import UserError, unknown


def _kitchen(elements: tuple[str, ...]) -> Relabel:
    return reward_rule({"rule": "kitchen", "elements": elements}, "kitchen: ")


def _walker2d(goal: str) -> Relabel:
    def relabel(episode: Episode) -> Episode:
        from lapo_tf.data.collectors.locomotion import relabel_walker2d  # loads MuJoCo

        return relabel_walker2d(goal)(episode)

    return relabel


def _antmaze(maze: str) -> Relabel:
    def relabel(episode: Episode) -> Episode:
        from lapo_tf.envs.antmaze import GOAL_RADIUS, goal_of  # loads MuJoCo

        rule = {"rule": "distance", "field": "observation[0:2]", "goal": goal_of(maze).tolist(), "ends": True}
        return reward_rule(rule | {"threshold": GOAL_RADIUS}, f"antmaze-{maze}: ")(episode)

    return relabel


RELABEL: dict[str, Relabel] = {
    "kitchen-complete": _kitchen(COMPLETE_TASKS),
    "kitchen-partial": _kitchen(COMPLETE_TASKS),
    "kitchen-mixed": _kitchen(MIXED_TASKS),
    **{f"maze2d-{maze}": reward_rule({"rule": "maze", "maze": maze}, "maze: ") for maze in MAZE_MAX_STEPS},
    **{f"antmaze-{maze}-diverse": _antmaze(maze) for maze in ANTMAZE_MAX_STEPS},
    **{f"walker2d-mix-{goal}": _walker2d(goal) for goal in ("forward", "backward", "jump")},
}
"""How an episode recorded in a task's environment becomes one of that task.

An entry is given an `Episode` with all its recorded infos and returns it with the task's rewards, and where the task
says so its terminal flags (one per step where the recording goes on after the task ended) and observations (where they
contain the goal). It raises a `UserError` where the episode lacks what it needs.
"""


@dataclass(frozen=True)
class Relabelled:
    """What `relabel_dataset` did. Returns are means over episodes; `changed` is the share of steps with new rewards."""

    written: Written
    return_before: float
    return_after: float
    rewarded_before: float
    rewarded_after: float
    changed: float

    def __str__(self) -> str:
        return (
            f"mean return {self.return_before:.4g} -> {self.return_after:.4g}; steps with a reward "
            f"{self.rewarded_before:.1%} -> {self.rewarded_after:.1%}; {self.changed:.1%} of the rewards changed"
        )


def relabel_dataset(
    spec: str,
    dataset_id: str,
    *,
    task: str | None = None,
    rule: Path | str | None = None,
    function: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Relabelled:
    """Write a data set's episodes as a new Minari data set with the rewards of another task.

    Exactly one of `task`, `rule` and `function` says which. Infos are kept, so that the result can be relabelled again.

    Args:
        spec: D4RL file or Minari id.
        dataset_id: of the new data set.
        task: a name in `RELABEL`.
        rule: YAML file of a reward rule, see `lapo_tf.data.rewards`.
        function: Python function `MODULE:FUNCTION`.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever does not fit, in one line; nothing is written then.
    """
    if [task, rule, function].count(None) != 2:
        raise UserError("relabel for what? expected one of --task NAME, --reward FILE.yaml and --function MODULE:NAME")
    check_new(dataset_id, force=force)
    with open_recording(spec, infos=True) as recording:
        check_own(dataset_id, collected=recording.source.provenance == "collected")
        known = dict(recording.metadata.get(METADATA) or {})
        relabel, declared = _relabel(task, None if rule is None else Path(rule), function, known.get("fields") or {})
        tally = _Tally()
        what = task or (str(rule) if rule else str(function))
        with tqdm(total=recording.count, desc="relabelling", unit="episode", disable=not progress) as bar:
            written = write_dataset(
                dataset_id,
                tally.through(recording.episodes, relabel, bar),
                env_id=_environment(task, recording.metadata),
                algorithm=recording.metadata.get("algorithm_name"),
                description=f"{recording.source.id}, its rewards relabelled for {what} by lapo_tf.",
                metadata=known
                | {
                    "source": {"id": recording.source.id, "provenance": recording.source.provenance}
                    | ({"sha256": recording.source.sha256} if recording.source.sha256 else {}),
                    "reward": declared,
                },
            )
    steps = max(tally.steps, 1)
    return Relabelled(
        written,
        float(np.mean(tally.before)),
        float(np.mean(tally.after)),
        tally.rewarded_before / steps,
        tally.rewarded_after / steps,
        tally.changed / steps,
    )


def _relabel(
    task: str | None, rule: Path | None, function: str | None, fields: Fields
) -> tuple[Relabel, dict[str, Any]]:
    if rule is not None:
        return read_rule(rule, fields)
    if function is not None:
        return reward_function(function, "--function"), {"function": function}
    if task not in RELABEL:
        raise unknown("task to relabel for", str(task), RELABEL)
    return RELABEL[task], {"task": task}


def _environment(task: str | None, metadata: Any) -> str | None:
    if task is not None:
        from lapo_tf.tasks import load_task

        return load_task(task).env_id
    return environment_id(metadata)


class _Tally:
    """Counts what relabelling changes, while the episodes stream through."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []
        self.steps = self.changed = self.rewarded_before = self.rewarded_after = 0

    def through(self, episodes: Iterator[Episode], relabel: Relabel, bar: tqdm) -> Iterator[Episode]:
        for number, episode in enumerate(episodes):
            try:
                new = relabel(episode)
            except UserError as error:
                raise UserError(f"episode {number}: {error}") from error
            old, rewards = np.asarray(episode.rewards), np.asarray(new.rewards)
            self.before.append(float(old.sum(dtype=np.float64)))
            self.after.append(float(rewards.sum(dtype=np.float64)))
            self.steps += len(old)
            self.changed += int((~np.isclose(old, rewards)).sum())
            self.rewarded_before += int((old != 0).sum())
            self.rewarded_after += int((rewards != 0).sum())
            bar.update()
            yield new
