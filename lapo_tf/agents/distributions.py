"""Probability distributions: a truncated Gaussian whose samples have the correct reparameterised gradient.

`tfp.distributions.TruncatedNormal.sample` passes gradients straight through to `loc` and `scale`, as if the bounds were
not there. Here the sample is the inverse CDF of a uniform number, differentiated implicitly: with
xi = (x - loc) / scale, alpha = (low - loc) / scale, beta = (high - loc) / scale and v the uniform number,

    Q(xi) = (1 - v) Q(alpha) + v Q(beta)                  Q: upper tail of the standard normal, density phi
    d xi  = A d alpha + B d beta,   A = (1 - v) phi(alpha) / phi(xi),   B = v phi(beta) / phi(xi)

so that dx/dloc = 1 - A - B and dx/dscale = xi - A alpha - B beta. The arithmetic runs in float64 inside (a few
thousand numbers a step): far outside the bounds 1 - A - B is of the order of 1 / alpha**2 and float32 would lose it.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_probability as tfp

# From here on (in standard deviations beyond a bound) the tail formulas are used; both agree to 1e-12 around it.
_TAIL = 5.0
_NEWTON_STEPS = 4


def _upper(x: tf.Tensor) -> tf.Tensor:
    """Upper tail probability Q(x) of the standard normal."""
    return 0.5 * tf.math.erfc(x / math.sqrt(2.0))


def _mills(x: tf.Tensor) -> tf.Tensor:
    """Mills ratio Q(x) / phi(x), finite for any x >= 0."""
    return math.sqrt(math.pi / 2.0) * tfp.math.erfcx(x / math.sqrt(2.0))


def _near(v: tf.Tensor, alpha: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """xi, A and B by the normal quantile; precise for alpha < `_TAIL`."""
    upper = (1.0 - v) * _upper(alpha) + v * _upper(beta)
    lower = (1.0 - v) * _upper(-alpha) + v * _upper(-beta)
    # Whichever probability is the smaller keeps its digits.
    smaller = tf.clip_by_value(tf.minimum(upper, lower), 1e-300, 0.5)
    # XLA's ndtri loses its digits below 1e-8 and is infinite below 1e-17: start there from the tail's expansion, and
    # bring the digits back by Newton's method on log Q.
    t = -2.0 * tf.math.log(smaller)
    z = tf.where(smaller < 1e-9, tf.sqrt(t - tf.math.log(2.0 * math.pi * t)), -tf.math.ndtri(smaller))
    for _ in range(2):
        q = _upper(z)
        z += tf.math.log(q / smaller) * q * math.sqrt(2.0 * math.pi) * tf.exp(z**2 / 2.0)
    xi = tf.clip_by_value(tf.where(upper < lower, z, -z), alpha, beta)
    return xi, (1.0 - v) * tf.exp((xi**2 - alpha**2) / 2.0), v * tf.exp((xi**2 - beta**2) / 2.0)


def _tail(v: tf.Tensor, alpha: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """xi, A and B by Newton's method on log Q(alpha + delta); precise for alpha >= `_TAIL`, however large."""
    width = beta - alpha
    mills_alpha, mills_beta = tf.unstack(_mills(tf.stack([alpha, beta])))
    # r = Q(beta) / Q(alpha), q = Q(xi) / Q(alpha); both without forming the tails, which underflow.
    r = tf.exp(-width * (alpha + beta) / 2.0) * mills_beta / mills_alpha
    q = 1.0 - v * (1.0 - r)
    e = -tf.math.log1p(-v * (1.0 - r))

    def newton(i: tf.Tensor, delta: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        mills = _mills(alpha + delta)
        excess = tf.math.log(mills / mills_alpha) - delta * (2.0 * alpha + delta) / 2.0 + e
        return i + 1, tf.clip_by_value(delta + excess * mills, 0.0, width), mills

    # A loop, because XLA compiles erfcx slowly. Three steps converge: the fourth's ratio is that of the solution.
    start = (0, 2.0 * e / (alpha + tf.sqrt(alpha**2 + 2.0 * e)), mills_alpha)
    _, delta, mills = tf.while_loop(lambda i, *_: i < _NEWTON_STEPS, newton, start)
    return alpha + delta, (1.0 - v) / q * mills / mills_alpha, v * r / q * mills / mills_beta


def truncated_normal_quantile(
    u: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    """Inverse CDF of a normal truncated to [low, high], differentiable in `loc`, `scale`, `low` and `high`.

    Args:
        u: probabilities in [0, 1], any shape; no gradient flows to them.
        loc, scale: mean and standard deviation (> 0) of the normal before truncation, of u's shape.
        low, high: bounds, low < high, of u's shape.

    Returns:
        A tensor of u's shape and dtype within [low, high].
    """

    @tf.custom_gradient
    def quantile(loc, scale, low, high):
        v, mu, sigma, a, b = (tf.cast(t, tf.float64) for t in (u, loc, scale, low, high))
        # Mirror so that loc lies at or below the middle: then only the upper tail can be far.
        mirrored = mu > (a + b) / 2.0
        v = tf.where(mirrored, 1.0 - v, v)
        mu, a, b = tf.where(mirrored, -mu, mu), tf.where(mirrored, -b, a), tf.where(mirrored, -a, b)
        alpha, beta = (a - mu) / sigma, (b - mu) / sigma
        # The ends themselves are put in afterwards: there the formulas would divide zero by zero.
        first, last = v <= 0.0, v >= 1.0
        v = tf.clip_by_value(v, 1e-18, 1.0 - 1e-16)
        far = alpha > _TAIL
        # Each branch is fed harmless numbers where the other one is taken, so that neither makes NaNs.
        dummy = tf.constant(_TAIL + 1.0, tf.float64)
        near = _near(v, tf.minimum(alpha, _TAIL), tf.where(far, dummy, beta))

        def with_tail() -> tuple[tf.Tensor, ...]:
            tail = _tail(v, tf.maximum(alpha, _TAIL), tf.where(far, beta, dummy))
            return tuple(tf.where(far, t, n) for t, n in zip(tail, near, strict=True))

        # The tail costs as much again, and a policy whose location lies within the bounds never needs it.
        xi, weight_a, weight_b = tf.cond(tf.reduce_any(far), with_tail, lambda: near)
        xi = tf.where(first, alpha, tf.where(last, beta, xi))
        weight_a = tf.where(first | last, tf.cast(first, tf.float64), weight_a)
        weight_b = tf.where(first | last, tf.cast(last, tf.float64), weight_b)
        x = tf.where(far, a + sigma * (xi - alpha), mu + sigma * xi)
        x = tf.cast(tf.where(mirrored, -x, x), u.dtype)

        def grad(upstream):
            up = tf.cast(upstream, tf.float64)
            d_scale = xi - weight_a * alpha - weight_b * beta
            d_low = tf.where(mirrored, weight_b, weight_a)
            d_high = tf.where(mirrored, weight_a, weight_b)
            gradients = (1.0 - weight_a - weight_b, tf.where(mirrored, -d_scale, d_scale), d_low, d_high)
            return tuple(tf.cast(up * g, upstream.dtype) for g in gradients)

        return tf.clip_by_value(x, low, high), grad

    return quantile(loc, scale, low, high)


def stateless_uniform(shape: tf.Tensor | tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Float32 numbers uniform in the open interval (0, 1), equal in eager mode, in a graph and under XLA.

    `tf.random.stateless_uniform` is not: even with `alg="philox"` only its integers are equal, because XLA makes floats
    of other bits of them.
    """
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return (tf.cast(tf.bitwise.right_shift(bits, 9), tf.float32) + 0.5) * 2.0**-23


def stateless_normal(shape: tf.Tensor | tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Float32 standard normal numbers, equal in every mode up to rounding (see `stateless_uniform`)."""
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * stateless_uniform(shape, seed) - 1.0)


def observation_normal(observations: tf.Tensor, count: int) -> tf.Tensor:
    """Standard normal numbers [B, count] that depend on the bits of each observation [B, obs] and on nothing else.

    So a policy that draws a random number per step is still a function of the observation: it repeats, and acts alone
    as in a batch. The bits go through Murmur3's integer mixing.
    """

    def mix(h: tf.Tensor) -> tf.Tensor:
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, tf.constant(shift, tf.uint32)))
            h *= tf.constant(factor, tf.uint32)
        return tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, tf.constant(16, tf.uint32)))

    bits = tf.bitcast(observations + 0.0, tf.uint32)  # -0.0 + 0.0 is 0.0
    h = tf.fill(tf.shape(bits)[:1], tf.constant(0, tf.uint32))
    for i in range(bits.shape[1]):
        h = mix(h * tf.constant(5, tf.uint32) + bits[:, i] + tf.constant(0xE6546B64, tf.uint32))
    h = mix(h[:, None] + tf.constant(0x9E3779B9, tf.uint32) * tf.cast(tf.range(1, count + 1), tf.uint32))
    uniform = (tf.cast(tf.bitwise.right_shift(h, tf.constant(9, tf.uint32)), tf.float32) + 0.5) * 2.0**-23
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * uniform - 1.0)


class TruncatedNormal(tfp.distributions.TruncatedNormal):
    """`tfp.distributions.TruncatedNormal` with correct reparameterised samples and quantiles.

    Log-densities, moments and the rest are TFP's. One seed gives one sample: in eager mode, in a graph and under XLA.
    """

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        u = stateless_uniform(shape, tfp.random.sanitize_seed(seed))
        return self._quantile(tf.cast(u, self.dtype))

    def _quantile(self, value):
        shape = tf.broadcast_dynamic_shape(tf.shape(value), self.batch_shape_tensor())
        arguments = (value, self.loc, self.scale, self.low, self.high)
        return truncated_normal_quantile(*(tf.broadcast_to(t, shape) for t in arguments))
