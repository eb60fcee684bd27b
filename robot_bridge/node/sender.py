"""What every output is to the policy node: it says guarded commands, and makes its part of the robot stand."""

from __future__ import annotations

from abc import ABC, abstractmethod

from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import MotionLimiter
from robot_bridge.robot.robot import OUTPUT_TYPES, Output, Robot
from robot_bridge.transport import Closable, Message, Transport


def time_message(seconds: float) -> dict[str, int]:
    """A builtin_interfaces Time or Duration."""
    nanoseconds = round(seconds * 1e9)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


class Sender(ABC):
    """Sends the commands of one output."""

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        self.output, self.type = output, OUTPUT_TYPES[output.kind]
        self.transport, self.limiter = transport, limiter
        self.index, self.names, self.unit = robot.commanded(output)

    @property
    def ends_after(self) -> float:
        """s for which a command that was sent goes on moving the robot, before it brakes."""
        return 0.0

    @property
    @abstractmethod
    def alone(self) -> str:
        """What stops this part of the robot when nothing more is sent, and which setting of whom that depends on."""

    def open(self) -> None:
        """Declare what is published; goals need no declaration."""

    def close(self) -> None:
        """Undo `open`."""

    def begin(self) -> None:
        """The robot is enabled."""

    @abstractmethod
    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        """Send a command now or never; False if it was dropped. `stamp`: the robot's clock, s, or 0."""

    def halt(self) -> bool:
        """Make sure that this part of the robot stands, without a plan; False if that could not be said."""
        return True

    def stand(self) -> None:
        """The robot stands: nothing that was sent before may go on."""

    def objection(self, now: float) -> str:
        """What the controller has against what was sent; empty if nothing."""
        return ""

    @property
    def waits(self) -> str:
        """What the controller has to say before the motion may go on; empty if nothing."""
        return ""


class TopicSender(Sender):
    """Publishes on a topic, where other controllers' commands can be heard, too."""

    _advertised: Closable | None = None

    @property
    def listens_to(self) -> str | None:
        """The topic on which another controller's commands can be heard, to compare with."""
        return self.output.topic

    def open(self) -> None:
        self._advertised = self.transport.advertise(self.output.topic, self.type)

    def close(self) -> None:
        if self._advertised is not None:
            self._advertised.close()

    @abstractmethod
    def commanded(self, outcome: Outcome) -> Array:
        """What is commanded of its joints, in the quantity that `heard` tells; SI units."""

    @abstractmethod
    def heard(self, message: Message, elapsed: float) -> Array | None:
        """What another controller's message commands `elapsed` s after it came, or None if nothing."""
