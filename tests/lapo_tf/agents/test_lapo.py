"""LAPO's losses, choices and updates against the NumPy version in `numpy_lapo`, on small networks and fixed numbers."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from numpy_lapo import NumpyLAPO, adam, forward, gradient

from lapo_tf.agents import LAPO, AgentSpec, Scaling
from lapo_tf.agents.lapo import LAPOConfig
from lapo_tf.agents.lapo_paper import AUTHORS, LAPOPaper, LAPOPaperConfig
from lapo_tf.agents.networks import Adam, mlp

OBS, ACT, BATCH = 3, 2, 40
REWARDS = (-0.008, 0.012)
SMALL = LAPOConfig(
    hidden=(8, 6),
    latent_bound=1.5,
    latent_scale_min=0.1,
    latent_scale_max=0.8,
    polyak=0.1,
    discount=0.9,
    doubleq_min=0.8,
    critic_learning_rate=1e-3,
    vae_learning_rate=2e-3,
    policy_learning_rate=3e-3,
    critic_norm="none",
    latent_norm=math.inf,
)
# Every choice at least once, at most two that do not touch each other in one step, and the paper's text as a whole.
# The bounds bite on some rows of the batch.
CHOICES = {
    "defaults": {},
    "tanh": {"latent_policy": "tanh"},
    "layer_norm": {"critic_norm": "layer", "latent_norm": 1.2},
    "layer_norm_paper": {"critic_norm": "layer", "value": "policy", "latent_norm": 0.8},
    "value_policy": {"value": "policy", "doubleq_min": 0.3, "kl_weight": 0.3, "latent_ratio": 3, "expectile": 0.7},
    "advantage_q": {"advantage": "q", "weight": "exponential", "temperature": 0.4, "weight_max": 2.0},
    "decoder_first": {"order": "decoder_first", "clip_value": False},
    "previous": {"decoder": "previous", "mask_terminals": False},
    "paper": {
        "weight": "exponential",
        "advantage": "q",
        "value": "policy",
        "clip_value": False,
        "mask_terminals": False,
        "decoder": "previous",
        "order": "decoder_first",
        "doubleq_min": 1.0,
    },
}


def config_of(choice: dict) -> LAPOConfig:
    """A small LAPO, or with a choice of the paper that only `lapo-paper` has, one that is the authors' in all else."""
    if not choice.keys() & AUTHORS.keys():
        return replace(SMALL, **choice)
    return LAPOPaperConfig(**vars(SMALL) | AUTHORS | choice)


NETWORKS = ("encoder", "decoder", "policy", "q1", "q2", "target_decoder", "target_policy", "target_q1", "target_q2")
OPTIMIZED = {"critic": ("q1", "q2", "v"), "vae": ("encoder", "decoder"), "policy": ("policy",)}


def weights(agent: LAPO) -> dict[str, list[np.ndarray]]:
    names = [*NETWORKS, "v"] if hasattr(agent, "v") else NETWORKS
    return {name: [w.astype(np.float64) for w in getattr(agent, name).get_weights()] for name in names}


def agent_of(config: LAPOConfig, seed: int = 0) -> LAPO:
    """An agent with larger weights than fresh ones and targets apart from their networks, as after some training."""
    scaling = replace(Scaling.identity(OBS, ACT), reward_min=REWARDS[0], reward_max=REWARDS[1])
    kind = LAPOPaper if isinstance(config, LAPOPaperConfig) else LAPO
    agent = kind(config, AgentSpec(OBS, ACT, scaling, seed=seed))  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    for name in weights(agent):
        net = getattr(agent, name)
        values = [2 * w + 0.1 * rng.normal(size=w.shape).astype(np.float32) for w in net.get_weights()]
        if values[-1].size == 1:  # values about zero, so that advantages have both signs
            values[-1] -= forward(values, rng.normal(size=(100, len(values[0])))).mean().astype(np.float32)
        net.set_weights(values)
    return agent


