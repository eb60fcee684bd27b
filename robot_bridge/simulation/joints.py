"""Simulated controllers of joints: arrays, and trajectories on a topic or as goals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import OUTPUT_TYPES
from robot_bridge.simulation.controller import Controller, Reference
from robot_bridge.transport import Closable, GoalHandle, GoalStatus, Message, Transport

FEEDBACK = 0.05  # s between two words on how a trajectory goes, as joint_trajectory_controller has it


class ArrayController(Controller):
    """A velocity, position or effort per joint in a Float64MultiArray."""

    _values: Array | None = None
    _came = 0.0

    @property
    def commanded(self) -> bool:
        return self._values is not None

    def open(self, transport: Transport) -> Closable:
        return transport.subscribe(self.output.topic, OUTPUT_TYPES[self.output.kind], self.on_array)

    def on_array(self, message: Message) -> None:
        """One number for each joint."""
        said = self.read(message)
        if said is None or not np.isfinite(said).all():
            self.host.counters.add("refused.array")
            return
        values = self.unit[self.quantity].meant(said)
        self._submit(lambda: self.take(values))

    def read(self, message: Message) -> Array | None:
        """The number of each joint as the topic says it, or None where there is not one for each."""
        data = message.get("data")
        if not isinstance(data, list) or len(data) != len(self.index) or any(v is None for v in data):
            return None
        return np.array(data, np.float64)

    @property
    def quantity(self) -> str:
        """What the numbers are: position, velocity or effort."""
        return self.output.kind

    def take(self, values: Array) -> None:
        """From now on these values [joints] are in force."""
        self._values, self._came = values, self.host.clock()

    def clear(self) -> None:
        self._values = None

    def refer(self, reference: Reference, position: Array) -> None:
        held = self.quantity == "position" or self.host.clock() - self._came <= self.host.timeout
        if self._values is not None and held:
            getattr(reference, self.quantity)[self.index] = self._values


@dataclass
class Trajectory:
    """Positions [k, n] at times [k] of the simulation's clock; before the first it leads there from `begin` [n]."""

    times: Array
    positions: Array
    goal: GoalHandle | None = None
    begin: Array | None = None

    def start(self, now: float, position: Array) -> None:
        """It is in force from `now` on: from where the one before it was, or else from a measured position [n]."""
        if now < self.times[0]:
            first = position if self.begin is None else self.begin
            self.times = np.concatenate([[now], self.times])
            self.positions = np.concatenate([first[None], self.positions])

    def at(self, time: float) -> Array:
        """Positions [n] at a time within its own, or at its nearest end."""
        return np.array([np.interp(time, self.times, column) for column in self.positions.T])


class TrajectoryController(Controller):
    """A JointTrajectory on a topic, that nobody waits for."""

    _trajectory: Trajectory | None = None
    _started = False

    @property
    def commanded(self) -> bool:
        return self._trajectory is not None

    def open(self, transport: Transport) -> Closable:
        return transport.subscribe(self.output.topic, OUTPUT_TYPES["trajectory"], self.on_trajectory)

    def on_trajectory(self, message: Message) -> None:
        """A trajectory."""
        trajectory = self._read(message)
        if isinstance(trajectory, str):
            self.host.counters.add("refused.trajectory")
            return
        self._submit(lambda: self._take(trajectory))

    def _read(self, message: Message) -> Trajectory | str:
        """A trajectory in the simulation's clock and order of joints, or what is wrong with it."""
        now = self.host.clock()
        try:
            names, points = message["joint_names"], message["points"]
            order = [names.index(joint) for joint in self.names]
            positions = np.array([point["positions"] for point in points], np.float64)[:, order]
            offsets = np.array([seconds_of(point["time_from_start"]) for point in points])
            start = seconds_of(message.get("header", {}).get("stamp", {})) or now
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            return f"not a trajectory of {', '.join(self.names)}: {type(error).__name__}: {error}"
        if not np.isfinite(positions).all() or not len(points) or (np.diff(offsets) <= 0).any():
            return "positions must be finite, times increasing"
        if start + offsets[-1] <= now:
            return "its end is past"
        return Trajectory(start + offsets, self.unit["position"].meant(positions))

    def _take(self, trajectory: Trajectory) -> None:
        if self._trajectory is not None and self._started:
            trajectory.begin = self._trajectory.at(self.host.clock())
        self.clear()
        self._trajectory = trajectory

    def clear(self) -> None:
        if self._trajectory is not None and self._trajectory.goal is not None:
            self._trajectory.goal.result({"error_code": 0, "error_string": "pre-empted"}, GoalStatus.ABORTED)
        self._trajectory, self._started = None, False

    def refer(self, reference: Reference, position: Array) -> None:
        """Where to be a step from now, and how fast to get there."""
        trajectory, dt, now = self._trajectory, self.host.dt, self.host.clock()
        if trajectory is None:
            return
        if not self._started:
            trajectory.start(now, position[self.index])
            self._started = True
        wanted = trajectory.at(now + dt)
        reference.position[self.index] = wanted
        reference.velocity[self.index] = (wanted - trajectory.at(now)) / dt
        if now + dt >= trajectory.times[-1] and trajectory.goal is not None:
            trajectory.goal.result({"error_code": 0, "error_string": ""}, GoalStatus.SUCCEEDED)
            trajectory.goal = None


class FollowController(TrajectoryController):
    """The action FollowJointTrajectory: a trajectory whose sender is told how it goes and how it ended."""

    _told = 0.0  # when feedback was sent

    def open(self, transport: Transport) -> Closable:
        return transport.advertise_action(self.output.topic, OUTPUT_TYPES["follow"], self.on_goal)

    def on_goal(self, goal: Message, handle: GoalHandle) -> None:
        """A goal."""
        trajectory = self._read(goal.get("trajectory", {}))
        if isinstance(trajectory, str):
            self.host.counters.add("refused.goal")
            handle.result({"error_code": -1, "error_string": trajectory}, GoalStatus.ABORTED)
            return
        trajectory.goal = handle
        handle.on_cancel(lambda: self.host.submit(lambda: self._cancel(handle)))
        self._submit(lambda: self._take(trajectory))

    def refer(self, reference: Reference, position: Array) -> None:
        super().refer(reference, position)
        goal, now = self._trajectory.goal if self._trajectory is not None else None, self.host.clock()
        if goal is not None and now - self._told >= FEEDBACK:
            self._told = now
            here = {"positions": self.unit["position"].said(position[self.index]).tolist()}
            goal.feedback({"joint_names": self.names, "actual": here})

    def _cancel(self, handle: GoalHandle) -> None:
        if self._trajectory is not None and self._trajectory.goal is handle:
            self._trajectory, self._started = None, False
        handle.result({"error_code": 0, "error_string": "cancelled"}, GoalStatus.CANCELED)


def seconds_of(value: Message) -> float:
    return value.get("sec", 0) + 1e-9 * value.get("nanosec", 0)
