"""The truncated Gaussian, in float32, compiled by XLA and eagerly, against 40-digit arithmetic.

Samples are checked against a root search on the distribution function, gradients against finite differences of it: no
formula is shared with `lapo_tf.agents.distributions`.
"""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from lapo_tf.agents.distributions import TruncatedNormal, truncated_normal_quantile

BOUNDS = ((-2.0, 2.0), (-1.0, 1.5))
UNIFORMS = (1e-6, 0.3, 0.999999)
SCALES = (1e-3, 0.05, 1.0, 100.0)  # tiny to large, beside bounds about 1 away
PLACES = {
    "inside": (0.0, 0.3, -0.99),
    "near": (1.5, 2.0, -2.5),  # outside of one pair of bounds, by a few scales
    "below": (-7.0, -50.0, -1e3),
    "above": (7.0, 50.0, 1e3),
}
# The reported error was here: 5 standard deviations out, in the last millionth, where XLA's ndtri has few digits.
HARD = [(0.999999, -2.5, 0.3, -1.0, 1.5), (1e-6, 2.5, 0.3, -1.0, 1.5), (0.999999, -1.2, 0.05, -1.0, 1.5)]


def upper(x: mp.mpf) -> mp.mpf:
    """Upper tail probability of the standard normal; where it rounds to 1, mpmath need not try."""
    return mp.mpf(1) if x < -30 else mp.erfc(x / mp.sqrt(2)) / 2


def exact_quantile(u: mp.mpf, loc: mp.mpf, scale: mp.mpf, low: mp.mpf, high: mp.mpf) -> mp.mpf:
    """Solve CDF(x) = u by Newton's method on the log of the upper tail."""
    if loc > (low + high) / 2:  # mirror, or the upper tails are 1 - tiny and 40 digits do not hold the tiny
        return -exact_quantile(1 - u, -loc, scale, -high, -low)
    a, b = (low - loc) / scale, (high - loc) / scale
    goal = mp.log((1 - u) * upper(a) + u * upper(b))
    x = b  # the log is concave and decreasing: from the right, the method converges without overshooting
    for _ in range(500):
        tail = upper(x)
        change = (mp.log(tail) - goal) * tail * mp.sqrt(2 * mp.pi) * mp.exp(x * x / 2)
        x += change
        if abs(change) < mp.mpf(10) ** -33 * max(1, abs(x)):
            return loc + scale * x
    raise AssertionError("no convergence")


def reference(case: np.ndarray) -> list[float]:
    """x, dx/dloc, dx/dscale, dx/dlow, dx/dhigh by central differences, of numbers exactly as float32 has them."""
    values = [mp.mpf(float(v)) for v in case]
    result = [float(exact_quantile(*values))]
    for i in range(1, 5):
        step = values[2] * mp.mpf(10) ** -12
        plus, minus = list(values), list(values)
        plus[i] += step
        minus[i] -= step
        result.append(float((exact_quantile(*plus) - exact_quantile(*minus)) / (2 * step)))
    return result


def value_and_gradients(u, loc, scale, low, high) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch([loc, scale, low, high])
        x = truncated_normal_quantile(u, loc, scale, low, high)
    return tf.stack([x, *tape.gradient(x, [loc, scale, low, high])], 1)


def grid(us, locs, scales) -> np.ndarray:
    """Cases [n, 5]; the two pairs of bounds take turns."""
    product = itertools.product(us, locs, scales)
    return np.array([(*case, *BOUNDS[i % 2]) for i, case in enumerate(product)], np.float32)


CASES = {name: grid(UNIFORMS, locs, SCALES) for name, locs in PLACES.items()}
CASES["hard"] = np.array(HARD, np.float32)
CASES["ends"] = grid((0.0, 1.0), (0.0, 3.0, -3.0, 1e3, -1e3), (1e-3, 0.3, 100.0))


