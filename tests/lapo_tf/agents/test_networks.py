"""Networks and optimiser: what the graph of an update must not contain."""

import random

import tensorflow as tf

from lapo_tf.agents.networks import Adam, mlp


def test_gradients_do_not_meet_in_one_op():
    """Else TensorFlow's graph optimiser loses the order of reads and updates: see `Adam._all_reduce_sum_gradients`."""
    net = mlp(2, (4,), 1, seed=random.Random(0), name="net")
    optimizer = Adam(1e-3)
    optimizer.build(net.trainable_variables)

    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(net(x) ** 2)
        optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return loss

    graph = tf.function(step).get_concrete_function(tf.zeros((3, 2))).graph
    operations = {op.type for op in graph.get_operations()}
    assert "AssignVariableOp" in operations
    assert "IdentityN" not in operations
