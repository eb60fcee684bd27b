"""The sender of each kind of output.

What stops a part of the robot when this process, or its connection, is gone (`Sender.alone`) is told at start-up.
"""

from __future__ import annotations

from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.node.cartesian import PoseSender, TwistSender
from robot_bridge.node.goals import FollowSender, FrankaGripperSender, GripperSender
from robot_bridge.node.joints import ArraySender, TrajectorySender
from robot_bridge.node.sender import Sender, TopicSender
from robot_bridge.robot.robot import Robot
from robot_bridge.transport import Message, Transport

SENDERS: dict[str, type[Sender]] = {
    "velocity": ArraySender,
    "position": ArraySender,
    "effort": ArraySender,
    "trajectory": TrajectorySender,
    "follow": FollowSender,
    "gripper": GripperSender,
    "franka_gripper": FrankaGripperSender,
    "twist": TwistSender,
    "twist_stamped": TwistSender,
    "pose": PoseSender,
}
"""By the kind of an output."""


def senders(robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> list[Sender]:
    """Of all outputs of a robot."""
    return [SENDERS[output.kind](output, robot, limiter, transport) for output in robot.outputs]


def hear(sender: TopicSender, message: Message, elapsed: float) -> tuple[Array | None, str]:
    """What another controller's message commands, or None; and what is wrong with the message, empty if nothing."""
    try:
        return sender.heard(message, elapsed), ""
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return None, f"{type(error).__name__}: {error}"
