"""Draws docs/kitchen-complete.png from the evaluations in docs/results/kitchen-complete: one line per seed.

python docs/kitchen_curves.py
"""

import csv
from pathlib import Path

import matplotlib as mpl
from matplotlib.ticker import EngFormatter

from lapo_tf.plotting import BLUE, FAINT, INK, VERMILION
from lapo_tf.tasks import load_task

mpl.use("agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = {"truncated_gaussian": BLUE, "tanh": VERMILION}
STYLES = ("-", "--", ":")

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for path in sorted((HERE / "results" / "kitchen-complete").glob("lapo-*-seed*.csv")):
    _, policy, seed = path.stem.split("-")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    look = {"color": COLOURS[policy], "ls": STYLES[int(seed.removeprefix("seed"))]}
    score = [float(row["eval/normalized_score"]) for row in rows]
    axes[0].plot(steps, score, **look, label=f"{policy.replace('_', ' ')}, {seed.replace('seed', 'seed ')}")
    axes[1].plot(steps, [float(row["vae/kl"]) for row in rows], **look)
paper = load_task("kitchen-complete").paper["lapo"]
axes[0].axhline(paper, color=INK, lw=0.9, ls=(0, (5, 3)))
beside = axes[0].get_yaxis_transform()  # x as a share of the axes' width
axes[0].text(1.01, paper, f"paper, 1 M\nsteps: {paper:.1f}", transform=beside, va="center", fontsize="small")
axes[0].set(ylabel="normalized score, 10 episodes", ylim=(0, 100))
axes[1].set(ylabel="KL of the posterior from the prior (nats)", yscale="log")
for ax in axes:
    ax.set_xlabel("gradient steps")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(axis="y", color=FAINT, lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False, fontsize="small", loc="upper right")
figure.savefig(HERE / "kitchen-complete.png", dpi=110)
