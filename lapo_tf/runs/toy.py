"""The paper's Table 1 and Figure 2 of the toy navigation task, for `python -m lapo_tf.report toy`.

Trains AWAC with a Gaussian and with a mixture, PLAS and LAPO, as far as their run folders do not exist yet, draws
actions of each and writes the table beside the paper's and the four histograms.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from lapo_tf.data.collectors.toy import toy_dataset
from lapo_tf.envs.toy import toy_reward
from lapo_tf.errors import UserError
from lapo_tf.plots.toy import plot_figure_2
from lapo_tf.runs.run import Run, load_run
from lapo_tf.runs.trials import Cluster, grid, parse_seeds
from lapo_tf.runs.watch import watch

TASK = "toy-navigation"
AGENTS = ("awac", "awac:policy=gmm", "plas", "lapo")
PAPER = {
    "AWAC, Gaussian policy": 2.43,
    "AWAC, GMM policy": 4.39,
    "PLAS, generative model": 1.03,
    "PLAS, latent policy": 1.00,
    "LAPO, generative model": 4.24,
    "LAPO, latent policy": 10.00,
}
"""Table 1: mean return of each action distribution."""
DRAWS = 1000  # actions of each distribution


def actions_of(run: Run) -> dict[str, np.ndarray]:
    """Actions [1000, 1] of a run's distributions, by their names in `PAPER`."""
    observations = np.zeros((DRAWS, 1), np.float32)
    drawn = run.agent.generate(tf.constant(observations), tf.constant([1, run.config.seed])).numpy()
    if run.config.agent == "awac":
        kind = "GMM" if run.config.agent_config.policy == "gmm" else "Gaussian"
        return {f"AWAC, {kind} policy": drawn}
    name = run.config.agent.upper()
    return {f"{name}, generative model": drawn, f"{name}, latent policy": run.policy(observations)}


def collect_actions(seeds: str, run_dir: Path) -> dict[str, list[np.ndarray]]:
    """Train what is missing, then every distribution's actions, one array per seed.

    Args:
        seeds: such as 0-4.
        run_dir: folder of the run folders.

    Raises:
        UserError: a training failed.
    """
    trials = grid([TASK], AGENTS, parse_seeds(seeds), run_dir)
    for name, message in watch(trials, Cluster()).errors.items():
        raise UserError(f"{name} failed: {message}; try again with python -m lapo_tf.sweep --retry-failed")
    result: dict[str, list[np.ndarray]] = {name: [] for name in PAPER}
    for trial in trials:
        for name, actions in actions_of(load_run(trial.folder)).items():
            result[name].append(actions)
    return result


def table(actions: dict[str, list[np.ndarray]]) -> str:
    """Table 1 in Markdown: mean return, with the standard deviation over seeds if there are several.

    Args:
        actions: of every distribution in `PAPER`, one array [N, 1] per seed.
    """
    lines = ["| | paper | ours |", "|---|---|---|"]
    for name, published in PAPER.items():
        returns = np.array([toy_reward(a).mean() for a in actions[name]])
        spread = f" ± {returns.std():.2f}" if len(returns) > 1 else ""
        lines.append(f"| {name} | {published:.2f} | {returns.mean():.2f}{spread} |")
    return "\n".join(lines)


def write_toy(seeds: str, run_dir: Path, out: Path) -> Path:
    """Write `toy.md` and `toy.png` into `out`; see `collect_actions`.

    Returns:
        The path of `toy.md`.
    """
    actions = collect_actions(seeds, run_dir)
    out.mkdir(parents=True, exist_ok=True)
    plot_figure_2(toy_dataset()[0], actions)[0, 0].figure.savefig(out / "toy.png", dpi=130)
    count = len(next(iter(actions.values())))
    how = f"Mean return of {DRAWS:,} actions of each distribution, mean and standard deviation over {count} seeds"
    parts = [
        "# Toy navigation (the paper's Table 1 and Figure 2)",
        f"{how}; `configs/tasks/toy.yaml`.",
        table(actions),
        "![Histograms of actions](toy.png)",
    ]
    path = out / "toy.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path
