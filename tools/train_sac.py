"""Train a policy for the walker with SAC: `python tools/train_sac.py --goal backward`.

By Stable-Baselines3 (`pip install 'lapo-tf[sb3]'`), with its defaults. What it saves is what
`python -m lapo_tf.collect walker2d-mix-... --policy backward=FILE` takes. Every 20,000 steps and on Ctrl-C
it saves the policy so far and, beside it, the transitions seen (FILE.replay.pkl, 310 MB): `--resume` goes on from both,
with other random numbers than an uninterrupted run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import gymnasium as gym
import numpy as np

import lapo_tf.envs  # noqa: F401 (registers the environments)
from lapo_tf.errors import UserError, command, require
from lapo_tf.progress import progress_bar

SAVE_EVERY = 20_000  # steps


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--goal", choices=("forward", "backward", "jump"), required=True, help="what the walker shall do"
    )
    parser.add_argument(
        "--steps", type=int, default=1_000_000, help="environment steps, those before --resume included"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="transitions per update; 128 is a quarter faster")
    parser.add_argument("--seed", type=int, default=0, help="fixes weights and noise")
    parser.add_argument("--out", type=Path, help="file to write; default: walker2d-<goal>.zip")
    parser.add_argument("--resume", action="store_true", help="go on with --out, from the transitions beside it")
    return parser.parse_args()


def _learner(args: argparse.Namespace, out: Path, replay: Path) -> tuple[Any, Any]:
    """The SAC model, new or read from `out` and `replay`, and its environment."""
    # Stable-Baselines3 would load TensorBoard and so TensorFlow, beside which PyTorch aborted (2.15, 2.21).
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    try:
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.monitor import Monitor
    except ImportError:
        raise UserError("training a policy needs Stable-Baselines3: pip install 'lapo-tf[sb3]'") from None
    torch.set_num_threads(1)  # leaves the other cores to other goals
    env = Monitor(gym.make(f"lapo/Walker2d{args.goal.capitalize()}-v0"))
    if not args.resume:
        adam = {"optimizer_kwargs": {"fused": True}}
        return SAC("MlpPolicy", env, batch_size=args.batch_size, seed=args.seed, policy_kwargs=adam), env
    try:
        model = SAC.load(out, env=env, batch_size=args.batch_size)
        model.load_replay_buffer(replay)
    except (ValueError, KeyError, EOFError, RuntimeError, AttributeError, AssertionError, UnpicklingError, BadZipFile):
        raise UserError(f"{out} or {replay} is damaged or was not written by this command: begin anew") from None
    return model, env


@command
def main() -> None:
    """The command."""
    args = _options()
    require(args.steps >= 1, "--steps", args.steps, "1 or more")
    require(args.batch_size >= 1, "--batch-size", args.batch_size, "1 or more")
    out = args.out or Path(f"walker2d-{args.goal}.zip")
    if not out.suffix:  # Stable-Baselines3 would add it
        out = out.with_suffix(".zip")
    replay = out.with_suffix(".replay.pkl")
    if not args.resume and out.exists():
        raise UserError(f"{out} exists: go on with it by --resume, move it away, or give another --out")
    for needed in (out, replay) if args.resume else ():
        if not needed.exists():
            raise UserError(f"{needed} does not exist: nothing to resume; leave out --resume to begin anew")
    started = time.perf_counter()
    model, env = _learner(args, out, replay)
    begun = model.num_timesteps
    if args.steps <= begun:
        raise UserError(f"{out} has had {begun:,} steps: give a larger --steps than {args.steps:,} to go on")
    out.parent.mkdir(parents=True, exist_ok=True)
    bar = progress_bar(total=args.steps, initial=begun, unit="step", desc=args.goal)

    def save() -> None:
        for file, write in ((out, model.save), (replay, model.save_replay_buffer)):
            part = file.with_name(f".{file.name}")
            write(part)
            part.replace(file)

    def after_step(*_: object) -> bool:
        bar.update(model.num_timesteps - bar.n)
        if model.num_timesteps % SAVE_EVERY == 0:
            save()
            bar.set_postfix_str(f"return {np.mean(env.get_episode_rewards()[-10:]):.0f}")
        return True

    try:
        model.learn(args.steps - begun, callback=after_step, reset_num_timesteps=False)
    except KeyboardInterrupt:
        bar.close()
        print(f"interrupted after {model.num_timesteps:,} steps; the same command with --resume goes on")
    finally:
        bar.close()
    save()
    returns = env.get_episode_rewards()[-10:]
    mean = f"last {len(returns)} episodes: return {np.mean(returns):.0f}; " if returns else ""
    print(f"{mean}{model.num_timesteps - begun:,} steps in {time.perf_counter() - started:,.0f} s: {out}")


if __name__ == "__main__":
    main()
