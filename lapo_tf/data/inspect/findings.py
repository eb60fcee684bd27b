"""What looks suspicious in a data set: from the numbers that an inspection measured."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.inspect.model import AT_BOUND, Finding, Inspection, sample

COMPARED = 2_000  # episodes compared with one another
SAME = 0.05  # standard deviations apart, root mean square over channels and time: nearly the same episode


def findings(found: Inspection, backwards: list[tuple[int, int]], uneven: list[tuple[int, int]]) -> list[Finding]:
    """Everything suspicious in a data set.

    Args:
        found: what is known of it otherwise.
        backwards, uneven: episodes and steps where time does not go on, or goes on unevenly.
    """
    dataset = found.dataset
    notes = [Finding(warning) for warning in dataset.summary.warnings]
    if found.rewarded == 0:
        notes.append(Finding("no step has a reward: there is nothing to learn from; relabel the data", grave=True))
    elif found.reward_values is not None and len(found.reward_values) == 1:
        notes.append(Finding("every step has the same reward: there is nothing to learn from", grave=True))
    if backwards:
        where = ", ".join(f"episode {e}, step {s}" for e, s in backwards[:3])
        notes.append(Finding(f"time does not go on in {steps(len(backwards))}: {where}", grave=True))
    if uneven:
        where = ", ".join(f"episode {e}, step {s}" for e, s in uneven[:3])
        notes.append(Finding(f"time goes on by more than 1.5 times the usual in {steps(len(uneven))}: {where}"))
    notes += [*_actions(found), *_channels(found), *_jumps(found), *_frozen(found), *_repetitions(found)]
    if dataset.summary.dropped:
        share = dataset.summary.dropped / (dataset.summary.dropped + len(dataset))
        notes.append(
            Finding(f"{dataset.summary.dropped:,} steps ({share:.1%}) have no next observation and are not used")
        )
    return notes


def _actions(found: Inspection) -> Iterator[Finding]:
    actions = found.dataset.actions[found.dataset.index]
    names = np.array(found.action_names)
    still = np.ptp(actions, axis=0) == 0
    if still.any():
        yield Finding(f"actions that never change: {_listed(names[still])}", grave=True)
    if found.low is not None and found.high is not None:
        most = found.at_bounds > 0.25
        if most.any():
            worst = found.at_bounds.max()
            yield Finding(
                f"saturated: more than a quarter of {_listed(names[most])} lies at a bound (most: {worst:.0%}); "
                "were commands clipped, or in other units?"
            )
        beyond = np.maximum(found.low - actions.min(axis=0), actions.max(axis=0) - found.high)
        outside = beyond > AT_BOUND * (found.high - found.low)
        if outside.any():
            worst_channel = int(np.argmax(beyond))
            reach = f"{actions[:, worst_channel].min():.3g} to {actions[:, worst_channel].max():.3g}"
            yield Finding(f"beyond the bounds: {_listed(names[outside])} ({names[worst_channel]}: {reach})")


def _channels(found: Inspection) -> Iterator[Finding]:
    names = np.array(found.observation_names)
    goals = np.array([name.startswith("goal") for name in found.observation_names])
    if (still := found.constant & ~goals).any():
        yield Finding(f"observations that never change: {_listed(names[still])}")
    if (still := found.constant & goals).any():
        yield Finding(f"{int(still.sum())} goal channels never change (one task: as it should be)")


def _jumps(found: Inspection) -> Iterator[Finding]:
    """Single steps that cross more than half of what a channel covers, and are 20 times its usual step."""
    dataset = found.dataset
    index = dataset.index
    some = sample(index)
    typical = np.abs(dataset.observations[some + 1] - dataset.observations[some]).astype(np.float64)
    usual = np.array([np.median(column[column > 0]) if column.any() else 0.0 for column in typical.T])
    wide = 0.5 * (found.quantiles[5] - found.quantiles[1])
    limit = np.where(found.constant | (wide <= 0), np.inf, np.maximum(wide, 20 * usual))
    count = np.zeros(dataset.obs_dim, int)
    rows: dict[int, int] = {}
    turns = np.zeros(dataset.obs_dim, int)
    for first in range(0, len(index), 1 << 16):
        block = index[first : first + (1 << 16)]
        step = np.abs(dataset.observations[block + 1] - dataset.observations[block])
        far = step > limit
        turns += (far & (np.abs(step - 2 * np.pi) < 0.5)).sum(axis=0)
        for channel in np.flatnonzero(far.any(axis=0)):
            rows.setdefault(int(channel), int(block[int(np.argmax(far[:, channel]))]))
        count += far.sum(axis=0)
    for channel in np.argsort(-count)[:5]:
        if count[channel]:
            name = found.observation_names[channel]
            if turns[channel] > 0.5 * count[channel]:
                why = "an angle that wraps? give its sine and cosine instead"
                yield Finding(f"{name} jumps by about 2 pi in {steps(count[channel])}: {why}", grave=True)
            else:
                where = place(dataset, rows[int(channel)])
                yield Finding(
                    f"{name} jumps in {steps(count[channel])}, first in {where}: a sensor that drops out, a knock?"
                )


def _frozen(found: Inspection) -> Iterator[Finding]:
    """Observations that repeat exactly, five steps or more in a row."""
    dataset = found.dataset
    if found.constant.all():
        return
    same = np.zeros(len(dataset.rewards), bool)
    for first in range(0, len(dataset.index), 1 << 16):
        block = dataset.index[first : first + (1 << 16)]
        same[block] = (dataset.observations[block + 1] == dataset.observations[block]).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
    begins, ends = edges[::2], edges[1::2]
    long = np.flatnonzero(ends - begins >= 5)
    if len(long):
        worst = long[np.argmax((ends - begins)[long])]
        yield Finding(
            f"frozen: {len(long)} stretches of 5 steps or more in which no observation changes, the longest "
            f"{ends[worst] - begins[worst]} steps ({place(dataset, int(begins[worst]))})",
            grave=True,
        )


def _repetitions(found: Inspection) -> Iterator[Finding]:
    dataset = found.dataset
    if len(dataset) > 1:
        repeated = len(dataset) - len(np.unique(_fingerprints(dataset)))
        if repeated > 0.001 * len(dataset):
            share = repeated / len(dataset)
            yield Finding(f"{repeated:,} transitions ({share:.1%}) repeat another's observation and action exactly")
    pairs, compared = near_duplicates(dataset, found.constant)
    if pairs:
        among = "" if compared == len(dataset.episodes) else f" among {compared:,} compared"
        where = ", ".join(f"{a} and {b}" for a, b in pairs[:3])
        episodes = len({episode for pair in pairs for episode in pair})
        yield Finding(f"{episodes} episodes{among} are nearly the same as another: {where}")


def _fingerprints(dataset: OfflineDataset) -> NDArray[np.uint64]:
    """A number for every transition's observation and action, the same for the same."""
    rng = np.random.default_rng(0)
    width = dataset.obs_dim + dataset.act_dim
    factors = rng.integers(1, 2**63, width, dtype=np.uint64) | np.uint64(1)
    prints = np.empty(len(dataset), np.uint64)
    for first in range(0, len(dataset), 1 << 16):
        block = dataset.index[first : first + (1 << 16)]
        rows = np.concatenate([dataset.observations[block], dataset.actions[block]], axis=1) + np.float32(0)  # no -0
        bits = rows.view(np.uint32).astype(np.uint64)
        bits ^= bits >> np.uint64(13)
        prints[first : first + len(block)] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return prints


