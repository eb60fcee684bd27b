"""Evaluate a trained run in the simulator: `python -m lapo_tf.evaluate runs/maze2d-umaze/lapo/seed0 --video`.

Writes into RUN/evaluation, for the checkpoint of step N:

    step-N.json       the numbers below, and what they are numbers of
    step-N.npz        `returns`, `lengths`, `seeds` of every episode [episodes]
    step-N.mp4        with --video
    step-N-offline.json   with --offline: numbers on held-out episodes, explained in docs/metrics.md; nothing else then
    trajectories.png  of the first episodes, in mazes
    curve.png         the evaluations during training

`normalized_score` is 100 (return - min) / (max - min) with D4RL's reference scores; std is over the episodes; the
interval is a percentile bootstrap of the mean over episodes, so it says nothing of other training seeds.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import UserError, command, require

DESCRIPTION = """Run a trained policy in the simulator and write its scores, plots and, with --video, a film.

Needs only the run folder, not the data set. With --offline it is the other way round: no simulator, but the data."""


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
    offline: bool = False
    """Judge the policy on the episodes that were held out of its data, instead of in the simulator."""
    dataset: str | None = None
    """With --offline: other data to judge it on, all of whose episodes count."""
    out: Path | None = None
    """Folder to write to; default: RUN/evaluation."""


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
    args = parse(Args, description=DESCRIPTION)
    for name in ("episodes", "video_episodes"):
        require(getattr(args, name) >= 1, f"--{name.replace('_', '-')}", getattr(args, name), "at least 1")
    require(args.seed >= 0, "--seed", args.seed, "0 or more")
    if args.dataset is not None and not args.offline:
        raise UserError("--dataset is for --offline: a simulator needs none")
    if args.offline and args.video:
        raise UserError("--video needs a simulator: leave it or --offline out")
    if not args.run.is_dir():
        raise UserError(f"no such run folder: {args.run}; expected one like runs/<task>/<agent>/seed0")
    runtime.quiet()
    runtime.configure("xla")
    from lapo_tf.runs.evaluation import describe_offline, evaluate, evaluate_offline, write_numbers
    from lapo_tf.runs.film import check_video, record_video
    from lapo_tf.runs.run import load_run

    started = time.perf_counter()
    run = load_run(args.run, args.checkpoint)
    if run.note:
        print(run.note)
    if args.offline:
        numbers = evaluate_offline(run, args.dataset, progress=True)
        path = _writable(args.out or args.run / "evaluation") / f"step-{run.step}-offline.json"
        write_numbers(run, numbers, path, args.checkpoint, dataset=args.dataset)
        print(f"{describe_offline(run, numbers)}\nwritten: {path}")
        return
    if args.video:
        check_video(run)
    out = _writable(args.out or args.run / "evaluation")
    evaluation = evaluate(run, args.episodes, args.seed, progress=True)
    print(evaluation)
    evaluation.write(out, args.checkpoint)
    if args.video:
        film = out / f"step-{run.step}.mp4"
        record_video(run, film, args.video_episodes, rollout=evaluation.rollout, progress=True)
    print(
        f"{run.task.criterion.label} {evaluation.score:.1f} ± {evaluation.score_std:.1f} "
        f"over {args.episodes} episodes at step {run.step:,}, {time.perf_counter() - started:,.0f} s: {out}"
    )


if __name__ == "__main__":
    main()
