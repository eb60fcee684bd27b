"""One step of each baseline against its own losses once more, in NumPy and float64, from the papers and authors' code.

Metrics are compared with the losses, Adam's first moments with their gradients by finite differences.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from numpy_lapo import forward, gradient

from lapo_tf.agents import AGENTS, AgentSpec, Scaling

OBS, ACT, BATCH, TAU = 3, 2, 20, 0.1
SMALL = {"hidden": (7, 5), "polyak": TAU, "discount": 0.9}
VAE = {"vae_hidden": (6,), "kl_weight": 0.3, "doubleq_min": 0.7}
CASES = {
    "bc": {},
    "bcq": {**VAE, "target_samples": 3, "act_samples": 4, "perturbation": 0.3},
    "plas": {**VAE, "vae_steps": 0, "perturbation": 0.2, "latent_bound": 1.2},
    "plas:vae": {**VAE, "vae_steps": 10},
    "awac": {"temperature": 0.5},
    "awac:exponential": {"temperature": 0.4, "weight": "exponential", "weight_max": 0.95},
    "awac:gmm": {"policy": "gmm", "components": 3, "temperature": 0.5},
    "iql": {"temperature": 4.0, "weight_max": 0.15, "expectile": 0.8, "dropout": 0.3, "decay_steps": 100},
    "td3-bc": {"alpha": 1.5, "policy_noise": 0.4, "noise_clip": 0.3, "policy_delay": 1},
    "td3-bc:waits": {"policy_delay": 2},
    "cql": {"samples": 3, "penalty": 2.0, "lagrange_threshold": 0.7, "bc_steps": 0},
    "cql:clone": {"samples": 3, "lagrange": False, "penalty": 2.0, "bc_steps": 9, "backup_entropy": True},
}


def np_tanh(weights, *inputs):
    return np.tanh(forward(weights, *inputs))


def td(batch, value):
    return batch["rewards"] + 0.9 * (1 - batch["terminals"]) * value


def mse(q, target, batch):
    return np.mean((forward(q, batch["observations"], batch["actions"]) - target) ** 2)


def gaussian(x, mean, log_std):
    """Log-density of N(mean, exp(log_std)) summed over the last axis."""
    return np.sum(-0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi), -1)


def mixed(q1, q2, d):
    return d * np.minimum(q1, q2) + (1 - d) * np.maximum(q1, q2)


class Case:
    """One step of an agent: `c` config, `b` batch, `z` noise, `w` weights before by network, `after` afterwards."""

    def __init__(self, name: str) -> None:
        kind = AGENTS[name.split(":")[0]]
        self.c = kind.Config(**SMALL | CASES[name])
        agent = self.agent = kind(self.c, AgentSpec(OBS, ACT, Scaling.identity(OBS, ACT, 1.0)))  # type: ignore[arg-type]
        rng = np.random.default_rng(1)
        for weight in agent.weights:
            weight.assign(1.5 * weight.numpy() + 0.2 * rng.normal(size=weight.shape))
        single = lambda x: np.asarray(x, np.float32)  # noqa: E731
        batch = {
            "observations": single(rng.normal(size=(BATCH, OBS))),
            "actions": single(rng.uniform(-0.9, 0.9, size=(BATCH, ACT))),
            "next_observations": single(rng.normal(size=(BATCH, OBS))),
            "rewards": single(rng.normal(size=(BATCH, 1))),
            "terminals": single(rng.random((BATCH, 1)) < 0.3),
        }
        noise = agent.draw(tf.constant([3, 4]), BATCH)
        self.b = {k: v.astype(np.float64) for k, v in batch.items()}
        self.z = {k: v.numpy().astype(np.float64) for k, v in noise.items()}
        self.s, self.s2, self.a = (self.b[k] for k in ("observations", "next_observations", "actions"))
        self.w = self.weights()
        self.log_factor = float(getattr(agent, "log_factor", 0.0))
        self.metrics = {
            k: float(v) for k, v in agent.step({k: tf.constant(v) for k, v in batch.items()}, noise).items()
        }
        self.after = self.weights()

    def weights(self):
        nets = {k: v for k, v in vars(self.agent).items() if hasattr(v, "get_weights") and hasattr(v, "layers")}
        return {k: [w.astype(np.float64) for w in v.get_weights()] for k, v in nets.items()}

    def close(self, **metrics) -> None:
        for name, value in metrics.items():
            key = name.replace("__", "/")
            np.testing.assert_allclose(self.metrics[key], value, rtol=3e-5, atol=2e-6, err_msg=key)

    def gradients(self, optimizer: str, **losses) -> None:
        """`losses`: by the name of a network, a loss as a function of that network's weights."""
        moments = [10 * np.array(m) for m in getattr(self.agent, f"{optimizer}_optimizer")._momentums]
        for name, loss in losses.items():
            expected = gradient(loss, self.w[name])
            got, moments = moments[: len(expected)], moments[len(expected) :]
            assert any(np.abs(g).max() > 1e-3 for g in expected), name
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_allclose(g, e, rtol=2e-3, atol=5e-6, err_msg=name)
        assert not moments

    def td(self, target) -> None:
        """Both critics regress on `target`; the targets' weights follow."""
        losses = [mse(self.w[q], target, self.b) for q in ("q1", "q2")]
        self.close(critic__q1_loss=losses[0], critic__q2_loss=losses[1])

    def critics(self, target) -> None:
        self.td(target)
        self.close(critic__loss=sum(mse(self.w[q], target, self.b) for q in ("q1", "q2")))
        loss = lambda w: mse(w, target, self.b)  # noqa: E731
        self.gradients("critic", q1=loss, q2=loss)


