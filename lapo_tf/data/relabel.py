"""The same episodes for another task: `python -m lapo_tf.data relabel`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from minari.serialization import deserialize_space

from lapo_tf.data.dataset import METADATA, Episode
from lapo_tf.data.layouts import Layout
from lapo_tf.data.readers import open_recording
from lapo_tf.data.rewards import Fields, Relabel, read_rule, reward_function
from lapo_tf.data.store import Written, check_new, check_own, environment_id, write_dataset
from lapo_tf.data.task import DataTask, episode_limit
from lapo_tf.errors import UserError
from lapo_tf.progress import Bar, progress_bar


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
    spec: str | Path,
    dataset_id: str,
    *,
    task: DataTask | None = None,
    rule: Path | str | None = None,
    function: str | None = None,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> Relabelled:
    """Write a data set's episodes as a new Minari data set with the rewards of another task.

    Exactly one of `task`, `rule` and `function` says which. Infos are kept, so that the result can be relabelled again.

    Args:
        spec: D4RL file or Minari id.
        dataset_id: of the new data set.
        task: one that has a rule to relabel by.
        rule: YAML file of a reward rule, see `lapo_tf.data.rewards`.
        function: Python function `MODULE:FUNCTION`.
        layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
        max_episode_steps: where episodes of a D4RL file without `timeouts` are cut; default: the task's time limit.
        force: replace an existing data set.
        progress: show a bar.

    Raises:
        UserError: whatever does not fit, in one line; nothing is written then.
    """
    if [task, rule, function].count(None) != 2:
        raise UserError("relabel for what? expected one of --task NAME, --reward FILE.yaml and --function MODULE:NAME")
    check_new(dataset_id, force=force)
    limit = episode_limit(task, max_episode_steps)
    with open_recording(spec, layout=layout, max_episode_steps=limit, infos=True) as recording:
        check_own(dataset_id, collected=recording.source.provenance == "collected")
        known = dict(recording.metadata.get(METADATA) or {})
        bounds = deserialize_space(recording.metadata["action_space"]) if "action_space" in recording.metadata else None
        relabel, declared = _relabel(task, None if rule is None else Path(rule), function, known.get("fields") or {})
        tally = _Tally()
        what = task.name if task else (str(rule) if rule else str(function))
        with progress_bar(total=recording.count, desc="relabelling", unit="episode", disable=not progress) as bar:
            written = write_dataset(
                dataset_id,
                tally.through(recording.episodes, relabel, bar),
                action_space=bounds if isinstance(bounds, Box) and len(bounds.shape) == 1 else None,
                env_id=task.env_id if task else environment_id(recording.metadata),
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
        replace(written, warnings=tuple(recording.warnings)),
        float(np.mean(tally.before)),
        float(np.mean(tally.after)),
        tally.rewarded_before / steps,
        tally.rewarded_after / steps,
        tally.changed / steps,
    )


def _relabel(
    task: DataTask | None, rule: Path | None, function: str | None, fields: Fields
) -> tuple[Relabel, dict[str, Any]]:
    if rule is not None:
        return read_rule(rule, fields)
    if function is not None:
        return reward_function(function, "--function"), {"function": function}
    assert task is not None
    if task.relabel is None:
        raise UserError(f"task '{task.name}' has no rule to relabel by: give --reward FILE or --function MODULE:NAME")
    return task.relabel, {"task": task.name}


class _Tally:
    """Counts what relabelling changes, while the episodes stream through."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []
        self.steps = self.changed = self.rewarded_before = self.rewarded_after = 0

    def through(self, episodes: Iterator[Episode], relabel: Relabel, bar: Bar) -> Iterator[Episode]:
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
