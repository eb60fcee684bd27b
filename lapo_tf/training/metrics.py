"""Every column of `metrics.csv`, explained; agents may report only what stands here."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "eval/normalized_score": "mean over episodes of 100 (return - min) / (max - min), with D4RL's min and max",
    "eval/return": "mean undiscounted return of the evaluation episodes",
    "eval/episode_length": "mean number of steps of the evaluation episodes",
    "eval/normalized_score_std": "standard deviation of the normalized score over those episodes",
    "time/seconds": "seconds of training and evaluation so far, over all sessions of the run",
    "time/steps_per_second": "gradient steps per second since the last evaluation, evaluation not counted",
    "critic/loss": "sum of the losses of Q1, Q2 and V",
    "critic/q1_loss": "mean squared temporal-difference error of Q1 (equation 2)",
    "critic/q2_loss": "the same for Q2",
    "critic/v_loss": "mean squared error of V against its target (equation 8)",
    "critic/q_mean": "mean Q1(s, a) over the batch, in scaled rewards",
    "critic/v_mean": "mean target of V(s) over the batch: the value of the policy's own action",
    "advantage/mean": "mean advantage of the data's actions",
    "advantage/positive": "share of the data's actions with a positive advantage",
    "vae/loss": "importance-weighted negative evidence lower bound (equation 7)",
    "vae/reconstruction": "squared error of the decoded action, summed over its dimensions, standardised units",
    "vae/kl": "KL divergence of the posterior from N(0, I), summed over the latent's dimensions",
    "vae/weight_mean": "mean importance weight",
    "policy/loss": "negative mean Q1 of the latent policy's decoded actions (equation 9)",
    "policy/latent_abs": "mean absolute value of the latent policy's latents",
}
"""Training metrics are means over the steps since the last evaluation."""

EVALUATION = [name for name in METRICS if name.startswith(("eval/", "time/"))]
TRAINING = [name for name in METRICS if name not in EVALUATION]
