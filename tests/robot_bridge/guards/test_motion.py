"""The promise of the motion limiter, put to random and adversarial wishes.

Limits are checked on differences of the positions that came out, not on what the limiter says of itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot_bridge.guards.limits import PRESETS, JointLimits
from robot_bridge.guards.motion import MotionLimiter

DT = 0.02
ZERO = np.zeros(2)
LIMITS = JointLimits([-1, -1], [1, 1], [1, 1], [4, 4], [100, 100])


def wishes(rng: np.random.Generator, limits: JointLimits, kind: str, steps: int) -> np.ndarray:
    """Wished velocities [steps, n], far beyond what is allowed."""
    n = len(limits.low)
    if kind == "noise":
        return 5.0 * limits.velocity * rng.normal(size=(steps, n))
    if kind == "flips":  # full speed, reversed at random moments
        return 9.0 * limits.velocity * np.sign(rng.normal(size=(steps // 7 + 1, n))).repeat(7, axis=0)[:steps]
    if kind == "wall":  # straight into a limit, and on
        return np.tile(1e6 * np.sign(rng.normal(size=n)), (steps, 1))
    return limits.velocity * rng.uniform(-1, 1, (steps // 40 + 1, n)).repeat(40, axis=0)[:steps]


@pytest.mark.parametrize("kind", ["noise", "flips", "wall", "plausible"])
@pytest.mark.parametrize(("preset", "dt", "jerk"), [("panda", 0.02, 1.0), ("fr3", 0.01, 0.05)])
def test_no_wish_breaks_a_limit(kind: str, preset: str, dt: float, jerk: float) -> None:
    limits = PRESETS[preset].narrowed(0.1, 0.5)
    limits = replace(limits, jerk=jerk * limits.jerk)
    rng = np.random.default_rng([len(kind), len(preset)])
    limiter = MotionLimiter(limits, dt)
    for _ in range(2):
        start = rng.uniform(limits.low, limits.high)
        motion, path = limiter.begin(start), [start] * 3
        for wish in [*wishes(rng, limits, kind, 120), *np.zeros((100, 7))]:  # and then it stops
            motion = limiter.step(motion, wish)
            path.append(motion.position)
        q = np.array(path)
        v = np.diff(q, axis=0) / dt
        a = np.diff(v, axis=0) / dt
        j = np.diff(a, axis=0) / dt
        assert (q >= limits.low - 1e-9).all()
        assert (q <= limits.high + 1e-9).all()
        for differences, bound in ((v, limits.velocity), (a, limits.acceleration), (j, limits.jerk)):
            assert (np.abs(differences) <= bound * (1 + 1e-6)).all()
        assert np.abs(v[-1]).max() < 1e-5


def test_limits_are_used_up() -> None:
    """A limiter that never moves would keep all limits, too."""
    limiter = MotionLimiter(PRESETS["panda"], 0.02)
    motion = limiter.begin(np.array([0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0]))
    speeds, positions = [], []
    for _ in range(200):
        motion = limiter.step(motion, np.full(7, 100.0))
        speeds.append(motion.velocity)
        positions.append(motion.position)
    assert (np.max(speeds, axis=0) > 0.97 * PRESETS["panda"].velocity)[[0, 2, 4, 5, 6]].all()
    np.testing.assert_allclose(positions[-1], PRESETS["panda"].high, atol=0.01)
    # From rest to full speed at full acceleration takes v / a; one step more is for the jerk.
    reached = int(np.argmax(np.array(speeds)[:, 0] > 0.97 * 2.175))
    assert reached * 0.02 <= 2.175 / 15.0 + 0.04


def test_a_wish_within_the_limits_is_granted() -> None:
    limiter = MotionLimiter(replace(LIMITS, jerk=np.full(2, 1e5)), DT)
    motion = limiter.begin(ZERO)
    for k in range(40):
        wish = 0.3 * np.sin([0.1 * k, 0.2 * k])
        motion = limiter.step(motion, wish)
    np.testing.assert_allclose(motion.velocity, wish, atol=1e-3)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_joint_beyond_its_limit_only_comes_back(side: float) -> None:
    limiter = MotionLimiter(LIMITS, DT)
    motion = limiter.begin(np.array([side * 1.05, 0.0]))
    outwards, inwards = np.array([side, 0.0]), np.array([-0.5 * side, 0.0])
    for _ in range(30):
        motion = limiter.step(motion, outwards)
        assert side * motion.position[0] <= 1.05
    for _ in range(2):
        motion = limiter.step(motion, inwards)
    came_back = side * motion.position[0]
    assert 1.0 < came_back < 1.05
    for _ in range(30):
        motion = limiter.step(motion, outwards)
        assert side * motion.position[0] <= came_back  # not a step further out than it has come back, though beyond
        came_back = side * motion.position[0]
    for _ in range(30):
        motion = limiter.step(motion, inwards)
    assert side * motion.position[0] < 1.0
    for _ in range(100):
        motion = limiter.step(motion, outwards)
    assert side * motion.position[0] <= 1.0  # once back, the limit holds


def test_the_quick_answer_agrees_with_the_simulated_one() -> None:
    rng = np.random.default_rng(0)
    sure_ones = 0
    for _ in range(30):
        limits = replace(PRESETS["panda"], jerk=PRESETS["panda"].jerk * 10 ** rng.uniform(-2, 0))
        limiter = MotionLimiter(limits, 10 ** rng.uniform(-2.5, -1))
        motion = replace(
            limiter.begin(rng.uniform(limits.low, limits.high)),
            velocity=rng.uniform(-1, 1, 7) * limits.velocity,
            acceleration=rng.uniform(-1, 1, 7) * limits.acceleration,
        )
        accelerations = rng.uniform(-1, 1, (20, 7)) * limits.acceleration
        sure = limiter._surely_can_stop(limiter._next(accelerations, motion))
        limiter._surely_can_stop = lambda motion: np.zeros(1, bool)  # type: ignore[method-assign]
        assert (limiter._can_stop(accelerations, motion) | ~sure).all()
        sure_ones += int(sure.sum())
    assert sure_ones > 500


def test_the_quick_answer_has_its_reserves() -> None:
    """States so near to a limit that full deceleration alone would just do, but not without the time to build it up."""
    rng = np.random.default_rng(1)
    stoppable = 0
    for _ in range(200):
        limits = replace(PRESETS["panda"], jerk=PRESETS["panda"].jerk * 10 ** rng.uniform(-2.5, -0.5))
        limiter = MotionLimiter(limits, 0.02)
        velocity = rng.uniform(0.2, 0.9, 7) * limits.velocity
        room = velocity**2 / limits.acceleration * rng.uniform(1.0, 3.0, 7)
        motion = replace(limiter.begin(limits.high - room), velocity=velocity)
        braking = limiter._towards(np.zeros(7), motion)
        sure = limiter._surely_can_stop(limiter._next(braking, motion))
        limiter._surely_can_stop = lambda motion: np.zeros(1, bool)  # type: ignore[method-assign]
        can = limiter._can_stop(braking, motion)
        assert (can | ~sure).all()
        stoppable += int(can.sum())
    assert 100 < stoppable < 1300  # of 1,400: the edge is in between


def test_drift_is_corrected_but_never_into_a_place_without_stop() -> None:
    limiter = MotionLimiter(LIMITS, DT)
    motion = limiter.begin(ZERO)
    for _ in range(100):
        motion = limiter.step(motion, ZERO)
        motion = limiter.shift(motion, 0.1 * (np.array([0.2, -0.1]) - motion.position))
    np.testing.assert_allclose(motion.position, [0.2, -0.1], atol=1e-3)
    motion = limiter.begin(np.array([0.7, 0.0]))
    for _ in range(12):
        motion = limiter.step(motion, np.array([1.0, 0.0]))
    for _ in range(60):
        # at full speed, a millimetre before the limit
        motion = limiter.shift(motion, 0.5 * (np.array([0.999, 0.0]) - motion.position))
        motion = limiter.step(motion, np.array([1.0, 0.0]))
    assert motion.position[0] <= 1.0
    motion = limiter.begin(ZERO)
    for _ in range(20):
        motion = limiter.step(motion, np.array([1.0, 0.0]))
    for place in np.linspace(0.5, 0.999, 20):  # at full speed: 0.1 rad to brake
        shifted = limiter.shift(motion, np.array([place, 0.0]) - motion.position)
        assert max(step.position[0] for step in limiter.brake(shifted)) <= 1.0
        assert np.isclose(shifted.position[0], [place, motion.position[0]]).any()
        assert np.isclose(shifted.position[0], place) == (place < 0.88)
