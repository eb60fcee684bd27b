"""Runs of trained or random policies in locomotion environments, and the mixed-task Walker2d data made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.data.collectors.actor import load_actor
from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.dataset import Episode
from lapo_tf.data.rewards import Relabel
from lapo_tf.data.store import write_dataset
from lapo_tf.envs.walker2d import GOALS, fallen, goal_reward
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import Bar, progress_bar

STEPS = 1_000_000  # by default, as D4RL's data sets
TERMS = ("velocity", "control", "rise")
"""Recorded infos of the walker, per step: what `goal_reward` needs for any goal."""
WALKERS = Path(__file__).parent / "walkers"
"""Policies that come along, one for each goal; `docs/experiments.md` says how they were trained and what they do."""


class Policy(Protocol):
    """Anything that acts."""

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The action [act] for an observation [obs]."""


class RandomPolicy:
    """Uniform actions in [-1, 1]."""

    def __init__(self, act_dim: int) -> None:
        self.act_dim = act_dim

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, self.act_dim).astype(np.float32)


def run_policy(env: gym.Env, policy: Policy, steps: int, seed: int, infos: Sequence[str] = ()) -> Iterator[Episode]:
    """Episodes of a policy, `steps` steps in all; the last one is cut there.

    Args:
        infos: entries of the environment's info to keep, per step.
    """
    rng = np.random.default_rng(seed)
    while steps > 0:
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        observations: list[np.ndarray] = [observation]
        actions: list[np.ndarray] = []
        rewards: list[float] = []
        kept: dict[str, list[float]] = {name: [] for name in infos}
        terminated = truncated = False
        while not (terminated or truncated or len(actions) == steps):
            action = policy.act(observation, rng)
            observation, reward, terminated, truncated, info = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(float(reward))
            for name in infos:
                kept[name].append(info[name])
        steps -= len(actions)
        yield Episode(
            np.array(observations, np.float32),
            np.array(actions),
            np.array(rewards, np.float32),
            terminated,
            {name: np.array(values) for name, values in kept.items()},
        )


def relabel_walker2d(goal: str) -> Relabel:
    """How a run of the walker towards any goal becomes data of this one: rewards and ends from what was logged."""

    def relabel(episode: Episode) -> Episode:
        if missing := [name for name in TERMS if name not in episode.infos]:
            raise UserError(f"no recorded {', '.join(missing)}: relabel data that lapo_tf.collect made")
        terms = {name: np.asarray(episode.infos[name])[: len(np.asarray(episode.rewards))] for name in TERMS}
        after = np.asarray(episode.observations)[1:]
        ends = np.asarray(fallen(goal, after[:, 0], after[:, 1]))
        rewards = np.asarray(goal_reward(goal, **terms), np.float32)
        return Episode(episode.observations, episode.actions, rewards, ends, episode.infos)

    return relabel


def collect_walker2d(
    goal: str,
    policies: Mapping[str, Path],
    steps: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Mix runs of policies for three goals, equal parts as in the paper's data, and relabel all of them for one goal.

    Args:
        goal: `forward`, `backward` or `jump`, whose rewards the data get.
        policies: files for `load_actor`, by the goal each was trained for; for a goal without one, that in `WALKERS`.
        steps: Transitions; 1 million by default.
        seed: The same seed gives the same data.
        dataset_id: Minari id; `lapo/walker2d-mix-<goal>-v0` by default.
        force: Replace an existing data set.
        progress: Show a progress bar.
    """
    if "" in policies:
        raise UserError(f"walker2d-mix records one policy for each goal: give --policy GOAL=FILE ({', '.join(GOALS)})")
    for name in policies:
        if name not in GOALS:
            raise unknown("goal in --policy GOAL=FILE", name, GOALS)
    policies = {name: policies.get(name, WALKERS / f"{name}.npz") for name in GOALS}
    dataset_id = dataset_id or f"lapo/walker2d-mix-{goal}-v0"
    steps = STEPS if steps is None else steps
    check(dataset_id, steps, "--steps", force)
    actors = {name: load_actor(path, 17, 6) for name, path in policies.items()}
    started, relabel = time.perf_counter(), relabel_walker2d(goal)
    share = np.diff(np.linspace(0, steps, len(actors) + 1).astype(int))

    def episodes(bar: Bar) -> Iterator[Episode]:
        for number, ((name, actor), count) in enumerate(zip(actors.items(), share, strict=True)):
            env = gym.make(f"lapo/Walker2d{name.capitalize()}-v0")
            for episode in run_policy(env, actor, int(count), seed * len(actors) + number, TERMS):
                yield relabel(episode)
                bar.update(len(np.asarray(episode.rewards)))
            env.close()

    sources = ", ".join(f"{name}: {path.name}" for name, path in policies.items())
    task = f"walker2d-mix-{goal}"
    with progress_bar(total=steps, desc=task, unit="step", unit_scale=True, disable=not progress) as bar:
        written = write_dataset(
            dataset_id,
            episodes(bar),
            action_space=Box(-1.0, 1.0, (6,), np.float32),
            env_id=f"lapo/Walker2d{goal.capitalize()}-v0",
            algorithm="mixed policies",
            description=f"Runs of three policies ({sources}; seed {seed}), rewards for {goal}. Made by lapo_tf.",
            metadata={"control_hz": 125.0},
        )
    return Collected(dataset_id, written.steps, written.episodes, time.perf_counter() - started)


def collect_locomotion(
    task: str,
    env_id: str,
    policy: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Record runs of a policy, or of uniform random actions, in a gymnasium environment.

    Args:
        task: name of the task, such as `hopper-random`.
        env_id: its environment.
        policy: file for `load_actor`; default: random actions.
        steps, seed, dataset_id, force, progress: as for `collect_walker2d`.
    """
    dataset_id = dataset_id or f"lapo/{task}-v0"
    steps = STEPS if steps is None else steps
    check(dataset_id, steps, "--steps", force)
    env = gym.make(env_id)
    assert isinstance(env.observation_space, Box)
    assert isinstance(env.action_space, Box)
    act_dim = env.action_space.shape[0]
    actor = load_actor(policy, env.observation_space.shape[0], act_dim) if policy else RandomPolicy(act_dim)
    started = time.perf_counter()
    returns: list[float] = []

    def episodes(bar: Bar) -> Iterator[Episode]:
        for episode in run_policy(env, actor, steps, seed):
            returns.append(float(np.sum(episode.rewards)))
            yield episode
            bar.update(len(np.asarray(episode.rewards)))

    name = policy.name if policy else "uniform random actions"
    with progress_bar(total=steps, desc=task, unit="step", unit_scale=True, disable=not progress) as bar:
        written = write_dataset(
            dataset_id,
            episodes(bar),
            action_space=Box(-1.0, 1.0, (act_dim,), np.float32),
            env_id=env_id,
            algorithm=name,
            description=f"Runs of {name} (seed {seed}) in {env_id}. Made by lapo_tf; not D4RL's data.",
        )
    env.close()
    note = f"return of an episode: {np.mean(returns):.1f} ± {np.std(returns):.1f}"
    return Collected(dataset_id, written.steps, written.episodes, time.perf_counter() - started, note)
