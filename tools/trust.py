"""Measure how far numbers without a simulator are to be trusted, on runs that a simulator has scored.

python -m lapo_tf.collect maze2d-umaze --steps 30000 --seed 1 --dataset-id lapo/maze2d-umaze-fresh-v0
python tools/trust.py --runs trust/maze2d-umaze --held-out lapo/maze2d-umaze-fresh-v0
python tools/trust.py

The second judges every checkpoint of the runs as `python -m lapo_tf.select` does, and keeps the numbers with the scores
of the training's evaluations in results/trust/<task>.csv. It and the third make of these files the table and the figure
of docs/select.md, and configs/trust.yaml, from which `lapo_tf.select` speaks.
"""

import argparse
import csv
import datetime
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

HOME = Path(__file__).parents[1]
KINDS = {
    "kitchen-complete": "200 scripted demonstrations, rewards by elements done",
    "maze2d-umaze": "wandering to random goals, a reward at one of them",
    "walker2d-mix-backward": "three policies for three goals in equal parts, dense rewards, falls",
}
"""What tells the tasks' data apart."""
AGENTS = ("lapo", "bc", "iql", "awac", "plas", "td3-bc")


def measure(folder: Path, held_out: str, out: Path, seed: int) -> None:
    """Judge the runs below `folder`, of one task, by `held_out` data; write the numbers beside the runs' scores."""
    from lapo_tf.runs.estimates import NUMBERS
    from lapo_tf.runs.selection import select

    selection = select([folder], seed=seed, held_out=held_out, progress=True)
    rows = [c for c in selection.candidates if c.score is not None]
    rows.sort(key=lambda c: (AGENTS.index(c.agent), c.seed, c.step))
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{selection.task}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["agent", "seed", "step", "score", *NUMBERS])
        for c in rows:
            numbers = [f"{c.numbers[name]:.6g}" if name in c.numbers else "" for name in NUMBERS]
            writer.writerow([c.agent, c.seed, c.step, f"{c.score:.6g}", *numbers])


def read(results: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of every task."""
    return {name: list(csv.DictReader((results / f"{name}.csv").open())) for name in KINDS}


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    """A column [N], nan where a checkpoint has no such number."""
    return np.array([float(row[name] or "nan") for row in rows])


def trusts(tasks: dict[str, list[dict[str, str]]]) -> dict:
    """What `configs/trust.yaml` holds."""
    from lapo_tf.runs.trust import METHODS, WITH_CRITICS, trust

    measured: dict = {"date": datetime.date.today().isoformat()}
    measured["agents"] = sorted({row["agent"] for rows in tasks.values() for row in rows}, key=AGENTS.index)
    measured["tasks"] = {}
    for name, rows in tasks.items():
        scores, runs = column(rows, "score"), np.array([f"{row['agent']} {row['seed']}" for row in rows])
        found = {m: vars(trust(column(rows, m), scores, runs, sign)) for m, (_, sign) in METHODS.items()}
        with_critics = np.where(np.isfinite(column(rows, "critic_value")), column(rows, "fqe"), np.nan)
        found[WITH_CRITICS] = vars(trust(with_critics, scores, runs, 1))
        rounded = {m: {k: v if isinstance(v, int) else round(v, 3) for k, v in t.items()} for m, t in found.items()}
        measured["tasks"][name] = {"kind": KINDS[name], **rounded}
    return measured


def table(measured: dict) -> str:
    """Markdown: rank correlation, its mean within runs, and the score lost by taking the first."""
    from lapo_tf.runs.trust import METHODS, WITH_CRITICS

    lines = [
        "| ranked by | " + " | ".join(measured["tasks"]) + " |",
        "|---|" + "---|" * len(measured["tasks"]),
    ]
    names = {method: name for method, (name, _) in METHODS.items()} | {WITH_CRITICS: "FQE, where there are critics"}
    for method in ("fqe", WITH_CRITICS, *(m for m in METHODS if m != "fqe")):
        cells = [
            f"{t[method]['correlation']:.2f} ({t[method]['within']:.2f}) / {t[method]['regret']:.0f}"
            for t in measured["tasks"].values()
        ]
        lines.append(f"| {names[method]} | " + " | ".join(cells) + " |")
    for name, method in (("chance", "fqe"), ("chance, where there are critics", WITH_CRITICS)):
        cells = [f"0 (0) / {t[method]['random']:.0f}" for t in measured["tasks"].values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    counts = [f"{t['fqe']['checkpoints']}, {t[WITH_CRITICS]['checkpoints']}" for t in measured["tasks"].values()]
    return "\n".join([*lines, "| checkpoints: all, with critics | " + " | ".join(counts) + " |"])


def draw(tasks: dict[str, list[dict[str, str]]], measured: dict) -> Figure:
    """Estimate against score: a row for each task, a column for each number."""
    from lapo_tf.plots.style import AGENT_COLOURS, INK, tidy
    from lapo_tf.runs.trust import METHODS, SHOWN

    figure = Figure(figsize=(3.0 * len(SHOWN), 2.7 * len(tasks)), layout="constrained")
    axes = figure.subplots(len(tasks), len(SHOWN), squeeze=False, sharey="row")
    for (name, rows), line in zip(tasks.items(), axes, strict=True):
        scores = column(rows, "score")
        for method, ax in zip(SHOWN, line, strict=True):
            values = column(rows, method)
            for agent in measured["agents"]:
                of = np.array([row["agent"] == agent for row in rows])
                ax.scatter(values[of], scores[of], s=16, color=AGENT_COLOURS.get(agent, INK), label=agent, alpha=0.8)
            correlation = measured["tasks"][name][method]["correlation"]
            ax.set_title(f"rank correlation {correlation:.2f}", fontsize="small")
            ax.set_xlabel(METHODS[method][0], fontsize="small")
            if METHODS[method][1] < 0:
                ax.invert_xaxis()  # to the right is always better
            tidy(ax).tick_params(labelsize="x-small")
        line[0].set_ylabel(f"{name}\nscore in the simulator", fontsize="small")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize="small")
    return figure


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="folders of runs, one for each task")
    parser.add_argument("--held-out", nargs="+", default=[], help="data sets that they have not seen, in that order")
    parser.add_argument("--seed", type=int, default=0, help="of the fits")
    parser.add_argument("--results", type=Path, default=HOME / "results" / "trust")
    parser.add_argument("--yaml", type=Path, default=HOME / "configs" / "trust.yaml")
    parser.add_argument("--figure", type=Path, default=HOME / "docs" / "trust.png")
    options = parser.parse_args()
    if len(options.runs) != len(options.held_out):
        parser.error("expected one --held-out for each of --runs")
    from lapo_tf import runtime

    if options.runs:
        runtime.quiet()
        runtime.configure("xla")
    for folder, held_out in zip(options.runs, options.held_out, strict=True):
        measure(folder, held_out, options.results, options.seed)
    tasks = read(options.results)
    measured = trusts(tasks)
    options.yaml.write_text(yaml.safe_dump(measured, sort_keys=False, width=120))
    draw(tasks, measured).savefig(options.figure, dpi=110)
    print(table(measured))


if __name__ == "__main__":
    main()