def example(config: LAPOConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A batch and noise, of float32 numbers."""
    rng = np.random.default_rng(1)
    batch = {
        "observations": rng.normal(size=(BATCH, OBS)),
        "actions": rng.normal(size=(BATCH, ACT)),
        "next_observations": rng.normal(size=(BATCH, OBS)),
        "rewards": 0.3 * rng.normal(size=(BATCH, 1)),
        "terminals": (rng.random((BATCH, 1)) < 0.3) * 1.0,
    }
    latents = (BATCH, ACT * config.latent_ratio)
    noise = {"posterior": rng.normal(size=latents)}
    if config.latent_policy == "tanh":
        noise["value"] = 3 * rng.normal(size=latents)  # some beyond the noise's bound
    else:
        noise |= {name: rng.random(latents) for name in ("value", "next_value", "policy")}
    single = lambda values: {k: v.astype(np.float32) for k, v in values.items()}  # noqa: E731
    return single(batch), single(noise)


class Step:
    """One step of an agent, with all that went in and came out."""

    def __init__(self, name: str) -> None:
        own = config_of(CHOICES[name])
        self.agent = agent_of(own)
        self.config = SimpleNamespace(**AUTHORS | vars(own))
        self.reference = NumpyLAPO(self.config, *REWARDS)
        batch, noise = example(self.config)
        self.before = weights(self.agent)
        self.batch, self.noise = ({k: v.astype(np.float64) for k, v in d.items()} for d in (batch, noise))
        tensors = ({k: tf.constant(v) for k, v in d.items()} for d in (batch, noise))
        self.metrics = {k: float(v) for k, v in self.agent.step(*tensors).items()}
        self.after = weights(self.agent)
        # The networks that the weights of the CVAE's loss are computed with.
        critics = self.after if self.config.order == "critic_first" else self.before
        self.nets = self.before | {k: critics[k] for k in ("q1", "q2", "v") if k in critics}
        self.advantage = self.reference.advantage(self.nets, self.batch, self.noise)
        self.weight = self.reference.weight(self.advantage)

    def close(self, metric: str, value) -> None:
        np.testing.assert_allclose(self.metrics[metric], value, rtol=2e-5, atol=1e-6, err_msg=metric)


@pytest.fixture(scope="module", params=CHOICES)
def step(request) -> Step:
    return Step(request.param)


def test_metrics_of_one_step(step):
    ref, batch, noise, before = step.reference, step.batch, step.noise, step.before
    s, a = batch["observations"], batch["actions"]
    target, value = ref.q_target(before, batch, noise), ref.value_target(before, s, noise)
    losses = [np.mean((forward(before[q], s, a) - target) ** 2) for q in ("q1", "q2")]
    step.close("critic/q1_loss", losses[0])
    step.close("critic/q2_loss", losses[1])
    if step.config.value == "network":
        losses.append(np.mean((forward(before["v"], s) - value) ** 2))
        step.close("critic/v_loss", losses[2])
    else:
        assert "critic/v_loss" not in step.metrics
    step.close("critic/loss", sum(losses))
    step.close("critic/q_mean", forward(before["q1"], s, a).mean())
    step.close("critic/v_mean", value.mean())
    step.close("advantage/mean", step.advantage.mean())
    step.close("advantage/positive", np.mean(step.advantage > 0))
    step.close("vae/weight_mean", step.weight.mean())
    loss, error, kl = ref.elbo(before["encoder"], before["decoder"], batch, step.weight, noise["posterior"])
    step.close("vae/loss", loss)
    step.close("vae/reconstruction", error)
    step.close("vae/kl", kl)
    nets = before | {"q1": step.after["q1"]}  # the policy climbs the critic that has just been updated
    step.close("policy/loss", ref.policy_loss(before["policy"], nets, s, noise.get("policy")))
    step.close("policy/latent_abs", np.mean(np.abs(ref.latent(before["policy"], s, noise.get("policy")))))
    assert set(step.metrics) == set(step.agent.metric_names)


def test_the_example_tells_choices_apart(step):
    """Every bound and every branch is used by some rows of the batch and not by others."""
    ref, config, before = step.reference, step.config, step.before
    unclipped = SimpleNamespace(**vars(config) | {"clip_value": False})
    free = NumpyLAPO(unclipped, 0, 0).value_target(before, step.batch["observations"], step.noise)
    if config.clip_value:
        clipped = np.mean(ref.value_target(before, step.batch["observations"], step.noise) != free)
        assert 0.1 < clipped < 0.9
    assert 0.1 < np.mean(step.advantage > 0) < 0.9
    assert len(np.unique(step.weight)) > 1
    if config.weight == "exponential" and config.weight_max < 100:
        assert 0 < np.mean(step.weight == config.weight_max) < 0.9
    assert 0.1 < step.batch["terminals"].mean() < 0.9
    both = [forward(before[f"target_{q}"], step.batch["observations"], step.batch["actions"]) for q in ("q1", "q2")]
    assert 0.1 < np.mean(both[0] < both[1]) < 0.9


def test_gradients_and_adam_against_finite_differences(step):
    """Adam's first moment after one step is a tenth of the gradient: compare it, and the step it makes."""
    ref, config, batch, noise, before = step.reference, step.config, step.batch, step.noise, step.before
    s, a = batch["observations"], batch["actions"]
    target, value = ref.q_target(before, batch, noise), ref.value_target(before, s, noise)
    nets = before | {"q1": step.after["q1"]}
    elbo = lambda e, d: ref.elbo(e, d, batch, step.weight, noise["posterior"])[0]  # noqa: E731
    losses = {
        "q1": lambda w: np.mean((forward(w, s, a) - target) ** 2),
        "q2": lambda w: np.mean((forward(w, s, a) - target) ** 2),
        "v": lambda w: np.mean((forward(w, s) - value) ** 2),
        "encoder": lambda w: elbo(w, before["decoder"]),
        "decoder": lambda w: elbo(before["encoder"], w),
        "policy": lambda w: ref.policy_loss(w, nets, s, noise.get("policy")),
    }
    for kind, names in OPTIMIZED.items():
        moments = [np.array(m) for m in getattr(step.agent, f"{kind}_optimizer")._momentums]
        for name in names:
            if name not in before:
                continue
            expected = gradient(losses[name], before[name])
            got, moments = moments[: len(expected)], moments[len(expected) :]
            assert any(np.abs(g).max() > 1e-3 for g in expected), name
            for g, m in zip(expected, got, strict=True):
                np.testing.assert_allclose(10 * m, g, rtol=1e-3, atol=2e-6, err_msg=name)
            # The step by the agent's own gradient, since Adam's first step is nearly the sign of it.
            stepped = adam(before[name], [[10 * np.float64(m) for m in got]], getattr(config, f"{kind}_learning_rate"))
            for after, w in zip(step.after[name], stepped, strict=True):
                np.testing.assert_allclose(after, w, rtol=0, atol=2e-6, err_msg=name)
        assert not moments


def test_targets_follow_exactly(step):
    for name in ("policy", "q1", "q2", "decoder"):
        tau = 1.0 if (name, step.config.decoder) == ("decoder", "previous") else step.config.polyak
        parts = step.before[f"target_{name}"], step.after[name], step.after[f"target_{name}"]
        for old, online, new in zip(*parts, strict=True):
            np.testing.assert_allclose(new, (1 - tau) * old + tau * online, rtol=3e-7, atol=1e-7)
            if tau == 1.0:
                np.testing.assert_allclose(new, online, rtol=0, atol=1e-7)


def test_each_update_changes_its_variables_and_no_others():
    agent = agent_of(SMALL)
    batch, noise = ({k: tf.constant(v) for k, v in d.items()} for d in example(SMALL))
    value = tf.zeros((BATCH, 1))
    updates = {
        ("q1", "q2", "v"): (agent.critic_optimizer, lambda: agent.critic_loss(batch, value, value)),
        ("encoder", "decoder"): (agent.vae_optimizer, lambda: agent.vae_loss(batch, value + 1, noise["posterior"])),
        ("policy",): (agent.policy_optimizer, lambda: agent.policy_loss(batch, noise["policy"])),
    }
    for own, (optimizer, loss) in updates.items():
        before = weights(agent)
        optimizer.minimise(loss)
        after = weights(agent)
        for name in before:
            changed = [not np.array_equal(b, a) for b, a in zip(before[name], after[name], strict=True)]
            assert all(changed) if name in own else not any(changed), name


def test_first_weights():
    """U(±1/sqrt(fan in)) as PyTorch's; networks differ from each other and between seeds, targets are copies."""
    first, same, other = (
        LAPO(replace(SMALL, hidden=(64,)), AgentSpec(OBS, ACT, Scaling.identity(OBS, ACT), seed=seed))
        for seed in (3, 3, 4)
    )
    kernel = {a: {n: w[2] for n, w in weights(a).items()} for a in (first, same, other)}
    for name in kernel[first]:
        np.testing.assert_array_equal(kernel[first][name], kernel[same][name])
        assert not np.any(kernel[first][name] == kernel[other][name])
        assert np.abs(kernel[first][name]).max() <= 64**-0.5
        assert kernel[first][name].std() == pytest.approx(64**-0.5 / 3**0.5, rel=0.15)
    for online in ("decoder", "policy", "q1", "q2"):
        for a, b in zip(weights(first)[online], weights(first)[f"target_{online}"], strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in (("q1", "q2"), ("q1", "encoder"), ("q2", "encoder"), ("policy", "v")):  # of one shape
        assert not np.any(weights(first)[a][0] == weights(first)[b][0]), (a, b)
    bias = first.q1.get_weights()[1]
    assert np.abs(bias).max() <= (OBS + ACT) ** -0.5
    assert bias.std() > 0.1


@pytest.mark.parametrize("policy", ["truncated_gaussian", "tanh"])
def test_acting(policy):
    rng = np.random.default_rng(5)
    low, high = np.float32([-0.3, -1.0]), np.float32([0.2, 0.1])
    scaling = Scaling(
        *(np.float32(v) for v in ([1, -2, 0.5], [2, 0.1, 3], [0.1, -0.2], [0.5, 2.0])), act_low=low, act_high=high
    )
    agent = LAPO(replace(SMALL, latent_policy=policy), AgentSpec(OBS, ACT, scaling))
    observations = rng.normal(size=(40, OBS), scale=3).astype(np.float32)
    actions = agent.act(observations)
    nets, reference = weights(agent), NumpyLAPO(SimpleNamespace(**AUTHORS | vars(agent.config)), 0, 1)
    s = (observations.astype(np.float64) - scaling.obs_mean) / scaling.obs_std
    raw = (
        forward(nets["target_decoder"], s, reference.latent(nets["policy"], s, None)) * scaling.act_std
        + scaling.act_mean
    )
    np.testing.assert_allclose(actions, np.clip(raw, low, high), atol=1e-5)
    assert 0.05 < np.mean(raw != np.clip(raw, low, high)) < 0.95
    assert np.all((actions >= low) & (actions <= high))
    np.testing.assert_array_equal(actions, agent.act(observations))
    for number in (0, 7, 39):
        np.testing.assert_array_equal(agent.act(observations[number]), actions[number])
    assert agent.act(observations[0]).shape == (ACT,)
    generated = agent.generate(tf.constant(observations), tf.constant([1, 2])).numpy()
    assert np.all((generated >= low) & (generated <= high))
    np.testing.assert_array_equal(generated, agent.generate(tf.constant(observations), tf.constant([1, 2])))
    assert np.any(generated != agent.generate(tf.constant(observations), tf.constant([1, 3])))


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"latent_policy": "tanh"},
        {"advantage": "q"},
        {"value": "policy"},
        {"value": "policy", "latent_policy": "tanh"},
    ],
)
def test_encode_and_advantage(choice):
    config = config_of(choice)
    agent, (batch, noise) = agent_of(config), example(config)
    nets, reference = weights(agent), NumpyLAPO(SimpleNamespace(**AUTHORS | vars(config)), *REWARDS)
    silent = {"value": np.zeros_like(noise["value"])} if config.latent_policy == "tanh" else {"value": None}
    tensors = {name: tf.constant(value, tf.float32) for name, value in batch.items()}
    np.testing.assert_allclose(agent.advantage(tensors), reference.advantage(nets, batch, silent), atol=1e-5)
    mean = forward(nets["encoder"], batch["observations"], batch["actions"])[:, : agent.latent_dim]
    np.testing.assert_allclose(agent.encode(tensors["observations"], tensors["actions"]), mean, atol=1e-5)


