"""Frames that are moved: the twist of a hand or of a mobile base, or the pose that a servo tracks."""

from __future__ import annotations

import numpy as np

from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.node.sender import TopicSender, time_message
from robot_bridge.paths import number_at, with_numbers
from robot_bridge.robot.cartesian import PATHS
from robot_bridge.robot.robot import Output, Robot
from robot_bridge.transport import Message, Transport


class TwistSender(TopicSender):
    """A Twist, or a TwistStamped in the output's frame. Axes that are not commanded are 0."""

    quantity = "velocity"

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        super().__init__(output, robot, limiter, transport)
        paths = PATHS[output.kind]
        self._paths = [paths[axis] for axis in self.names]
        self._rest: Message = with_numbers({}, dict.fromkeys(paths.values(), 0.0))

    @property
    def alone(self) -> str:
        topic = self.output.topic
        return (
            f"{topic}: the robot goes on with its last twist until the time-out of what takes it: "
            "incoming_command_timeout of MoveIt Servo, cmd_vel_timeout of diff_drive_controller. See that it is set: a "
            f"driver behind {topic} may have none"
        )

    def message(self, values: Array, stamp: float) -> Message:
        """For its axes [n], SI units; `stamp`: s, or 0: a rosbridge then says when it came."""
        said = self.unit[self.quantity].said(values).tolist()
        message = with_numbers(self._rest, dict(zip(self._paths, said, strict=True)))
        if self.output.kind == "twist":
            return message
        header: Message = {"stamp": time_message(stamp)} if stamp else {}
        return {"header": header | {"frame_id": self.output.frame}} | message

    def commanded(self, outcome: Outcome) -> Array:
        return outcome.command[self.index]

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        return self.transport.publish(self.output.topic, self.message(self.commanded(outcome), stamp))

    def halt(self) -> bool:
        return self.transport.publish(self.output.topic, self.message(np.zeros(len(self.names)), 0.0))

    def heard(self, message: Message, elapsed: float) -> Array | None:
        return self.unit[self.quantity].meant(np.array([number_at(message, path) for path in self._paths]))


class PoseSender(TwistSender):
    """A PoseStamped for a servo that tracks it: at most a step of the limits further each tick."""

    quantity = "position"

    @property
    def alone(self) -> str:
        return (
            f"{self.output.topic}: the arm goes to its last pose, at most guards.max_lead away, and stays there, or "
            "stops on the way by its servo's own time-out; with a jolt, as its driver allows"
        )

    def commanded(self, outcome: Outcome) -> Array:
        assert outcome.memory.motion is not None
        return outcome.memory.motion.position[self.index]

    def halt(self) -> bool:
        return True  # it holds its last pose by itself, and an older one must not be said again