def vae_parts(encoder, decoder, case):
    """Squared error and KL, summed over dimensions, means over the batch."""
    mean, log_var = np.split(forward(encoder, case.s, case.a), 2, -1)
    log_var = log_var.clip(-8, 30)
    decoded = np_tanh(decoder, case.s, mean + np.exp(log_var / 2) * case.z["posterior"])
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(-1)
    return ((decoded - case.a) ** 2).sum(-1).mean(), kl.mean()


def vae(case):
    error, kl = vae_parts(case.w["encoder"], case.w["decoder"], case)

    def loss(encoder, decoder):  # the authors' own formula: means over all
        parts = vae_parts(encoder, decoder, case)
        return parts[0] / ACT + case.c.kl_weight * parts[1] / (2 * ACT)

    case.close(vae__reconstruction=error, vae__kl=kl, vae__loss=loss(case.w["encoder"], case.w["decoder"]))
    case.gradients("vae", encoder=lambda w: loss(w, case.w["decoder"]), decoder=lambda w: loss(case.w["encoder"], w))


def bc(case):
    loss = lambda w: np.mean((np_tanh(w, case.s) - case.a) ** 2)  # noqa: E731
    case.close(policy__loss=loss(case.w["policy"]))
    case.gradients("policy", policy=loss)


def bcq(case):
    vae(case)
    w, c = case.after | {k: v for k, v in case.w.items() if k not in ("encoder", "decoder")}, case.c

    def propose(s, z, shift):
        decoded = np_tanh(w["decoder"], s, np.clip(z, -c.latent_clip, c.latent_clip))
        return np.clip(decoded + c.perturbation * np_tanh(shift, s, decoded), -1, 1)

    best = []
    for z in case.z["next_proposals"]:
        pair = case.s2, propose(case.s2, z, w["target_shift"])
        best.append(mixed(forward(w["target_q1"], *pair), forward(w["target_q2"], *pair), c.doubleq_min))
    case.critics(td(case.b, np.max(best, 0)))
    loss = lambda x: -forward(case.after["q1"], case.s, propose(case.s, case.z["proposal"], x)).mean()  # noqa: E731
    case.close(policy__loss=loss(w["shift"]))
    case.gradients("policy", shift=loss)
    # Acting: the best of the fixed proposals by Q1, one observation at a time.
    latents = case.agent._act_latents.astype(np.float64)
    w = case.after
    for s, action in zip(case.s, case.agent.act(case.s.astype(np.float32)), strict=True):
        s = np.repeat(s[None], len(latents), 0)
        actions = propose(s, latents, w["shift"])
        np.testing.assert_allclose(action, actions[forward(w["q1"], s, actions).argmax()], atol=1e-5)


def plas_action(case, policy, shift, s):
    decoded = np_tanh(case.w["decoder"], s, case.c.latent_bound * np_tanh(policy, s))
    return np.clip(decoded + case.c.perturbation * np_tanh(shift, s, decoded), -1, 1)


def plas(case):
    w = case.w
    pair = case.s2, plas_action(case, w["target_policy"], w["target_shift"], case.s2)
    case.critics(td(case.b, mixed(forward(w["target_q1"], *pair), forward(w["target_q2"], *pair), case.c.doubleq_min)))

    def loss(policy, shift):
        return -forward(case.after["q1"], case.s, plas_action(case, policy, shift, case.s)).mean()

    case.close(policy__loss=loss(w["policy"], w["shift"]), vae__loss=0)
    case.gradients("policy", policy=lambda x: loss(x, w["shift"]), shift=lambda x: loss(w["policy"], x))


