"""What a task is: its environment, its data, and the scores to measure against.

A `Task` is plain data that a run folder can carry (`to_dict`). What its family of tasks does in its own way is a
method; a family is a subclass in a file of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.config import DataChoice, config_dir
from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.download import NotDownloadedError, download, is_local
from lapo_tf.data.layouts import Layout
from lapo_tf.data.readers import load_dataset
from lapo_tf.data.rewards import Relabel
from lapo_tf.errors import UserError, first_line
from lapo_tf.tasks.names import Names, environment_names
from lapo_tf.yaml_files import STRICT, read_yaml

PolicyUse: TypeAlias = Literal["none", "optional", "required"]

TABLE_2_AGENTS = ("bc", "bcq", "plas", "awac", "awac-gmm", "iql", "cql", "lapo")
"""Columns of the paper's Table 2."""


@dataclass(frozen=True)
class Criterion:
    """The number by which policies of a task are compared."""

    metric: str
    """Column of `metrics.csv`."""
    label: str
    """For people."""
    sign: int = 1
    """1 where more is better, -1 where less is."""


SCORE = Criterion("eval/normalized_score", "normalized score")
RETURN = Criterion("eval/return", "return")
HELD_OUT = Criterion("offline/action_error_best", "action error on the best held-out episodes", -1)


