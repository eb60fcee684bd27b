"""A task small enough to train on in seconds, whose scores tell the smallest change of a policy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import tensorflow as tf

from lapo_tf import runtime
from lapo_tf.agents import AGENTS, Agent, AgentConfig
from lapo_tf.agents.distributions import stateless_normal
from lapo_tf.config import TrainConfig
from lapo_tf.data import Episode, OfflineDataset, Source, from_episodes
from lapo_tf.tasks import TASKS, Task
from lapo_tf.training.trainer import Interrupted, Trainer

STEPS = 5


class ProbeEnv(gym.Env[np.ndarray, np.ndarray]):
    """Observation [3], action [2]; the reward is higher the nearer the action is to a function of the observation."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observe(self) -> np.ndarray:
        self.observation = self.np_random.normal(size=3).astype(np.float32)
        return self.observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = 1.0 - float(np.abs(action - np.tanh(self.observation[:2])).mean())
        return self._observe(), reward, False, False, {}


gym.register("test/Probe-v0", entry_point=ProbeEnv, max_episode_steps=STEPS)
TASKS["probe"] = Task("probe", "test/Probe-v0", 0.0, 5.0)


def dataset(episodes: int = 40, rewards: float | None = None) -> OfflineDataset:
    """Episodes of random actions; `rewards`: the reward of the last step of all, instead of what was earned."""
    rng = np.random.default_rng(0)
    result = []
    for number in range(episodes):
        s, a = rng.normal(size=(STEPS + 1, 3)), rng.uniform(-1, 1, (STEPS, 2))
        r = 1.0 - np.abs(a - np.tanh(s[:-1, :2])).mean(-1)
        if rewards is not None and number == episodes - 1:
            r[-1] = rewards
        result.append(Episode(s, a, r, number % 3 == 0))
    return from_episodes(result, Source("probe"))


@dataclass(frozen=True)
class CloneConfig(AgentConfig):
    name: ClassVar[str] = "clone"

    polyak: float = 0.1
    learning_rate: float = 0.01


class Clone(Agent):
    """Behaviour cloning with noisy inputs: an agent with all that the engine deals with, and quick to compile."""

    Config = CloneConfig
    action_units = "std"
    METRICS: ClassVar[dict[str, str]] = {"vae/loss": "mean squared error", "critic/q_mean": "mean squared reward"}

    def __init__(self, config: CloneConfig, spec) -> None:
        super().__init__(config, spec)
        self.net, self.target = self.twin("net", spec.obs_dim, spec.act_dim, hidden=(8,))
        self.net_optimizer = self.adam("net", config.learning_rate, self.net)

    def draw(self, seed, batch_size):
        return {"noise": stateless_normal((batch_size, self.spec.obs_dim), seed)}

    def step(self, batch, noise):
        with tf.GradientTape() as tape:
            actions = self.net(batch["observations"] + 0.1 * noise["noise"])
            loss = tf.reduce_mean((actions - batch["actions"]) ** 2)
        self.net_optimizer.apply(tape.gradient(loss, self.net.trainable_variables), self.net.trainable_variables)
        self.update_targets()
        return {"vae/loss": loss, "critic/q_mean": tf.reduce_mean(batch["rewards"] ** 2)}

    def policy_action(self, observations):
        return self.target(observations)

    def model_action(self, observations, seed):
        return self.target(observations)


AGENTS["clone"] = Clone


def config(run_dir: Path, *, agent: str = "clone", own: dict[str, Any] | None = None, **options: Any) -> TrainConfig:
    """40 steps in 2 evaluations by default; LAPO, if asked for, is small."""
    small = {"hidden": (8,)} if agent == "lapo" else {}
    agent_config = AGENTS[agent].Config(**small | (own or {}))
    values = {"steps": 40, "batch_size": 16, "eval_every": 20, "eval_episodes": 3, "compile": "graph"} | options
    return dataclasses.replace(TrainConfig("probe", agent, run_dir=run_dir, agent_config=agent_config), **values)


def quiet(*_: object) -> None:
    """For `Trainer`'s log."""


def interrupt_after(trainer: Trainer, step: int) -> None:
    """Let Ctrl-C happen while the loop is running, at about that step."""
    run = trainer.loop.run

    def running(steps: int) -> None:
        run(steps)
        if trainer.step >= step:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.loop.run = running


def fingerprint(trainer: Trainer) -> dict[str, Any]:
    """All that must be equal to the last bit: state, metrics without the clock, episodes."""
    folder = trainer.folder
    state = [hashlib.sha256(v.tobytes()).hexdigest()[:16] for v in trainer.loop.snapshot()]
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in folder.metrics()]
    return {"state": state, "rows": rows, "episodes": {k: v.tolist() for k, v in folder.episodes().items()}}


def train_in_pieces(path: Path, compile: str, agent: str, own: dict[str, Any], interrupt: bool) -> dict[str, Any]:
    """400 steps in one go, and resumed after 200; with `interrupt` once more, after Ctrl-C between two evaluations."""
    data = dataset()

    def trainer(name: str, steps: int, resume: bool = False) -> Trainer:
        options = config(path / name, agent=agent, own=own, steps=steps, eval_every=100, compile=compile)
        return Trainer(options, dataset=data, resume=resume, log=quiet)

    whole = trainer("whole", 400)
    whole.run()
    trainer("pieces", 200).run()
    last = trainer("pieces", 400, resume=True)
    result: dict[str, Any] = {"resumed": [last.step]}
    if interrupt:
        interrupt_after(last, 320)
        try:
            last.run()
        except Interrupted as error:
            result["message"] = str(error)
        stopped, last = last.step, trainer("pieces", 400, resume=True)
        assert last.step == stopped
        result["resumed"].append(stopped)
    last.run()
    return result | {"whole": fingerprint(whole), "pieces": fingerprint(last)}


if __name__ == "__main__":  # python probe.py xla|graph FOLDER: settings of TensorFlow are for a whole process
    runtime.configure(sys.argv[1])  # type: ignore[arg-type]
    own = {} if sys.argv[1] == "xla" else {"latent_policy": "tanh"}
    result = train_in_pieces(Path(sys.argv[2]), sys.argv[1], "lapo", own, interrupt=False)
    (Path(sys.argv[2]) / "result.json").write_text(json.dumps(result))
