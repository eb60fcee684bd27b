"""The simulated robot's controllers: what was commanded, and what follows from it for each joint.

One for each output of a robot, behind the topic or the action that its config names. They treat commands as careful
controllers would: wrong lengths, names or NaN are refused, and so is a trajectory whose end is past. Velocities and
efforts are in force for `COMMAND_TIMEOUT` seconds, after which the joints keep their place; positions hold, and at its
end a trajectory stands. Of several controllers of one joint the one that was commanded last is in force.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import FRANKA_GRASP, OUTPUT_TYPES, Output, Robot
from robot_bridge.robot.units import QUANTITIES, Conversion
from robot_bridge.transport import Closable, GoalHandle, GoalStatus, Message, Transport

FEEDBACK = 0.05  # s between two words on how a trajectory goes, as joint_trajectory_controller has it
REACHED = 1e-3  # rad or m from its goal at which a gripper is there
STALLED = 0.5  # s of simulated time without motion after which a gripper's goal is over
COMMAND_TIMEOUT = 0.2  # s of simulated time that a velocity or an effort is in force


@dataclass(frozen=True)
class Host:
    """What a controller needs of the simulation that it is part of.

    Attributes:
        clock: the simulation's time, s.
        submit: has a function called before the simulation's next step, in its own thread.
        counters: counts what is refused.
        dt: s, how far ahead of the present a trajectory is read: a control step.
        timeout: s that a velocity or an effort is in force; infinite for controllers without a time-out.
    """

    clock: Callable[[], float]
    submit: Callable[[Callable[[], None]], None]
    counters: Counters
    dt: float
    timeout: float = COMMAND_TIMEOUT


class Reference:
    """What is asked of n joints now, [n] each, NaN where nothing is. A position may come with its velocity."""

    def __init__(self, n: int) -> None:
        self.position, self.velocity, self.effort = np.full((3, n), np.nan)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return not np.isfinite([self.position, self.velocity, self.effort]).any()


class Controller:
    """Takes the commands of one output.

    Messages come in threads of the transport. What changes the command in force is handed to the host, so that it
    happens in the simulation's own thread.
    """

    def __init__(self, output: Output, robot: Robot, host: Host) -> None:
        """
        Args:
            output: where commands come from, and of which joints.
            robot: names the joints, and how the output says their numbers.
            host: the simulation.
        """
        self.output, self.host = output, host
        joints = list(robot.joints)
        self.index = np.array([joints.index(name) for name in output.joints])
        """The place of each of its joints among all."""
        self.names = [robot.said(name, output) for name in output.joints]
        self.unit = {
            quantity: Conversion([robot.unit(f"{name}/{quantity}", output) for name in output.joints])
            for quantity in QUANTITIES
        }
        self.took: Callable[[Controller], None] = lambda controller: None
        """Called whenever a command was taken."""
        self.active = True
        """Whether it takes commands."""

    @property
    def commanded(self) -> bool:
        """Whether something was commanded, be it out of date."""
        raise NotImplementedError

    def open(self, transport: Transport) -> Closable:
        """Declare what takes commands."""
        raise NotImplementedError

    def clear(self) -> None:
        """Nothing is commanded."""
        raise NotImplementedError

    def refer(self, reference: Reference, position: Array) -> None:
        """Enter what is asked of its joints, which are at `position` [of all joints], into `reference`."""
        raise NotImplementedError

    def _submit(self, take: Callable[[], None]) -> None:
        def taken() -> None:
            if not self.active:
                self.host.counters.add("refused.inactive")
                return
            take()
            self.took(self)

        self.host.submit(taken)


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
        data = message.get("data")
        if not isinstance(data, list) or len(data) != len(self.index) or any(v is None for v in data):
            self.host.counters.add("refused.array")
            return
        values = self.unit[self.output.kind].meant(np.array(data, np.float64))
        if not np.isfinite(values).all():
            self.host.counters.add("refused.array")
            return
        self._submit(lambda: self.take(values))

    def take(self, values: Array) -> None:
        """From now on these values [joints] are in force."""
        self._values, self._came = values, self.host.clock()

    def clear(self) -> None:
        self._values = None

    def refer(self, reference: Reference, position: Array) -> None:
        held = self.output.kind == "position" or self.host.clock() - self._came <= self.host.timeout
        if self._values is not None and held:
            getattr(reference, self.output.kind)[self.index] = self._values


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
            offsets = np.array([_seconds(point["time_from_start"]) for point in points])
            start = _seconds(message.get("header", {}).get("stamp", {})) or now
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


class GripperController(Controller):
    """The action GripperCommand: its joints close or open together. The effort that a goal names is not simulated."""

    _goal: GoalHandle | None = None
    _target: float | None = None
    _moved, _before = 0.0, np.inf  # when it last moved, and where it was then

    @property
    def commanded(self) -> bool:
        return self._target is not None

    def open(self, transport: Transport) -> Closable:
        return transport.advertise_action(self.output.topic, OUTPUT_TYPES["gripper"], self.on_goal)

    def on_goal(self, goal: Message, handle: GoalHandle) -> None:
        """A goal; it ends when the joints are there, or when they have not moved for `STALLED` seconds."""
        said = self.asked(goal)
        if not isinstance(said, int | float) or not np.isfinite(said):
            self.host.counters.add("refused.goal")
            handle.result({}, GoalStatus.ABORTED)
            return
        handle.on_cancel(lambda: self.host.submit(lambda: self._cancel(handle)))
        self._submit(lambda: self._take((said - self.output.offset) / self.output.scale, handle))

    def _take(self, target: float, handle: GoalHandle) -> None:
        self.clear()
        self._target, self._goal, self._moved = target, handle, self.host.clock()

    def _cancel(self, handle: GoalHandle) -> None:
        if self._goal is handle:
            self._goal = None
        handle.result({}, GoalStatus.CANCELED)

    def clear(self) -> None:
        if self._goal is not None:
            self._goal.result({}, GoalStatus.ABORTED)
        self._target = self._goal = None

    def refer(self, reference: Reference, position: Array) -> None:
        if self._target is None:
            return
        reference.position[self.index] = self._target
        here, now = float(position[self.index].mean()), self.host.clock()
        if abs(here - self._before) > REACHED:
            self._moved, self._before = now, here
        reached = abs(here - self._target) <= REACHED
        if self._goal is not None and (reached or now - self._moved > STALLED):
            values = self.outcome(here * self.output.scale + self.output.offset, reached)
            self._goal.result(values, GoalStatus.SUCCEEDED)
            self._goal = None

    def asked(self, goal: Message) -> object:
        """What a goal wants, as the gripper's messages say it."""
        return goal.get("command", {}).get("position")

    def outcome(self, said: float, reached: bool) -> Message:
        """The values of a result."""
        return {"position": said, "effort": 0.0, "stalled": not reached, "reached_goal": reached}