def test_bounds_of_v_hold_one_reward():
    """Rewards of 1 to 2 and discount 0.9: an episode of one step may return 1, an endless one 20; rewards all below
    zero the other way round."""
    for low, high, bounds in ((1.0, 2.0, (1.0, 20.0)), (-2.0, -1.0, (-20.0, -1.0)), (-1.0, 2.0, (-10.0, 20.0))):
        scaling = replace(Scaling.identity(OBS, ACT), reward_min=low, reward_max=high)
        agent = LAPO(SMALL, AgentSpec(OBS, ACT, scaling))
        np.testing.assert_allclose(agent.clip_value(tf.constant([-1e3, 0.5, 1e3])), np.clip([-1e3, 0.5, 1e3], *bounds))
    short = LAPO(replace(SMALL, value_horizon=1.0), AgentSpec(OBS, ACT, scaling))
    np.testing.assert_allclose(short.clip_value(tf.constant([-1e3, 1e3])), [-1.0, 2.0])


def test_acting_is_the_policys_own_and_not_its_targets():
    agent = agent_of(SMALL)
    s = tf.constant(np.random.default_rng(0).normal(size=(8, OBS)).astype(np.float32))
    before = agent.policy_action(s).numpy(), agent.policy_latent(s).numpy()
    agent.target_policy.set_weights([3 * w for w in agent.target_policy.get_weights()])
    np.testing.assert_array_equal(agent.policy_action(s), before[0])
    np.testing.assert_array_equal(agent.policy_latent(s), before[1])
    agent.policy.set_weights([3 * w for w in agent.policy.get_weights()])
    assert np.abs(agent.policy_action(s) - before[0]).max() > 1e-3


