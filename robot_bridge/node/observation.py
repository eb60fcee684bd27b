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
from robot_bridge.paths import ANGLES, as_number, number_at
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
        age, max_age, oldest: of the most overdue number, and what it is; see `robot_bridge.guards.guard.RobotState`.
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
        fixed = [entry.constant is not None for entry in entries] + [False] * n
        # What goes round is told within ±π: it is taken, by whole turns, nearest to a place, or else to where it was.
        self._turns, self._places = np.full((2, len(self._values)), np.nan)
        if robot.limits is None:  # nothing is done with positions: they need not be measured
            self._values[self._size :], self._times[self._size :] = 0.0, np.inf
        else:
            free, span = ~robot.limits.bounded, robot.limits.high - robot.limits.low
            self._values[self._size :][free], self._times[self._size :][free] = 0.0, np.inf
            fixed[self._size :] = free.tolist()
            self._turns[self._size :][(span > 2.0 * np.pi) & ~free] = 2.0 * np.pi
        self._wanted = [i for i, is_so in enumerate(fixed) if not is_so]
        self._axes = {self._size + i for i, name in enumerate(robot.joints) if name in robot.axes()}
        self._clocks: list[dict[tuple[str, ...], SenderClock]] = [{} for _ in robot.inputs]
        self._newest = [0.0] * len(robot.inputs)  # stamps
        self._first: SenderClock | None = None  # of the first input's latest message
        self._last_came = -math.inf
        self._layouts: dict[tuple[int, tuple[str, ...]], list[_Numbers]] = {}
        self._told = {name for source in robot.inputs for name in source.fields}
        self._fields = [self._layout_of_fields(source, policy) for source in robot.inputs]

    def receive(self, number: int, message: dict[str, Any], now: float | None = None) -> bool:
        """Take a message of input `number`; returns whether it was accepted. Quick; raises nothing."""
        now, source = time.monotonic() if now is None else now, self._robot.inputs[number]
        try:
            stamp = seconds(message.get("header", {}).get("stamp", {}))
            delay = self._delay(number, source, message, stamp, now)
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
        if stamp:  # only now that the numbers are there: a locked simulation is answered when all stamps agree
            self._newest[number] = stamp
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

    def _delay(self, number: int, source: Input, message: dict[str, Any], stamp: float, now: float) -> float | None:
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
                near = np.where(np.isnan(self._places[into]), self._values[into], self._places[into])
                self._values[into] = _unwrapped(values, near, self._turns[into])
                self._times[into], self._sources[into] = when, number
                self._max_ages[into] = self._robot.inputs[number].max_age

    def _layout_of_joints(self, source: Input, names: Sequence[str]) -> list[_Numbers]:
        """Which numbers of a JointState with these joints go where."""
        if len(set(names)) < len(names):
            raise ValueError("a joint is named twice")
        rows: dict[str, list[tuple[int, int]]] = {quantity: [] for quantity in QUANTITIES}
        for i in self._wanted:
            joint, _, quantity = self._names[i].rpartition("/")
            if i in self._axes and self._names[i] in self._told:
                continue  # a field tells it
            if quantity in rows and (said := self._robot.said(joint, source)) in names:
                rows[quantity].append((i, names.index(said)))
        return [self._part(quantity, pairs, source) for quantity, pairs in rows.items() if pairs]

    def _layout_of_fields(self, source: Input, policy: Policy) -> list[_Numbers]:
        """Which of the numbers that its fields name go where. Joints are measured by a JointState, axes by fields."""
        fields, rows = list(source.fields), []
        for i in self._wanted:
            name = self._names[i]
            if name in fields and (i < self._size or i in self._axes):
                rows.append((i, fields.index(name)))
                if source.fields[name].rpartition(".")[2] in ANGLES:
                    self._turns[i] = 2.0 * np.pi / abs(self._robot.unit(name, source).scale)
                    self._places[i] = self._middle(i, policy)
        return [self._part("", rows, source)] if rows else []

    def _middle(self, i: int, policy: Policy) -> float:
        """The middle of the training data (SI), or of a joint's limits if these are no more than a turn; else NaN."""
        if i < self._size:
            entry = policy.description.observations[i]
            return 0.5 * (entry.low + entry.high) / entry.scale
        limits, joint = self._robot.limits, i - self._size
        if limits is None or limits.high[joint] - limits.low[joint] > 2.0 * np.pi:
            return np.nan
        return float(0.5 * (limits.low[joint] + limits.high[joint]))

    def _part(self, quantity: str, rows: list[tuple[int, int]], source: Input) -> _Numbers:
        into, out_of = np.array(rows).T
        return _Numbers(quantity, into, out_of, Conversion([self._robot.unit(self._names[i], source) for i in into]))


def _unwrapped(measured: Array, near: Array, turn: Array) -> Array:
    """Numbers that go round, by whole turns nearest to others."""
    with np.errstate(invalid="ignore"):  # infinities are the finite guard's business
        turns = np.round((near - measured) / turn) * turn
    return measured + np.where(np.isfinite(turns), turns, 0.0)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"no {text}" if isinstance(error, KeyError) else text or type(error).__name__
