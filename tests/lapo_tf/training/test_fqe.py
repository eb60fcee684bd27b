"""Fitted Q evaluation against values that linear algebra gives exactly."""

from __future__ import annotations

import numpy as np
import pytest

from lapo_tf.agents import AGENTS, AgentSpec, Scaling
from lapo_tf.agents.fitted_q import FittedQConfig
from lapo_tf.data import Episode, OfflineDataset, Source, from_episodes
from lapo_tf.training.fqe import READINGS, FittedQEvaluation, policy_actions, returns_to_go

STATES, GAMMA = 6, 0.9
CONFIG = FittedQConfig(hidden=(32, 32), discount=GAMMA, learning_rate=1e-3)
UP = np.ones(STATES)  # always to the next state
WAIT = np.where(np.arange(STATES) < 2, 1.0, -1.0)  # goes on to state 2, which it then leaves and enters by turns


def step(state: int, action: float) -> tuple[int, float, bool]:
    """A chain: +1 goes up, -1 down; each state has its reward, and going up from the last one ends the episode."""
    reward = 10.0 * [0.0, 1.0, -2.0, 0.5, 0.0, 3.0][state] + (1.0 if action > 0 else 0.0)
    if action > 0 and state == STATES - 1:
        return state, reward, True
    return int(np.clip(state + np.sign(action), 0, STATES - 1)), reward, False


def true_values(policy: np.ndarray) -> np.ndarray:
    """V of a policy (an action for each state) [STATES], from (I - gamma P) V = r."""
    transition, rewards = np.zeros((STATES, STATES)), np.zeros(STATES)
    for state in range(STATES):
        after, rewards[state], ended = step(state, policy[state])
        if not ended:
            transition[state, after] = GAMMA
    return np.linalg.solve(np.eye(STATES) - transition, rewards)


def one_hot(states: list[int]) -> np.ndarray:
    return np.eye(STATES, dtype=np.float32)[states]


@pytest.fixture(scope="module")
def chain() -> OfflineDataset:
    """Episodes of a policy that chooses at random; most are cut off, some reach the end."""
    rng, episodes = np.random.default_rng(0), []
    for _ in range(120):
        states, actions, rewards, ended = [int(rng.integers(STATES))], [], [], False
        while not ended and len(actions) < 12:
            actions.append([rng.choice([-1.0, 1.0])])
            state, reward, ended = step(states[-1], actions[-1][0])
            states.append(state)
            rewards.append(reward)
        episodes.append(Episode(one_hot(states), actions, rewards, ended))
    return from_episodes(episodes, Source("chain"))


def act(policy: np.ndarray, observations: np.ndarray) -> np.ndarray:
    return policy[observations.argmax(axis=1)][:, None].astype(np.float32)


def test_two_policies_get_their_true_values(chain: OfflineDataset) -> None:
    assert 0 < chain.terminals.sum() < len(chain.episodes)  # both endings occur
    starts = one_hot(list(range(STATES)))
    fqe = FittedQEvaluation(chain, starts, CONFIG, steps=3_000, seed=0)
    values = {}
    for name, policy in (("up", UP), ("wait", WAIT)):
        values[name] = fqe.evaluate(act(policy, chain.observations), act(policy, starts))
        expected = true_values(policy)
        np.testing.assert_allclose(values[name].starts, expected, atol=0.04 * np.abs(expected).max())
        assert values[name].mean == values[name].readings[-1] == pytest.approx(np.mean(values[name].critics))
        assert abs(values[name].drift) < 0.05 * np.ptp(expected)
    again = fqe.evaluate(act(UP, chain.observations), act(UP, starts))
    np.testing.assert_array_equal(again.starts, values["up"].starts)  # not touched by the one between


def test_values_stay_within_what_rewards_can_add_up_to(chain: OfflineDataset) -> None:
    """A policy whose actions no data are near to."""
    starts = one_hot([0, 3])
    far = np.full((len(chain.observations), 1), 1e4, np.float32)
    value = FittedQEvaluation(chain, starts, CONFIG, steps=200, seed=0).evaluate(far, far[:2])
    rewards = chain.rewards[chain.index]
    assert (value.starts >= rewards.min() / (1 - GAMMA) - 1e-3).all()
    assert (value.starts <= rewards.max() / (1 - GAMMA) + 1e-3).all()


def test_steps_are_told_and_seeds_matter(chain: OfflineDataset) -> None:
    starts, told = one_hot([0]), []
    numbers = []
    for seed in (0, 0, 1):
        fqe = FittedQEvaluation(chain, starts, CONFIG, steps=37, seed=seed)
        numbers.append(fqe.evaluate(act(UP, chain.observations), act(UP, starts), told.append).readings)
    assert len(told) == 3 * READINGS
    assert sum(told) == 3 * 37
    np.testing.assert_array_equal(numbers[0], numbers[1])
    assert (numbers[0] != numbers[2]).all()


def test_returns_to_go(chain: OfflineDataset) -> None:
    result = returns_to_go(chain, GAMMA)
    row = 0
    for first, length in chain.episodes:
        for i in range(length):
            later = chain.rewards[first + i : first + length].astype(float)
            assert result[row] == pytest.approx((later * GAMMA ** np.arange(len(later))).sum())
            row += 1
    assert row == len(result)


@pytest.mark.parametrize("name", ["lapo", "bcq", "td3-bc"])
def test_actions_of_many_observations_are_those_of_acting(name: str) -> None:
    scaling = Scaling.identity(3, 2, bound=0.1)
    agent = AGENTS[name](AGENTS[name].Config(hidden=(8, 8)), AgentSpec(3, 2, scaling, seed=1))
    observations = np.random.default_rng(0).normal(size=(5_000, 3)).astype(np.float32)
    actions = policy_actions(agent, observations)
    assert np.abs(actions).max() <= 0.1
    np.testing.assert_allclose(actions, agent.act(observations), atol=1e-6)