def test_random_numbers_of_a_step():
    """The right distributions, independent of each other, and the same eagerly and under XLA."""
    n = 4000
    for policy, uniform in {"tanh": (), "truncated_gaussian": ("value", "next_value", "policy")}.items():
        agent = agent_of(replace(SMALL, latent_policy=policy))
        noise = {k: v.numpy() for k, v in agent.draw(tf.constant([1, 2]), n).items()}
        compiled = tf.function(agent.draw, jit_compile=True)(tf.constant([1, 2]), n) if uniform else noise
        for name, values in noise.items():
            np.testing.assert_allclose(values, compiled[name], rtol=1e-5, atol=5e-5)
            mean, std = (0.5, 12**-0.5) if name in uniform else (0.0, 1.0)
            assert values.mean() == pytest.approx(mean, abs=4 * std / values.size**0.5)
            assert values.std() == pytest.approx(std, rel=0.03)
        columns = np.concatenate([*noise.values()], 1)
        correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
        assert np.abs(correlation).max() < 4.5 / n**0.5


def test_adam_against_numpy():
    """Several steps with gradients from huge to far below epsilon, where Keras' own Adam differs."""
    rng = np.random.default_rng(6)
    start = [rng.normal(size=(3, 4)), rng.normal(size=4)]
    scale = 10.0 ** rng.integers(-9, 3, (3, 4))
    gradients = [[scale * rng.normal(size=(3, 4)), 1e-8 * rng.normal(size=4)] for _ in range(7)]
    variables = [tf.Variable(w.astype(np.float32)) for w in start]
    optimizer = Adam(0.01)
    for step in gradients:
        optimizer.apply([tf.constant(g.astype(np.float32)) for g in step], variables)
    expected = adam(
        [np.float64(np.float32(w)) for w in start], [[np.float64(np.float32(g)) for g in s] for s in gradients], 0.01
    )
    for got, want, was in zip(variables, expected, start, strict=True):
        np.testing.assert_allclose(got.numpy() - was, want - was, rtol=1e-3, atol=1e-6)
        assert np.abs(want - was).max() > 0.01


