"""What each difference between D4RL's kitchen and FrankaKitchen-v1 does to the scores of trained policies.

python tools/kitchen_differences.py RUN [RUN ...] [--step N]     # last checkpoints, or those of step N

Prints a Markdown table: one line per run, one column per setting, mean score of 20 episodes. Velocities are no setting:
gymnasium's `reset` clears them (1.4; FrankaKitchen's own code would keep them).
"""

import argparse
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

EPISODES, LIMIT = 20, 280
SETTINGS: dict[str, dict[str, Any]] = {
    "D4RL's": {},
    "noise: FrankaKitchen's": {"noise": "franka"},
    "noise: none": {"noise": "none"},
    "objects start at zero": {"object_start": "zero"},
    "reward from true state": {"reward_from": "true"},
    "FrankaKitchen's noise, reward from true state": {"noise": "franka", "reward_from": "true"},
}


def make_env(**options: Any) -> gym.Env:
    """The kitchen of the paper with `options`, ended after 280 steps as the registered one is."""
    from gymnasium.wrappers import TimeLimit

    from lapo_tf.envs.kitchen import KitchenEnv

    return TimeLimit(KitchenEnv(**options), LIMIT)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--step", type=int, help="of the checkpoints; default: the last")
    options = parser.parse_args()
    from lapo_tf import load_run, runtime
    from lapo_tf.training.rollout import Evaluator

    runtime.quiet()
    runtime.configure("xla")
    print("| run, step | " + " | ".join(SETTINGS) + " |\n|" + "---|" * (len(SETTINGS) + 1))
    every = []
    for folder in options.runs:
        run, row = load_run(folder, options.step), []
        for setting in SETTINGS.values():
            evaluator = Evaluator(partial(make_env, **setting), EPISODES, 10)
            row.append(run.task.normalized(evaluator.run(run.policy, seed=0).returns).mean())
            evaluator.close()
        every.append(row)
        name = f"{run.config.agent_config.latent_policy}, seed {run.config.seed}, {run.step:,}"
        print(f"| {name} | " + " | ".join(f"{score:.1f}" for score in row) + " |", flush=True)
    print("| mean | " + " | ".join(f"{score:.1f}" for score in np.mean(every, 0)) + " |")


if __name__ == "__main__":
    main()
