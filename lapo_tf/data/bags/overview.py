"""What is in a bag, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lapo_tf.data.bags.reader import NS, AnyReader, Stores, find_bags, get_typestore
from lapo_tf.errors import UserError
from lapo_tf.plots.style import BLUE, VERMILION, new_axes, tidy

REGULAR = 10  # messages from which on a topic may count as regular
GAP = 5.0  # of a regular topic: this many times its usual interval


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag."""

    name: str
    type: str
    """Of its messages, such as sensor_msgs/msg/JointState."""
    times: NDArray[np.float64]
    """When its messages were received, in seconds since the bag's first message, [n]."""

    @property
    def hz(self) -> float | None:
        """Messages per second between gaps; None of a topic that does not speak regularly."""
        if len(self.times) < REGULAR:
            return None
        low, median, high = np.quantile(np.diff(self.times), (0.1, 0.5, 0.9))
        return float(1.0 / median) if high - low < median else None

    def gaps(self) -> NDArray[np.float64]:
        """Where a regular topic was silent: from and until, in seconds [k, 2]."""
        hz = self.hz
        if hz is None:
            return np.zeros((0, 2))
        at = np.flatnonzero(np.diff(self.times) > GAP / hz)
        return np.stack([self.times[at], self.times[at + 1]], axis=1)

    def __str__(self) -> str:
        rate = "now and then" if self.hz is None else f"{self.hz:.4g} Hz"
        return f"{self.name:<28} {self.type:<30} {len(self.times):>8,} messages, {rate}"


def bag_topics(path: Path | str) -> list[BagTopic]:
    """The topics of a bag, regular ones first. Messages are counted, not read.

    Raises:
        UserError: no bag there, or more than one, or it cannot be read.
    """
    bags = find_bags([Path(path)])
    if len(bags) > 1:
        raise UserError(f"{path} holds {len(bags)} bags: give one of them, such as {bags[0]}")
    times: dict[str, list[int]] = {}
    try:
        with AnyReader(bags, default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            types = {connection.topic: connection.msgtype for connection in reader.connections}
            for connection, received, _ in reader.messages():
                times.setdefault(connection.topic, []).append(received)
    except Exception as error:  # rosbags raises many kinds for damaged bags
        raise UserError(f"{path}: cannot be read as a bag ({type(error).__name__}: {error})") from error
    begin = min((received[0] for received in times.values()), default=0)
    topics = [
        BagTopic(name, kind, (np.array(times.get(name, ()), np.int64) - begin).astype(np.float64) / NS)
        for name, kind in types.items()
    ]
    return sorted(topics, key=lambda topic: (topic.hz is None, topic.name))


def plot_bag(path: Path | str, ax: Axes | None = None) -> Axes:
    """When a bag's topics spoke: a bar for one that speaks regularly, with its gaps; ticks for one that does not.

    Args:
        path: the bag.
        ax: where to draw; default: a new figure.
    """
    topics = bag_topics(path)
    ax = ax or new_axes((8.0, 0.5 + 0.42 * len(topics)))
    for row, topic in enumerate(topics):
        if topic.hz is None:
            ax.vlines(topic.times, row - 0.3, row + 0.3, color=BLUE, lw=0.7)
            continue
        ax.barh(row, np.ptp(topic.times), left=topic.times[0], height=0.6, color=BLUE, alpha=0.6)
        for begin, end in topic.gaps():
            ax.barh(row, end - begin, left=begin, height=0.6, color=VERMILION)
            ax.annotate(f"{end - begin:.2g} s", (end, row), xytext=(3, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(topics)), [topic.name for topic in topics])
    ax.invert_yaxis()
    ax.set_xlim(left=0.0)
    ax.set_xlabel("seconds")
    ax.set_title(Path(path).name, loc="left", fontsize="medium")
    ax.tick_params(axis="y", length=0)
    return tidy(ax)
