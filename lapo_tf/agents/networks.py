"""Keras networks, their optimiser and target updates, shared by all agents."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import keras
import tensorflow as tf

Schedule: TypeAlias = Callable[[tf.Tensor], tf.Tensor]
"""An optimiser's steps so far -> what its learning rate is multiplied by, scalars."""

# U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as for biases: PyTorch's default, with which the paper's numbers were made.
KERNEL_INITIALIZER = {"scale": 1.0 / 3.0, "mode": "fan_in", "distribution": "uniform"}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    seed: random.Random,
    name: str,
    activation: str | None = None,
    normalize: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """A ReLU network [batch, inputs] -> [batch, outputs].

    Args:
        normalize: layer normalisation between each hidden layer's product and its ReLU.
        activation: of the last layer; linear by default.
        seed: source of the layers' initialisation seeds, so that one run seed fixes all weights.
        precision: "float32", or "bfloat16" to multiply in bfloat16 with float32 weights (Keras' `mixed_bfloat16`).
            The last layer always works in float32.
    """
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    x = layer = keras.Input((inputs,))
    widths = [inputs, *hidden, outputs]
    for i, (fan_in, units) in enumerate(pairwise(widths)):
        last = i == len(hidden)
        bound = fan_in**-0.5
        x = keras.layers.Dense(
            units,
            activation=activation if last else None if normalize else "relu",
            kernel_initializer=keras.initializers.VarianceScaling(**KERNEL_INITIALIZER, seed=seed.getrandbits(31)),
            bias_initializer=keras.initializers.RandomUniform(-bound, bound, seed=seed.getrandbits(31)),
            dtype="float32" if last else policy,
            name=f"dense_{i}",
        )(x)
        if normalize and not last:
            x = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=f"norm_{i}")(x)
            x = keras.layers.ReLU(dtype=policy, name=f"relu_{i}")(x)
    return keras.Model(layer, x, name=name)


def dropout(network: keras.Model, x: tf.Tensor, masks: Sequence[tf.Tensor]) -> tf.Tensor:
    """`network(x)` of an `mlp` with each hidden layer's output multiplied by its mask [batch, width]."""
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    for layer, mask in zip(layers, [*masks, None], strict=True):
        x = layer(x)
        if mask is not None:
            x *= tf.cast(mask, x.dtype)
    return x


class Adam(keras.optimizers.Adam):
    """Adam as in Kingma & Ba, Algorithm 1 (and PyTorch): epsilon is added after the bias correction.

    Keras adds it before, which for the first steps amounts to an epsilon about 30 times larger.
    """

    def __init__(
        self, learning_rate: float, epsilon: float = 1e-8, name: str = "adam", schedule: Schedule | None = None
    ) -> None:
        """
        Args:
            learning_rate: at first.
            schedule: what the rate is multiplied by, a function of this optimiser's steps.
        """
        # Keras' variable holds the factor by which callbacks changed the rate. So a checkpoint keeps what they did, and
        # a resumed run may be given another rate.
        super().__init__(learning_rate=1.0, epsilon=epsilon, name=name)
        self.configured, self.schedule = learning_rate, schedule

    @property
    def learning_rate(self) -> tf.Tensor:
        """The rate as callbacks know and set it: without the schedule."""
        return self.configured * tf.convert_to_tensor(self._learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate.assign(value / self.configured)

    def minimise(self, loss: Callable[[], tuple[tf.Tensor, dict[str, tf.Tensor]]]) -> dict[str, tf.Tensor]:
        """One step of this optimiser's variables down `loss() -> (scalar, metrics)`; returns the metrics."""
        with tf.GradientTape() as tape:
            value, metrics = loss()
        self.apply(tape.gradient(value, self._trainable_variables))
        return metrics

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """No sum over replicas: there is one.

        Keras' sum sends all gradients through one IdentityN op. TensorFlow's graph optimiser (2.21; graph mode, not
        XLA) drops the control edges that this op makes redundant and then removes the op: reads of V and of the target
        networks were no longer ordered before those variables' updates, and up to 1 step in 5 came out wrong.
        """
        return grads_and_vars

    def update_step(self, gradient, variable, learning_rate) -> None:
        step = tf.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        # The new moments are used below, rather than read back: one pass over memory less.
        new_m = m + (1.0 - self.beta_1) * (gradient - m)
        new_v = v + (1.0 - self.beta_2) * (tf.square(gradient) - v)
        self.assign(m, new_m)
        self.assign(v, new_v)
        if self.schedule is not None:
            learning_rate *= self.schedule(self.iterations)
        step_size = tf.cast(learning_rate, variable.dtype) / (1.0 - tf.pow(self.beta_1, step))
        correction = tf.math.rsqrt(1.0 - tf.pow(self.beta_2, step))
        self.assign(variable, variable - step_size * new_m / (tf.sqrt(new_v) * correction + self.epsilon))


def rate_schedule(
    kind: Literal["constant", "cosine", "linear"], decay_steps: int | None, warmup_steps: int
) -> Schedule | None:
    """Linear growth from 0 in `warmup_steps` times a fall from 1 to 0 in `decay_steps`; None where there is neither."""
    decay: Schedule | None = None
    if kind == "cosine" and decay_steps:
        decay = keras.optimizers.schedules.CosineDecay(1.0, decay_steps)
    elif kind == "linear" and decay_steps:
        decay = keras.optimizers.schedules.PolynomialDecay(1.0, decay_steps, end_learning_rate=0.0)
    if not warmup_steps:
        return decay

    def growing(step: tf.Tensor) -> tf.Tensor:
        growth = tf.minimum((tf.cast(step, tf.float32) + 1.0) / warmup_steps, 1.0)
        return growth if decay is None else growth * decay(step)

    return growing


def polyak_update(target: keras.Model, online: keras.Model, tau: float) -> None:
    """target <- (1 - tau) target + tau online, for every weight."""
    for old, new in zip(target.weights, online.weights, strict=True):
        old.assign(old.value + tau * (new.value - old.value))


def copy_weights(target: keras.Model, online: keras.Model) -> None:
    """target <- online, to the bit."""
    target.set_weights(online.get_weights())
