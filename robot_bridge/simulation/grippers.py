"""Simulated grippers."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import FRANKA_GRASP, OUTPUT_TYPES
from robot_bridge.simulation.controller import Controller, Reference
from robot_bridge.transport import Closable, GoalHandle, GoalStatus, Message, Transport

REACHED = 1e-3  # rad or m from its goal at which a gripper is there
STALLED = 0.5  # s of simulated time without motion after which a gripper's goal is over


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
