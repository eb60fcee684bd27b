"""A policy's score in the simulator, as numbers, words and files.

evaluation = evaluate("runs/maze2d-umaze/lapo/seed0", episodes=100)
print(evaluation)
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lapo_tf.plots.curves import plot_curves
from lapo_tf.plots.mazes import plot_maze_trajectories
from lapo_tf.runs.run import Rollout, Run, load_run
from lapo_tf.training.run_folder import PACKAGES, replacing

TRAJECTORIES = 20  # in trajectories.png


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; printing it gives a few lines for people."""

    run: Run
    rollout: Rollout
    numbers: dict[str, float]
    """See `summarize`."""

    @property
    def score(self) -> float:
        """Mean normalized score."""
        return self.numbers["eval/normalized_score"]

    def __str__(self) -> str:
        return _describe(self.run, self.rollout, self.numbers)

    def write(self, out: Path, checkpoint: str | None = None) -> None:
        """Write `step-N.json`, `step-N.npz` and the plots into the folder `out`.

        Args:
            out: an existing folder.
            checkpoint: how the weights were chosen (last, best); default: by their step.
        """
        _write(self.run, self.rollout, self.numbers, out, checkpoint or str(self.run.step))


def evaluate(run: Run | Path | str, episodes: int = 100, seed: int = 0, *, progress: bool = False) -> Evaluation:
    """Run the policy in its task's simulator.

    Args:
        run: from `load_run`, or its folder (then its last checkpoint counts).
        episodes: how many.
        seed: episode i is reset with `seed + i`. Training's own evaluations use other seeds, from 1,000,003 up.
        progress: show a bar of the steps.

    Raises:
        UserError: no run there.
    """
    run = run if isinstance(run, Run) else load_run(run)
    rollout = run.rollout(episodes, seed, progress=progress)
    return Evaluation(run, rollout, summarize(run, rollout))


def summarize(run: Run, rollout: Rollout) -> dict[str, float]:
    """The numbers of an evaluation, by the names that `metrics.csv` uses where it has them.

    A family of tasks adds its own, see `lapo_tf.tasks.Task.success_numbers`.
    """
    low, high = bootstrap_interval(rollout.scores)
    return {
        "eval/normalized_score": float(rollout.scores.mean()),
        "eval/normalized_score_std": float(rollout.scores.std()),
        "eval/normalized_score_low": low,
        "eval/normalized_score_high": high,
        "eval/return": float(rollout.returns.mean()),
        "eval/return_std": float(rollout.returns.std()),
        "eval/episode_length": float(rollout.lengths.mean()),
        "eval/episode_length_std": float(rollout.lengths.std()),
        **run.task.success_numbers(rollout.returns, rollout.infos),
    }


def bootstrap_interval(values: np.ndarray, level: float = 0.95, resamples: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [n]; always the same for the same values."""
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _describe(run: Run, rollout: Rollout, numbers: dict[str, float]) -> str:
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
    least, q1, median, q3, most = np.quantile(rollout.scores, (0, 0.25, 0.5, 0.75, 1))
    lines.append(f"scores       min {least:.1f}, quartiles {q1:.1f} / {median:.1f} / {q3:.1f}, max {most:.1f}")
    return "\n".join(lines + run.task.describe(numbers))


def _write(run: Run, rollout: Rollout, numbers: dict[str, float], out: Path, checkpoint: str) -> None:
    """Write `step-N.json`, `step-N.npz` and the plots into `out`."""
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
        ax = plot_curves(run, ax=figure.add_subplot(), paper=run.task.paper.get(run.config.agent))
        ax.set_title(f"{run.task.name}, {run.config.agent}, seed {run.config.seed}", fontsize="medium")
        save(figure, "curve.png")
    if (maze := run.task.maze) is not None:
        figure = Figure((5.0, 5.0), layout="constrained")
        paths = rollout.observations[:TRAJECTORIES]
        plot_maze_trajectories(maze, paths, figure.add_subplot())
        figure.suptitle(f"{run.task.name}, {run.config.agent}, step {run.step:,}", fontsize="medium")
        save(figure, "trajectories.png")
