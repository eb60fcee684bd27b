"""Evaluate a trained run in the simulator: `python -m lapo_tf.evaluate runs/maze2d-umaze/lapo/seed0 --video`.

Writes into RUN/evaluation, for the checkpoint of step N:

    step-N.json       the numbers below, and what they are numbers of
    step-N.npz        `returns`, `lengths`, `seeds` of every episode [episodes]
    step-N.mp4        with --video
    trajectories.png  of the first episodes, in mazes
    curve.png         the evaluations during training

`normalized_score` is 100 (return - min) / (max - min) with D4RL's reference scores; std is over the episodes; the
interval is a percentile bootstrap of the mean over episodes, so it says nothing of other training seeds.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro

from lapo_tf.errors import UserError, command

if TYPE_CHECKING:
    from lapo_tf.run import Rollout, Run

DESCRIPTION = """Run a trained policy in the simulator and write its scores, plots and, with --video, a film.

Needs only the run folder, not the data set."""

TRAJECTORIES = 20  # in trajectories.png


@dataclass(frozen=True)
class Args:
    """Options of the command."""

    run: tyro.conf.Positional[Path]
    """The run folder, e.g. runs/maze2d-umaze/lapo/seed0."""
    episodes: int = 100
    """Episodes to run."""
    checkpoint: str = "last"
    """Which weights: last, best (of the evaluations during training; its score is biased upwards), or a step."""
    seed: int = 0
    """Episode i is reset with seed + i. Training's own evaluations use other seeds, from 1,000,003 up."""
    video: bool = False
    """Film some of the episodes."""
    video_episodes: int = 3
    """How many, from the first on."""
    out: Path | None = None
    """Folder to write to; default: RUN/evaluation."""


def summarize(run: Run, rollout: Rollout) -> dict[str, float]:
    """The numbers of an evaluation, by the names that `metrics.csv` uses where it has them.

    The kitchen adds `elements/<k>_done`, the share of episodes that completed exactly k of its elements, and
    `success/<element>`; mazes add `success/goal`, the share of episodes that were near the goal at least once.
    """
    low, high = bootstrap_interval(rollout.scores)
    numbers = {
        "eval/normalized_score": float(rollout.scores.mean()),
        "eval/normalized_score_std": float(rollout.scores.std()),
        "eval/normalized_score_low": low,
        "eval/normalized_score_high": high,
        "eval/return": float(rollout.returns.mean()),
        "eval/return_std": float(rollout.returns.std()),
        "eval/episode_length": float(rollout.lengths.mean()),
        "eval/episode_length_std": float(rollout.lengths.std()),
    }
    n = len(rollout.returns)
    if elements := _elements(run):
        done = [info["episode_task_completions"] for info in rollout.infos]
        count = Counter(map(len, done))
        numbers |= {f"elements/{k}_done": count[k] / n for k in range(len(elements) + 1)}
        numbers |= {f"success/{name}": sum(name in names for names in done) / n for name in elements}
    elif is_maze(run):
        numbers["success/goal"] = float((rollout.returns > 0).mean())
    return numbers


