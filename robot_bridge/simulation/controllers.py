"""The simulated robot's controllers: what was commanded, and what follows from it for each joint.

One for each output of a robot, behind the topic or the action that its config names. They treat commands as careful
controllers would: wrong lengths, names or NaN are refused, and so is a trajectory whose end is past. Velocities and
efforts are in force for `COMMAND_TIMEOUT` seconds, after which the joints keep their place; positions hold, and at its
end a trajectory stands. Of several controllers of one joint the one that was commanded last is in force.
"""

from __future__ import annotations

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import Robot
from robot_bridge.simulation.cartesian import CartesianController
from robot_bridge.simulation.controller import Controller, Host, Reference
from robot_bridge.simulation.grippers import FrankaGripperController, GripperController
from robot_bridge.simulation.joints import ArrayController, FollowController, TrajectoryController

CONTROLLERS: dict[str, type[Controller]] = {
    "velocity": ArrayController,
    "position": ArrayController,
    "effort": ArrayController,
    "trajectory": TrajectoryController,
    "follow": FollowController,
    "gripper": GripperController,
    "franka_gripper": FrankaGripperController,
    "twist": CartesianController,
    "twist_stamped": CartesianController,
    "pose": CartesianController,
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