def near_duplicates(dataset: OfflineDataset, constant: np.ndarray) -> tuple[list[tuple[int, int]], int]:
    """Pairs of episodes that are nearly the same (`SAME`), of about equal length, and how many were compared.

    Each episode is looked at in 16 evenly spaced steps. One-step episodes are not compared.
    """
    long = np.flatnonzero(dataset.episodes[:, 1] >= 5)
    chosen = long[:: max(-(-len(long) // COMPARED), 1)]
    moving = np.flatnonzero(~constant)
    if len(chosen) < 2 or not len(moving):
        return [], len(chosen)
    first, lengths = dataset.episodes[chosen].T
    rows = first[:, None] + np.round(np.linspace(0, 1, 16) * (lengths[:, None] - 1)).astype(np.int64)
    spread = dataset.observations[:, moving].std(axis=0)
    features = (dataset.observations[rows][:, :, moving] / spread).reshape(len(chosen), -1).astype(np.float64)
    features -= features.mean(axis=0)
    norms = (features**2).sum(axis=1)
    pairs: list[tuple[int, int]] = []
    for a in range(0, len(chosen), 500):
        squares = norms[a : a + 500, None] + norms - 2 * features[a : a + 500] @ features.T
        apart = np.sqrt(np.maximum(squares, 0) / features.shape[1])
        alike = np.abs(lengths[a : a + 500, None] - lengths) <= 0.05 * lengths
        i, j = np.nonzero((apart < SAME) & alike)
        pairs += [(int(chosen[a + p]), int(chosen[q])) for p, q in zip(i, j, strict=True) if a + p < q]
    return pairs, len(chosen)


def steps(count: int) -> str:
    return f"{count:,} step" + ("" if count == 1 else "s")


def _listed(names: np.ndarray) -> str:
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def place(dataset: OfflineDataset, row: int) -> str:
    """Episode and step of a row, for people."""
    number = int(np.searchsorted(dataset.episodes[:, 0], row, side="right")) - 1
    return f"episode {number}, step {row - int(dataset.episodes[number, 0])}"
