"""Simulated controllers that move a frame: what a servo or a mobile base makes of twists and poses."""

from __future__ import annotations

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.paths import number_at
from robot_bridge.robot.cartesian import PATHS, TWISTS
from robot_bridge.simulation.joints import ArrayController, seconds_of
from robot_bridge.transport import Message


class CartesianController(ArrayController):
    """Twists are in force as velocities are, poses as positions. Another frame is refused, and a twist too old."""

    @property
    def quantity(self) -> str:
        return "velocity" if self.output.kind in TWISTS else "position"

    def read(self, message: Message) -> Array | None:
        header = message.get("header", {})
        stamp = seconds_of(header.get("stamp", {}))
        if self.output.kind != "twist" and header.get("frame_id") != self.output.frame:
            return None
        if self.quantity == "velocity" and stamp and self.host.clock() - stamp > self.host.timeout:
            return None
        paths = PATHS[self.output.kind]
        try:
            return np.array([number_at(message, paths[axis]) for axis in self.names])
        except ValueError:
            return None