def test_bfloat16_keeps_float32_weights_and_outputs():
    net = mlp(3, (16, 16), 2, seed=random.Random(0), name="net", precision="bfloat16")
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    out = net(x).numpy()
    exact = forward([w.astype(np.float64) for w in net.get_weights()], x)
    assert out.dtype == np.float32
    assert {w.dtype for w in net.weights} == {"float32"}
    np.testing.assert_allclose(out, exact, atol=0.02)
    assert np.abs(out - exact).max() > 1e-6  # it does compute in bfloat16


def test_the_papers_text_is_what_lapo_paper_is_by_default():
    assert CHOICES["paper"].items() <= vars(LAPOPaperConfig()).items()
    assert (
        vars(LAPOPaperConfig(**AUTHORS, weight="step"))
        == vars(LAPOConfig(critic_norm="none", latent_norm=math.inf)) | AUTHORS
    )


def test_draws_of_the_prior_are_not_shortened():
    """The decoder was trained on them, and the ablation of Figure 4 is about them."""
    config = replace(SMALL, latent_policy="prior", latent_norm=0.1)
    agent = LAPO(config, AgentSpec(OBS, ACT, Scaling.identity(OBS, ACT)))
    noise = tf.random.stateless_normal((5, agent.latent_dim), (1, 2))
    np.testing.assert_array_equal(agent.latent(None, tf.zeros((5, OBS)), noise), noise)
