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
from robot_bridge.guards.limits import Array
from robot_bridge.node.sender_clock import SenderClock, seconds
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import JOINT_STATE, Input, Robot

QUANTITIES = ("position", "velocity", "effort")
MAX_SENDERS = 100  # of one topic, told apart by the joints they name
PATIENCE = 3.0  # s longer than a hold may last: see `SenderClock`


@dataclass(frozen=True)
class Snapshot:
    """What is known at one moment.

    Attributes:
        observation: [obs], NaN where nothing was received.
        position: measured, of the robot's joints [n], NaN likewise.
        age, max_age, oldest: of the most overdue number, and what it is; see `robot_bridge.guards.guards.RobotState`.
        why: what is known of the reason that it is old.
        stamp: the time now by the clock of the first input's sender, s; 0 if it stamps nothing.
        since: s since the first input's newest message came, infinite if none did.
    """

    observation: Array
    position: Array
    age: float
    max_age: float
    oldest: str
    why: str
    stamp: float
    since: float


class Observer:
    """Collects the messages of a robot's inputs. `receive` may be called from another thread than `snapshot`.

    Counters: `rejected.malformed.<topic>`, `rejected.repeated.<topic>` (the same stamp again, or an older one).
    """

    def __init__(self, policy: Policy, robot: Robot) -> None:
        self.counters = Counters()
        self.complaints: dict[str, str] = {}
        """By topic, what was wrong with the latest message that was malformed."""
        self._robot, self._lock = robot, threading.Lock()
        entries = policy.description.observations
        self._values = policy.observation()
        self._names = [entry.name for entry in entries]
        self._wanted = {_robot_name(entry.name, robot): i for i, entry in enumerate(entries) if entry.constant is None}
        self._times = np.full(len(entries), -np.inf)
        self._times[np.isfinite(self._values)] = np.inf  # constants never age
        self._limits = np.full(len(entries), robot.inputs[0].max_age)
        self._sources = np.zeros(len(entries) + len(robot.joints), np.intp)  # the input that each number came by
        self._joints = {name: i for i, name in enumerate(robot.joints.values())}
        self._position, self._position_times = np.full((2, len(self._joints)), np.nan)
        self._position_times[:] = -np.inf
        self._turn = np.full(len(self._joints), np.nan)  # of joints that go round; NaN where they do not
        if robot.limits is None:  # nothing is done with positions: they need not be measured
            self._position[:], self._position_times[:] = 0.0, np.inf
        else:
            self._turn[robot.limits.high - robot.limits.low > 2.0 * np.pi] = 2.0 * np.pi
        self._clocks: list[dict[tuple[str, ...], SenderClock]] = [{} for _ in robot.inputs]
        self._newest = [0.0] * len(robot.inputs)  # stamps
        self._first: SenderClock | None = None  # of the first input's latest message
        self._last_came = -math.inf
        self._layouts: dict[tuple[int, tuple[str, ...]], list[tuple[str, Any, Any]]] = {}

    def receive(self, number: int, message: dict[str, Any], now: float | None = None) -> bool:
        """Take a message of input `number`; returns whether it was accepted. Quick; raises nothing."""
        now, source = time.monotonic() if now is None else now, self._robot.inputs[number]
        try:
            delay = self._delay(number, source, message, now)
            if delay is None:
                self.counters.add(f"rejected.repeated.{source.topic}")
                return False
            if source.type == JOINT_STATE:
                self._joint_state(number, source, message, now - delay)
            else:
                self._fields(number, source, message, now - delay)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            self.counters.add(f"rejected.malformed.{source.topic}")
            self.complaints[source.topic] = _told(error)
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
            sources = self._sources.copy()
        first, paced = self._first, not self._robot.inputs[0].check_stamps
        stamp = first.now(now, paced=paced) if first else 0.0
        limits = np.concatenate([self._limits, np.full(len(position), self._robot.inputs[0].max_age)])
        worst = int(np.argmax(ages / limits))
        why = self._why(int(sources[worst])) if ages[worst] > limits[worst] else ""
        names = [*self._names, *self._joints]
        since = now - self._last_came
        return Snapshot(
            observation, position, float(ages[worst]), float(limits[worst]), names[worst], why, stamp, since
        )

    def complete(self) -> float | None:
        """The stamp that the latest messages of all inputs have in common, or None."""
        stamps = set(self._newest)
        return stamps.pop() if len(stamps) == 1 else None

    def _why(self, number: int) -> str:
        """Why what comes by an input may be old."""
        topic = self._robot.inputs[number].topic
        for clock in list(self._clocks[number].values()):
            if clock.late and abs(clock.pace - 1.0) > 0.02:
                return (
                    f"the clock that stamps {topic} runs at {clock.pace:.2f} of this computer's; "
                    "a simulator's? then check_stamps: false"
                )
            if clock.late:
                return f"{topic} comes late by its stamps, or the clock that stamps it was set"
        if topic in self.complaints:
            return f"a message of {topic} was refused: {self.complaints[topic]}"
        return ""

    def _delay(self, number: int, source: Input, message: dict[str, Any], now: float) -> float | None:
        stamp = seconds(message.get("header", {}).get("stamp", {}))
        if not stamp:
            return 0.0
        sender = tuple(message["name"]) if source.type == JOINT_STATE else ()
        clocks = self._clocks[number]
        clock = clocks.get(sender)
        if clock is None:
            if len(clocks) >= MAX_SENDERS:  # one that changes its names all the time
                clocks.clear()
            clock = clocks[sender] = SenderClock(source.max_age, PATIENCE + self._robot.guards.hold_timeout)
        delay = clock.delay(stamp, now)
        if delay is None:
            return None
        self._newest[number] = stamp
        if number == 0:
            self._first = clock
        return delay if source.check_stamps else 0.0

    def _joint_state(self, number: int, source: Input, message: dict[str, Any], when: float) -> None:
        names = tuple(message["name"])
        if len(self._layouts) > MAX_SENDERS:
            self._layouts.clear()
        layout = self._layouts.get((number, names))
        if layout is None:
            layout = self._layouts[number, names] = self._layout(names)
        numbers: dict[str, Array] = {}
        for quantity in QUANTITIES:
            values = message.get(quantity) or []
            if len(values) not in (0, len(names)):
                raise ValueError(f"{len(values)} numbers of {quantity} for {len(names)} joints")
            numbers[quantity] = np.array([_number(value, quantity) for value in values], np.float64)
        with self._lock:
            for quantity, into, out_of in layout:
                values = numbers["position" if quantity == "measured" else quantity]
                if not len(values):
                    continue
                if quantity == "measured":
                    self._position[into] = _unwrapped(values[out_of], self._position[into], self._turn[into])
                    self._position_times[into], self._sources[len(self._values) + into] = when, number
                else:
                    self._values[into], self._times[into] = values[out_of], when
                    self._limits[into], self._sources[into] = source.max_age, number

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

    def _fields(self, number: int, source: Input, message: dict[str, Any], when: float) -> None:
        found = {self._names.index(name): _value_at(message, path) for name, path in source.fields.items()}
        with self._lock:
            for i, value in found.items():
                self._values[i], self._times[i], self._limits[i] = value, when, source.max_age
                self._sources[i] = number


def _unwrapped(measured: Array, before: Array, turn: Array) -> Array:
    """Positions of joints that go round, by whole turns nearest to where they were: drivers report them within ±π."""
    with np.errstate(invalid="ignore"):  # infinities are the finite guard's business
        turns = np.round((before - measured) / turn) * turn
    return measured + np.where(np.isfinite(turns), turns, 0.0)


def _robot_name(name: str, robot: Robot) -> str:
    """An observation's name with the robot's name of the joint."""
    joint, _, quantity = name.rpartition("/")
    return f"{robot.joints.get(joint, joint)}/{quantity}"


def _value_at(message: Any, path: str) -> float:
    """The number at a path such as `pose.position.x` or `data.3`."""
    for part in path.split("."):
        try:
            message = message[int(part)] if isinstance(message, list) else message[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"there is no '{part}' of {path}") from None
    return _number(message, path)


def _number(value: Any, what: str) -> float:
    """A number; None is rosbridge's NaN. A text is none, even if it looks like one."""
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise ValueError(f"{what} holds {str(value)[:40]!r}, expected numbers")
    return float(value)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())[:100]
    return f"no {text}" if isinstance(error, KeyError) else text or type(error).__name__
