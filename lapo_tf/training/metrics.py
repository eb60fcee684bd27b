"""The columns of `metrics.csv`: an evaluation's are explained here, an agent's in its own `METRICS`.

`python -m lapo_tf.training.metrics` writes them all as a page, `docs/metrics.md`.
"""

from __future__ import annotations

EVALUATION: dict[str, str] = {
    "eval/normalized_score": "mean over episodes of 100 (return - min) / (max - min), with D4RL's min and max",
    "eval/return": "mean undiscounted return of the evaluation episodes",
    "eval/episode_length": "mean number of steps of the evaluation episodes",
    "eval/success": "share of those episodes that ended in success, where the task says what that is (`success`)",
    "eval/normalized_score_std": "standard deviation of the normalized score over those episodes",
    "time/seconds": "seconds of training and evaluation so far, over all sessions of the run",
    "time/steps_per_second": "gradient steps per second since the last evaluation, evaluation not counted",
}

HELD_OUT: dict[str, str] = {
    "offline/action_error": "mean squared difference of the policy's and the data's actions, over transitions and "
    "dimensions, in the agent's units",
    "offline/action_error_best": "the same on the best tenth of the held-out episodes, by return; the least makes the "
    "best checkpoint",
    "offline/action_error_weighted": "the same, transitions weighted by exp(A / std A), A = Q(s, a) - Q(s, pi(s))",
    "offline/td_error": "mean squared temporal-difference error of the smaller critic, with the policy's own next "
    "action, in scaled rewards",
    "offline/value_start": "mean Q(s, pi(s)) at the episodes' first observations, in scaled rewards",
    "offline/unlike_data": "share of the policy's actions that the CVAE explains worse than 99 % of the held-out "
    "data's own: squared error of what it decodes plus the latent's divergence from N(0, I)",
    "offline/latent_at_bound": "share of the policy's latents within 1 % of their bound or of the bound on their norm",
}
"""Numbers on held-out episodes; those of critics, CVAE and bounded latents where an agent has them."""


def page() -> str:
    """Every agent's columns in Markdown."""
    from lapo_tf.agents import AGENTS

    def table(title: str, columns: dict[str, str]) -> list[str]:
        rows = [f"| `{name}` | {text} |" for name, text in columns.items()]
        return [f"## {title}", "", "| column | what it is |", "|---|---|", *rows, ""]

    lines = [
        "# Columns of metrics.csv",
        "",
        "One row per evaluation, `step` first. An agent's own columns are means over the steps since the last one.",
        "Written by `python -m lapo_tf.training.metrics`.",
        "",
        *table("Every run", EVALUATION),
        *table("Runs that are judged on held-out episodes, in place of `eval/`", HELD_OUT),
    ]
    for name, agent in AGENTS.items():
        lines += table(f"`--agent {name}`", dict(agent.METRICS))
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