@pytest.fixture(scope="module", params=["xla", "eager"])
def computed(request) -> dict[str, np.ndarray]:
    """x and its four gradients [n, 5] for every set of cases; all in one call, since XLA compiles for seconds."""
    compute = tf.function(value_and_gradients, jit_compile=True) if request.param == "xla" else value_and_gradients
    result = compute(*map(tf.constant, np.concatenate([*CASES.values()]).T)).numpy()
    parts = np.split(result, np.cumsum([len(c) for c in CASES.values()])[:-1])
    return dict(zip(CASES, parts, strict=True))


@pytest.fixture(scope="module")
def exact() -> dict[str, np.ndarray]:
    with mp.workdps(40):
        return {name: np.array([reference(case) for case in CASES[name]]) for name in [*PLACES, "hard"]}


@pytest.mark.parametrize("place", [*PLACES, "hard"])
def test_sample_and_gradients_against_high_precision_differences(computed, exact, place):
    numbers, got = CASES[place], computed[place]
    for i, name in enumerate(("x", "d/dloc", "d/dscale", "d/dlow", "d/dhigh")):
        # d/dscale is a difference of terms as large as the distance in standard deviations (up to 1e6 here).
        atol = 1e-9 if name != "d/dscale" else 1e-9 + 1e-15 * float(np.max(np.abs(numbers[:, 1] / numbers[:, 2])))
        np.testing.assert_allclose(got[:, i], exact[place][:, i], rtol=2e-6, atol=atol, err_msg=name)
    assert np.all((got[:, 0] >= numbers[:, 3]) & (got[:, 0] <= numbers[:, 4]))


def test_the_ends_of_the_unit_interval_are_the_bounds(computed):
    u, _, _, low, high = CASES["ends"].T
    np.testing.assert_array_equal(computed["ends"][:, 0], np.where(u == 0, low, high))
    np.testing.assert_array_equal(computed["ends"][:, 1:], np.stack([0 * u, 0 * u, u == 0, u == 1], 1))


def test_the_reference_is_right_where_the_answer_is_known():
    with mp.workdps(40):
        assert reference(np.array([0.5, 0, 1, -2, 2]))[0] == pytest.approx(0, abs=1e-30)
        # So wide a normal is uniform between the bounds: x = low + u (high - low).
        wide = reference(np.array([0.25, 0, 1e6, -1, 3]))
        np.testing.assert_allclose(wide, [0, 0, 0, 0.75, 0.25], atol=1e-10)
        # So narrow a one, inside, has no bounds: x = loc + scale * quantile(u).
        narrow = reference(np.array([0.9, 0, 1e-3, -1, 3]))
        np.testing.assert_allclose(narrow, [1.2815515655446004e-3, 1, 1.2815515655446004, 0, 0], atol=1e-12)


PARAMETERS = np.array(
    [(0.3, 0.7, -1.0, 1.5), (0.0, 50.0, -2.0, 2.0), (-9.0, 1.0, -2.0, 2.0), (12.0, 1.5, -2.0, 2.0)], np.float32
)
N = 20_000


def sample(seed: tf.Tensor) -> tf.Tensor:
    return TruncatedNormal(*map(tf.constant, PARAMETERS.T)).sample(N, seed=seed)


@pytest.fixture(scope="module")
def compiled_sample():
    return tf.function(sample, jit_compile=True)


def cdf(x: np.ndarray, loc: float, scale: float, low: float, high: float) -> np.ndarray:
    """By the error function of Python's math module, in float64."""
    if loc > high:
        return 1 - cdf(-x, -loc, scale, -high, -low)
    tail = np.vectorize(lambda v: 0.5 * math.erfc((v - loc) / scale / math.sqrt(2)))
    return (tail(low) - tail(x)) / (tail(low) - tail(high))


