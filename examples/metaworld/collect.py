"""Record scripted experts of Metaworld: few good episodes, many clumsy ones, and as many of another task's expert.

python collect.py
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from metaworld.policies import ENV_POLICY_MAP

from lapo_tf.data import Episode, write_dataset
from lapo_tf.tasks import load_task

OPERATORS = (  # whose expert, standard deviation of the noise on its actions, episodes
    ("drawer-open-v3", 0.1, 20),
    ("drawer-open-v3", 1.5, 80),
    ("drawer-close-v3", 0.3, 100),
)
TRIALS = 20  # episodes of random actions, and of the expert, whose mean returns are the scores 0 and 100


def record(env: Any, expert: str, noise: float, seed: int) -> tuple[Episode, bool]:
    """An episode of an expert with noise on its actions, and whether it ended in success."""
    rng, policy = np.random.default_rng(seed), ENV_POLICY_MAP[expert]()
    observations, actions, rewards, over = [env.reset(seed=seed)[0]], [], [], False
    while not over:
        action = policy.get_action(observations[-1]) + noise * rng.normal(size=4)
        actions.append(np.clip(action, -1.0, 1.0).astype(np.float32))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        observations.append(observation)
        rewards.append(reward)
        over = terminated or truncated
    return Episode(np.array(observations), np.array(actions), np.array(rewards), terminated), bool(info["success"])


def told(what: str, recorded: list[tuple[Episode, bool]]) -> None:
    """Print their mean return and success."""
    returns, successes = [np.sum(episode.rewards) for episode, _ in recorded], [good for _, good in recorded]
    print(f"{what}: return {np.mean(returns):.1f}, success {np.mean(successes):.0%} of {len(recorded)}", flush=True)


def main() -> None:
    """The command."""
    warnings.simplefilter("ignore")  # the experts ask for more than the bounds of actions
    task = load_task("drawer-open.yaml")
    env, episodes = task.make_env(), []
    for what, noise in (("random actions (score_min)", 1e6), ("the expert (score_max)", 0.0)):
        told(what, [record(env, "drawer-open-v3", noise, 10_000 + i) for i in range(TRIALS)])
    for expert, noise, count in OPERATORS:
        recorded = [record(env, expert, noise, len(episodes) + i) for i in range(count)]
        told(f"{expert}, noise {noise:g}", recorded)
        episodes += [episode for episode, _ in recorded]
    description = "scripted experts of drawer-open-v3 (noise 0.1 and 1.5) and drawer-close-v3 (0.3)"
    print(write_dataset(task.dataset, episodes, action_space=env.action_space, description=description))


if __name__ == "__main__":
    main()
