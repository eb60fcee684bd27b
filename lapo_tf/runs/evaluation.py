"""A policy's score in the simulator, or its numbers on held-out episodes, as numbers, words and files.

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

from lapo_tf.data.split import split
from lapo_tf.errors import UserError
from lapo_tf.plots.curves import plot_curves
from lapo_tf.plots.mazes import plot_maze_trajectories
from lapo_tf.runs.run import Rollout, Run, load_run
from lapo_tf.tasks.task import SCORE
from lapo_tf.training.judges import HeldOut
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
        """Mean normalized score, or return where the task has no bounds of scores."""
        return self.numbers[self.run.task.criterion.metric]

    @property
    def score_std(self) -> float:
        """Its standard deviation over the episodes."""
        return self.numbers[f"{self.run.task.criterion.metric}_std"]

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
    metric = run.task.criterion.metric
    return {
        metric: float(rollout.scores.mean()),
        f"{metric}_std": float(rollout.scores.std()),
        f"{metric}_low": low,
        f"{metric}_high": high,
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
    metric = run.task.criterion.metric
    what = "score" if run.task.criterion == SCORE else "return"
    paper = run.task.paper.get(run.config.agent)
    data = run.data()
    lines = [
        f"run          {run.config.agent} on {run.task.name}, step {run.step:,}, seed {run.config.seed}",
        f"data set     {data.get('id')} ({data.get('provenance')})",
        f"{what:<12} {get(metric):.1f} ± {get(f'{metric}_std'):.1f} over "
        f"{len(rollout.returns)} episodes; 95 % interval of the mean {get(f'{metric}_low'):.1f} to "
        f"{get(f'{metric}_high'):.1f}" + (f"; the paper's {paper:.1f}" if paper is not None else ""),
        *([f"return       {get('eval/return'):.4g} ± {get('eval/return_std'):.3g}"] if what == "score" else []),
        f"length       {get('eval/episode_length'):.4g} ± {get('eval/episode_length_std'):.3g} steps",
    ]
    least, q1, median, q3, most = np.quantile(rollout.scores, (0, 0.25, 0.5, 0.75, 1))
    lines.append(f"{what + 's':<12} min {least:.1f}, quartiles {q1:.1f} / {median:.1f} / {q3:.1f}, max {most:.1f}")
    return "\n".join(lines + run.task.describe(numbers))


def evaluate_offline(run: Run | Path | str, dataset: str | None = None, *, progress: bool = False) -> dict[str, float]:
    """Judge the policy on episodes that its training has not seen.

    Args:
        run: from `load_run`, or its folder (then its last checkpoint counts).
        dataset: other data, all of whose episodes count; default: the episodes that were held out of the run's own.
        progress: say what the data are.

    Returns:
        The columns of `lapo_tf.training.metrics.HELD_OUT` that the agent has.

    Raises:
        UserError: no run there, nothing held out of its data, or data that cannot be had or do not fit.
    """
    run = run if isinstance(run, Run) else load_run(run)
    held_out = (run.data().get("held_out") or {}).get("episodes") or []
    if dataset is None and not held_out:
        raise UserError(
            f"{run.path} was trained on all episodes of its data: give others with --dataset, or train with --offline"
        )
    data = run.dataset(dataset, offline=True, progress=progress)
    if dataset is None:
        data = split(data, held_out)[1]
    return HeldOut(run.agent, data).numbers()


def describe_offline(run: Run, numbers: dict[str, float]) -> str:
    """Numbers of `evaluate_offline` in a few lines for people."""
    lines = [f"run          {run.config.agent} on {run.task.name}, step {run.step:,}, seed {run.config.seed}"]
    return "\n".join(lines + [f"{name.removeprefix('offline/'):<22} {value:.4g}" for name, value in numbers.items()])


def write_numbers(run: Run, numbers: dict[str, float], path: Path, checkpoint: str, **more: object) -> None:
    """Write numbers as JSON, with what they are numbers of.

    Args:
        checkpoint: how the weights were chosen.
        more: further entries.
    """
    values = {
        "task": run.task.name,
        "agent": run.config.agent,
        "seed": run.config.seed,
        "run": str(run.path.resolve()),
        "checkpoint": checkpoint,
        "step": run.step,
        **more,
        "metrics": numbers,
        "paper_score": run.task.paper.get(run.config.agent),
        "data": {k: run.data().get(k) for k in ("id", "provenance", "sha256", "minari_version")},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def _write(run: Run, rollout: Rollout, numbers: dict[str, float], out: Path, checkpoint: str) -> None:
    """Write `step-N.json`, `step-N.npz` and the plots into `out`."""
    episodes = {"episodes": len(rollout.returns), "first_episode_seed": int(rollout.seeds[0])}
    write_numbers(run, numbers, out / f"step-{run.step}.json", checkpoint, **episodes)
    with replacing(out / f"step-{run.step}.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, returns=rollout.returns, lengths=rollout.lengths, seeds=rollout.seeds)

    def save(figure: Figure, name: str) -> None:
        with replacing(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=150)

    if run.metrics():
        figure = Figure((6.0, 3.6), layout="constrained")
        metric = run.folder.criterion().metric
        ax = plot_curves(run, metric, figure.add_subplot(), paper=run.task.paper.get(run.config.agent))
        ax.set_title(f"{run.task.name}, {run.config.agent}, seed {run.config.seed}", fontsize="medium")
        save(figure, "curve.png")
    if (maze := run.task.maze) is not None:
        figure = Figure((5.0, 5.0), layout="constrained")
        paths = rollout.observations[:TRAJECTORIES]
        plot_maze_trajectories(maze, paths, figure.add_subplot())
        figure.suptitle(f"{run.task.name}, {run.config.agent}, step {run.step:,}", fontsize="medium")
        save(figure, "trajectories.png")