@pytest.mark.parametrize("column", range(len(PARAMETERS)))
def test_samples_follow_the_distribution(compiled_sample, column):
    """Kolmogorov-Smirnov: the largest distance stays below the 0.1 % critical value."""
    x = np.sort(compiled_sample(tf.constant([3, 4])).numpy()[:, column].astype(np.float64))
    loc, scale, low, high = PARAMETERS[column].astype(np.float64)
    rank, critical = np.arange(N) / N, 1.95 / math.sqrt(N)
    expected = cdf(x, loc, scale, low, high)
    distance = max(np.max(expected - rank), np.max(rank + 1 / N - expected))
    assert 1e-4 < distance < critical  # even spacing would not be random
    if scale < 10:  # wider normals are all alike between the bounds
        assert np.max(np.abs(cdf(x, loc, 1.1 * scale, low, high) - rank)) > critical


def test_one_seed_is_one_sample_in_every_mode(compiled_sample):
    x = compiled_sample(tf.constant([1, 2])).numpy()
    assert x.shape == (N, 4)
    assert np.all((x >= PARAMETERS[:, 2]) & (x <= PARAMETERS[:, 3]))
    np.testing.assert_array_equal(x, compiled_sample(tf.constant([1, 2])))
    np.testing.assert_allclose(x, sample(tf.constant([1, 2])), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(x, tf.function(sample)(tf.constant([1, 2])), rtol=1e-6, atol=1e-7)
    assert np.mean(x == compiled_sample(tf.constant([1, 3]))) < 0.01
    assert abs(np.corrcoef(x[:, 0], x[:, 2])[0, 1]) < 0.03  # columns do not share numbers


@pytest.mark.parametrize("xla", [True, False])
def test_log_prob(xla):
    parameters = [(0.3, 0.7), (-0.9, 0.05), (1.9, 0.2), (0.0, 30.0), (-2.0, 0.5), (3.0, 1.0), (-4.0, 0.8)]
    points = (-0.99, -0.2, 0.0, 0.7, 1.49)
    log_prob = tf.function(lambda x, loc, s: TruncatedNormal(loc, s, -1.0, 1.5).log_prob(x), jit_compile=xla)
    loc, scale, x = (np.array(v, np.float32) for v in zip(*((*p, x) for p in parameters for x in points), strict=True))
    with mp.workdps(30):
        exact = []
        for m, s, v in zip(*(map(mp.mpf, a.astype(float)) for a in (loc, scale, x)), strict=True):
            exact.append(float(mp.log(mp.npdf(v, m, s)) - mp.log(mp.ncdf(1.5, m, s) - mp.ncdf(-1, m, s))))
    np.testing.assert_allclose(log_prob(x, loc, scale), exact, rtol=1e-5, atol=1e-5)
    outside = log_prob(np.array([-1.01, 1.51], np.float32), np.zeros(2, np.float32), np.ones(2, np.float32))
    np.testing.assert_array_equal(outside, [-np.inf, -np.inf])


def test_tfps_own_gradient_is_wrong_and_ours_is_right():
    """Documented in REFERENCE: loc 1.5, scale 0.5, bounds ±1. The average gradient of samples is that of the mean."""
    with mp.workdps(30):

        def mean(m: mp.mpf) -> mp.mpf:
            points = mp.linspace(-1, 1, 20)
            density = lambda t: mp.npdf(t, m, mp.mpf("0.5"))  # noqa: E731
            return mp.quad(lambda t: t * density(t), points) / mp.quad(density, points)

        step = mp.mpf(10) ** -8
        truth = float((mean(mp.mpf("1.5") + step) - mean(mp.mpf("1.5") - step)) / (2 * step))
    assert truth == pytest.approx(0.199, abs=5e-4)

    def slope(kind: type) -> float:
        loc = tf.constant(1.5)
        with tf.GradientTape() as tape:
            tape.watch(loc)
            x = tf.reduce_mean(kind(loc, 0.5, -1.0, 1.0).sample(50_000, seed=[5, 6]))
        return float(tape.gradient(x, loc))

    assert slope(tfp.distributions.TruncatedNormal) == pytest.approx(1.0, abs=1e-4)
    assert slope(TruncatedNormal) == pytest.approx(truth, abs=2e-3)
