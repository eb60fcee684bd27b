"""A recorded data set, open to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lapo_tf.data.dataset import Episode, Source

OFFICIAL_SHA256 = {
    "cd797c38cd52dfbe3f960cef73935cc724847abd189e47a703a7a2315ed60a81": "kitchen-complete",  # mini_kitchen_…
    "57bfd9c5fe88a7cf702bbaf8b7cd800d30cd869e7f73416007238d26cd859800": "kitchen-partial",
    "a30382a50278fdaea2e2d88e5f2836a95bcf9b581d252617872fd6537302721b": "kitchen-mixed",
}
"""D4RL's published kitchen files."""


@dataclass(frozen=True)
class Recording:
    """A recorded data set, open to be read once, an episode after the other.

    Attributes:
        source: what it is.
        episodes: its episodes, in order; a few megabytes at a time are in memory.
        steps: number of steps of all episodes together, before alignment.
        count: number of episodes; of a D4RL file that jumps, the number before it is cut there.
        metadata: of a Minari data set, else empty.
        warnings: complete when the episodes are consumed.
    """

    source: Source
    episodes: Iterator[Episode]
    steps: int
    count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
