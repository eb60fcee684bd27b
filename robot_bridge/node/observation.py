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
from robot_bridge.node.transforms import Transforms
from robot_bridge.paths import as_number, number_at
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import JOINT_STATE, Input, Robot
from robot_bridge.robot.units import QUANTITIES, Conversion

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


@dataclass(frozen=True)
class _Numbers:
    """The numbers `out_of` [k] of those that a message tells of a quantity, which go `into` [k] the observer's."""

    quantity: str
    into: NDArray[np.intp]
    out_of: NDArray[np.intp]
    unit: Conversion


class Observer:
    """Collects the messages of a robot's inputs. `receive` may be called from another thread than `snapshot`.

    Counters: `rejected.malformed.<topic>`, `rejected.repeated.<topic>` (the same stamp again, or an older one).
    """

    def __init__(self, policy: Policy, robot: Robot) -> None:
        self.counters = Counters()
        self.complaints: dict[str, str] = {}
        """By topic, what was wrong with the latest message that was malformed."""
        self.transforms = Transforms(robot)
        self._robot, self._lock = robot, threading.Lock()
        known, entries, n = policy.observation(), policy.description.observations, len(robot.joints)
        # All numbers: those of the observation, then the joints' positions.
        self._size = len(entries)
        self._names = [entry.name for entry in entries] + [f"{joint}/position" for joint in robot.joints]
        self._scales = np.array([entry.scale for entry in entries])  # of the policy's units, by SI
        self._values = np.concatenate([known, np.full(n, np.nan)])
        self._times = np.where(np.isfinite(self._values), np.inf, -np.inf)  # constants never age
        self._max_ages = np.full(len(self._values), robot.inputs[0].max_age)
        self._sources = np.zeros(len(self._values), np.intp)  # the input that each came by
        self._turns = np.full(len(self._values), np.nan)  # of joints that go round; NaN where they do not
        if robot.limits is None:  # nothing is done with positions: they need not be measured
            self._values[self._size :], self._times[self._size :] = 0.0, np.inf
        else:
            self._turns[self._size :][robot.limits.high - robot.limits.low > 2.0 * np.pi] = 2.0 * np.pi
        self._wanted = [i for i, name in enumerate(self._names) if i >= self._size or entries[i].constant is None]
        self._clocks: list[dict[tuple[str, ...], SenderClock]] = [{} for _ in robot.inputs]
        self._newest = [0.0] * len(robot.inputs)  # stamps
        self._first: SenderClock | None = None  # of the first input's latest message
        self._last_came = -math.inf
        self._layouts: dict[tuple[int, tuple[str, ...]], list[_Numbers]] = {}
        self._fields = [self._layout_of_fields(source) for source in robot.inputs]

    def receive(self, number: int, message: dict[str, Any], now: float | None = None) -> bool:
        """Take a message of input `number`; returns whether it was accepted. Quick; raises nothing."""
        now, source = time.monotonic() if now is None else now, self._robot.inputs[number]
        try:
            delay = self._delay(number, source, message, now)
            if delay is None:
                self.counters.add(f"rejected.repeated.{source.topic}")
                return False
            if source.type == JOINT_STATE:
                self._take_joint_state(number, source, message, now - delay)
            else:
                message = self.transforms.expected(message, source)
                told = np.array([number_at(message, path) for path in source.fields.values()])
                self._take(number, self._fields[number], {"": told}, now - delay)
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
            values, ages, sources = self._values.copy(), now - self._times, self._sources.copy()
            limits = self._max_ages.copy()
        first, paced = self._first, not self._robot.inputs[0].check_stamps
        stamp = first.now(now, paced=paced) if first else 0.0
        worst = int(np.argmax(ages / limits))
        why = self._why(int(sources[worst])) if ages[worst] > limits[worst] else ""
        names = [*self._names[: self._size], *self._robot.joints.values()]
        observation, position = self._scales * values[: self._size], values[self._size :]
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

    def _take_joint_state(self, number: int, source: Input, message: dict[str, Any], when: float) -> None:
        names = tuple(message["name"])
        if len(self._layouts) > MAX_SENDERS:
            self._layouts.clear()
        layout = self._layouts.get((number, names))
        if layout is None:
            layout = self._layouts[number, names] = self._layout_of_joints(source, names)
        told: dict[str, Array] = {}
        for quantity in QUANTITIES:
            values = message.get(quantity) or []
            if len(values) not in (0, len(names)):
                raise ValueError(f"{len(values)} numbers of {quantity} for {len(names)} joints")
            told[quantity] = np.array([as_number(value, quantity) for value in values], np.float64)
        self._take(number, [part for part in layout if len(told[part.quantity])], told, when)

    def _take(self, number: int, layout: list[_Numbers], told: dict[str, Array], when: float) -> None:
        """Take what a message of input `number` tells, by quantity, into SI units."""
        with self._lock:
            for part in layout:
                into, values = part.into, part.unit.meant(told[part.quantity][part.out_of])
                self._values[into] = _unwrapped(values, self._values[into], self._turns[into])
                self._times[into], self._sources[into] = when, number
                self._max_ages[into] = self._robot.inputs[number].max_age

    def _layout_of_joints(self, source: Input, names: Sequence[str]) -> list[_Numbers]:
        """Which numbers of a JointState with these joints go where."""
        if len(set(names)) < len(names):
            raise ValueError("a joint is named twice")
        rows: dict[str, list[tuple[int, int]]] = {quantity: [] for quantity in QUANTITIES}
        for i in self._wanted:
            joint, _, quantity = self._names[i].rpartition("/")
            if quantity in rows and (said := self._robot.said(joint, source)) in names:
                rows[quantity].append((i, names.index(said)))
        return [self._part(quantity, pairs, source) for quantity, pairs in rows.items() if pairs]

    def _layout_of_fields(self, source: Input) -> list[_Numbers]:
        """Which of the numbers that its fields name go where."""
        fields = list(source.fields)
        observed = [i for i in self._wanted if i < self._size]  # joints are measured by a JointState
        rows = [(i, fields.index(self._names[i])) for i in observed if self._names[i] in fields]
        return [self._part("", rows, source)] if rows else []

    def _part(self, quantity: str, rows: list[tuple[int, int]], source: Input) -> _Numbers:
        into, out_of = np.array(rows).T
        return _Numbers(quantity, into, out_of, Conversion([self._robot.unit(self._names[i], source) for i in into]))


def _unwrapped(measured: Array, before: Array, turn: Array) -> Array:
    """Positions of joints that go round, by whole turns nearest to where they were: drivers report them within ±π."""
    with np.errstate(invalid="ignore"):  # infinities are the finite guard's business
        turns = np.round((before - measured) / turn) * turn
    return measured + np.where(np.isfinite(turns), turns, 0.0)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"no {text}" if isinstance(error, KeyError) else text or type(error).__name__