def plas_vae(case):
    """In the first phase only the VAE learns."""
    vae(case)
    case.close(policy__loss=0, critic__loss=0)
    for name in ("policy", "q1", "q2", "target_policy", "target_q1"):
        assert all(np.array_equal(a, b) for a, b in zip(case.w[name], case.after[name], strict=True))


def awac_log_prob(case, weights, s, a):
    log_std, *net = weights  # Keras' order
    log_std = np.clip(log_std, case.c.log_std_min, case.c.log_std_max)
    if case.c.policy == "gaussian":
        return gaussian(a, np_tanh(net, s), log_std)
    out = forward(net, s)
    logits, means = out[:, :3], np.tanh(out[:, 3:].reshape(-1, 3, ACT))
    parts = logits - np.log(np.exp(logits).sum(-1, keepdims=True)) + gaussian(a[:, None], means, log_std)
    return np.logaddexp.reduce(parts, -1)


def awac_sample(case, s, part):
    log_std, *net = case.w["policy"]
    std, normal = np.exp(np.clip(log_std, case.c.log_std_min, case.c.log_std_max)), case.z[f"{part}_normal"]
    if case.c.policy == "gaussian":
        return np_tanh(net, s) + std * normal
    out = forward(net, s)
    share = np.exp(out[:, :3]) / np.exp(out[:, :3]).sum(-1, keepdims=True)
    which = [int(np.searchsorted(np.cumsum(p), u)) for p, u in zip(share, case.z[f"{part}_uniform"][:, 0], strict=True)]
    means = np.tanh(out[:, 3:].reshape(-1, 3, ACT))
    return means[range(BATCH), which] + std[which] * normal


def awac(case):
    w, after = case.w, case.after
    pair = case.s2, awac_sample(case, case.s2, "next")
    case.critics(td(case.b, np.minimum(forward(w["target_q1"], *pair), forward(w["target_q2"], *pair))))
    q, v = (
        np.minimum(forward(after["q1"], case.s, a), forward(after["q2"], case.s, a))[:, 0]
        for a in (case.a, awac_sample(case, case.s, "value"))
    )
    weight = np.exp((q - v) / case.c.temperature)
    if case.c.weight == "softmax":
        weight /= weight.mean()
    else:
        assert 0.1 < np.mean(weight > case.c.weight_max) < 0.9
        weight = np.minimum(weight, case.c.weight_max)
    loss = lambda x: -np.mean(weight * awac_log_prob(case, x, case.s, case.a))  # noqa: E731
    case.close(
        policy__loss=loss(w["policy"]),
        policy__weight_mean=weight.mean(),
        advantage__mean=np.mean(q - v),
        advantage__positive=np.mean(q > v),
        critic__v_mean=v.mean(),
        policy__log_prob=awac_log_prob(case, w["policy"], case.s, case.a).mean(),
    )
    case.gradients("policy", policy=loss)


def iql(case):
    w, c = case.w, case.c
    q = np.minimum(forward(w["target_q1"], case.s, case.a), forward(w["target_q2"], case.s, case.a))

    def value_loss(v):
        error = q - forward(v, case.s)
        return np.mean(np.abs(c.expectile - (error < 0)) * error**2)

    case.close(critic__v_loss=value_loss(w["v"]))
    case.gradients("value", v=value_loss)
    v = case.after["v"]
    advantage = (q - forward(v, case.s))[:, 0]
    weight = np.minimum(np.exp(c.temperature * advantage), c.weight_max)
    assert 0.1 < np.mean(weight == c.weight_max) < 0.9
    masks = [(case.z[f"dropout_{i}"] < 0.7) / 0.7 for i in range(2)]

    def policy_loss(weights):
        log_std, *net = weights
        x = case.s
        for kernel, bias, mask in zip(net[:-2:2], net[1:-2:2], masks, strict=True):
            x = np.maximum(x @ kernel + bias, 0) * mask
        return -np.mean(weight * gaussian(case.a, np.tanh(x @ net[-2] + net[-1]), np.clip(log_std, -5, 2)))

    case.close(
        policy__loss=policy_loss(w["policy"]), policy__weight_mean=weight.mean(), advantage__mean=advantage.mean()
    )
    case.gradients("policy", policy=policy_loss)
    case.critics(td(case.b, forward(v, case.s2)))


def tanh_gaussian(weights, s, normal):
    """Action and log-density by the change of variables, with 1 - tanh^2 as it stands."""
    mean, log_std = np.split(forward(weights, s), 2, -1)
    log_std = np.clip(log_std, -20, 2)
    u = mean + np.exp(log_std) * normal
    return np.tanh(u), gaussian(u, mean, log_std) - np.log(1 - np.tanh(u) ** 2).sum(-1)


