"""Every column of `metrics.csv`, explained; agents may report only what stands here."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "eval/normalized_score": "mean over episodes of 100 (return - min) / (max - min), with D4RL's min and max",
    "eval/return": "mean undiscounted return of the evaluation episodes",
    "eval/episode_length": "mean number of steps of the evaluation episodes",
    "eval/normalized_score_std": "standard deviation of the normalized score over those episodes",
    "time/seconds": "seconds of training and evaluation so far, over all sessions of the run",
    "time/steps_per_second": "gradient steps per second since the last evaluation, evaluation not counted",
    "critic/loss": "what the critics minimise: the losses of Q1 and Q2, LAPO's with V, CQL's with the penalty",
    "critic/q1_loss": "mean squared temporal-difference error of Q1 (equation 2)",
    "critic/q2_loss": "the same for Q2",
    "critic/v_loss": "mean squared error of V against its target (LAPO, equation 8); expectile loss (IQL, equation 5)",
    "critic/q_mean": "mean Q1(s, a) over the batch, in scaled rewards",
    "critic/v_mean": "mean V(s) over the batch; LAPO, AWAC: the value of the policy's own action",
    "advantage/mean": "mean advantage of the data's actions",
    "advantage/positive": "share of the data's actions with a positive advantage",
    "vae/loss": "importance-weighted negative evidence lower bound (equation 7)",
    "vae/reconstruction": "squared error of the decoded action, summed over its dimensions, standardised units",
    "vae/kl": "KL divergence of the posterior from N(0, I), summed over the latent's dimensions",
    "vae/weight_mean": "mean importance weight",
    "policy/loss": "what the policy minimises; LAPO, BCQ, PLAS: negative mean Q1 of its actions",
    "policy/latent_abs": "mean absolute value of the latent policy's latents",
    "policy/log_prob": "mean log-density of the data's actions under the policy",
    "policy/weight_mean": "mean weight of the data's actions in the policy's likelihood",
    "policy/entropy": "mean of -log pi of the policy's own actions",
    "cql/gap": "log sum exp Q(s, .) - Q(s, a), the mean of both critics (CQL, equation 4)",
    "cql/factor": "Lagrange factor of CQL's penalty",
    "cql/alpha": "weight of the entropy",
}
"""Training metrics are means over the steps since the last evaluation; PLAS' are 0 where its present phase has none.

New ones go to the end: the sums of a checkpoint lie in this order.
"""

EVALUATION = [name for name in METRICS if name.startswith(("eval/", "time/"))]
TRAINING = [name for name in METRICS if name not in EVALUATION]
