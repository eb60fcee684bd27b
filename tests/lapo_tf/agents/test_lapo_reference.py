"""One step of the authors' code, reproduced: losses, parameters and targets.

The fixture holds a step with hidden layers of 16; `LAPO_REFERENCE_STEP` may name another one, such as the full size.
"""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lapo_tf.agents import LAPO, AgentSpec, Scaling
from lapo_tf.agents.lapo import LAPOConfig

SMALL = Path(__file__).parent / "fixtures" / "lapo_reference_step_small.npz"
FIXTURE = Path(os.environ.get("LAPO_REFERENCE_STEP", SMALL))

# Our network: the PyTorch layers it consists of. Layers joined by "+" are one Dense here, with stacked outputs.
LAYERS = {
    "encoder": ("actor_vae", ["e1", "e2", "e3", "mean+log_var"]),
    "decoder": ("actor_vae", ["d1", "d2", "d3", "d4"]),
    "policy": ("actor", ["pi1", "pi2", "pi3", "pi4"]),
    "q1": ("critic", ["l1", "l2", "l3", "l4"]),
    "q2": ("critic", ["l5", "l6", "l7", "l8"]),
    "v": ("critic", ["v1", "v2", "v3", "v4"]),
    "target_decoder": ("actor_vae_target", ["d1", "d2", "d3", "d4"]),
    "target_policy": ("actor_target", ["pi1", "pi2", "pi3", "pi4"]),
    "target_q1": ("critic_target", ["l1", "l2", "l3", "l4"]),
    "target_q2": ("critic_target", ["l5", "l6", "l7", "l8"]),
}


def weights(fixture, when: str, network: str) -> list[np.ndarray]:
    """A network's weights in Keras' order and layout."""
    torch_name, layers = LAYERS[network]
    result = []
    for layer in layers:
        parts = [f"{when}/{torch_name}/{name}" for name in layer.split("+")]
        result.append(np.concatenate([fixture[f"{p}.weight"] for p in parts]).T)
        result.append(np.concatenate([fixture[f"{p}.bias"] for p in parts]))
    return result


def reference_agent(fixture) -> LAPO:
    """The whole reference preset: every choice as in the authors' code, values from the fixture."""
    c = {k.split("/")[1]: float(fixture[k]) for k in fixture.files if k.startswith("config/")}
    obs, act = fixture["batch/observations"].shape[1], fixture["batch/actions"].shape[1]
    hidden = tuple(w.shape[1] for w in weights(fixture, "before", "q1")[:-2:2])
    scaling = replace(
        Scaling.identity(obs, act),
        reward_min=c["value_min"] * (1 - c["discount"]),
        reward_max=c["value_max"] * (1 - c["discount"]),
    )
    config = LAPOConfig(
        hidden=hidden,
        latent_ratio=fixture["noise/posterior"].shape[1] // act,
        latent_policy="tanh",
        latent_bound=c["latent_bound"],
        latent_norm=math.inf,
        critic_norm="none",
        expectile=c["expectile"],
        kl_weight=c["kl_weight"],
        doubleq_min=c["doubleq_min"],
        polyak=c["polyak"],
        discount=c["discount"],
        vae_learning_rate=c["vae_learning_rate"],
        policy_learning_rate=c["policy_learning_rate"],
        critic_learning_rate=c["critic_learning_rate"],
    )
    agent = LAPO(config, AgentSpec(obs, act, scaling))
    for network in LAYERS:
        getattr(agent, network).set_weights(weights(fixture, "before", network))
    return agent


@pytest.mark.parametrize("xla", [True, False])
def test_one_step_of_the_authors_code(xla):
    fixture = np.load(FIXTURE)
    agent = reference_agent(fixture)
    batch = {k: tf.constant(fixture[f"batch/{k}"]) for k in ("observations", "actions", "next_observations", "rewards")}
    batch["terminals"] = tf.constant(1.0 - fixture["batch/not_done"])
    noise = {"posterior": tf.constant(fixture["noise/posterior"]), "value": tf.constant(fixture["noise/latent_target"])}
    metrics = tf.function(agent.step, jit_compile=xla)(batch, noise)

    losses = {
        "critic/v_loss": "v",
        "critic/q1_loss": "q1",
        "critic/q2_loss": "q2",
        "critic/loss": "critic",
        "vae/reconstruction": "reconstruction",
        "vae/loss": "vae",
        "policy/loss": "latent_policy",
    }
    for ours, theirs in losses.items():
        np.testing.assert_allclose(metrics[ours], fixture[f"loss/{theirs}"], rtol=1e-5, err_msg=ours)
    for network in LAYERS:
        before = weights(fixture, "before", network)
        for was, ours, theirs in zip(
            before, getattr(agent, network).get_weights(), weights(fixture, "after", network), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5, err_msg=network)
            assert np.any(theirs != was)  # the fixture does exercise this weight
