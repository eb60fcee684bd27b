"""Runs in Python: make one, or load one from its folder alone.

result = train(task="maze2d-umaze", steps=10_000)
run = load_run(result.folder)
actions = run.policy(observations)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lapo_tf.agents import LAPO, Agent, LatentAgent
from lapo_tf.config import TrainConfig
from lapo_tf.data import OfflineDataset
from lapo_tf.errors import UserError
from lapo_tf.progress import progress_bar
from lapo_tf.tasks import Task
from lapo_tf.tasks.task import HELD_OUT
from lapo_tf.training.rollout import Episodes, Evaluator
from lapo_tf.training.run_folder import Checkpoints, RunFolder
from lapo_tf.training.trainer import build_agent

PARALLEL = 10  # simulators side by side


@dataclass(frozen=True)
class Rollout(Episodes):
    """What happened in n episodes of a run's policy."""

    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Normalized scores, float64 [n]."""
    seeds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """What each episode's environment was reset with, int64 [n]."""
    observations: list[np.ndarray] = field(default_factory=list)
    """Raw observations before each step, float32 [length, obs] per episode."""


@dataclass(frozen=True)
class Run:
    """A run folder with its agent as of one checkpoint."""

    folder: RunFolder
    config: TrainConfig
    task: Task
    agent: Agent
    step: int
    """Gradient steps after which the checkpoint was made."""
    note: str | None = None
    """A line about newer checkpoints that were damaged, if any."""

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    def policy(self, observations: np.ndarray) -> np.ndarray:
        """Raw actions [B, act] (or [act]) for raw observations [B, obs] (or [obs]); deterministic."""
        return self.agent.act(observations)

    def value(self, observations: np.ndarray) -> np.ndarray:
        """What the critics expect of the policy at raw observations [B, obs]: discounted returns [B], scaled rewards.

        Raises:
            UserError: the agent has no critics (bc).
        """
        return self.agent.policy_value(self.agent.scale_observation(self.agent.checked(observations))).numpy()

    def latents(self, observations: np.ndarray) -> np.ndarray:
        """The latents [B, latent] that the policy takes at raw observations [B, obs].

        Raises:
            UserError: the agent has no latent space. So do `decode` and `encode`.
        """
        agent = self._latent_agent()
        return agent.policy_latent(agent.scale_observation(agent.checked(observations))).numpy()

    def decode(self, observations: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Raw actions [B, act] that the decoder makes of latents [B, latent] at raw observations [B, obs]."""
        agent = self._latent_agent()
        scaled = agent.scale_observation(agent.checked(observations))
        return agent.unscale_action(agent.decode(scaled, np.float32(latents))).numpy()

    def encode(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Means [B, latent] of the CVAE's posterior for raw observations [B, obs] and raw actions [B, act]."""
        agent = self._latent_agent()
        scaled = agent.scale_observation(agent.checked(observations)), agent.scale_action(np.float32(actions))
        return agent.encode(*scaled).numpy()

    def advantages(self, data: OfflineDataset) -> np.ndarray:
        """A(s, a) [N] of a data set's transitions, in scaled rewards; training weighs actions by it.

        Raises:
            UserError: the agent is not LAPO.
        """
        agent, scaling, values = self.agent, self.agent.spec.scaling, data.transitions()
        if not isinstance(agent, LAPO):
            raise UserError(f"agent '{agent.name}' has no advantage of its data: expected a run of lapo")
        batch = {
            "observations": agent.scale_observation(values["observations"]),
            "next_observations": agent.scale_observation(values["next_observations"]),
            "actions": agent.scale_action(values["actions"]),
            "rewards": values["rewards"][:, None] * np.float32(scaling.reward_scale) + np.float32(scaling.reward_shift),
            "terminals": values["terminals"][:, None],
        }
        return agent.advantage({name: tf.constant(value) for name, value in batch.items()}).numpy()[:, 0]

    def _latent_agent(self) -> LatentAgent:
        if not isinstance(self.agent, LatentAgent):
            raise UserError(f"agent '{self.agent.name}' has no latent space: expected a run of lapo, plas or bcq")
        return self.agent

    def metrics(self) -> list[dict[str, float]]:
        """One row per evaluation during training: `step` and the columns of `docs/metrics.md`."""
        return self.folder.metrics()

    def episodes(self) -> dict[str, np.ndarray]:
        """Every episode of those evaluations: `steps` [E], `returns` and `lengths` [E, episodes]."""
        return self.folder.episodes()

    def data(self) -> dict[str, Any]:
        """What the run was trained on: id, provenance, sha256, number of transitions, …"""
        return self.folder.read()["data"]

    def dataset(
        self, dataset: str | None = None, *, offline: bool | None = None, progress: bool = False
    ) -> OfflineDataset:
        """All of the data set that the run was trained on, or another.

        Args:
            dataset: another one.
            offline: there need not be an environment that it fits; default: as in training.
            progress: show a bar while it is being made.

        Raises:
            UserError: it cannot be had, does not fit the run, or is no longer what the run was trained on.
        """
        told = self.data()
        data = self.task.load_dataset(
            dataset or self.config.dataset or told["id"],
            layout=self.config.layout,
            max_episode_steps=self.config.max_episode_steps,
            offline=self.folder.criterion() == HELD_OUT if offline is None else offline,
            progress=progress,
        )
        dims = (self.agent.spec.obs_dim, self.agent.spec.act_dim)
        if (data.obs_dim, data.act_dim) != dims:
            raise UserError(
                f"{data.summary.id} has observations of {data.obs_dim} and actions of {data.act_dim} numbers: expected "
                f"{dims[0]} and {dims[1]}, as the run's data"
            )
        if dataset is None and told.get("checksum") not in (None, data.checksum()):
            raise UserError(f"{data.summary.id} is not what {self.path} was trained on: give its data with --dataset")
        return data

    def rollout(
        self,
        episodes: int = 10,
        seed: int = 0,
        *,
        parallel: int = PARALLEL,
        progress: bool = False,
        policy: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Rollout:
        """Run the policy in the task's simulator.

        Args:
            episodes: how many.
            seed: episode i is reset with `seed + i`, and depends on nothing else.
            parallel: simulators side by side; the results do not depend on it.
            progress: show a bar of the steps.
            policy: instead of the run's own, raw observations [B, obs] -> raw actions [B, act].
        """
        evaluator = Evaluator(self.task.make_env, episodes, parallel)
        seen: list[list[np.ndarray]] = [[] for _ in range(episodes)]
        limit = getattr(evaluator.envs[0].spec, "max_episode_steps", None) or 0
        steps = progress_bar(total=episodes * limit or None, unit="step", desc=self.task.name, disable=not progress)

        def on_step(episode: int, observation: np.ndarray) -> None:
            seen[episode].append(observation)
            steps.update()

        def on_end(episode: int) -> None:
            if limit and steps.total:  # an episode that ended early leaves less to do
                steps.total -= limit - len(seen[episode])

        try:
            result = evaluator.run(policy or self.policy, seed, on_step=on_step, on_end=on_end)
        finally:
            steps.close()
            evaluator.close()
        return Rollout(
            **vars(result),
            scores=self.task.normalized(result.returns),
            seeds=np.arange(seed, seed + episodes),
            observations=[np.stack(observations) for observations in seen],
        )


def load_run(folder: Path | str, checkpoint: str | int | None = None) -> Run:
    """Rebuild a run from its folder; its data set is not needed.

    Args:
        folder: the run folder.
        checkpoint: "last" (default), "best" (highest score of the evaluations during training), or a step.

    Raises:
        UserError: no run there, no such checkpoint, or a damaged one.
    """
    run_folder = RunFolder.open(Path(folder))
    values = run_folder.read()
    if not {"config", "agent"} <= values.keys():
        raise UserError(f"{run_folder.path / 'config.yaml'} is not a run's: expected 'config' and 'agent' in it")
    config = run_folder.config()
    step = _find(run_folder.path, checkpoint)
    agent = build_agent(config, values["agent"])
    # The training's state is Checkpoint(loop=TrainingLoop, …); of it only the agent's networks are wanted.
    networks = {name: value for name, value in vars(agent).items() if isinstance(value, keras.Model)}
    state = tf.train.Checkpoint(loop=tf.train.Checkpoint(agent=tf.train.Checkpoint(**networks)))
    step, note = Checkpoints(run_folder.path / "checkpoints").restore(state, step)
    return Run(run_folder, config, run_folder.task(), agent, step, note)


def load_agent(folder: Path | str, checkpoint: str | int | None = None) -> Agent:
    """The agent of a run folder; see `load_run`."""
    return load_run(folder, checkpoint).agent


def _find(path: Path, checkpoint: str | int | None) -> int | None:
    """The step that `checkpoint` names; None for the newest readable one."""
    checkpoints = Checkpoints(path / "checkpoints")
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{path} has no checkpoint yet: expected one after the run's first evaluation; train on")
    if checkpoint in (None, "last"):
        return None
    have = f"there are {', '.join(map(str, steps))}"
    if checkpoint == "best":
        best = checkpoints.best()
        if best is None:
            raise UserError(f"{path} has no best checkpoint, as it was not evaluated yet: {have}; take 'last'")
        return best
    try:
        step = int(str(checkpoint))
    except ValueError:
        raise UserError(f"--checkpoint is '{checkpoint}': expected best, last or a step; {have}") from None
    if step not in steps:
        raise UserError(f"{path} has no checkpoint of step {step}: {have}")
    return step
