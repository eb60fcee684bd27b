"""What each difference between D4RL's kitchen and FrankaKitchen-v1 does to the scores of trained policies.

python docs/kitchen_differences.py RUN [RUN ...]     # their last checkpoints, 20 episodes in each setting

Prints a Markdown table: one line per run, one column per setting, mean normalized score. Velocities are no setting:
gymnasium's `reset` clears them (1.4; FrankaKitchen's own code would keep them).
"""

import sys

import numpy as np

from lapo_tf import load_run, runtime
from lapo_tf.envs.kitchen import KitchenEnv
from lapo_tf.training.rollout import Evaluator

EPISODES, LIMIT = 20, 280
SETTINGS = {
    "D4RL's": {},
    "noise: FrankaKitchen's": {"noise": "franka"},
    "noise: none": {"noise": "none"},
    "objects start at zero": {"object_start": "zero"},
    "reward from true state": {"reward_from": "true"},
    "FrankaKitchen's noise, reward from true state": {"noise": "franka", "reward_from": "true"},
}


def make_env(**options):
    """The kitchen of the paper with `options`, ended after 280 steps as the registered one is."""
    from gymnasium.wrappers import TimeLimit

    return TimeLimit(KitchenEnv(**options), LIMIT)


runtime.quiet()
runtime.configure("xla")
print("| run, step | " + " | ".join(SETTINGS) + " |\n|" + "---|" * (len(SETTINGS) + 1))
every = []
for folder in sys.argv[1:]:
    run, row = load_run(folder), []
    for options in SETTINGS.values():
        evaluator = Evaluator(lambda options=options: make_env(**options), EPISODES, 10)
        row.append(run.task.normalized(evaluator.run(run.policy, seed=0).returns).mean())
        evaluator.close()
    every.append(row)
    name = f"{run.config.agent_config.latent_policy}, seed {run.config.seed}, {run.step:,}"
    print(f"| {name} | " + " | ".join(f"{score:.1f}" for score in row) + " |", flush=True)
print("| mean | " + " | ".join(f"{score:.1f}" for score in np.mean(every, 0)) + " |")
