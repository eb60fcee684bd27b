"""Draw docs/kitchen-complete.png from the runs in results/kitchen-complete: one line per seed.

python tools/figures/kitchen_curves.py
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from lapo_tf.plots.curves import over_steps
from lapo_tf.plots.style import BLUE, GREEN, INK, VERMILION

HOME = Path(__file__).parents[2]
LABELS = {"lapo": "truncated Gaussian", "lapo-tanh": "tanh", "lapo-bfloat16": "truncated Gaussian, bfloat16"}
COLOURS = dict(zip(LABELS, (BLUE, VERMILION, GREEN), strict=True))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=HOME / "results" / "kitchen-complete")
    parser.add_argument("--out", type=Path, default=HOME / "docs" / "kitchen-complete.png")
    options = parser.parse_args()
    from lapo_tf.tasks import load_task
    from lapo_tf.training.run_folder import RunFolder

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    for label, name in LABELS.items():
        for k, path in enumerate(sorted((options.runs / label).glob("seed*"))):
            rows = RunFolder.open(path).metrics()
            steps = [row["step"] for row in rows]
            look = {"color": COLOURS[label], "lw": 1.3, "ls": ("-", "--", ":")[k]}
            score = [row["eval/normalized_score"] for row in rows]
            axes[0].plot(steps, score, **look, label=name if k == 0 else None)
            axes[1].plot(steps, [row["vae/kl"] for row in rows], **look)
    paper = load_task("kitchen-complete").paper["lapo"]
    axes[0].axhline(paper, color=INK, lw=0.9, ls=(0, (5, 3)))
    beside = axes[0].get_yaxis_transform()  # x as a share of the axes' width
    axes[0].text(1.01, paper, f"paper, 1 M\nsteps: {paper:.1f}", transform=beside, va="center", fontsize="small")
    over_steps(axes[0], "normalized score, 20 episodes").set_ylim(0, 100)
    over_steps(axes[1], "KL of the posterior from the prior (nats)").set_yscale("log")
    axes[0].legend(frameon=False, fontsize="small", loc="upper right")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
