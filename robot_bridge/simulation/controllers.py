"""The simulated robot's controllers: what was commanded, and the action that follows from it.

They treat commands as a careful controller would: wrong lengths, names or NaN are refused, and so is a trajectory whose
end is past; an array is in force for `COMMAND_TIMEOUT` seconds, after which the arm keeps its place; at its end a
trajectory stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.transport import Closable, GoalHandle, GoalStatus, Message, Transport

COMMAND_TIMEOUT = 0.2  # s of simulated time that an array of commands is in force
TRAJECTORY = "/joint_trajectory_controller/joint_trajectory"
FOLLOW = "/joint_trajectory_controller/follow_joint_trajectory"


@dataclass
class Trajectory:
    """Positions [k, n] at times [k] of the simulation's clock."""

    times: np.ndarray
    positions: np.ndarray
    goal: GoalHandle | None = None


class Controller:
    """Takes commands from topics and an action; says which action [n] they make at a time.

    Messages come in threads of the transport. What changes the command in force is handed to `submit`, so that it
    happens in the simulation's own thread.
    """

    def __init__(
        self,
        joints: list[str],
        quantity: str,
        scale: np.ndarray,
        dt: float,
        *,
        counters: Counters,
        clock: Callable[[], float],
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        """
        Args:
            joints: names [n], in the order of arrays and actions.
            quantity: what arrays command: velocity, effort or position.
            scale: the joint's quantity [n] that an action of 1 stands for.
            dt: seconds of a control step.
            counters: counts what is refused.
            clock: the simulation's time in seconds.
            submit: has the simulation call a function before its next step.
        """
        self.joints, self.quantity, self.counters = joints, quantity, counters
        self._scale, self._dt, self._clock, self._submit = scale, dt, clock, submit
        self._array: tuple[np.ndarray, float] | None = None
        self._trajectory: Trajectory | None = None

    def open(self, transport: Transport) -> list[Closable]:
        """Declare what takes commands."""
        topic = f"/{self.quantity}_controller/commands"
        closables = [transport.subscribe(topic, "std_msgs/msg/Float64MultiArray", self.on_array)]
        if self.quantity == "velocity":
            kind = "trajectory_msgs/msg/JointTrajectory"
            closables.append(transport.subscribe(TRAJECTORY, kind, self.on_trajectory))
            kind = "control_msgs/action/FollowJointTrajectory"
            closables.append(transport.advertise_action(FOLLOW, kind, self.on_goal))
        return closables

    # Commands ---------------------------------------------------------------------------------------------------------

    def on_array(self, message: Message) -> None:
        """One number for each joint."""
        data = message.get("data")
        if not isinstance(data, list) or len(data) != len(self.joints) or any(v is None for v in data):
            self.counters.add("refused.array")
            return
        values = np.array(data, np.float64)
        if not np.isfinite(values).all():
            self.counters.add("refused.array")
            return
        self._submit(lambda: self.take_array(values))

    def on_trajectory(self, message: Message) -> None:
        """A trajectory that nobody waits for."""
        trajectory = self._read(message)
        if isinstance(trajectory, str):
            self.counters.add("refused.trajectory")
            return
        self._submit(lambda: self._take_trajectory(trajectory))

    def on_goal(self, goal: Message, handle: GoalHandle) -> None:
        """A trajectory whose sender is told how it ended."""
        trajectory = self._read(goal.get("trajectory", {}))
        if isinstance(trajectory, str):
            self.counters.add("refused.goal")
            handle.result({"error_code": -1, "error_string": trajectory}, GoalStatus.ABORTED)
            return
        trajectory.goal = handle
        handle.on_cancel(lambda: self._submit(lambda: self._cancel(handle)))
        self._submit(lambda: self._take_trajectory(trajectory))

    def _read(self, message: Message) -> Trajectory | str:
        """A trajectory in the simulation's clock and order of joints, or what is wrong with it."""
        try:
            names, points = message["joint_names"], message["points"]
            order = [names.index(joint) for joint in self.joints]
            positions = np.array([point["positions"] for point in points], np.float64)[:, order]
            offsets = np.array([_seconds(point["time_from_start"]) for point in points])
            start = _seconds(message.get("header", {}).get("stamp", {})) or self._clock()
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            return f"not a trajectory of {', '.join(self.joints)}: {type(error).__name__}: {error}"
        if not np.isfinite(positions).all() or not len(points) or (np.diff(offsets) <= 0).any():
            return "positions must be finite, times increasing"
        if start + offsets[-1] <= self._clock():
            return "its end is past"
        return Trajectory(start + offsets, positions)

    # In the simulation's thread ---------------------------------------------------------------------------------------

    def take_array(self, values: np.ndarray) -> None:
        """From now on these values [n] are in force."""
        self._array, self._trajectory = (values, self._clock()), None

    def _take_trajectory(self, trajectory: Trajectory) -> None:
        if self._trajectory is not None and self._trajectory.goal is not None:
            self._trajectory.goal.result({"error_code": 0, "error_string": "pre-empted"}, GoalStatus.ABORTED)
        self._array, self._trajectory = None, trajectory

    def _cancel(self, handle: GoalHandle) -> None:
        if self._trajectory is not None and self._trajectory.goal is handle:
            self._trajectory = None
        handle.result({"error_code": 0, "error_string": "cancelled"}, GoalStatus.CANCELED)

    @property
    def commanded(self) -> bool:
        """Something was commanded, be it out of date."""
        return self._array is not None or self._trajectory is not None

    def forget_array(self) -> None:
        """An array has been obeyed; a trajectory goes on."""
        self._array = None

    def clear(self) -> None:
        """Nothing is commanded."""
        self._array = self._trajectory = None

    def action(self, position: np.ndarray) -> np.ndarray | None:
        """The command in force as an action [n] for joints at `position` [n], if there is one."""
        if self._array is not None and self._clock() - self._array[1] <= COMMAND_TIMEOUT:
            values = self._array[0]
        elif self._trajectory is not None:
            values = self._follow(self._trajectory, position)
        else:
            return None
        return (values / self._scale).astype(np.float32)

    def _follow(self, trajectory: Trajectory, position: np.ndarray) -> np.ndarray:
        """Velocities [n] that keep to the trajectory."""
        now = self._clock()
        at = now + self._dt
        wanted = np.array([np.interp(at, trajectory.times, column) for column in trajectory.positions.T])
        if now < trajectory.times[0]:  # on the way to the first point
            share = min(1.0, self._dt / max(self._dt, trajectory.times[0] - now))
            wanted = position + share * (trajectory.positions[0] - position)
        if at >= trajectory.times[-1] and trajectory.goal is not None:
            trajectory.goal.result({"error_code": 0, "error_string": ""}, GoalStatus.SUCCEEDED)
            trajectory.goal = None
        return (wanted - position) / self._dt


def _seconds(value: Message) -> float:
    return value.get("sec", 0) + 1e-9 * value.get("nanosec", 0)