@dataclass(frozen=True)
class Task:
    """Data to learn from and, where there is one, the environment to act in.

    `normalized` = 100 (return - score_min) / (score_max - score_min), with D4RL's reference scores where it has any.
    `paper` holds the published scores of the paper's Tables 2 and 3, by agent.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str
    env_id: str | None = None
    """Gymnasium id of the environment; `module:Name-v0` imports the module that registers it. None: there is none, and
    policies are judged on held-out episodes."""
    score_min: float | None = None
    """Return of the score 0; without it and `score_max`, policies are judged by their returns."""
    score_max: float | None = None
    """Return of the score 100."""
    minari_id: str | None = None
    """Published data set, downloaded on first use."""
    collected_id: str | None = None
    """This project's own collection, made on first use."""
    policy: PolicyUse = "none"
    """Whether the collection records trained policies that its maker may give, or has to."""
    paper: dict[str, float] = field(default_factory=dict)
    dataset: str | None = None
    """Data set of a task of one's own: a D4RL file or a Minari id."""
    env_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    wrapper: str | None = None
    """`module:function` that is called with the environment and returns it wrapped, for example
    `gymnasium.wrappers:FlattenObservation`."""
    max_episode_steps: int | None = None
    """Steps after which an episode ends, where the environment's own limit is not the one."""
    success: str | None = None
    """Key of the environment's `info` that says, at an episode's end, whether it succeeded."""
    training: dict[str, Any] = field(default_factory=dict)
    """Training options of this task: `TrainConfig`'s fields, and sections of agents."""

    family: ClassVar[str] = "own"
    title: ClassVar[str] = "Own tasks"
    """Of the family, in reports."""
    options: ClassVar[str | None] = None
    """File in `configs/tasks/` with the family's training options; default: that of the family's name."""
    collected_by: ClassVar[Literal["steps", "episodes"]] = "steps"
    """What the size of a collection is counted in."""
    collecting: ClassVar[str] = ""
    """How the family's data are collected, for the command's help."""
    positions_first: ClassVar[bool] = False
    """Whether an observation begins with the positions of all the simulator's joints, whatever else it holds."""

    def __post_init__(self) -> None:
        if (self.score_min is None) != (self.score_max is None):
            raise UserError(f"task '{self.name}' has one of score_min and score_max: give both, or neither")
        if self.score_min is not None and self.score_max == self.score_min:
            raise UserError(
                f"task '{self.name}': score_min and score_max are both {self.score_min:g}: give two returns"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, read back by `lapo_tf.tasks.read_task`.

        Raises:
            UserError: its class cannot be imported by another process.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) not in (None, {})}
        kind = type(self)
        if kind.__module__.startswith("lapo_tf."):
            return {"family": self.family} | values
        module: str | None = kind.__module__
        if module == "__main__":  # its name, if it was run by `python -m`
            module = getattr(sys.modules["__main__"].__spec__, "name", None)
        if module is None or "." in kind.__qualname__:
            raise UserError(
                f"task '{self.name}' is a {kind.__qualname__}, which only this script or notebook knows: others "
                "cannot import it; define it in a module of its own"
            )
        return {"family": f"{module}:{kind.__qualname__}"} | values

    # Environment and score

    def make_env(self, render_mode: str | None = None) -> gym.Env:
        """The task's gymnasium environment.

        Raises:
            UserError: there is none, it cannot be made, or it has spaces that no agent here can learn for.
        """
        if self.env_id is None:
            raise UserError(f"task '{self.name}' has no environment: give one with --env, or judge it --offline")
        options = dict(self.env_options) if render_mode is None else self.env_options | {"render_mode": render_mode}
        try:
            env = gym.make(self.env_id, max_episode_steps=self.max_episode_steps, **options)
            if self.wrapper is not None:
                env = named_object(self.wrapper)(env)
        except UserError:
            raise
        except Exception as error:  # whatever a foreign module or constructor raises
            raise UserError(
                f"environment '{self.env_id}' of task '{self.name}' cannot be made ({first_line(error)}): install what "
                "it needs, name it as module:Name-v0, or judge the policy --offline"
            ) from error
        for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
            if not isinstance(space, Box) or len(space.shape) != 1:
                advice = (
                    "agents here choose continuous numbers"
                    if isinstance(space, Discrete | MultiDiscrete | MultiBinary)
                    else "give a wrapper that makes them a flat Box, such as gymnasium.wrappers:FlattenObservation"
                )
                raise UserError(f"{what} of '{self.env_id}' are {space}: expected a Box of one dimension; {advice}")
        return env

    @property
    def criterion(self) -> Criterion:
        """What its policies are judged by."""
        if self.env_id is None:
            return HELD_OUT
        return RETURN if self.score_min is None else SCORE

    def normalized(self, returns: Any) -> Any:
        """Score of a return, or of an array of returns: normalized, or the return itself where no bounds are known."""
        if self.score_min is None or self.score_max is None:
            return returns
        return 100.0 * (returns - self.score_min) / (self.score_max - self.score_min)

    def training_options(self, agent: str) -> dict[str, Any]:
        """An agent's options for this task: `TrainConfig`'s fields, and the agent's own under its name.

        They come from the family's file, `configs/tasks/<family>.yaml`, its section for this task, and `training`.
        """
        path = config_dir() / "tasks" / f"{self.options or self.family}.yaml"
        values = read_yaml(path) if path.exists() else {}
        for name, value in ((values.pop("tasks", {}).get(self.name) or {}) | self.training).items():
            values[name] = (values.get(name) or {}) | value if isinstance(value, dict) else value
        return {name: value for name, value in values.items() if not isinstance(value, dict) or name == agent}

    # What a family may do in its own way

    def names(self, env: gym.Env) -> Names:
        """What the numbers of its environment's observations and actions are called."""
        return environment_names(env)

    def channel_names(self) -> tuple[list[str], list[str]]:
        """Short names of the channels of observations and actions, for pictures."""
        env = self.make_env()
        names = self.names(env)
        env.close()
        observation = [entry.name.replace("/position", "").replace("/", " ") for entry in names.observations]
        return observation, [f"{entry.joint} {entry.quantity}" for entry in names.actions]

    @property
    def maze(self) -> Any:
        """The plan on which an observation's first two numbers are a place (`lapo_tf.envs.maze2d.Plan`), or None."""
        return None

    @property
    def relabel(self) -> Relabel | None:
        """How an episode recorded in the task's environment becomes one of this task, if there is a rule.

        The function is given an `Episode` with all its recorded infos and returns it with the task's rewards, and where
        the task says so its terminal flags (one per step where the recording goes on after the task ended) and
        observations (where they contain the goal). It raises a `UserError` where the episode lacks what it needs.
        """
        return None

    def success_in_data(self, best: np.ndarray) -> tuple[np.ndarray, str] | None:
        """Whether recorded episodes succeeded, bool [E], by their highest reward [E], and what that means.

        None where a family has nothing of its own to say.
        """
        return None

    def success_numbers(self, returns: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """More numbers of an evaluation, by name.

        Args:
            returns: undiscounted returns of its episodes [n].
            infos: what the environment said with each episode's last step, n.
        """
        if self.success is None:
            return {}
        if missing := [i for i, info in enumerate(infos) if self.success not in info]:
            has = ", ".join(map(str, infos[missing[0]])) or "nothing"
            raise UserError(
                f"the last info of an episode in '{self.env_id}' has no '{self.success}', but {has}: mend `success` of "
                f"task '{self.name}'"
            )
        return {"success/episodes": float(np.mean([bool(np.any(info[self.success])) for info in infos]))}

    def describe(self, numbers: Mapping[str, float]) -> list[str]:
        """Lines for people about an evaluation, `success_numbers` among its numbers."""
        share = numbers.get("success/episodes")
        return [] if share is None else [f"success      {100 * share:.0f} % of the episodes"]

    def progress(self, info: Mapping[str, Any], total: float) -> str:
        """How far an episode has come, for the caption of its film: by its last info and its return so far."""
        return f"return {total:.4g}"

    def _collect(
        self, count: int | None, seed: int, dataset_id: str, policies: Mapping[str, Path], force: bool, progress: bool
    ) -> Collected:
        """See `collect`, which has checked the arguments."""
        raise UserError(f"task '{self.name}' has no collector: give its data with --dataset")

    # Data

    def collect(
        self,
        count: int | None = None,
        seed: int = 0,
        dataset_id: str | None = None,
        *,
        policies: Mapping[str, Path] | None = None,
        force: bool = False,
        progress: bool = True,
    ) -> Collected:
        """Make the task's collected data set; see `lapo_tf.data.collectors`.

        Args:
            count: how much, in units of `collected_by`; by default the collector's own number.
            seed: the same seed gives the same data.
            dataset_id: Minari id to store it under; by default the task's `collected_id`.
            policies: files of trained policies, by the goal each was trained for (walker2d-mix; for a goal without one,
                the policy that comes along), or one, under "".
            force: replace a data set of that id.
            progress: show progress bars.

        Raises:
            UserError: there is no collector for the task, or the data set cannot be stored.
        """
        policies, dataset_id = dict(policies or {}), dataset_id or self.collected_id
        if dataset_id is None:
            raise UserError(f"task '{self.name}' has no collector: give its data with --dataset")
        if self.policy == "required" and not policies:
            raise UserError(f"{self.name} records trained policies: give --policy (see --help)")
        if policies and self.policy == "none":
            raise UserError(f"{self.name} is collected without a policy: leave --policy out")
        return self._collect(count, seed, dataset_id, policies, force, progress)

    def load_dataset(
        self,
        spec: str | None = None,
        *,
        layout: Layout | None = None,
        max_episode_steps: int | None = None,
        data: DataChoice = "auto",
        offline: bool = False,
        progress: bool = True,
    ) -> OfflineDataset:
        """The data set `spec` (a D4RL file or a Minari id), or the task's own.

        A task's own data set is the first of: the published one that is here, the published one that can be
        downloaded, this project's collection, made on first use. Which one it is, is printed unless it was here.

        Args:
            spec: overrides the task's own.
            layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
            max_episode_steps: where episodes of a D4RL file without `timeouts` are cut; default: the environment's
                time limit.
            data: `official` forbids the collection.
            offline: there need not be an environment that the data fit.
            progress: show progress bars while collecting.

        Raises:
            UserError: it cannot be had, or does not fit the task's environment.
        """
        spec = spec or self._own_dataset(data, progress)
        limit = max_episode_steps or self.max_episode_steps
        if offline:
            return load_dataset(spec, layout=layout, max_episode_steps=limit)
        env = self.make_env()
        env.close()
        return load_dataset(
            spec,
            observation_space=env.observation_space,
            action_space=env.action_space,
            layout=layout,
            max_episode_steps=limit or (env.spec.max_episode_steps if env.spec else None),
        )

    def _own_dataset(self, data: DataChoice, progress: bool) -> str:
        """The id of the task's own data set, which is here afterwards."""
        if self.dataset is not None:
            return self.dataset
        missing = f"task '{self.name}' has no published data set"
        if self.minari_id is not None:
            if is_local(self.minari_id):
                return self.minari_id
            try:
                download(self.minari_id)
                return self.minari_id
            except NotDownloadedError as error:
                if data == "official" or self.collected_id is None:
                    raise
                missing = f"{self.minari_id} cannot be downloaded ({error.reason})"
        elif data == "official":
            raise UserError(f"{missing}: leave --data official out, or give a file with --dataset")
        if self.collected_id is None:
            raise UserError(f"{missing}: give its data with --dataset")
        here = is_local(self.collected_id)
        if not here and self.policy == "required":
            how = f"python -m lapo_tf.collect {self.name} --policy ..."
            raise UserError(f"{missing}: record policies of yours ({how}), or give data with --dataset")
        how = "" if here else ", made now and kept"
        print(f"data: {missing}; using this project's own collection, {self.collected_id}{how}", flush=True)
        if not here:
            try:
                self.collect(progress=progress)
            except UserError:
                if not is_local(self.collected_id):  # another process was faster
                    raise
        return self.collected_id


def named_object(name: str) -> Any:
    """What `module:name` names.

    Raises:
        UserError: no such module or name.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"'{name}' cannot be imported ({first_line(error)}): expected module:name") from None


def paper_scores(scores: str, agents: Sequence[str] = TABLE_2_AGENTS) -> dict[str, float]:
    """A row of the paper's tables by agent, from its numbers left to right."""
    return dict(zip(agents, map(float, scores.split()), strict=True))


def single_policy(policies: Mapping[str, Path], what: str) -> Path | None:
    """The one policy of a collection, if it has any; `what` begins the message for one that is given for a goal."""
    if set(policies) - {""}:
        raise UserError(f"{what}: give --policy FILE")
    return policies.get("")
