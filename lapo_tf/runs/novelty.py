"""How unlike the training data a moment is: two scores that a policy bundle carries.

observation   whitened distance; see `robot_bridge.robot.novelty`.
action        for agents with a CVAE: reconstruction error of the policy's action plus the posterior's divergence
              from the prior. Its threshold is the same quantile over trial episodes in the simulator, which the
              CVAE has never seen, as far as their observations are not novel themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lapo_tf.agents import LAPO, Agent

MARGIN = 1.5  # on the CVAE's threshold: few trial episodes see few of the scores that are normal


def has_cvae(agent: Agent) -> bool:
    """Whether a bundle of the agent scores actions by its conditional VAE."""
    return isinstance(agent, LAPO)


def novelty_function(agent: Agent, mean: np.ndarray, matrix: np.ndarray, with_cvae: bool) -> Any:
    """The graph `observation` [1, obs], `action` [1, act] -> `novelty` [1, 1 or 2], all raw.

    Args:
        agent: whose CVAE it is.
        mean, matrix: of the `Whitening`, [obs] and [obs, live].
        with_cvae: score actions, too.
    """
    mean, matrix = mean.astype(np.float32), matrix.astype(np.float32)
    scaling = agent.spec.scaling

    def novelty(observation: Any, action: Any) -> Any:
        scores = [tf.sqrt(tf.reduce_mean(tf.matmul(observation - mean, matrix) ** 2, -1, keepdims=True))]
        if with_cvae:
            networks: Any = agent
            states, actions = agent.scale_observation(observation), (action - scaling.act_mean) / scaling.act_std
            mode, log_var = tf.split(networks.encoder(tf.concat([states, actions], -1)), 2, axis=-1)
            decoded = networks.target_decoder(tf.concat([states, mode], -1))
            divergence = 0.5 * tf.reduce_sum(mode**2 + tf.exp(log_var) - log_var - 1.0, -1, keepdims=True)
            scores.append(tf.reduce_sum((decoded - actions) ** 2, -1, keepdims=True) + divergence)
        return {"novelty": tf.concat(scores, -1)}

    inputs = (("observation", agent.spec.obs_dim), ("action", agent.spec.act_dim))
    return tf.function(novelty, input_signature=[tf.TensorSpec([1, n], tf.float32, name=name) for name, n in inputs])
