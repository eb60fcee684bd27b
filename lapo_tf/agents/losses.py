"""What several agents' losses are made of."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from lapo_tf.agents.base import Batch, Loss, Metrics

TD_METRICS = {
    "critic/loss": "what the critics minimise: the sum of both losses",
    "critic/q1_loss": "mean squared temporal-difference error of Q1",
    "critic/q2_loss": "the same for Q2",
    "critic/q_mean": "mean Q1(s, a) over the batch, in scaled rewards",
}
"""Of `td_loss`."""
ADVANTAGE_METRICS = {
    "advantage/mean": "mean advantage of the data's actions",
    "advantage/positive": "share of the data's actions with a positive advantage",
}
"""Of `advantage_metrics`."""


def mixed(q1: tf.Tensor, q2: tf.Tensor, minimum: float) -> tf.Tensor:
    """d min(Q1, Q2) + (1 - d) max(Q1, Q2) (BCQ, equation 13), d = `minimum`."""
    return minimum * tf.minimum(q1, q2) + (1.0 - minimum) * tf.maximum(q1, q2)


def within_ball(vectors: tf.Tensor, radius: float) -> tf.Tensor:
    """Vectors [B, n], those longer than `radius` shortened to it."""
    squares = tf.reduce_sum(vectors**2, -1, keepdims=True)
    return vectors * (radius * tf.math.rsqrt(tf.maximum(squares, radius**2)))


def td_target(batch: Batch, discount: float, next_value: tf.Tensor) -> tf.Tensor:
    """r + gamma V(s'), without V(s') at terminal states, [B, 1]."""
    return batch["rewards"] + (1.0 - batch["terminals"]) * discount * next_value


def td_loss(q1: keras.Model, q2: keras.Model, batch: Batch, target: tf.Tensor) -> Loss:
    """Sum of the mean squared errors of both critics at the data's actions, and the metrics that go with it."""
    pair = tf.concat([batch["observations"], batch["actions"]], -1)
    values1, values2 = q1(pair), q2(pair)
    loss1, loss2 = tf.reduce_mean((values1 - target) ** 2), tf.reduce_mean((values2 - target) ** 2)
    loss = loss1 + loss2
    q_mean = tf.reduce_mean(values1)
    return loss, {"critic/loss": loss, "critic/q1_loss": loss1, "critic/q2_loss": loss2, "critic/q_mean": q_mean}


def pair_all(observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Inputs [N B, obs + act] of a critic: observations [B, obs], each with its N actions of [N, B, act]."""
    repeated = tf.tile(observations, (actions.shape[0], 1))
    return tf.concat([repeated, tf.reshape(actions, (-1, actions.shape[-1]))], -1)


def advantage_metrics(advantage: tf.Tensor) -> Metrics:
    """Mean of advantages and share of positive ones."""
    positive = tf.reduce_mean(tf.cast(advantage > 0.0, tf.float32))
    return {"advantage/mean": tf.reduce_mean(advantage), "advantage/positive": positive}


def either(
    condition: tf.Tensor, first: Callable[[], Metrics], second: Callable[[], Metrics], names: tuple[str, ...]
) -> Metrics:
    """The metrics `names` of `first()` or `second()`, whichever `condition` lets run; 0 where it has no such metric."""

    def complete(update: Callable[[], Metrics]) -> Callable[[], Metrics]:
        def run() -> Metrics:
            metrics = update()
            return {name: metrics.get(name, tf.constant(0.0)) for name in names}

        return run

    return tf.cond(condition, complete(first), complete(second))
