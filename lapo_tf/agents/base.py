"""What every agent shares: the data's shapes and statistics, acting on raw observations, and the update's signature."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self

from lapo_tf.agents.networks import Adam, Schedule, copy_weights, mlp, polyak_update, rate_schedule
from lapo_tf.errors import UserError, require
from lapo_tf.yaml_files import STRICT

ACT_ROWS = 16  # observations in one call of the policy, see `Agent.act`

Batch: TypeAlias = dict[str, tf.Tensor]
"""`observations`, `next_observations` [B, obs], `actions` [B, act] and `rewards` [B, 1] in the agent's units (see
`Scaling`); `terminals` [B, 1] of 0 and 1. All float32."""

Metrics: TypeAlias = dict[str, tf.Tensor]
"""Scalar float32 tensors by namespaced name; `Agent.METRICS` explains each."""

Loss: TypeAlias = tuple[tf.Tensor, Metrics]
"""A scalar to minimise, and the metrics that come with it."""


@dataclass(frozen=True)
class AgentConfig:
    """Hyper-parameters that all agents have; a subclass adds its own and gives its paper's values."""

    __pydantic_config__: ClassVar = STRICT
    name: ClassVar[str] = "agent"  # on the command line and in files

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    discount: float = 0.99
    """Gamma."""
    polyak: float = 0.005
    """Tau of all target networks."""
    rewards: Literal["raw", "max", "return_range"] = "raw"
    """Rewards as they are, or divided by the largest one, or by the difference between the best and the worst return
    of the data's episodes."""
    reward_scale: float = 1.0
    """Then multiplied by this."""
    reward_shift: float = 0.0
    """Then this is added."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rates fall to 0, counted in each optimiser's own steps."""
    decay_steps: int | None = None
    """Steps in which they fall; by default the run's."""
    warmup_steps: int = 0
    """Steps in which they grow from 0 at first."""

    def __post_init__(self) -> None:
        """Raises `UserError` for a value that cannot work."""
        for name in (name for name in vars(self) if name.endswith("hidden")):
            widths = getattr(self, name)
            self.check(name, bool(widths) and min(widths) > 0, "one width or more, each at least 1")
        for name in (name for name in vars(self) if name.endswith("learning_rate")):
            self.check(name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        for name in (name for name in vars(self) if name.endswith("_steps")):
            self.check(name, getattr(self, name) is None or getattr(self, name) >= 0, "0 or more")
        self.check("decay_steps", self.decay_steps != 0, "at least 1")
        self.check("discount", 0 <= self.discount < 1, "at least 0 and below 1")
        self.check("polyak", 0 < self.polyak <= 1, "above 0 and at most 1")
        self.check("reward_scale", 0 < self.reward_scale < math.inf, "a finite number above 0")
        self.check("reward_shift", math.isfinite(self.reward_shift), "a finite number")

    def check(self, name: str, ok: bool, expected: str) -> None:
        """A `UserError` about the field `name`, unless `ok`."""
        require(ok, f"{self.name}.{name}", getattr(self, name), expected)

    def for_run(self, steps: int) -> Self:
        """These values with those filled in that depend on the length of the run, in gradient steps."""
        falls = self.schedule != "constant" and self.decay_steps is None
        return replace(self, decay_steps=steps) if falls else self


@dataclass(frozen=True)
class Scaling:
    """Affine maps of observations, actions and rewards to the agent's units, and the bounds of actions.

    All arrays are float32 of shape [obs] or [act]; actions are bounded in the environment's units.
    """

    obs_mean: np.ndarray
    obs_std: np.ndarray
    act_mean: np.ndarray
    act_std: np.ndarray
    act_low: np.ndarray
    act_high: np.ndarray
    reward_scale: float = 1.0
    """Rewards are multiplied by this."""
    reward_shift: float = 0.0
    """Then this is added."""
    reward_min: float = 0.0
    """Smallest scaled reward in the data."""
    reward_max: float = 1.0
    """Largest scaled reward in the data."""

    @staticmethod
    def identity(obs_dim: int, act_dim: int, bound: float = np.inf) -> Scaling:
        """No standardisation; actions within [-bound, bound]."""
        zeros, ones = (lambda n: np.zeros(n, np.float32)), (lambda n: np.ones(n, np.float32))
        return Scaling(
            zeros(obs_dim), ones(obs_dim), zeros(act_dim), ones(act_dim), -bound * ones(act_dim), bound * ones(act_dim)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for the run's `config.yaml`; float32 values survive the round trip exactly."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Scaling:
        """The inverse of `to_dict`."""
        arrays: dict[str, Any] = {k: np.asarray(v, np.float32) if isinstance(v, list) else v for k, v in values.items()}
        return Scaling(**arrays)


@dataclass(frozen=True)
class AgentSpec:
    """All that an agent needs to know of its task and run besides its own hyper-parameters."""

    obs_dim: int
    act_dim: int
    scaling: Scaling
    seed: int = 0
    precision: str = "float32"


@dataclass(frozen=True)
class Optimizers:
    """A learner's optimisers, each with its `name` and a `learning_rate` that can be set."""

    optimizers: list[Adam]


class Learner(keras.Model, ABC):
    """Networks with their optimisers and one update: what the compiled loop trains.

    It is a Keras model so that Keras callbacks, weights and `tf.train.Checkpoint` work on it as on any other; it is not
    trained with `fit` but by `lapo_tf.training.loop`.
    """

    Config: ClassVar[type[AgentConfig]]
    METRICS: ClassVar[dict[str, str]]
    """What `step` reports, explained: the columns of `metrics.csv`."""
    batch_size: ClassVar[int] = 256
    """Of its paper's experiments."""

    def __init__(self, config: AgentConfig, spec: AgentSpec) -> None:
        super().__init__(name=config.name)
        self.config, self.spec = config, spec
        self.built = True
        self.targets: list[tuple[keras.Model, keras.Model, float]] = []
        self._seeds = random.Random(spec.seed)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Those of `METRICS` that this learner reports with its options; all by default."""
        return tuple(self.METRICS)

    def network(
        self,
        name: str,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] | None = None,
        activation: str | None = None,
        normalize: bool = False,
    ) -> keras.Model:
        """An MLP with weights of its own; `activation` of the last layer, layer normalisation in the hidden ones."""
        return mlp(
            inputs,
            hidden or self.config.hidden,
            outputs,
            activation=activation,
            normalize=normalize,
            seed=self._seeds,
            name=name,
            precision=self.spec.precision,
        )

    def twin(self, name: str, inputs: int, outputs: int, **options: Any) -> tuple[keras.Model, keras.Model]:
        """A network and its target, which begins as a copy of it and follows in `update_targets`."""
        online = self.network(name, inputs, outputs, **options)
        target = self.network(f"target_{name}", inputs, outputs, **options)
        self.follow(target, online, self.config.polyak)
        return online, target

    def follow(self, target: keras.Model, online: keras.Model, tau: float) -> None:
        """Make `target` a copy of `online` that follows it by `tau`."""
        copy_weights(target, online)
        self.targets.append((target, online, tau))

    def update_targets(self) -> None:
        """Polyak averaging of all targets."""
        for target, online, tau in self.targets:
            polyak_update(target, online, tau)

    def adam(
        self, name: str, learning_rate: float, *trained: keras.Model | keras.Variable, schedule: Schedule | None = None
    ) -> Adam:
        """An Adam of these networks' or single variables, whose slots exist before the first step.

        Args:
            schedule: of its own; default: the config's.
        """
        c = self.config
        schedule = schedule or rate_schedule(c.schedule, c.decay_steps, c.warmup_steps)
        optimizer = Adam(learning_rate, name=name, schedule=schedule)
        optimizer.build([w for t in trained for w in (t.trainable_variables if isinstance(t, keras.Model) else [t])])
        return optimizer

    @property
    def optimizer(self) -> Optimizers:
        """All optimisers, where Keras' callbacks look for them."""
        return Optimizers([value for value in vars(self).values() if isinstance(value, Adam)])

    @abstractmethod
    def draw(self, seed: tf.Tensor, batch_size: int) -> dict[str, tf.Tensor]:
        """All random numbers of one update, from a stateless seed [2] (int32)."""

    @abstractmethod
    def step(self, batch: Batch, noise: dict[str, tf.Tensor]) -> Metrics:
        """One update: changes the learner's variables, returns the step's metrics. Pure TensorFlow ops."""

    def update(self, batch: Batch, seed: tf.Tensor) -> Metrics:
        """One update with the random numbers that `seed` gives."""
        return self.step(batch, self.draw(seed, batch["rewards"].shape[0]))


class Agent(Learner):
    """Base of all agents: a learner with a policy. A subclass builds its networks and optimisers and defines the
    abstract methods."""

    action_units: ClassVar[Literal["bounds", "std"]] = "bounds"
    """How actions are scaled for the agent: their bounds become -1 and 1, or the data's mean and standard deviation
    0 and 1."""

    def __init__(self, config: AgentConfig, spec: AgentSpec) -> None:
        super().__init__(config, spec)
        self._act = tf.function(self._raw_action, input_signature=[tf.TensorSpec([None, spec.obs_dim], tf.float32)])

    @abstractmethod
    def policy_action(self, observations: tf.Tensor) -> tf.Tensor:
        """The action [B, act] the trained policy takes, both in the agent's units: a function of the observation."""

    @abstractmethod
    def model_action(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """An action [B, act] drawn from the agent's generative model (a VAE with z ~ N(0, I), or a stochastic policy),
        in the agent's units, by a stateless seed [2]."""

    def policy_value(self, observations: tf.Tensor) -> tf.Tensor:
        """Q(s, pi(s)) [B] by the smaller of both critics, for observations [B, obs] in the agent's units; in scaled
        rewards."""
        require(hasattr(self, "q1"), "agent", self.name, "one with critics, for bc knows no values")
        pair = tf.concat([observations, self.policy_action(observations)], -1)
        return tf.minimum(self.q1(pair), self.q2(pair))[:, 0]

    def generate(self, observations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`model_action` for raw observations [B, obs], as raw actions [B, act] within the bounds."""
        return self.unscale_action(self.model_action(self.scale_observation(observations), seed))

    def _raw_action(self, observations: tf.Tensor) -> tf.Tensor:
        return self.unscale_action(self.policy_action(self.scale_observation(observations)))

    def scale_observation(self, observations: tf.Tensor) -> tf.Tensor:
        """Raw observations [B, obs] to the agent's units."""
        return (observations - self.spec.scaling.obs_mean) / self.spec.scaling.obs_std

    def scale_action(self, actions: tf.Tensor) -> tf.Tensor:
        """Raw actions [B, act] to the agent's units."""
        return (actions - self.spec.scaling.act_mean) / self.spec.scaling.act_std

    def unscale_action(self, actions: tf.Tensor) -> tf.Tensor:
        """Actions [B, act] in the agent's units to raw ones within the bounds."""
        scaling = self.spec.scaling
        return tf.clip_by_value(actions * scaling.act_std + scaling.act_mean, scaling.act_low, scaling.act_high)

    def checked(self, observations: np.ndarray) -> np.ndarray:
        """Raw observations [B, obs] or [obs] as float32.

        Raises:
            UserError: they have another width, or hold what is not finite in float32.
        """
        with np.errstate(over="ignore"):
            observations = np.asarray(observations).astype(np.float32)
        width = self.spec.obs_dim
        if observations.ndim not in (1, 2) or observations.shape[-1] != width:
            raise UserError(f"observations have shape {observations.shape}: expected [{width}], or [B, {width}] of B")
        bad = np.argwhere(~np.isfinite(observations))
        if len(bad):
            value, place = observations[tuple(bad[0])], ", ".join(map(str, bad[0]))
            raise UserError(
                f"observations[{place}] is {value}: expected finite numbers; the policy has no action for it"
            )
        return observations

    def act(self, observations: np.ndarray) -> np.ndarray:
        """The policy's actions [B, act] (or [act]) for raw observations [B, obs] (or [obs]).

        Rows are always computed `ACT_ROWS` at a time: the rounding of a matrix product depends on its number of rows,
        so an action, and with it a chaotic episode, would depend on how many others are computed beside it.

        Raises:
            UserError: see `checked`.
        """
        observations = self.checked(observations)
        rows = np.atleast_2d(observations)
        padded = np.zeros((max(1, -(-len(rows) // ACT_ROWS)) * ACT_ROWS, self.spec.obs_dim), np.float32)
        padded[: len(rows)] = rows
        blocks = [self._act(padded[i : i + ACT_ROWS]).numpy() for i in range(0, len(padded), ACT_ROWS)]
        actions = np.concatenate(blocks)[: len(rows)]
        return actions if observations.ndim == 2 else actions[0]
