"""Where one frame is in another: the transforms of the last seconds, and what follows from them (tf2)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pose = tuple[Array, Array]
"""Translation [3] in m, rotation [4] as x, y, z, w."""


class TransformException(Exception):
    """Base of what goes wrong with transforms."""


class LookupException(TransformException):
    """A frame that nobody has told of."""


class ConnectivityException(TransformException):
    """Two frames that no chain of transforms connects."""


class ExtrapolationException(TransformException):
    """A time before the oldest or after the newest transform."""


class InvalidArgumentException(TransformException):
    """A frame's name or a rotation that is none."""


class TimeoutException(TransformException):
    """Not there in time."""


@dataclass
class _Frame:
    """A frame in its parent over time; a static one has one entry that holds for ever."""

    static: bool
    stamps: list[int] = field(default_factory=list)
    entries: list[tuple[str, Array, Array]] = field(default_factory=list)
    """Parent, translation [3] in m, rotation [4] as x, y, z, w."""

    def add(self, stamp: int, entry: tuple[str, Array, Array], cache: int) -> None:
        if self.static:
            self.stamps, self.entries = [stamp], [entry]
            return
        at = bisect.bisect_right(self.stamps, stamp)
        self.stamps.insert(at, stamp)
        self.entries.insert(at, entry)
        old = bisect.bisect_left(self.stamps, self.stamps[-1] - cache)
        del self.stamps[:old], self.entries[:old]

    def at(self, stamp: int, name: str) -> tuple[str, Array, Array]:
        """Raises `ExtrapolationException`."""
        if self.static:
            return self.entries[0]
        first, last = self.stamps[0], self.stamps[-1]
        if not first <= stamp <= last:
            side, bound = ("past", first) if stamp < first else ("future", last)
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {side}. Requested time {stamp / 1e9:.6f} but the "
                f"{'earliest' if side == 'past' else 'latest'} data of frame [{name}] is at time {bound / 1e9:.6f}"
            )
        i = bisect.bisect_left(self.stamps, stamp)
        if self.stamps[i] == stamp:
            return self.entries[i]
        before, after = self.entries[i - 1], self.entries[i]
        if before[0] != after[0]:
            return before
        share = (stamp - self.stamps[i - 1]) / (self.stamps[i] - self.stamps[i - 1])
        return before[0], before[1] + share * (after[1] - before[1]), _slerp(before[2], after[2], share)


class Frames:
    """A tree of frames. Not for several threads at once. Times are ns."""

    def __init__(self, cache: int = 10 * 10**9) -> None:
        """`cache`: ns for which transforms are kept."""
        self._cache = cache
        self.parents: dict[str, str] = {}
        """Of each frame but roots, as last told."""
        self._frames: dict[str, _Frame] = {}
        self._known: set[str] = set()

    def take(self, parent: str, child: str, stamp: int, pose: Pose, *, static: bool) -> None:
        """Where `child` is in `parent` at a time, or for ever.

        Raises:
            InvalidArgumentException: empty or equal names, numbers that are no rotation.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise InvalidArgumentException(f"transform from '{parent}' to '{child}': expected two different frames")
        translation, rotation = (np.asarray(part, np.float64) for part in pose)
        length = float(np.linalg.norm(rotation))
        if not np.isfinite(translation).all() or not abs(length - 1.0) < 1e-2:
            raise InvalidArgumentException(f"transform from '{parent}' to '{child}': not finite, or no rotation")
        frame = self._frames.get(child)
        if frame is None or frame.static != static:
            frame = self._frames[child] = _Frame(static)
        frame.add(stamp, (parent, translation, rotation / length), self._cache)
        self._known |= {parent, child}
        self.parents[child] = frame.entries[-1][0]

    def clear(self) -> None:
        """Forget all."""
        self._frames.clear()
        self._known.clear()
        self.parents.clear()

    def pose(self, target: str, source: str, stamp: int = 0) -> tuple[Pose, int]:
        """Where `source` is in `target`, at a time (0: the newest common one), and that time; 0 where all is static.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException: not known.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        for argument, name in (("target_frame", target), ("source_frame", source)):
            if name not in self._known:
                raise LookupException(f'"{name}" passed to lookupTransform argument {argument} does not exist. ')
        if stamp == 0:
            stamp = self._common_stamp(target, source)
        from_source, from_target = self._chain(source, stamp), self._chain(target, stamp)
        common = next((name for name in from_source if name in from_target), None)
        if common is None:
            raise ConnectivityException(_unconnected(target, source))
        shift, turn = from_source[common]
        back, unturn = from_target[common]
        unturn = unturn * (-1, -1, -1, 1)
        return (rotate(unturn, shift - back), product(unturn, turn)), stamp

    def _chain(self, name: str, stamp: int) -> dict[str, tuple[Array, Array]]:
        """The frame itself and all above it: where `name` is in each."""
        shift, turn = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
        chain = {name: (shift, turn)}
        while name in self._frames:
            name, translation, rotation = self._frames[name].at(stamp, name)
            shift, turn = translation + rotate(rotation, shift), product(rotation, turn)
            if name in chain:
                raise ConnectivityException(f"the transforms of '{name}' go in a circle")
            chain[name] = (shift, turn)
        return chain

    def _common_stamp(self, target: str, source: str) -> int:
        """The newest time that all moving transforms between two frames reach; 0 if all are static."""
        above: list[list[str]] = []
        for name in (target, source):
            line = [name]
            while line[-1] in self._frames and len(line) <= len(self._frames):
                line.append(self._frames[line[-1]].entries[-1][0])
            above.append(line)
        common = next((name for name in above[1] if name in above[0]), None)
        if common is None:
            raise ConnectivityException(_unconnected(target, source))
        between = [name for line in above for name in line[: line.index(common)]]
        moving = [self._frames[name].stamps[-1] for name in between if not self._frames[name].static]
        return min(moving, default=0)


def _unconnected(target: str, source: str) -> str:
    return f"Could not find a connection between '{target}' and '{source}': they are not part of the same tree."


def product(a: Array, b: Array) -> Array:
    """Of two rotations as x, y, z, w: first b, then a."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.array([*vector, a[3] * b[3] - a[:3] @ b[:3]])


def rotate(rotation: Array, vector: Array) -> Array:
    """A vector [3], turned by a rotation x, y, z, w."""
    twice = 2.0 * np.cross(rotation[:3], vector)
    return vector + rotation[3] * twice + np.cross(rotation[:3], twice)


def _slerp(a: Array, b: Array, share: float) -> Array:
    """Between two rotations, the shorter way."""
    b = -b if a @ b < 0 else b
    angle = np.arccos(np.clip(a @ b, -1.0, 1.0))
    if angle < 1e-6:
        mixed = a + share * (b - a)
    else:
        mixed = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)
