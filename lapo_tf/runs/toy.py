"""The paper's Table 1 and Figure 2: `python -m lapo_tf.report toy`.

Trains AWAC with a Gaussian and with a mixture, PLAS and LAPO on the toy navigation task, as far as their run folders do
not exist yet, draws actions of each and writes the table beside the paper's and the four histograms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import UserError

if TYPE_CHECKING:
    from lapo_tf.runs.run import Run

DESCRIPTION = """The paper's Table 1 and Figure 2: what each method makes of 1,000 actions with a rare, better mode.

Trains what is missing below --run-dir; needs the extra: pip install 'lapo-tf[sweep]'."""

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


@dataclass(frozen=True)
class ToyCommand:
    """Options of the command."""

    seeds: str = "0-4"
    """Seeds: 0-4, or 0,3,7."""
    run_dir: Path = Path("runs")
    """Folder of the run folders."""
    out: Path = Path("report")
    """Folder to write to."""


def actions_of(run: Run) -> dict[str, np.ndarray]:
    """Actions [1000, 1] of a run's distributions, by their names in `PAPER`."""
    import tensorflow as tf

    observations = np.zeros((DRAWS, 1), np.float32)
    drawn = run.agent.generate(tf.constant(observations), tf.constant([1, run.config.seed])).numpy()
    if run.config.agent == "awac":
        kind = "GMM" if run.config.agent_config.policy == "gmm" else "Gaussian"
        return {f"AWAC, {kind} policy": drawn}
    name = run.config.agent.upper()
    return {f"{name}, generative model": drawn, f"{name}, latent policy": run.policy(observations)}


def collect_actions(options: ToyCommand) -> dict[str, list[np.ndarray]]:
    """Train what is missing, then every distribution's actions, one array per seed.

    Raises:
        UserError: a training failed.
    """
    from lapo_tf.sweep import SweepCommand, watch

    progress = watch(SweepCommand(tasks=TASK, agents=",".join(AGENTS), seeds=options.seeds, run_dir=options.run_dir))
    for name, message in progress.errors.items():
        raise UserError(f"{name} failed: {message}; try again with python -m lapo_tf.sweep --retry-failed")
    from lapo_tf.runs.run import load_run

    result: dict[str, list[np.ndarray]] = {name: [] for name in PAPER}
    for trial in progress.trials:
        for name, actions in actions_of(load_run(trial.folder)).items():
            result[name].append(actions)
    return result


def table(actions: dict[str, list[np.ndarray]]) -> str:
    """Table 1 in Markdown: mean return, with the standard deviation over seeds if there are several.

    Args:
        actions: of every distribution in `PAPER`, one array [N, 1] per seed.
    """
    from lapo_tf.envs.toy import toy_reward

    lines = ["| | paper | ours |", "|---|---|---|"]
    for name, published in PAPER.items():
        returns = np.array([toy_reward(a).mean() for a in actions[name]])
        spread = f" ± {returns.std():.2f}" if len(returns) > 1 else ""
        lines.append(f"| {name} | {published:.2f} | {returns.mean():.2f}{spread} |")
    return "\n".join(lines)


def plot_figure_2(
    data: np.ndarray, actions: Mapping[str, Sequence[np.ndarray]], axes: np.ndarray | None = None
) -> np.ndarray:
    """The paper's Figure 2: four histograms, actions of all seeds together.

    Args:
        data: actions [N, 1] of the data set.
        actions: of every distribution in `PAPER`, one array [N, 1] per seed.
        axes: four, where to draw; default: a new figure.

    Returns:
        The axes [2, 2].
    """
    import matplotlib.pyplot as plt

    from lapo_tf.plots.curves import plot_toy_histograms

    pooled = {name: np.concatenate(values) for name, values in actions.items()}
    panels = (
        ("(a) AWAC, Gaussian policy", None, "AWAC, Gaussian policy"),
        ("(b) AWAC, GMM policy", None, "AWAC, GMM policy"),
        ("(c) PLAS", "PLAS, generative model", "PLAS, latent policy"),
        ("(d) LAPO", "LAPO, generative model", "LAPO, latent policy"),
    )
    if axes is None:
        axes = plt.subplots(2, 2, figsize=(11.0, 6.4), layout="constrained", sharex=True)[1]
    for ax, (title, generated, policy) in zip(axes.flat, panels, strict=True):
        plot_toy_histograms(data, generated and pooled[generated], pooled[policy], ax)
        if generated is None:  # a single distribution over actions
            ax.legend(ax.get_legend_handles_labels()[0], ["data", "policy"], frameon=False, fontsize="small")
        ax.set_title(title, fontsize="medium", loc="left")
        ax.label_outer()
    return axes


def main(argv: Sequence[str]) -> None:
    """The command."""
    from lapo_tf.data.collectors import toy_dataset

    options = parse(ToyCommand, argv, description=DESCRIPTION)
    runtime.quiet()
    mpl.use("agg")
    actions = collect_actions(options)
    options.out.mkdir(parents=True, exist_ok=True)
    plot_figure_2(toy_dataset()[0], actions)[0, 0].figure.savefig(options.out / "toy.png", dpi=130)
    seeds = len(next(iter(actions.values())))
    how = f"Mean return of {DRAWS:,} actions of each distribution, mean and standard deviation over {seeds} seeds"
    parts = [
        "# Toy navigation (the paper's Table 1 and Figure 2)",
        f"{how}; `configs/{TASK}.yaml`.",
        table(actions),
        "![Histograms of actions](toy.png)",
    ]
    text = "\n\n".join(parts) + "\n"
    (options.out / "toy.md").write_text(text)
    print(text)
    print(f"written: {options.out / 'toy.md'}")