class FrankaGripperController(GripperController):
    """Franka's Move and Grasp. A Grasp closes until it cannot; force and speed are not simulated."""

    def open(self, transport: Transport) -> Closable:
        both = ExitStack()
        for action, kind in (("move", OUTPUT_TYPES["franka_gripper"]), ("grasp", FRANKA_GRASP)):
            both.callback(transport.advertise_action(f"{self.output.topic}/{action}", kind, self.on_goal).close)
        return both

    def asked(self, goal: Message) -> object:
        return goal.get("width")

    def outcome(self, said: float, reached: bool) -> Message:
        return {"success": True, "error": ""}


CONTROLLERS: dict[str, type[Controller]] = {
    "velocity": ArrayController,
    "position": ArrayController,
    "effort": ArrayController,
    "trajectory": TrajectoryController,
    "follow": FollowController,
    "gripper": GripperController,
    "franka_gripper": FrankaGripperController,
}
"""By the kind of an output."""


class Controllers:
    """All controllers of a robot."""

    def __init__(self, robot: Robot, host: Host) -> None:
        self._n = len(robot.joints)
        self.all = [CONTROLLERS[output.kind](output, robot, host) for output in robot.outputs]
        for controller in self.all:
            controller.took = self._took

    def __getitem__(self, topic: str) -> Controller:
        return next(controller for controller in self.all if controller.output.topic == topic)

    @property
    def commanded(self) -> bool:
        """Whether anything was commanded, be it out of date."""
        return any(controller.commanded for controller in self.all)

    def forget_arrays(self) -> None:
        """Arrays have been obeyed; trajectories go on."""
        for controller in self.all:
            if isinstance(controller, ArrayController):
                controller.clear()

    def clear(self) -> None:
        """Nothing is commanded."""
        for controller in self.all:
            controller.clear()

    def reference(self, position: Array) -> Reference:
        """What is asked of all joints now, which are at `position` [n]."""
        reference = Reference(self._n)
        for controller in self.all:
            controller.refer(reference, position)
        return reference

    def _took(self, taken: Controller) -> None:
        for other in self.all:
            if other is not taken and np.isin(other.index, taken.index).any():
                other.clear()


def _seconds(value: Message) -> float:
    return value.get("sec", 0) + 1e-9 * value.get("nanosec", 0)
