"""Reward rules: what `data import` and `data relabel` can turn recorded episodes into, declared in YAML.

    rule: distance                # of a field to a goal, after the step
    field: gripper_position       # a field of the layout, a recorded info, or observation[0:3]
    goal: [0.5, 0.0, 0.2]         # numbers, or the name of a field (a goal that changes)
    threshold: 0.05
    reward: sparse                # 1 within the threshold, else 0; or dense: minus the distance
    ends: true                    # the task ends there (no bootstrap); default false

    rule: success                 # of a field that is 0 or 1, after the step
    field: success
    when: once                    # 1 in the first step that makes it 1; while: in every step; end: in the last step, if
                                  # it is 1 then
    ends: true

    rule: recorded                # the reward is a recorded number, after the step
    field: score

    rule: kitchen                 # D4RL's: number of these elements at their goal, before the step; the goals go into
    elements: [kettle, microwave] # the observation

    rule: maze                    # D4RL's: 1 within 0.5 of the goal, before the step
    maze: umaze
    goal: [3.0, 1.0]              # default: the maze's own

    function: my_rewards:reach    # Python, called with each `Episode`: rewards [T], or (rewards [T], terminated [T])

"After the step" is the value at t + 1, which the action at t led to; where none was recorded, that at t.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from lapo_tf.data.dataset import Episode
from lapo_tf.errors import UserError, unknown
from lapo_tf.yaml_files import STRICT, read_yaml, validated

Relabel: TypeAlias = Callable[[Episode], Episode]
Fields: TypeAlias = Mapping[str, tuple[int, int]]
"""Names of parts of the observation: first channel, and the one after the last."""


class Rule(BaseModel):
    """A rule with its entries. Applying it raises a `UserError` where an episode does not fit."""

    model_config = ConfigDict(**STRICT, frozen=True, allow_inf_nan=False)


class Distance(Rule):
    """See the module's text."""

    field: str
    goal: tuple[float, ...] | str
    threshold: float
    reward: Literal["sparse", "dense"] = "sparse"
    ends: bool = False

    def __call__(self, episode: Episode, fields: Fields, prefix: str) -> Episode:
        position = after(episode, self.field, fields, f"{prefix}field")
        goal = after(episode, self.goal, fields, f"{prefix}goal") if isinstance(self.goal, str) else self.goal
        if np.shape(goal)[-1] != position.shape[1]:
            raise UserError(
                f"{prefix}goal has {np.shape(goal)[-1]} values: expected {position.shape[1]}, as '{self.field}' has"
            )
        distance = np.linalg.norm(position - np.asarray(goal), axis=1)
        near = distance <= self.threshold
        return _with(episode, near if self.reward == "sparse" else -distance, near if self.ends else None)


class Success(Rule):
    """See the module's text."""

    field: str
    when: Literal["once", "while", "end"] = "once"
    ends: bool = False

    def __call__(self, episode: Episode, fields: Fields, prefix: str) -> Episode:
        values = after(episode, self.field, fields, f"{prefix}field")
        if values.shape[1] != 1 or not np.isin(values, (0, 1)).all():
            raise UserError(
                f"{prefix}field: '{self.field}' holds other values than 0 and 1: expected one flag per step"
            )
        reached = values[:, 0] == 1
        rewards = reached.copy()
        if self.when == "once":
            rewards[1:] &= ~np.logical_or.accumulate(reached)[:-1]
        elif self.when == "end":
            rewards[:-1] = False
        return _with(episode, rewards, reached if self.ends else None)


class Recorded(Rule):
    """See the module's text."""

    field: str

    def __call__(self, episode: Episode, fields: Fields, prefix: str) -> Episode:
        values = after(episode, self.field, fields, f"{prefix}field")
        if values.shape[1] != 1:
            raise UserError(f"{prefix}field: '{self.field}' has {values.shape[1]} values: expected one number per step")
        return _with(episode, values[:, 0])


class Kitchen(Rule):
    """See the module's text."""

    elements: tuple[str, ...]

    def __call__(self, episode: Episode, fields: Fields, prefix: str) -> Episode:
        from lapo_tf.envs.kitchen import ELEMENT_GOALS, dataset_reward, task_goal

        for element in self.elements:
            if element not in ELEMENT_GOALS:
                raise unknown(f"kitchen element in {prefix}elements:", element, ELEMENT_GOALS)
        observations = np.array(episode.observations, np.float64)
        _expect(observations, 60, "the kitchen's 60 (30 joints, 30 of the goal)", prefix)
        observations[:, 30:] = task_goal(self.elements)
        rewards = dataset_reward(observations[: _steps(episode)], self.elements)
        return replace(_with(episode, rewards), observations=observations)


class Maze(Rule):
    """See the module's text."""

    maze: Literal["umaze", "medium", "large"]
    goal: tuple[float, ...] | None = None

    def __call__(self, episode: Episode, fields: Fields, prefix: str) -> Episode:
        from lapo_tf.envs.maze2d import goal_of, goal_reward

        observations = np.asarray(episode.observations, np.float64)
        _expect(observations, 4, "a maze's 4 (x, y and their velocities)", prefix)
        goal = goal_of(self.maze) if self.goal is None else np.asarray(self.goal)
        if goal.shape != (2,):
            raise UserError(f"{prefix}goal has {goal.size} values: expected x and y")
        return _with(episode, goal_reward(observations[: _steps(episode)], goal))


