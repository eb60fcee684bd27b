"""LAPO once more, in NumPy and float64, from the paper and the authors' code: what `test_lapo` compares with.

Nothing here is shared with `lapo_tf`: networks are lists of weights, gradients finite differences, and the truncated
Gaussian is the textbook's inverse CDF by Python's `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

Weights = list[np.ndarray]
NORMAL = NormalDist()


def forward(weights: Weights, *inputs: np.ndarray) -> np.ndarray:
    """A ReLU network with a linear last layer, on its inputs side by side.

    A hidden layer has a kernel and a bias or, with layer normalisation, also a scale and a shift.
    """
    x = np.concatenate(inputs, -1)
    each = 4 if len(weights) > 3 and weights[2].ndim == 1 else 2
    for i in range(0, len(weights) - 2, each):
        kernel, bias, *normal = weights[i : i + each]
        x = x @ kernel + bias
        if normal:
            x = normal[0] * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + normal[1]
        x = np.maximum(x, 0)
    return x @ weights[-2] + weights[-1]


def gradient(loss: Callable[[Weights], float], weights: Weights, step: float = 1e-6) -> Weights:
    """By central differences, one number at a time."""
    weights = [w.copy() for w in weights]
    result = [np.zeros_like(w) for w in weights]
    for w, g in zip(weights, result, strict=True):
        for i in np.ndindex(w.shape):
            value = w[i]
            w[i] = value + step
            above = loss(weights)
            w[i] = value - step
            g[i] = (above - loss(weights)) / (2 * step)
            w[i] = value
    return result


def adam(weights: Weights, gradients: list[Weights], rate: float) -> Weights:
    """Kingma & Ba, algorithm 1, from fresh moments, one step for each entry of `gradients`."""
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t, step in enumerate(gradients, 1):
        m = [0.9 * a + 0.1 * g for a, g in zip(m, step, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, step, strict=True)]
        hats = [(a / (1 - 0.9**t), b / (1 - 0.999**t)) for a, b in zip(m, v, strict=True)]
        weights = [w - rate * a / (np.sqrt(b) + 1e-8) for w, (a, b) in zip(weights, hats, strict=True)]
    return weights


def truncated_quantile(u: np.ndarray, loc: np.ndarray, scale: np.ndarray, bound: float) -> np.ndarray:
    """Inverse CDF of N(loc, scale) within [-bound, bound]; for loc inside, where the plain formula is precise."""
    out = np.empty_like(loc)
    for i in np.ndindex(loc.shape):
        low, high = (0.5 * math.erfc((loc[i] - b) / scale[i] / math.sqrt(2)) for b in (-bound, bound))
        out[i] = loc[i] + scale[i] * NORMAL.inv_cdf(low + u[i] * (high - low))
    return out


class NumpyLAPO:
    """The quantities of one step. `c` has `LAPOPaperConfig`'s fields; networks are taken from `nets` by name."""

    def __init__(self, config, reward_min: float, reward_max: float) -> None:
        self.c, self.reward_min, self.reward_max = config, reward_min, reward_max

    def latent(self, policy: Weights, s: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        z = self.boxed_latent(policy, s, u)
        limit, norm = self.c.latent_norm, np.linalg.norm(z, axis=-1, keepdims=True)
        return np.where(norm > limit, z / norm * limit, z) if math.isfinite(limit) else z

    def boxed_latent(self, policy: Weights, s: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        c, out = self.c, forward(policy, s)
        if c.latent_policy == "tanh":
            return c.latent_bound * np.tanh(out)
        loc, raw = np.split(out, 2, -1)
        scale = c.latent_scale_min + (c.latent_scale_max - c.latent_scale_min) / (1 + np.exp(-raw))
        loc = c.latent_bound * np.tanh(loc)
        return loc if u is None else truncated_quantile(u, loc, scale, c.latent_bound)

    def target_q(self, nets: dict[str, Weights], s: np.ndarray, z: np.ndarray) -> np.ndarray:
        a = forward(nets["target_decoder"], s, z)
        both = np.stack([forward(nets["target_q1"], s, a), forward(nets["target_q2"], s, a)])
        d = self.c.doubleq_min
        return d * both.min(0) + (1 - d) * both.max(0)

    def value_target(self, nets: dict[str, Weights], s: np.ndarray, noise: dict[str, np.ndarray]) -> np.ndarray:
        c = self.c
        z = self.latent(nets["target_policy"], s, noise["value"])
        if c.latent_policy == "tanh":
            z = z + np.clip(c.latent_noise * noise["value"], -c.latent_noise_clip, c.latent_noise_clip)
        value = self.target_q(nets, s, z)
        if c.clip_value:  # returns of episodes of one step up to endless ones
            returns = [r * k for r in (self.reward_min, self.reward_max) for k in (1, 1 / (1 - c.discount))]
            value = np.clip(value, min(returns), max(returns))
        return value

    def next_q(
        self, nets: dict[str, Weights], batch: dict[str, np.ndarray], noise: dict[str, np.ndarray]
    ) -> np.ndarray:
        s = batch["next_observations"]
        return self.target_q(nets, s, self.latent(nets["target_policy"], s, noise.get("next_value")))

    def bootstrap(self, batch: dict[str, np.ndarray], value: np.ndarray) -> np.ndarray:
        """r + gamma V(s'), nothing after a terminal state if those are masked."""
        ends = batch["terminals"] if self.c.mask_terminals else 0
        return batch["rewards"] + (1 - ends) * self.c.discount * value

    def q_target(
        self, nets: dict[str, Weights], batch: dict[str, np.ndarray], noise: dict[str, np.ndarray]
    ) -> np.ndarray:
        if self.c.value == "network":
            return self.bootstrap(batch, forward(nets["v"], batch["next_observations"]))
        return self.bootstrap(batch, self.next_q(nets, batch, noise))

    def advantage(
        self, nets: dict[str, Weights], batch: dict[str, np.ndarray], noise: dict[str, np.ndarray]
    ) -> np.ndarray:
        s, a = batch["observations"], batch["actions"]
        if self.c.advantage == "td":
            q = self.bootstrap(batch, self.next_q(nets, batch, noise))
        else:
            q = np.minimum(forward(nets["q1"], s, a), forward(nets["q2"], s, a))
        return q - (forward(nets["v"], s) if self.c.value == "network" else self.value_target(nets, s, noise))

    def weight(self, advantage: np.ndarray) -> np.ndarray:
        c = self.c
        if c.weight == "step":
            return np.where(advantage > 0, c.expectile, 1 - c.expectile)
        return np.minimum(np.exp(advantage / c.temperature), c.weight_max)

    def elbo(
        self, encoder: Weights, decoder: Weights, batch: dict[str, np.ndarray], weight: np.ndarray, noise: np.ndarray
    ) -> tuple[float, float, float]:
        """Weighted loss, mean squared error, mean KL divergence from N(0, I)."""
        s, a = batch["observations"], batch["actions"]
        mean, log_var = np.split(forward(encoder, s, a), 2, -1)
        error = np.sum((forward(decoder, s, mean + np.exp(log_var / 2) * noise) - a) ** 2, -1)
        kl = 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var, -1)
        return float(np.mean(weight[:, 0] * (error + self.c.kl_weight * kl))), float(error.mean()), float(kl.mean())

    def policy_loss(self, policy: Weights, nets: dict[str, Weights], s: np.ndarray, u: np.ndarray | None) -> float:
        a = forward(nets["target_decoder"], s, self.latent(policy, s, u))
        return -float(forward(nets["q1"], s, a).mean())
