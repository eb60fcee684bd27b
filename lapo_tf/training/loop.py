"""The compiled loop: many updates per call, with data, sampling and metrics on the device."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf

from lapo_tf.agents.base import AgentConfig, Batch, Learner, Scaling
from lapo_tf.config import Compile
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.errors import UserError


class NonFiniteLossError(Exception):
    """A loss became NaN or infinite at `step`, or a weight by then; `metrics` are those of that step."""

    def __init__(self, step: int, metrics: dict[str, float]) -> None:
        self.step, self.metrics = step, metrics
        self.bad = {k: v for k, v in metrics.items() if not np.isfinite(v)}
        what = ", ".join(f"{k} is {v}" for k, v in self.bad.items()) or "the weights are (the losses were still finite)"
        super().__init__(f"not finite at step {step}: {what}")


class TrainingLoop(tf.Module):
    """Runs the updates of an agent, or of another learner, on a data set.

    Its state is the agent's variables, `step`, `metric_steps` and `metric_sums`: a checkpoint of them continues bit for
    bit, wherever in a run it was taken, because every random number derives from (`seed`, `step`) by a counter-based
    generator and metrics are summed step by step in one place.
    """

    def __init__(
        self,
        agent: Learner,
        dataset: OfflineDataset,
        *,
        batch_size: int,
        seed: int,
        compile: Compile,
        observation_noise: float = 0.0,
    ) -> None:
        super().__init__(name="training_loop")
        self.agent = agent
        self.batch_size, self.seed, self.compile = batch_size, seed, compile
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.metric_steps = tf.Variable(0.0, trainable=False, name="metric_steps")
        self.metric_sums = {name: tf.Variable(0.0, trainable=False, name=name) for name in agent.metric_names}
        scaling = agent.spec.scaling
        self._observations = tf.constant((dataset.observations - scaling.obs_mean) / scaling.obs_std)
        self._noise: np.ndarray | None = None
        if observation_noise > 0:
            self._noise = np.float32(observation_noise) * sensor_noise(dataset) / scaling.obs_std
        self._actions = tf.constant((dataset.actions - scaling.act_mean) / scaling.act_std)
        rewards = dataset.rewards[:, None] * np.float32(scaling.reward_scale) + np.float32(scaling.reward_shift)
        self._rewards = tf.constant(rewards)
        self._terminals = tf.constant(dataset.terminals[:, None])
        self._index = tf.constant(dataset.index)
        self._run = self._loop if compile == "eager" else tf.function(self._loop, jit_compile=compile == "xla")

    def run(self, steps: int) -> None:
        """Do `steps` updates.

        Raises:
            NonFiniteLossError: at the first step with a non-finite metric, where the loop stops; or a weight is no
                longer finite at the end.
        """
        finite, last = self._run(tf.constant(steps, tf.int64))
        if not (bool(finite) and self.is_finite()):
            values = dict(zip(self.metric_sums, last.numpy().tolist(), strict=True))
            raise NonFiniteLossError(int(self.step.numpy()), values)

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return all(np.isfinite(w.numpy()).all() for w in self.agent.weights)

    def pop_metrics(self) -> dict[str, float]:
        """Means of the training metrics since the last call, which starts new sums."""
        count = max(self.metric_steps.numpy(), np.float32(1.0))
        means = {name: float(total.numpy() / count) for name, total in self.metric_sums.items()}
        for variable in self.metric_variables:
            variable.assign(0.0)
        return means

    @property
    def metric_variables(self) -> list[tf.Variable]:
        """The count of steps since the last `pop_metrics`, then the metrics' sums over them."""
        return [self.metric_steps, *self.metric_sums.values()]

    def snapshot(self) -> list[np.ndarray]:
        """The whole state, on the host."""
        return [v.numpy() for v in self._state()]

    def restore(self, snapshot: list[np.ndarray]) -> None:
        """Back to a snapshot."""
        for variable, value in zip(self._state(), snapshot, strict=True):
            variable.assign(value)

    def _state(self) -> list:
        agent = self.agent
        optimizers = [w for o in vars(agent).values() if hasattr(o, "update_step") for w in o.variables]
        return [self.step, *self.metric_variables, *agent.weights, *optimizers]

    def sample(self, seed: tf.Tensor) -> Batch:
        """A batch of transitions, drawn uniformly with replacement by a stateless seed [2]."""
        draws = tf.random.stateless_uniform([self.batch_size], seed, 0, tf.size(self._index), tf.int32, alg="philox")
        return self.transitions(tf.gather(self._index, draws), seed)

    def transitions(self, rows: tf.Tensor, seed: tf.Tensor) -> Batch:
        """The transitions of rows [B] of the data set, with sensor noise by a stateless seed [2]."""
        before, after = tf.gather(self._observations, rows), tf.gather(self._observations, rows + 1)
        if self._noise is not None:
            shape = [2, *before.shape]
            noise = tf.random.stateless_normal(shape, tf.random.split(seed, 1, alg="philox")[0], alg="philox")
            before, after = before + self._noise * noise[0], after + self._noise * noise[1]
        return {
            "observations": before,
            "actions": tf.gather(self._actions, rows),
            "rewards": tf.gather(self._rewards, rows),
            "next_observations": after,
            "terminals": tf.gather(self._terminals, rows),
        }

    def _loop(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start, names = tf.identity(self.step), list(self.metric_sums)

        def body(done: tf.Tensor, finite: tf.Tensor, sums: tf.Tensor, last: tf.Tensor):
            seed = tf.stack([tf.constant(self.seed, tf.int64), start + done])
            batch_seed, update_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))
            metrics = self.agent.update(self.sample(batch_seed), update_seed)
            if metrics.keys() != set(names):
                raise KeyError(f"{self.agent.name}: step reports {sorted(metrics)}, METRICS explains {sorted(names)}")
            last = tf.stack([metrics[name] for name in names])
            return done + 1, tf.reduce_all(tf.math.is_finite(last)), sums + last, last

        zeros, before = tf.zeros([len(names)]), tf.stack([v.read_value() for v in self.metric_sums.values()])
        state = (tf.constant(0, tf.int64), tf.constant(True), before, zeros)
        done, finite, sums, last = tf.while_loop(lambda i, ok, *_: (i < steps) & ok, body, state, parallel_iterations=1)
        self.step.assign(start + done)
        self.metric_steps.assign_add(tf.cast(done, tf.float32))
        for variable, total in zip(self.metric_sums.values(), tf.unstack(sums), strict=True):
            variable.assign(total)
        return finite, last


