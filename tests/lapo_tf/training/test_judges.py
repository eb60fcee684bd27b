"""Numbers on held-out episodes, against the same numbers in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from lapo_tf.agents import AGENTS, Agent, AgentSpec, Scaling
from lapo_tf.data import Episode, OfflineDataset, Source, from_episodes
from lapo_tf.training import judges, metrics
from lapo_tf.training.judges import HeldOut

OBS, ACT, EPISODES = 3, 2, 20


def data() -> OfflineDataset:
    """Episodes of different lengths; the two best are those whose actions are all 0.25."""
    rng = np.random.default_rng(0)
    episodes = []
    for number in range(EPISODES):
        length = 3 + number % 4
        best = number in (4, 11)
        actions = np.full((length, ACT), 0.25) if best else rng.uniform(-1, 1, (length, ACT))
        rewards = np.full(length, 100.0) if best else rng.normal(size=length)
        episodes.append(Episode(rng.normal(size=(length + 1, OBS)), actions, rewards, number % 3 == 0))
    return from_episodes(episodes, Source("made up"))


def agent(name: str) -> Agent:
    scaling = Scaling.identity(OBS, ACT, bound=1.0)
    return AGENTS[name](AGENTS[name].Config(hidden=(8, 8)), AgentSpec(OBS, ACT, scaling, seed=1))


@pytest.fixture(params=["lapo", "plas", "iql", "bc"])
def judged(request: pytest.FixtureRequest) -> tuple[Agent, OfflineDataset, dict[str, float]]:
    one, dataset = agent(request.param), data()
    return one, dataset, HeldOut(one, dataset).numbers()


def test_errors_of_actions(judged) -> None:
    one, dataset, numbers = judged
    values = dataset.transitions()
    errors = ((one.act(values["observations"]) - values["actions"]) ** 2).mean(axis=1)
    assert numbers["offline/action_error"] == pytest.approx(errors.mean(), rel=1e-4)
    best = (values["actions"] == 0.25).all(axis=1)
    assert numbers["offline/action_error_best"] == pytest.approx(errors[best].mean(), rel=1e-4)
    assert set(numbers) <= set(metrics.HELD_OUT)


def test_numbers_of_critics(judged) -> None:
    one, dataset, numbers = judged
    critics = {"offline/td_error", "offline/value_start", "offline/action_error_weighted"}
    if not hasattr(one, "q1"):
        assert not critics & set(numbers)
        return
    values = dataset.transitions()

    def q(observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        pair = np.concatenate([observations, actions], axis=1)
        return np.minimum(one.q1(pair), one.q2(pair))[:, 0]

    states, following = values["observations"], values["next_observations"]
    own, after = q(states, values["actions"]), q(following, one.policy_action(tf.constant(following)).numpy())
    value = q(states, one.policy_action(tf.constant(states)).numpy())
    target = values["rewards"] + one.config.discount * (1 - values["terminals"]) * after
    assert numbers["offline/td_error"] == pytest.approx(((target - own) ** 2).mean(), rel=1e-3)
    first = np.isin(dataset.index, dataset.episodes[:, 0])
    assert numbers["offline/value_start"] == pytest.approx(value[first].mean(), rel=1e-3, abs=1e-6)
    errors = ((one.act(states) - values["actions"]) ** 2).mean(axis=1)
    weight = np.exp(np.clip((own - value) / (own - value).std(), -5, 5))
    expected = (weight * errors).sum() / weight.sum()
    assert numbers["offline/action_error_weighted"] == pytest.approx(expected, rel=1e-3)


def test_numbers_of_latents(judged) -> None:
    one, dataset, numbers = judged
    latents = {"offline/unlike_data", "offline/latent_at_bound"}
    assert latents & set(numbers) == (latents if one.name in ("lapo", "plas") else set())
    if one.name == "lapo":
        states = tf.constant(dataset.transitions()["observations"])
        at_bound = np.abs(one.policy_latent(states)) >= 0.99 * one.config.latent_bound
        assert numbers["offline/latent_at_bound"] == pytest.approx(at_bound.mean())


def test_a_policy_that_takes_the_data_s_actions_is_like_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    one, dataset = agent("lapo"), data()
    held_out = HeldOut(one, dataset)
    batch = held_out._batch
    assert held_out.numbers()["offline/unlike_data"] <= 1
    monkeypatch.setattr(judges, "ROWS", len(dataset))
    monkeypatch.setattr(one, "policy_action", lambda observations: tf.constant(batch["actions"]))
    same = HeldOut(one, dataset)._rows({k: tf.constant(v, tf.float32) for k, v in batch.items()})
    assert float(tf.reduce_max(same["error"])) < 1e-10
    np.testing.assert_allclose(same["unlike"], same["unlike_own"], rtol=1e-5)
