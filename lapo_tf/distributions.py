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

tfd = tfp.distributions

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
    quantile = tf.math.ndtri(tf.clip_by_value(tf.minimum(upper, lower), 1e-300, 0.5))
    xi = tf.clip_by_value(tf.where(upper < lower, -quantile, quantile), alpha, beta)
    return xi, (1.0 - v) * tf.exp((xi**2 - alpha**2) / 2.0), v * tf.exp((xi**2 - beta**2) / 2.0)


def _tail(v: tf.Tensor, alpha: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """xi, A and B by Newton's method on log Q(alpha + delta); precise for alpha >= `_TAIL`, however large."""
    width = beta - alpha
    mills_alpha, mills_beta = _mills(alpha), _mills(beta)
    # r = Q(beta) / Q(alpha), q = Q(xi) / Q(alpha); both without forming the tails, which underflow.
    r = tf.exp(-width * (alpha + beta) / 2.0) * mills_beta / mills_alpha
    q = 1.0 - v * (1.0 - r)
    e = -tf.math.log1p(-v * (1.0 - r))
    delta = 2.0 * e / (alpha + tf.sqrt(alpha**2 + 2.0 * e))
    for _ in range(_NEWTON_STEPS):
        mills = _mills(alpha + delta)
        excess = tf.math.log(mills / mills_alpha) - delta * (2.0 * alpha + delta) / 2.0 + e
        delta = tf.clip_by_value(delta + excess * mills, 0.0, width)
    mills = _mills(alpha + delta)
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
    def quantile(loc, scale, low, high):  # noqa: ANN001, ANN202
        v, mu, sigma, a, b = (tf.cast(t, tf.float64) for t in (u, loc, scale, low, high))
        # Mirror so that loc lies at or below the middle: then only the upper tail can be far.
        mirrored = mu > (a + b) / 2.0
        v = tf.where(mirrored, 1.0 - v, v)
        mu, a, b = tf.where(mirrored, -mu, mu), tf.where(mirrored, -b, a), tf.where(mirrored, -a, b)
        alpha, beta = (a - mu) / sigma, (b - mu) / sigma
        far = alpha > _TAIL
        # Each branch is fed harmless numbers where the other one is taken, so that neither makes NaNs.
        dummy = tf.constant(_TAIL + 1.0, tf.float64)
        near = _near(v, tf.minimum(alpha, _TAIL), tf.where(far, dummy, beta))
        tail = _tail(v, tf.maximum(alpha, _TAIL), tf.where(far, beta, dummy))
        xi, weight_a, weight_b = (tf.where(far, t, n) for t, n in zip(tail, near, strict=True))
        x = tf.where(far, a + sigma * (xi - alpha), mu + sigma * xi)
        x = tf.cast(tf.where(mirrored, -x, x), u.dtype)

        def grad(upstream):  # noqa: ANN001, ANN202
            up = tf.cast(upstream, tf.float64)
            d_scale = xi - weight_a * alpha - weight_b * beta
            d_low = tf.where(mirrored, weight_b, weight_a)
            d_high = tf.where(mirrored, weight_a, weight_b)
            gradients = (1.0 - weight_a - weight_b, tf.where(mirrored, -d_scale, d_scale), d_low, d_high)
            return tuple(tf.cast(up * g, upstream.dtype) for g in gradients)

        return tf.clip_by_value(x, low, high), grad

    return quantile(loc, scale, low, high)


class TruncatedNormal(tfd.TruncatedNormal):
    """`tfp.distributions.TruncatedNormal` with correct reparameterised samples and quantiles.

    Log-densities, moments and the rest are TFP's. Samples differ between seeds only, not between eager and XLA.
    """

    def _sample_n(self, n, seed=None):  # noqa: ANN001, ANN202
        shape = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        u = tf.random.stateless_uniform(shape, tfp.random.sanitize_seed(seed), dtype=self.dtype, alg="philox")
        return self._quantile(u)

    def _quantile(self, value):  # noqa: ANN001, ANN202
        shape = tf.broadcast_dynamic_shape(tf.shape(value), self.batch_shape_tensor())
        arguments = (value, self.loc, self.scale, self.low, self.high)
        return truncated_normal_quantile(*(tf.broadcast_to(t, shape) for t in arguments))
