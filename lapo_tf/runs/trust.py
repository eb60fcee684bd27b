"""How far estimates without a simulator are to be trusted: what was measured where true scores are known.

`tools/trust.py` measures it and writes `configs/trust.yaml`, from which `lapo_tf.select` says it; docs/select.md shows
the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lapo_tf.config import config_dir
from lapo_tf.runs.statistics import rank_correlation
from lapo_tf.yaml_files import read_yaml

METHODS: dict[str, tuple[str, int]] = {
    "fqe": ("FQE", 1),
    "critic_value": ("critic's value", 1),
    "action_error": ("action error", -1),
    "action_error_best": ("action error, best tenth", -1),
    "td_error": ("TD error", -1),
}
"""Numbers that checkpoints may be ranked by: their name, and 1 where more is better, -1 where less is."""
STEPS = 5_000
"""Gradient steps of each fit: what was measured with, and what `lapo_tf.select` takes if nothing else is said."""
SHOWN = ("fqe", "critic_value", "action_error", "td_error")
"""Those that are shown side by side."""
WITH_CRITICS = "fqe_with_critics"
"""FQE among the checkpoints that the training's critics can rank, too."""
GOOD, POOR = 0.6, 0.3  # rank correlations from and below which a ranking is said to hold and to mislead


@dataclass(frozen=True)
class Trust:
    """How a ranking fared among checkpoints whose true scores are known."""

    checkpoints: int
    """Those that have the number."""
    correlation: float
    """Spearman's rank correlation with the true scores, 1 for the right order; nan where all numbers are alike."""
    within: float
    """Mean of the rank correlations among the checkpoints of each run."""
    regret: float
    """Score that is lost by taking its first, against the best of them (regret@1)."""
    random: float
    """Score that is lost on average by taking any of them."""


def trust(estimates: np.ndarray, scores: np.ndarray, runs: np.ndarray, sign: int) -> Trust:
    """How estimates [N] rank checkpoints with true scores [N].

    Args:
        estimates: nan where a checkpoint has none; it is left out.
        scores: more is better.
        runs: which run each is of, [N].
        sign: 1 where more is better in the estimates, too, -1 where less is.
    """
    has = np.isfinite(estimates)
    estimates, scores, runs = sign * estimates[has], scores[has], runs[has]
    within = [rank_correlation(estimates[runs == run], scores[runs == run]) for run in np.unique(runs)]
    taken = float(scores[int(estimates.argmax())])
    best = float(scores.max())
    correlation, mean = rank_correlation(estimates, scores), float(np.nanmean(within))
    return Trust(len(scores), correlation, mean, best - taken, best - float(scores.mean()))


def read_trust() -> dict[str, Any]:
    """What `configs/trust.yaml` says: `date`, `agents`, and by task `kind` and a `Trust` of each of `METHODS` and of
    `WITH_CRITICS`."""
    return read_yaml(config_dir() / "trust.yaml")


def describe_trust(measured: Mapping[str, Any]) -> list[str]:
    """Lines for people about what `read_trust` gives."""
    tasks = measured["tasks"]
    total = sum(task["fqe"]["checkpoints"] for task in tasks.values())
    lines = [
        f"how far to trust this: measured on {total} checkpoints of {len(measured['agents'])} agents whose scores in a "
        "simulator are known (docs/select.md).",
        "rank correlation with the scores, and score lost by taking the first (100: expert):",
        "",
        f"  {'':<24}" + "".join(f"{name:>16}" for name in ("FQE", "critic's value", "action error", "TD error", "any")),
    ]
    for name, task in tasks.items():
        cells = [f"{task[m]['correlation']:5.2f} /{task[m]['regret']:4.0f}" for m in SHOWN]
        lines.append(f"  {name:<24}" + "".join(f"{cell:>16}" for cell in [*cells, f"{task['fqe']['random']:.0f}"]))
    lines.append("")
    return lines + [f"  {line}" for line in verdicts(tasks)]


def verdicts(tasks: Mapping[str, Any]) -> list[str]:
    """Where FQE held and where it misled, a line for each task."""
    lines = []
    for name, task in tasks.items():
        correlation, regret, random = (task["fqe"][key] for key in ("correlation", "regret", "random"))
        if correlation >= GOOD and regret < random:
            said = "FQE held"
        elif correlation < POOR or regret >= random:
            said = "FQE misled"
        else:
            said = "FQE helped a little"
        rival = {"action_error": "fqe"}  # the others are of agents with critics only
        alike = {m: max(task[rival.get(m, WITH_CRITICS)]["correlation"], POOR) for m in SHOWN[1:]}
        better = [METHODS[m][0] for m, least in alike.items() if task[m]["correlation"] > least]
        wrong = [METHODS[m][0] for m in SHOWN[1:] if task[m]["correlation"] < -POOR]
        beside = f"; better there: {', '.join(better)}" if better else ""
        beside += f"; pointed the wrong way: {', '.join(wrong)}" if wrong else ""
        lines.append(f"{name} ({task['kind']}): {said}{beside}.")
    return lines
