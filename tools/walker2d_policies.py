"""Trained the walkers that come along: python tools/walker2d_policies.py backward 600000 backward.npz [--seed 0]

SAC as `train_sac.py`, but by sbx, Stable-Baselines3's sibling in JAX, which makes several times as
many steps a second on a CPU. It brings tfp-nightly, which would take the place of the TFP that lapo_tf needs, so it
lives in an environment of its own:

python -m venv sbx && sbx/bin/pip install sbx-rl==0.28.0 torch "gymnasium[mujoco]==1.4.0" "mujoco<3.11"
PYTHONPATH=. XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0 sbx/bin/python tools/walker2d_policies.py ...
"""

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

LAYERS = {"Dense_0": "latent_pi.0", "Dense_1": "latent_pi.2", "Dense_2": "mu", "Dense_3": "log_std"}
REPORT_EVERY = 20_000  # steps


def save_actor(model: Any, path: Path) -> None:
    """Write the actor in the layout that `lapo_tf.data.collectors.actor` reads."""
    params = model.policy.actor_state.params
    params = params.get("params", params)
    arrays = {f"{name}.weight": np.asarray(params[layer]["kernel"]).T for layer, name in LAYERS.items()}
    arrays |= {f"{name}.bias": np.asarray(params[layer]["bias"]) for layer, name in LAYERS.items()}
    np.savez(path, **arrays)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goal", choices=["forward", "backward", "jump"])
    parser.add_argument("steps", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    from sbx import SAC
    from stable_baselines3.common.monitor import Monitor

    import lapo_tf.envs  # noqa: F401 (registers the environments)

    env = Monitor(gym.make(f"lapo/Walker2d{options.goal.capitalize()}-v0"))
    model = SAC("MlpPolicy", env, seed=options.seed, batch_size=options.batch_size)
    begun = time.monotonic()

    def after_step(*_: object) -> bool:
        if model.num_timesteps % REPORT_EVERY == 0:
            save_actor(model, options.out)
            returns, lengths = env.get_episode_rewards()[-20:], env.get_episode_lengths()[-20:]
            print(
                f"{model.num_timesteps:,} steps, {time.monotonic() - begun:,.0f} s: return {np.mean(returns):.0f}, "
                f"{np.mean(lengths):.0f} steps (last 20 episodes)",
                flush=True,
            )
        return True

    model.learn(options.steps, callback=after_step)
    save_actor(model, options.out)


if __name__ == "__main__":
    main()