def bootstrap_interval(values: np.ndarray, level: float = 0.95, resamples: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [n]; always the same for the same values."""
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def describe(run: Run, rollout: Rollout, numbers: dict[str, float]) -> str:
    """An evaluation in a few lines for people."""
    get = numbers.__getitem__
    paper = run.task.paper.get(run.config.agent)
    data = run.data()
    lines = [
        f"run          {run.config.agent} on {run.task.name}, step {run.step:,}, seed {run.config.seed}",
        f"data set     {data.get('id')} ({data.get('provenance')})",
        f"score        {get('eval/normalized_score'):.1f} ± {get('eval/normalized_score_std'):.1f} over "
        f"{len(rollout.returns)} episodes; 95 % interval of the mean {get('eval/normalized_score_low'):.1f} to "
        f"{get('eval/normalized_score_high'):.1f}" + (f"; the paper's {paper:.1f}" if paper is not None else ""),
        f"return       {get('eval/return'):.4g} ± {get('eval/return_std'):.3g}",
        f"length       {get('eval/episode_length'):.4g} ± {get('eval/episode_length_std'):.3g} steps",
    ]
    percent = lambda name: f"{100 * numbers[name]:.0f} %"  # noqa: E731
    if elements := _elements(run):
        shares = ", ".join(f"{k} in {percent(f'elements/{k}_done')}" for k in reversed(range(len(elements) + 1)))
        lines.append(f"completed    {shares} of the episodes")
        lines.append("elements     " + ", ".join(f"{name} {percent(f'success/{name}')}" for name in elements))
    else:
        least, q1, median, q3, most = np.quantile(rollout.scores, (0, 0.25, 0.5, 0.75, 1))
        lines.append(f"scores       min {least:.1f}, quartiles {q1:.1f} / {median:.1f} / {q3:.1f}, max {most:.1f}")
    if "success/goal" in numbers:
        lines.append(f"goal         reached in {percent('success/goal')} of the episodes")
    return "\n".join(lines)


def write(run: Run, rollout: Rollout, numbers: dict[str, float], out: Path, checkpoint: str) -> None:
    """Write `step-N.json`, `step-N.npz` and the plots into `out`."""
    from matplotlib.figure import Figure

    from lapo_tf import plotting
    from lapo_tf.training.run_folder import PACKAGES, replacing

    values = {
        "task": run.task.name,
        "agent": run.config.agent,
        "seed": run.config.seed,
        "run": str(run.path.resolve()),
        "checkpoint": checkpoint,
        "step": run.step,
        "episodes": len(rollout.returns),
        "first_episode_seed": int(rollout.seeds[0]),
        "metrics": numbers,
        "paper_score": run.task.paper.get(run.config.agent),
        "data": {k: run.data().get(k) for k in ("id", "provenance", "sha256", "minari_version")},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    with replacing(out / f"step-{run.step}.json") as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
    with replacing(out / f"step-{run.step}.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, returns=rollout.returns, lengths=rollout.lengths, seeds=rollout.seeds)

    def save(figure: Figure, name: str) -> None:
        with replacing(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=150)

    if run.metrics():
        figure = Figure((6.0, 3.6), layout="constrained")
        ax = plotting.plot_curves(run, ax=figure.add_subplot(), paper=True)
        ax.set_title(f"{run.task.name}, {run.config.agent}, seed {run.config.seed}", fontsize="medium")
        save(figure, "curve.png")
    if is_maze(run):
        figure = Figure((5.0, 5.0), layout="constrained")
        paths = rollout.observations[:TRAJECTORIES]
        plotting.plot_maze_trajectories((maze_of(run), paths), figure.add_subplot())
        figure.suptitle(f"{run.task.name}, {run.config.agent}, step {run.step:,}", fontsize="medium")
        save(figure, "trajectories.png")


def is_maze(run: Run) -> bool:
    """Whether the run's task is a Maze2d."""
    return run.task.name.startswith("maze2d-")


def maze_of(run: Run) -> str:
    """The maze's name in `lapo_tf.envs.maze2d.MAPS`."""
    return run.task.name.removeprefix("maze2d-")


def _elements(run: Run) -> tuple[str, ...]:
    """The kitchen elements that the run's task asks for; none in other tasks."""
    import gymnasium as gym

    return tuple(gym.spec(run.task.env_id).kwargs.get("tasks_to_complete", ()))


def _check(args: Args) -> None:
    for name in ("episodes", "video_episodes"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(args, name)}: expected at least 1")
    if args.seed < 0:
        raise UserError(f"--seed is {args.seed}: expected 0 or more")
    if not args.run.is_dir():
        raise UserError(f"no such run folder: {args.run}; expected one like runs/<task>/<agent>/seed0")


def _writable(out: Path) -> Path:
    """`out` as an existing folder, tried before the long work begins."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({os.strerror(error.errno or 0)}): give another folder with --out"
        ) from None
    return out


@command
def main() -> None:
    """The command."""
    from lapo_tf import runtime, video
    from lapo_tf.cli import parse

    args = parse(Args, description=DESCRIPTION)
    _check(args)
    runtime.quiet()
    runtime.configure("xla")
    from lapo_tf.run import load_run

    started = time.perf_counter()
    run = load_run(args.run, args.checkpoint)
    if run.note:
        print(run.note)
    if args.video:
        video.check_video(run)
    out = _writable(args.out or args.run / "evaluation")
    rollout = run.rollout(args.episodes, args.seed, progress=True)
    numbers = summarize(run, rollout)
    print(describe(run, rollout, numbers))
    write(run, rollout, numbers, out, args.checkpoint)
    if args.video:
        film = out / f"step-{run.step}.mp4"
        video.record_video(run, film, args.video_episodes, rollout=rollout, progress=True)
    print(
        f"normalized score {numbers['eval/normalized_score']:.1f} ± {numbers['eval/normalized_score_std']:.1f} "
        f"over {args.episodes} episodes at step {run.step:,}, {time.perf_counter() - started:,.0f} s: {out}"
    )


if __name__ == "__main__":
    main()