def sensor_noise(dataset: OfflineDataset, rows: int = 100_000) -> np.ndarray:
    """Standard deviation of the noise in each observation dimension, estimated from the data [obs].

    White noise of deviation s has third differences of variance 20 s^2, in which the motion between it is small; their
    median magnitude leaves contacts out. Where the noise is known, D4RL's in its kitchen demonstrations, the estimates
    are 1.03 to 1.26 times as large. What moves without noise gets little, what never changes none.

    Args:
        rows: look at no more than so many steps, evenly taken.
    """
    transition = np.zeros(len(dataset.observations), bool)
    transition[dataset.index] = True
    starts = np.flatnonzero(transition[:-3] & transition[1:-2] & transition[2:-1])  # four observations of one episode
    if not len(starts):
        return np.zeros(dataset.observations.shape[1], np.float32)
    starts = starts[:: -(-len(starts) // rows)]
    third = dataset.observations[starts[:, None] + np.arange(4)].astype(np.float64).transpose(0, 2, 1) @ [-1, 3, -3, 1]
    return (np.median(np.abs(third), 0) / (0.6745 * np.sqrt(20))).astype(np.float32)


def scaling_of(
    dataset: OfflineDataset,
    act_low: np.ndarray,
    act_high: np.ndarray,
    config: AgentConfig,
    action_units: Literal["bounds", "std"],
) -> Scaling:
    """An agent's units for a data set.

    Observations: mean 0 and standard deviation 1 (plus 1e-6) over transitions. A dimension that never changes keeps its
    unit (LAPO's authors divide it by 1e-6, which is harmless on the data but turns the slightest deviation on a robot
    into a huge input). Actions: likewise, or -1 and 1 at their bounds, see `Agent.action_units`. Rewards: as `config`
    says.

    Raises:
        UserError: an action that should be scaled by its bounds has none.
    """

    def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = values.astype(np.float64)
        mean, std = values.mean(0), values.std(0)
        std = np.where((std < 1e-9) | (np.ptp(values, axis=0) == 0), 1.0, std + 1e-6)
        return mean.astype(np.float32), std.astype(np.float32)

    low, high = np.asarray(act_low, np.float32), np.asarray(act_high, np.float32)
    if action_units == "bounds":
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise UserError(
                f"the environment's actions are unbounded ({low.min()} to {high.max()}): expected finite bounds, which "
                "this agent needs; give the environment a bounded action space, or use --agent lapo"
            )
        act_mean, act_std = (low + high) / 2, np.where(high > low, (high - low) / 2, np.float32(1.0))
    else:
        act_mean, act_std = moments(dataset.actions[dataset.index])
    rewards, unit = dataset.rewards[dataset.index], 1.0
    if config.rewards == "max":
        unit = float(rewards.max())
    elif config.rewards == "return_range":
        unit = dataset.summary.return_quantiles[-1] - dataset.summary.return_quantiles[0]
    scale = config.reward_scale / (unit if unit > 0 else 1.0)
    reward_min, reward_max = (float(r) * scale + config.reward_shift for r in (rewards.min(), rewards.max()))
    return Scaling(
        *moments(dataset.observations[dataset.index]),
        act_mean,
        act_std,
        low,
        high,
        scale,
        config.reward_shift,
        reward_min,
        reward_max,
    )
