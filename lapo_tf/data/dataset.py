"""Episodes -> aligned transitions: the one place where observations are paired with their successors.

Readers and collectors yield `Episode`s; `from_episodes` lays them out in an `OfflineDataset`. Observations are stored
once, in float32, so a data set takes about its own size in memory, on the host and on the device:

    row           0    1    2    3   |  4    5    6  |
    observations  s0   s1   s2   s3  |  s0   s1   s2 |      one extra row per episode: its final observation
    actions       a0   a1   a2   0   |  a0   a1   0  |
    index         0    1    2        |  4    5       |      rows that are transitions; s' of row i is row i + 1

Termination (the task ended: no bootstrap) and truncation (the recording ended: bootstrap from s') are kept apart:

- a final observation that was recorded is used, whether the episode was terminated or truncated;
- a terminated last step without one repeats its own observation: the terminal flag masks it, and it stays finite;
- a truncated last step without one has no s' to bootstrap from, so it is dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import ArrayLike, NDArray

from lapo_tf.errors import UserError

Provenance = Literal["official", "collected", "own"]
Array = NDArray[np.float32]

# Recorded actions may pass the bounds a little (float32 rounding of ±1): that is silent. Further out is a warning,
# because noise added after clipping does that; ten half-ranges from the middle is an error, because such numbers are in
# other units (torques, degrees) and a policy that imitates them would saturate every joint.
ACTION_SLACK = 1e-3
ACTION_LIMIT = 10.0
EXTREME = 1e6  # metres, radians, newtons: no robot's; marks such as 1e20 are


METADATA = "lapo"
"""Key of Minari's metadata under which this project keeps what it knows of a data set, as plain JSON values:
`observation` and `action` (names of the channels), `channels` (what else is known of each: `unit`, and of bags `field`,
`joint`, `topic`, `type`, `frame`, `path`, `resample`, `max_age`, `time`, `scale`, `shift`), `fields` (first channel of
each part of the observation and the one after its last), `control_hz`, `source`, `report`, `layout`, `reward`."""


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T >= 1 steps.

    Attributes:
        observations: [T + 1, obs], the last one being the final observation; or [T, obs] where that was not recorded.
        actions: [T, act], in the environment's units.
        rewards: [T].
        terminated: did the task end (no bootstrap)? One flag for the last step, or one flag per step [T] where a
            recording goes on after the task ended. A last step that did not terminate is a truncation.
        infos: further arrays per step, by name; only for transforms such as relabelling.
    """

    observations: ArrayLike
    actions: ArrayLike
    rewards: ArrayLike
    terminated: bool | ArrayLike
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a data set came from: name, provenance and what identifies its contents."""

    id: str
    provenance: Provenance = "own"
    sha256: str | None = None  # of an HDF5 file
    minari_version: str | None = None  # of a Minari data set


@dataclass(frozen=True)
class DatasetSummary:
    """What a data set is, for run folders (`to_dict`) and for people (`str`).

    `provenance` is "official" (checksum or Minari namespace of a published data set), "collected" (made by this
    project's collectors) or "own" (everything else). `return_quantiles` are the 0, 25, 50, 75 and 100 % quantiles of
    the undiscounted return of the recorded episodes; `dropped` counts steps without a usable next observation.
    """

    id: str
    provenance: Provenance
    sha256: str | None
    minari_version: str | None
    transitions: int
    episodes: int
    terminated_episodes: int
    dropped: int
    mean_length: float
    return_quantiles: tuple[float, float, float, float, float]
    reward_range: tuple[float, float]
    obs_dim: int
    act_dim: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, fit for YAML and JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        mark = f", sha256 {self.sha256[:16]}" if self.sha256 else ""
        mark += f", Minari {self.minari_version}" if self.minari_version else ""
        low, q1, median, q3, high = self.return_quantiles
        lines = [
            f"data set     {self.id} ({self.provenance}{mark})",
            f"transitions  {self.transitions:,} in {self.episodes:,} episodes, {self.mean_length:.1f} steps on average",
            f"endings      {self.terminated_episodes:,} terminated, "
            f"{self.episodes - self.terminated_episodes:,} truncated, {self.dropped:,} steps dropped",
            f"dimensions   observation {self.obs_dim}, action {self.act_dim}",
            f"returns      min {low:.4g}, quartiles {q1:.4g} / {median:.4g} / {q3:.4g}, max {high:.4g}; "
            f"rewards {self.reward_range[0]:.4g} to {self.reward_range[1]:.4g}",
        ]
        return "\n".join(lines + [f"warning      {warning}" for warning in self.warnings])


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """Transitions in the flat layout of this module. Arrays are read-only.

    Attributes:
        observations: float32 [M, obs].
        actions: float32 [M, act], zero in rows that are not transitions.
        rewards: float32 [M].
        terminals: float32 [M], 1 where the task ended with that step, else 0.
        index: int32 [N], ascending: the rows that are transitions. The next observation of row i is row i + 1.
        episodes: int64 [E, 2]: first row and number of transitions of every episode.
        summary: where it came from and what it holds.
        metadata: of a Minari data set, such as its spaces and the names of its numbers; else empty.
    """

    observations: Array
    actions: Array
    rewards: Array
    terminals: Array
    index: NDArray[np.int32]
    episodes: NDArray[np.int64]
    summary: DatasetSummary
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of transitions N."""
        return len(self.index)

    @property
    def obs_dim(self) -> int:
        return self.observations.shape[1]

    @property
    def act_dim(self) -> int:
        return self.actions.shape[1]

    def names(self, section: str) -> list[str]:
        """Names of the channels of `observation` or `action`, as the import gave them; none where it gave none."""
        names = list((self.metadata.get(METADATA) or {}).get(section) or ())
        return names if len(names) == (self.obs_dim if section == "observation" else self.act_dim) else []

    def checksum(self) -> str:
        """SHA-256 of the contents, whatever file or format they came in."""
        digest = hashlib.sha256()
        for array in (self.observations, self.actions, self.rewards, self.terminals, self.index):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def transitions(self) -> dict[str, Array]:
        """Aligned copies: observations and next_observations [N, obs], actions [N, act], rewards and terminals [N]."""
        i = self.index
        return {
            "observations": self.observations[i],
            "actions": self.actions[i],
            "rewards": self.rewards[i],
            "next_observations": self.observations[i + 1],
            "terminals": self.terminals[i],
        }


def from_episodes(
    episodes: Iterable[Episode], source: Source, *, capacity: int = 0, warnings: Iterable[str] = ()
) -> OfflineDataset:
    """Align episodes into transitions, in one pass and without holding the episodes.

    Args:
        episodes: may be a generator; each episode is copied into place and can be freed.
        source: what the data set is; goes into the summary and into error messages.
        capacity: expected number of rows (steps + episodes), so that the arrays need not grow.
        warnings: read after the episodes are consumed, so a reader may add to a list while it yields.

    Raises:
        UserError: no episodes or no transitions, an empty episode, arrays of different lengths or wrong rank,
            dimensions that change between episodes, NaN or infinite values.
    """
    rows = _Rows(capacity)
    spans: list[tuple[int, int]] = []
    returns: list[float] = []
    steps = dropped = terminated = 0
    bad: dict[str, list[int]] = {}  # array -> [values not finite, step of the file, episode, step of the episode]

    for number, episode in enumerate(episodes):
        obs, act, rew, term = as_arrays(episode, f"{source.id}: episode {number}")
        length = len(rew)
        for name, array in (("observations", obs), ("actions", act), ("rewards", rew)):
            finite = np.isfinite(array)
            if not finite.all():
                step = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
                bad.setdefault(name, [0, steps + step, number, step])[0] += int(finite.size - finite.sum())
        kept = length if len(obs) > length or term[-1] else length - 1
        if kept:
            final = obs[kept] if len(obs) > kept else obs[-1]
            spans.append((rows.add(obs[:kept], final, act[:kept], rew[:kept], term[:kept], source.id), kept))
        steps += length
        dropped += length - kept
        terminated += bool(term[-1])
        returns.append(float(rew.sum(dtype=np.float64)))

    if not returns:
        raise UserError(f"{source.id}: no episodes, expected at least one; check how the data set was written")
    if bad:
        found = "; ".join(
            f"{name}: {count} NaN or infinite, first at step {first} (episode {episode}, its step {step})"
            for name, (count, first, episode, step) in bad.items()
        )
        raise UserError(f"{source.id}: {found}; expected finite numbers: repair or remove those episodes")
    if not spans:
        raise UserError(
            f"{source.id}: no transition is left of {steps} steps, all are truncated and have no next observation; "
            "record next observations or longer episodes"
        )

    observations, actions, rewards, terminals = rows.finish()
    spans_ = np.asarray(spans, np.int64)
    is_transition = np.ones(len(rewards), bool)
    is_transition[spans_.sum(axis=1)] = False
    index = np.flatnonzero(is_transition).astype(np.int32)
    used = rewards[index]
    summary = DatasetSummary(
        **asdict(source),
        transitions=len(index),
        episodes=len(returns),
        terminated_episodes=terminated,
        dropped=dropped,
        mean_length=steps / len(returns),
        return_quantiles=tuple(float(q) for q in np.quantile(returns, (0, 0.25, 0.5, 0.75, 1))),  # type: ignore[arg-type]
        reward_range=(float(used.min()), float(used.max())),
        obs_dim=observations.shape[1],
        act_dim=actions.shape[1],
        warnings=(*warnings, *_extremes("observation", observations), *_extremes("action", actions)),
    )
    dataset = OfflineDataset(observations, actions, rewards, terminals, index, spans_, summary)
    arrays: tuple[np.ndarray, ...] = (observations, actions, rewards, terminals, index, spans_)
    for array in arrays:
        array.setflags(write=False)
    return dataset


def _extremes(what: str, values: Array) -> list[str]:
    """A warning where channels reach values that no sensor has: beside them, all others are as good as equal."""
    reach = np.maximum(values.max(axis=0), -values.min(axis=0))
    channels = np.flatnonzero(reach > EXTREME)
    if not len(channels):
        return []
    named = ", ".join(str(i) for i in channels[:6]) + (", …" if len(channels) > 6 else "")
    return [f"{what} {named} reaches {reach.max():.3g}: a mark for missing values? replace or remove it"]


def check_spaces(
    dataset: OfflineDataset, observation_space: Space | int | None, action_space: Space | int | None
) -> OfflineDataset:
    """Check a data set against the environment it is meant for; `None` skips a check, an int gives a dimension only.

    Returns:
        The data set, with a warning in its summary where actions pass the bounds by more than `ACTION_SLACK`.

    Raises:
        UserError: another observation or action dimension, or actions more than `ACTION_LIMIT` half-ranges away from
            the middle of the action range.
    """
    name = dataset.summary.id
    for what, space, have in (
        ("observations", observation_space, dataset.obs_dim),
        ("actions", action_space, dataset.act_dim),
    ):
        want = _dimension(space)
        if want is not None and want != have:
            listed = ", ".join(dataset.names(what.removesuffix("s")))
            raise UserError(
                f"{name}: {what} have {have} values{listed and f' ({listed})'} but the environment has {want}; "
                "use the task this data set was recorded in, or another --dataset"
            )
    if not isinstance(action_space, Box):
        return dataset
    # Rows that are not transitions hold zeros, which need not lie inside the bounds.
    low, high = action_space.low.astype(np.float64), action_space.high.astype(np.float64)
    least = dataset.actions.min(axis=0, where=_rows_used(dataset), initial=np.inf)
    most = dataset.actions.max(axis=0, where=_rows_used(dataset), initial=-np.inf)
    excess = np.maximum(low - least, most - high)
    worst = int(np.argmax(excess))
    if excess[worst] <= ACTION_SLACK:
        return dataset
    names = dataset.names("action")
    found = (
        f"action {worst}{f' ({names[worst]})' if names else ''} reaches {least[worst]:.4g} to {most[worst]:.4g}, "
        f"the environment allows {low[worst]:.4g} to {high[worst]:.4g}"
    )
    if np.any(excess > (ACTION_LIMIT - 1) * (high - low) / 2):
        raise UserError(f"{name}: {found}: other units? scale the recorded actions to the environment's range")
    return replace(dataset, summary=replace(dataset.summary, warnings=(*dataset.summary.warnings, found)))


def _dimension(space: Space | int | None) -> int | None:
    if space is None or isinstance(space, int):
        return space
    if space.shape is None or len(space.shape) != 1:
        raise UserError(
            f"the environment's space is {space}; expected a flat Box: wrap the environment so that it is one"
        )
    return space.shape[0]


def _rows_used(dataset: OfflineDataset) -> NDArray[np.bool_]:
    used = np.zeros((len(dataset.rewards), 1), bool)
    used[dataset.index] = True
    return used


def as_arrays(episode: Episode, where: str) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Observations [T or T + 1, obs], actions [T, act], rewards [T] in float32 and terminal flags [T]."""
    obs, act, rew = (np.asarray(a, np.float32) for a in (episode.observations, episode.actions, episode.rewards))
    term = np.asarray(episode.terminated, bool)
    length = len(rew) if rew.ndim == 1 else -1
    if not length:
        raise UserError(f"{where} is empty, expected at least one step; remove it")
    if term.ndim == 0 and length > 0:
        term = np.arange(length) == length - 1 if term else np.zeros(length, bool)
    if not (
        obs.ndim == act.ndim == 2
        and len(obs) in (length, length + 1)
        and len(act) == length
        and term.shape == (length,)
    ):
        raise UserError(
            f"{where}: observations {obs.shape}, actions {act.shape}, rewards {rew.shape}, terminals {term.shape}; "
            "expected [T or T+1, obs], [T, act], [T], [T]: write arrays of one length"
        )
    return obs, act, rew, term


class _Rows:
    """Float32 arrays that grow in place as episodes are added."""

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, 1024)
        self.count = 0
        self.arrays: list[np.ndarray] = []

    def add(self, obs: Array, final: Array, act: Array, rew: Array, term: NDArray[np.bool_], source: str) -> int:
        """Append an episode and the row of its final observation; returns its first row."""
        if not self.arrays:
            shapes = (obs.shape[1:], act.shape[1:], (), ())
            self.arrays = [np.zeros((self.capacity, *shape), np.float32) for shape in shapes]
        observations, actions, rewards, terminals = self.arrays
        if obs.shape[1:] != observations.shape[1:] or act.shape[1:] != actions.shape[1:]:
            raise UserError(
                f"{source}: an episode has {obs.shape[1]} observations and {act.shape[1]} actions per step, "
                f"the ones before {observations.shape[1]} and {actions.shape[1]}; expected one layout in all episodes"
            )
        first, last = self.count, self.count + len(rew)
        self.count = last + 1
        if self.count > self.capacity:
            self._resize(max(self.count, self.capacity * 3 // 2))
        observations[first:last], observations[last] = obs, final
        actions[first:last], rewards[first:last], terminals[first:last] = act, rew, term
        return first

    def _resize(self, capacity: int) -> None:
        # In place (realloc moves pages, new rows are zero); safe because nothing outside holds a view.
        self.capacity = capacity
        for array in self.arrays:
            array.resize((capacity, *array.shape[1:]), refcheck=False)

    def finish(self) -> tuple[Array, Array, Array, Array]:
        self._resize(self.count)
        observations, actions, rewards, terminals = self.arrays
        return observations, actions, rewards, terminals
