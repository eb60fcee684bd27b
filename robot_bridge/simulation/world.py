"""What a simulated robot is made of: `World`, which an environment or a model is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from robot_bridge.guards.limits import Array
from robot_bridge.robot.robot import Input
from robot_bridge.simulation.controller import Reference
from robot_bridge.transport import Message


@dataclass(frozen=True)
class Step:
    """What a step led to.

    Attributes:
        reward: of the control step that it ended, if it ended one.
        done: whether the episode is over.
        ended: whether it ended a control step.
        completions: names of sub-tasks that were done in this episode so far.
        success: whether the task is done, where the world tells.
    """

    reward: float = 0.0
    done: bool = False
    ended: bool = True
    completions: list[str] = field(default_factory=list)
    success: bool | None = None


class World(Protocol):
    """A robot and what is around it, in time steps of its own. Joints are in the order of the robot's config."""

    name: str
    dt: float
    """s in a control step."""
    step_dt: float
    """s in one call of `step`; the control step, or a part of it."""
    ahead: float
    """s from the present for which `step` wants its reference."""
    max_steps: float
    """Control steps in an episode; infinite where it has no end."""

    def reset(self, seed: int) -> None:
        """Begin an episode."""

    def step(self, reference: Reference) -> Step:
        """`step_dt` seconds in which the joints do what is asked."""

    @property
    def position(self) -> Array:
        """Measured positions [n], 0 where none is measured."""

    def numbers(self) -> dict[str, float]:
        """What can be measured, noise included, as `<robot's or object's joint>/<quantity>`."""

    def message(self, source: Input) -> Message | None:
        """What an input other than a JointState says, without its header; None if nothing here stands for it."""

    def truth(self) -> tuple[Array, Array] | None:
        """Positions and velocities [n] without noise; None where they are not told."""

    def score(self, total: float) -> float:
        """What an episode's return counts as."""

    @property
    def scene(self) -> Any:
        """What a viewer shows: it has MuJoCo's `model` and `data`."""

    def frame(self, *, now: bool) -> Array:
        """What a film keeps of the present: a picture [height, width, 3] if `now`, else what `draw` takes: quicker."""

    def draw(self, frame: Array) -> Array:
        """The picture [height, width, 3] of a frame."""

    def close(self) -> None:
        """Free what it holds."""
