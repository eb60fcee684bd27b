"""Train a policy for the walker with SAC: `python -m lapo_tf.data.collectors.train_sac --goal backward`.

By Stable-Baselines3 (`pip install 'lapo-tf[sb3]'`), with its defaults. What it saves is what
`python -m lapo_tf.collect walker2d-mix-... --policy backward=FILE` takes. The policy so far is saved every 20,000
steps.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
from tqdm.auto import tqdm

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command, require

SAVE_EVERY = 20_000  # steps


@dataclass
class Args:
    """Options of the command."""

    goal: Literal["forward", "backward", "jump"]
    """What the walker shall do."""
    steps: int = 1_000_000
    """Environment steps."""
    batch_size: int = 256
    """Transitions per update. Half as many make a step about a quarter shorter on a CPU."""
    seed: int = 0
    """Fixes weights and noise."""
    out: Path | None = None
    """File to write; default: walker2d-<goal>.zip."""


@command
def main() -> None:
    """The command."""
    args = parse(Args, description=(__doc__ or ""))
    require(args.steps >= 1, "--steps", args.steps, "1 or more")
    require(args.batch_size >= 1, "--batch-size", args.batch_size, "1 or more")
    # Stable-Baselines3 would load TensorBoard and so TensorFlow, beside which PyTorch aborted (2.15, 2.21).
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    try:
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.monitor import Monitor
    except ImportError:
        raise UserError("training a policy needs Stable-Baselines3: pip install 'lapo-tf[sb3]'") from None
    out = args.out or Path(f"walker2d-{args.goal}.zip")
    if not out.suffix:  # Stable-Baselines3 would add it
        out = out.with_suffix(".zip")
    if out.exists():
        raise UserError(f"{out} exists: move it away, or give another --out")
    torch.set_num_threads(1)  # leaves the other cores to other goals
    started = time.perf_counter()
    env = Monitor(gym.make(f"lapo/Walker2d{args.goal.capitalize()}-v0"))
    model = SAC(
        "MlpPolicy",
        env,
        batch_size=args.batch_size,
        seed=args.seed,
        policy_kwargs={"optimizer_kwargs": {"fused": True}},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=args.steps, unit="step", desc=args.goal, dynamic_ncols=True)

    def save() -> None:
        part = out.with_name(f".{out.name}")
        model.save(part)
        part.replace(out)

    def after_step(*_: object) -> bool:
        bar.update(model.num_timesteps - bar.n)
        if model.num_timesteps % SAVE_EVERY == 0:
            save()
            bar.set_postfix_str(f"return {np.mean(env.get_episode_rewards()[-10:]):.0f}")
        return True

    try:
        model.learn(args.steps, callback=after_step)
    except KeyboardInterrupt:
        print(f"interrupted after {model.num_timesteps:,} steps; what was learned so far is saved")
    finally:
        bar.close()
    save()
    returns = env.get_episode_rewards()[-10:]
    mean = f"last {len(returns)} episodes: return {np.mean(returns):.0f}; " if returns else ""
    print(f"{mean}{model.num_timesteps:,} steps in {time.perf_counter() - started:,.0f} s: {out}")


if __name__ == "__main__":
    main()