class PythonFunction(Rule):
    """See the module's text."""

    function: str


RULES: dict[str, Any] = {
    "distance": Distance,
    "success": Success,
    "recorded": Recorded,
    "kitchen": Kitchen,
    "maze": Maze,
}


def reward_rule(values: Any, prefix: str = "", fields: Fields | None = None) -> Relabel:
    """A rule declared in YAML, ready to be applied to episodes.

    Args:
        values: the mapping.
        prefix: of the entries' paths in messages, such as `layout.yaml: reward.`.
        fields: names of parts of the observation.

    Raises:
        UserError: no rule of that name, or wrong entries. Applying it raises one where an episode does not fit.
    """
    if not isinstance(values, Mapping) or ("rule" in values) == ("function" in values):
        raise UserError(
            f"{prefix.rstrip(': .') or 'the rule'} is {values!r}: "
            f"expected 'rule: NAME' ({', '.join(RULES)}) or 'function: MODULE:NAME'"
        )
    if "function" in values:
        named = validated(PythonFunction, values, prefix)
        return reward_function(named.function, f"{prefix}function", told=True)
    if values["rule"] not in RULES:
        raise unknown(f"rule in {prefix}rule:", str(values["rule"]), RULES)
    rule = validated(RULES[values["rule"]], {k: v for k, v in values.items() if k != "rule"}, prefix)
    return lambda episode: rule(episode, fields or {}, prefix)


def read_rule(path: Path, fields: Fields | None = None) -> tuple[Relabel, dict[str, Any]]:
    """A rule in a YAML file of its own, and what the file says."""
    values = read_yaml(path, "rule: success")
    return reward_rule(values, f"{path.name}: ", fields), values


def reward_function(name: str, path: str, *, told: bool = False) -> Relabel:
    """A user's Python function `MODULE:FUNCTION`, or `FILE.py:FUNCTION`; see the module's text.

    Args:
        name: of the function.
        path: of the name, for messages.
        told: say on stderr which file runs, before it does: the name is somebody's file's, not the user's.

    Raises:
        UserError: it cannot be had. Applying it raises one where it fails or returns other shapes.
    """
    function = _function(name, path, told)

    def relabel(episode: Episode) -> Episode:
        try:
            result = function(episode)
        except Exception as error:
            raise UserError(f"{path}: {name} failed ({type(error).__name__}: {error})") from error
        rewards, terminated = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        shapes = [np.shape(rewards)] + ([] if terminated is None else [np.shape(terminated)])
        if any(shape != (_steps(episode),) for shape in shapes):
            raise UserError(f"{path}: {name} returned shapes {shapes}: expected [{_steps(episode)}], one per step")
        return _with(episode, np.asarray(rewards), None if terminated is None else np.asarray(terminated))

    return relabel


@cache
def _function(name: str, path: str, told: bool) -> Callable[[Episode], Any]:
    module_name, _, function_name = name.rpartition(":")
    if not module_name:
        raise UserError(f"{path} is '{name}': expected MODULE:FUNCTION or FILE.py:FUNCTION")
    folder = os.getcwd()
    if module_name.endswith(".py"):
        folder, module_name = str(Path(module_name).expanduser().parent.resolve()), Path(module_name).stem
    sys.path.insert(0, folder)
    try:
        if told and (found := importlib.util.find_spec(module_name)):
            print(f"{path} runs Python code: {found.origin}", file=sys.stderr, flush=True)
        function = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:  # whatever a user's module raises when it is imported
        raise UserError(f"{path}: '{module_name}' cannot be imported ({type(error).__name__}: {error})") from error
    finally:
        sys.path.remove(folder)
    if not callable(function):
        raise UserError(f"{path}: '{module_name}' has no function '{function_name}'")
    return function


def after(episode: Episode, name: str, fields: Fields, path: str) -> np.ndarray:
    """A field's values after each step, [T, n]; `name` as in the module's text."""
    steps = _steps(episode)
    observations = np.asarray(episode.observations)
    part = re.fullmatch(r"observation\[(\d+):(\d+)\]", name)
    if part:
        start, stop = int(part[1]), int(part[2])
        if not start < stop <= observations.shape[1]:
            raise UserError(f"{path} is '{name}', but observations have {observations.shape[1]} values")
        values = observations[:, start:stop]
    elif name in fields:
        values = observations[:, slice(*fields[name])]
    elif name in episode.infos:
        values = np.asarray(episode.infos[name])
        values = values.reshape(len(values), -1)
    else:
        raise unknown(f"field in {path}:", name, [*fields, *episode.infos, "observation[START:STOP]"])
    return values[1 : steps + 1] if len(values) > steps else np.concatenate([values[1:], values[-1:]])


def _with(episode: Episode, rewards: np.ndarray, terminated: np.ndarray | None = None) -> Episode:
    if terminated is None:
        return replace(episode, rewards=rewards)
    return replace(episode, rewards=rewards, terminated=terminated)


def _steps(episode: Episode) -> int:
    return len(np.asarray(episode.rewards))


def _expect(observations: np.ndarray, size: int, what: str, prefix: str) -> None:
    if observations.shape[1] != size:
        raise UserError(f"{prefix}observations have {observations.shape[1]} values: expected {what}")
