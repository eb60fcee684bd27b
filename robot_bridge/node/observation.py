"""Observations put together by name, from the latest messages of several topics, with the age of every number."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_bridge.counters import Counters
from robot_bridge.node.limits import Array
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import JOINT_STATE, Input, Robot

QUANTITIES = ("position", "velocity", "effort")
CLOCK_JUMP = 1.0  # s; stamps that run back by more are another clock, by less are messages out of order
DRIFT = 1e-3  # s per s by which two computers' clocks may differ


@dataclass(frozen=True)
class Snapshot:
    """What is known at one moment.

    Attributes:
        observation: [obs], NaN where nothing was received.
        position: measured, of the robot's joints [n], NaN likewise.
        age, max_age, oldest: of the most overdue number, and what it is; see `robot_bridge.node.guards.RobotState`.
        stamp: of the newest message of the first input, s in the robot's clock; 0 if it has none.
        since: s since the first input's newest message came, infinite if none did.
    """

    observation: Array
    position: Array
    age: float
    max_age: float
    oldest: str
    stamp: float
    since: float


class _Stamps:
    """How much longer than others a message took, by its stamp, whatever the two clocks say."""

    def __init__(self) -> None:
        self.last = 0.0
        self._base, self._since = math.inf, 0.0  # smallest difference of the clocks so far, and when it was seen

    def delay(self, stamp: float, now: float) -> float | None:
        """Seconds, or None for a message that is to be dropped: the same again, or out of order."""
        if self.last - CLOCK_JUMP < stamp <= self.last:
            return None
        if stamp < self.last:
            self._base = math.inf  # another clock
        difference, allowed = now - stamp, self._base + DRIFT * (now - self._since)
        if difference <= allowed:
            self._base, self._since, allowed = difference, now, difference
        self.last = stamp
        return difference - allowed

    def now(self, now: float) -> float:
        """The robot's clock."""
        return 0.0 if math.isinf(self._base) else now - self._base


class Observer:
    """Collects the messages of a robot's inputs. `receive` may be called from another thread than `snapshot`.

    Counters: `rejected.malformed`, `.repeated` (the same stamp again, or an older one).
    """

    def __init__(self, policy: Policy, robot: Robot) -> None:
        self.counters = Counters()
        self._robot, self._lock = robot, threading.Lock()
        entries = policy.description.observations
        self._values = policy.observation()
        self._names = [entry.name for entry in entries]
        self._wanted = {_robot_name(entry.name, robot): i for i, entry in enumerate(entries) if entry.constant is None}
        self._times = np.full(len(entries), -np.inf)
        self._times[np.isfinite(self._values)] = np.inf  # constants never age
        self._limits = np.full(len(entries), robot.inputs[0].max_age)
        self._joints = {name: i for i, name in enumerate(robot.joints.values())}
        self._position, self._position_times = np.full((2, len(self._joints)), np.nan)
        self._position_times[:] = -np.inf
        if robot.limits is None:  # nothing is done with positions: they need not be measured
            self._position[:], self._position_times[:] = 0.0, np.inf
        self._stamps = [_Stamps() for _ in robot.inputs]
        self._last_came = -math.inf
        self._layouts: dict[tuple[int, tuple[str, ...]], list[tuple[str, Any, Any]]] = {}

    def receive(self, number: int, message: dict[str, Any], now: float | None = None) -> bool:
        """Take a message of input `number`; returns whether it was accepted. Quick; raises nothing."""
        now, source = time.monotonic() if now is None else now, self._robot.inputs[number]
        try:
            delay = self._delay(number, source, message, now)
            if delay is None:
                self.counters.add("rejected.repeated")
                return False
            if source.type == JOINT_STATE:
                self._joint_state(number, source, message, now - delay)
            else:
                self._fields(source, message, now - delay)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            self.counters.add("rejected.malformed")
            return False
        if number == 0:
            self._last_came = now
        return True

    def snapshot(self, now: float | None = None) -> Snapshot:
        """What is known now."""
        now = time.monotonic() if now is None else now
        with self._lock:
            observation, position = self._values.copy(), self._position.copy()
            ages = np.concatenate([now - self._times, now - self._position_times])
            stamp, since = self._stamps[0].now(now), now - self._last_came
        limits = np.concatenate([self._limits, np.full(len(position), self._robot.inputs[0].max_age)])
        worst = int(np.argmax(ages / limits))
        names = [*self._names, *self._joints]
        return Snapshot(observation, position, float(ages[worst]), float(limits[worst]), names[worst], stamp, since)

    def complete(self) -> float | None:
        """The stamp that the latest messages of all inputs have in common, or None."""
        stamps = {stamps.last for stamps in self._stamps}
        return stamps.pop() if len(stamps) == 1 else None

    def _delay(self, number: int, source: Input, message: dict[str, Any], now: float) -> float | None:
        stamp = message.get("header", {}).get("stamp", {})
        seconds = stamp.get("sec", 0) + 1e-9 * stamp.get("nanosec", 0)
        if not seconds:
            return 0.0
        delay = self._stamps[number].delay(seconds, now)
        return delay if source.check_stamps or delay is None else 0.0

    def _joint_state(self, number: int, source: Input, message: dict[str, Any], when: float) -> None:
        names = tuple(message["name"])
        if len(self._layouts) > 100:  # a sender that changes its names all the time
            self._layouts.clear()
        layout = self._layouts.get((number, names))
        if layout is None:
            layout = self._layouts[number, names] = self._layout(names)
        numbers: dict[str, Array] = {}
        for quantity in QUANTITIES:
            values = message.get(quantity) or []
            if len(values) not in (0, len(names)):
                raise ValueError(quantity)
            numbers[quantity] = np.array(values, np.float64)  # None, rosbridge's NaN, becomes NaN
        with self._lock:
            for quantity, into, out_of in layout:
                values = numbers["position" if quantity == "measured" else quantity]
                if not len(values):
                    continue
                if quantity == "measured":
                    self._position[into], self._position_times[into] = values[out_of], when
                else:
                    self._values[into], self._times[into] = values[out_of], when
                    self._limits[into] = source.max_age

    def _layout(self, names: Sequence[str]) -> list[tuple[str, NDArray[np.intp], NDArray[np.intp]]]:
        """Which numbers of a message with these joints go where."""
        if len(set(names)) < len(names):
            raise ValueError("a joint is named twice")
        layout = []
        for quantity in (*QUANTITIES, "measured"):
            table = self._joints if quantity == "measured" else self._wanted
            keys = names if quantity == "measured" else [f"{name}/{quantity}" for name in names]
            pairs = [(table[key], i) for i, key in enumerate(keys) if key in table]
            if pairs:
                into, out_of = np.array(pairs).T
                layout.append((quantity, into, out_of))
        return layout

    def _fields(self, source: Input, message: dict[str, Any], when: float) -> None:
        found = {self._names.index(name): _value_at(message, path) for name, path in source.fields.items()}
        with self._lock:
            for i, value in found.items():
                self._values[i], self._times[i], self._limits[i] = value, when, source.max_age


def _robot_name(name: str, robot: Robot) -> str:
    """An observation's name with the robot's name of the joint."""
    joint, _, quantity = name.rpartition("/")
    return f"{robot.joints.get(joint, joint)}/{quantity}"


def _value_at(message: Any, path: str) -> float:
    """The number at a path such as `pose.position.x` or `data.3`."""
    for part in path.split("."):
        message = message[int(part)] if isinstance(message, list) else message[part]
    return math.nan if message is None else float(message)
