"""What every agent must do, whatever its algorithm; its own losses are checked in `test_lapo` and `test_baselines`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from places import ROOT

from lapo_tf.agents import AGENTS, Agent, AgentSpec, LatentAgent
from lapo_tf.data import Episode, OfflineDataset, Source, from_episodes
from lapo_tf.errors import UserError
from lapo_tf.training import metrics
from lapo_tf.training.loop import TrainingLoop, scaling_of

OBS, ACT, BATCH = 2, 2, 128
LOW, HIGH = np.float32([-1.0, -2.0]), np.float32([1.0, 2.0])
RATES = {"critic_learning_rate": 3e-3, "policy_learning_rate": 3e-3}
SMALL = {"hidden": (32, 24), "polyak": 0.05}
VAE = {"vae_learning_rate": 3e-3}
VARIANTS = {
    "lapo": {**RATES, **VAE, "kl_weight": 0.1},
    "lapo:prior": {**RATES, **VAE, "latent_policy": "prior", "kl_weight": 0.1},
    "lapo-paper": {**RATES, **VAE, "kl_weight": 0.1, "temperature": 0.2},
    "bc": {"policy_learning_rate": 3e-3},
    "bcq": {**RATES, **VAE, "vae_hidden": (32,), "act_samples": 20, "latent_clip": 1.5, "kl_weight": 0.1},
    "plas": {
        **RATES,
        **VAE,
        "vae_hidden": (32,),
        "perturbation": 0.05,
        "kl_weight": 0.1,
        "vae_steps": 300,
        "latent_bound": 1.0,
    },
    "awac": {**RATES, "temperature": 0.2},
    "awac:gmm": {**RATES, "policy": "gmm", "components": 3, "temperature": 0.2},
    "iql": {**RATES, "temperature": 5.0, "dropout": 0.1, "decay_steps": 10_000, "value_learning_rate": 3e-3},
    "td3-bc": {**RATES, "alpha": 0.5},
    "cql": {**RATES, "samples": 4, "bc_steps": 5},
    "cql:fixed": {**RATES, "samples": 4, "lagrange": False, "penalty": 0.1},
}
COMPILED = [name for name in VARIANTS if name not in ("lapo:prior", "cql:fixed")]
"""Those that are trained under XLA, too: compiling takes long."""


def bandit() -> OfflineDataset:
    """One step each. Half of the actions are near (0.5, s_0 / 2) and earn 1, half near (-0.5, s_0 / 2) and earn 0."""
    rng = np.random.default_rng(0)
    episodes = []
    for number in range(1000):
        s, good = rng.uniform(-1, 1, (2, OBS)), number % 2
        a = np.array([0.5 if good else -0.5, s[0, 0] / 2]) + 0.05 * rng.normal(size=ACT)
        episodes.append(Episode(s, a[None], [float(good)], True))
    return from_episodes(episodes, Source("bandit"))


def build(name: str, compile: str = "eager", seed: int = 0) -> TrainingLoop:
    data, kind = bandit(), AGENTS[name.split(":")[0]]
    config = kind.Config(**SMALL | VARIANTS[name])
    scaling = scaling_of(data, LOW, HIGH, config, kind.action_units)
    agent = kind(config, AgentSpec(OBS, ACT, scaling, seed=seed))  # type: ignore[arg-type]
    return TrainingLoop(agent, data, batch_size=BATCH, seed=seed, compile=compile)  # type: ignore[arg-type]


def values(variables) -> list[np.ndarray]:
    return [v.numpy() for v in variables]


def states(seed: int = 3, n: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, OBS)).astype(np.float32)


# One step -------------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """One eager step of an agent, with its weights before and after."""

    agent: Agent
    metrics: dict[str, float]
    before: dict[int, np.ndarray]

    def changed(self, variable) -> bool:
        return not np.array_equal(self.before[id(variable)], variable.numpy())


@pytest.fixture(scope="module", params=VARIANTS)
def step(request) -> Step:
    loop = build(request.param)
    loop.run(1)  # Adam's first step moves no weight whose gradient is zero; and CQL and PLAS are then in their course
    agent = loop.agent
    if request.param == "plas":
        agent.vae_optimizer.iterations.assign(agent.config.vae_steps - 1)
        loop.run(1)
    before = {id(w): w.numpy() for w in agent.weights}
    metrics = agent.update(loop.sample(tf.constant([4, 5])), tf.constant([6, 7]))
    return Step(agent, {k: float(v) for k, v in metrics.items()}, before)


def test_metrics_are_finite_and_explained(step):
    assert set(step.metrics) == set(step.agent.metric_names)
    assert min(len(text) for text in step.agent.METRICS.values()) > 10
    assert all(np.isfinite(v) for v in step.metrics.values()), step.metrics


def test_the_page_of_metrics_is_up_to_date(monkeypatch):
    monkeypatch.delitem(AGENTS, "clone", raising=False)  # an agent of the tests' own
    assert (ROOT / "docs/metrics.md").read_text() == metrics.page()


def test_a_step_changes_what_it_should(step):
    """Every trained variable, and no other but the targets."""
    agent = step.agent
    targets = [w for target, _, _ in agent.targets for w in target.weights]
    trained = {id(v): v for o in vars(agent).values() if hasattr(o, "update_step") for v in o._trainable_variables}
    assert trained
    idle = set()
    if type(agent).__name__ == "PLAS":  # its VAE is frozen by now
        idle = {id(w) for net in (agent.encoder, agent.decoder) for w in net.weights}
    for variable in agent.weights:
        expected = (id(variable) in trained and id(variable) not in idle) or any(variable is t for t in targets)
        assert step.changed(variable) == expected, variable.path
    assert all(any(w is v for v in agent.weights) for w in trained.values())


def test_targets_follow_exactly(step):
    for target, online, tau in step.agent.targets:
        for new, weight in zip(target.weights, online.weights, strict=True):
            old = step.before[id(new)]
            np.testing.assert_array_equal(new.numpy(), old + np.float32(tau) * (weight.numpy() - old))


def test_one_seed_gives_one_step():
    """Equal seeds, equal numbers; other seeds, others."""
    for name in VARIANTS:
        agent = build(name).agent
        first, same, other = (agent.draw(tf.constant([1, k]), 8) for k in (2, 2, 3))
        for key in first:
            np.testing.assert_array_equal(first[key], same[key])
            assert not np.array_equal(first[key], other[key])


# Acting ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_acting(name, tmp_path):
    agent = build(name).agent
    for weight in agent.weights:  # far from its first weights, so that bounds are met
        weight.assign(1.7 * weight.numpy())
    observations = 3 * states()
    actions = agent.act(observations)
    assert actions.shape == (40, ACT)
    assert actions.dtype == np.float32
    assert np.all((actions >= LOW) & (actions <= HIGH))
    assert np.abs(actions - actions[0]).max() > 1e-3
    np.testing.assert_array_equal(actions, agent.act(observations))
    for number in (0, 17, 39):
        np.testing.assert_array_equal(agent.act(observations[number]), actions[number])
    np.testing.assert_array_equal(agent.act(observations[5:9]), actions[5:9])

    generated, same, other = (agent.generate(tf.constant(observations), tf.constant([1, k])).numpy() for k in (2, 2, 3))
    assert np.all((generated >= LOW) & (generated <= HIGH))
    np.testing.assert_array_equal(generated, same)
    assert np.array_equal(generated, other) == (name in ("bc", "td3-bc"))  # they have no generative model

    path = tf.train.Checkpoint(agent=agent).write(str(tmp_path / "agent"))
    again = build(name, seed=0 if name == "bcq" else 1).agent  # BCQ's proposals belong to the seed, which a run keeps
    assert not np.array_equal(again.act(observations), actions)
    tf.train.Checkpoint(agent=again).read(path).expect_partial().assert_existing_objects_matched()
    np.testing.assert_array_equal(again.act(observations), actions)


def test_bad_observations_are_refused():
    agent = build("bc").agent
    good = states()
    for bad, message in (
        (good[:, :1], r"shape \(40, 1\): expected \[2\], or \[B, 2\] of B"),
        (good[None], r"shape \(1, 40, 2\)"),
        (np.float32(3), r"shape \(\)"),
        (np.where(good == good[7, 1], np.nan, good), r"observations\[7, 1\] is nan: expected finite"),
        (np.array([0.0, 1e40]), r"observations\[1\] is inf"),
    ):
        with pytest.raises(UserError, match=message):
            agent.act(bad)


# Training under XLA ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if ":" in n else []) for n in COMPILED])
def test_training(name, tmp_path):
    """XLA does what eager mode does; a resumed run continues to the last bit; the bandit is solved."""
    loop, eager = build(name, "xla"), build(name)
    loop.run(1)
    eager.run(1)
    expected, metrics = eager.pop_metrics(), loop.pop_metrics()
    assert metrics.keys() == expected.keys()
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, rel=2e-3, abs=2e-4), key
    for ours, theirs in zip(values(loop.agent.weights), values(eager.agent.weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)

    checkpoint = tf.train.Checkpoint(loop=loop)
    loop.run(3)
    path = checkpoint.write(str(tmp_path / "state"))
    loop.run(4)
    whole = loop.snapshot()
    loop.run(2)
    checkpoint.read(path).assert_existing_objects_matched()
    loop.run(4)
    for a, b in zip(loop.snapshot(), whole, strict=True):
        np.testing.assert_array_equal(a, b)

    loop.pop_metrics()
    loop.run(1000)
    assert all(np.isfinite(v) for v in loop.pop_metrics().values())
    s = states()
    actions = loop.agent.act(s)
    error = np.abs(actions - np.stack([np.full(len(s), 0.0 if name == "bc" else 0.5), s[:, 0] / 2], -1))
    assert np.all(error.mean(0) < 0.15), error.mean(0)
    assert np.all(error < 0.4), error.max(0)  # clones stay near 0, halfway between both modes


# Configuration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "clone"])
def test_bad_hyper_parameters(name):
    config = AGENTS[name].Config
    bad = {"hidden": (0,), "discount": 1.0, "polyak": 0.0, "policy_learning_rate": -1.0, "reward_scale": 0.0}
    for field, value in bad.items():
        with pytest.raises(UserError, match=rf"{name}\.{field}"):
            config(**{field: value})


def test_schedules_follow_the_length_of_the_run():
    """As the authors' 1 million steps had them; a value that is given stays."""
    lengths = {"plas": ("vae_steps", 500_000), "iql": ("decay_steps", 1_000_000), "cql": ("bc_steps", 40_000)}
    for name, (field, published) in lengths.items():
        config = AGENTS[name].Config
        assert getattr(config().for_run(1_000_000), field) == published
        assert getattr(config().for_run(20_000), field) == published // 50
        assert getattr(config(**{field: 7}).for_run(20_000), field) == 7


def test_latents():
    """The policy of an agent with a latent space acts through its decoder."""
    rows, some = states(n=6), 0
    for name in VARIANTS:
        agent = build(name).agent
        if isinstance(agent, LatentAgent):
            some += 1
            s = agent.scale_observation(tf.constant(rows))
            z = agent.policy_latent(s)
            assert z.shape == (6, agent.latent_dim)
            assert agent.encode(s, agent.policy_action(s)).shape == z.shape
            reach = getattr(agent.config, "perturbation", 0.0)
            np.testing.assert_allclose(agent.decode(s, z), agent.policy_action(s), atol=reach + 1e-5)
    assert some == 5