def cql(case):
    w, c, z, s = case.w, case.c, case.z, case.s
    here = tanh_gaussian(w["policy"], s, z["policy"])
    alpha = math.exp(float(case.agent.log_alpha))  # the policy uses the updated one
    case.close(policy__entropy=-here[1].mean(), cql__alpha=alpha)
    after = tanh_gaussian(w["policy"], case.s2, z["next"])
    value = np.minimum(*(forward(w[q], case.s2, after[0]) for q in ("target_q1", "target_q2")))
    if c.backup_entropy:
        value -= alpha * after[1][:, None]
    target = td(case.b, value)
    case.td(target)

    def gap(q):
        total = np.zeros(BATCH)
        for k in range(c.samples):
            drawn = [(2 * z["random"][k] - 1, np.full(BATCH, math.log(0.5**ACT)))]
            drawn += [tanh_gaussian(w["policy"], x, z[n][k]) for x, n in ((s, "policy_here"), (case.s2, "policy_next"))]
            total += sum(np.exp(forward(q, s, a)[:, 0] - log_prob) for a, log_prob in drawn)
        return np.mean(np.log(total)) - forward(q, s, case.a).mean()

    factor = math.exp(case.log_factor) if c.lagrange else 1.0
    margin = c.lagrange_threshold if c.lagrange else 0.0
    loss = lambda x: mse(x, target, case.b) + factor * (c.penalty * gap(x) - margin)  # noqa: E731
    case.close(
        cql__gap=(gap(w["q1"]) + gap(w["q2"])) / 2, cql__factor=factor, critic__loss=loss(w["q1"]) + loss(w["q2"])
    )
    case.gradients("critic", q1=loss, q2=loss)
    if c.lagrange:
        excess = sum(c.penalty * gap(w[q]) - margin for q in ("q1", "q2"))
        moment = 10 * float(case.agent.factor_optimizer._momentums[0])
        assert moment == pytest.approx(-0.5 * factor * excess, rel=1e-4)
    moment = 10 * float(case.agent.alpha_optimizer._momentums[0])
    assert moment == pytest.approx(-np.mean(here[1] - ACT), rel=1e-4)

    def policy_loss(weights):
        a, log_prob = tanh_gaussian(weights, s, z["policy"])
        q = np.minimum(forward(w["q1"], s, a), forward(w["q2"], s, a))[:, 0]
        if c.bc_steps:
            mean, log_std = np.split(forward(weights, s), 2, -1)
            q = gaussian(np.arctanh(case.a), mean, np.clip(log_std, -20, 2)) - np.log(1 - case.a**2).sum(-1)
        return np.mean(alpha * log_prob - q)

    case.close(policy__loss=policy_loss(w["policy"]))
    case.gradients("policy", policy=policy_loss)


def td3_bc(case):
    w, c = case.w, case.c
    noise = np.clip(c.policy_noise * case.z["target"], -c.noise_clip, c.noise_clip)
    assert 0.1 < np.mean(np.abs(noise) == c.noise_clip) < 0.9
    pair = case.s2, np.clip(np_tanh(w["target_policy"], case.s2) + noise, -1, 1)
    case.critics(td(case.b, np.minimum(forward(w["target_q1"], *pair), forward(w["target_q2"], *pair))))
    q1 = case.after["q1"]
    weight = c.alpha / np.abs(forward(q1, case.s, np_tanh(w["policy"], case.s))).mean()  # no gradient goes through it

    def loss(policy):
        actions = np_tanh(policy, case.s)
        return np.mean((actions - case.a) ** 2) - weight * forward(q1, case.s, actions).mean()

    error = np.mean((np_tanh(w["policy"], case.s) - case.a) ** 2)
    case.close(policy__loss=loss(w["policy"]), policy__clone_error=error, policy__q_weight=weight)
    case.gradients("policy", policy=loss)


def td3_bc_waits(case):
    """In every other step only the critics learn."""
    case.close(policy__loss=0)
    for name in ("policy", "target_policy", "target_q1", "target_q2"):
        assert all(np.array_equal(a, b) for a, b in zip(case.w[name], case.after[name], strict=True))
    for name in ("q1", "q2"):
        assert not any(np.array_equal(a, b) for a, b in zip(case.w[name], case.after[name], strict=True))


CHECKS = {"bc": bc, "bcq": bcq, "plas": plas, "plas:vae": plas_vae, "awac": awac, "iql": iql, "cql": cql}
CHECKS |= {"td3-bc": td3_bc, "td3-bc:waits": td3_bc_waits}


@pytest.mark.parametrize("name", CASES)
def test_one_step(name):
    case = Case(name)
    CHECKS.get(name, CHECKS.get(name.split(":")[0]))(case)
