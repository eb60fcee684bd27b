"""What every simulated controller is: it takes the commands of one output, and says what it asks of its joints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import Output, Robot
from robot_bridge.transport import Closable, Transport

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


class Controller(ABC):
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
        self.index, self.names, self.unit = robot.commanded(output)
        self.took: Callable[[Controller], None] = lambda controller: None
        """Called whenever a command was taken."""
        self.active = True
        """Whether it takes commands."""

    @property
    @abstractmethod
    def commanded(self) -> bool:
        """Whether something was commanded, be it out of date."""

    @abstractmethod
    def open(self, transport: Transport) -> Closable:
        """Declare what takes commands."""

    @abstractmethod
    def clear(self) -> None:
        """Nothing is commanded."""

    @abstractmethod
    def refer(self, reference: Reference, position: Array) -> None:
        """Enter what is asked of its joints, which are at `position` [of all joints], into `reference`."""

    def _submit(self, take: Callable[[], None]) -> None:
        def taken() -> None:
            if not self.active:
                self.host.counters.add("refused.inactive")
                return
            take()
            self.took(self)

        self.host.submit(taken)
