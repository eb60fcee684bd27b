"""What must allow a robot to move, as data: sections of a robot config. `robot_bridge.node.interlocks` watches them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from robot_bridge.bounds import between
from robot_bridge.guards.settings import STRICT

BOOL, JOY = "std_msgs/msg/Bool", "sensor_msgs/msg/Joy"


def told(text: str) -> PydanticCustomError:
    """A mistake in a config, in words of our own."""
    return PydanticCustomError("told", text.replace("{", "(").replace("}", ")"))


def _full_name(name: str) -> str:
    if not name.startswith("/"):
        raise told(f"'{name}', expected a full name like '/{name}'")
    return name


def _message_type(kind: str) -> str:
    if kind.count("/") != 2 or "/msg/" not in kind:
        raise told(f"'{kind}', expected a message type like '{JOY}'")
    return kind


Name = Annotated[str, StringConstraints(min_length=1)]
Topic = Annotated[Name, AfterValidator(_full_name)]
MessageType = Annotated[str, AfterValidator(_message_type)]
Number = Annotated[int, Field(ge=0, strict=True)]
Value = bool | int | float | str


@dataclass(frozen=True, config=STRICT)
class DeadMan:
    """A switch that somebody holds while the robot moves, told at least every `max_age` seconds.

    A std_msgs/msg/Bool that says true; or a button or an axis of a sensor_msgs/msg/Joy, counted from 0. A joystick's is
    a switch that a hand may rest on: so each start needs a press of its own.

    Attributes:
        button: of a Joy; held while it is 1.
        axis: of a Joy; held while it is `above` or `below` a number. A trigger often rests at 1, is -1 when pressed,
            and is told as 0 until it was touched for the first time.
    """

    topic: Topic
    max_age: Annotated[float, between(0.01, 5.0)] = 0.2
    type: Literal["std_msgs/msg/Bool", "sensor_msgs/msg/Joy"] = "std_msgs/msg/Bool"
    button: Number | None = None
    axis: Number | None = None
    above: Annotated[float, between(-1.0, 1.0)] | None = None
    below: Annotated[float, between(-1.0, 1.0)] | None = None

    @model_validator(mode="after")
    def _one_switch(self) -> DeadMan:
        bounds = (self.above is not None) + (self.below is not None)
        if self.type == BOOL and (self.button is not None or self.axis is not None or bounds):
            raise told(f"button, axis, above and below are a Joy's: expected none, or type: {JOY}")
        if self.type == JOY and (self.button is None) == (self.axis is None):
            raise told("expected a button or an axis of the Joy")
        if (self.axis is not None) != (bounds == 1):
            raise told("expected above or below beside axis, and nowhere else")
        return self


@dataclass(frozen=True, config=STRICT)
class Interlock:
    """A field of a topic's messages that may stop the robot: an external stop, a protective stop, a robot's mode.

    A message that lacks the field, or holds something of another kind there, stops, too.

    Attributes:
        topic, type, field: where; the field by its path, such as `mode` or `status.stop`.
        stop_at: the values that stop; one of these two is given, and neither of both means: true.
        allowed: the only values that do not stop.
        max_age: s; silence for longer stops. None: it is published at changes only, by a latching publisher, and holds
            until the next one or until the connection is lost.
        required: whether it stops, too, where nothing was heard, or nothing for `max_age`.
        throttle: s between two messages, at least, for topics that say hundreds a second; what is shorter is not seen.
        name: for messages to people.
    """

    topic: Topic
    type: MessageType = BOOL
    field: Name = "data"
    stop_at: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    allowed: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    max_age: Annotated[float, between(0.01, 60.0)] | None = 1.0
    required: bool = True
    throttle: Annotated[float, between(0.0, 1.0)] = 0.0
    name: str = ""

    @model_validator(mode="after")
    def _one_list(self) -> Interlock:
        if self.stop_at is not None and self.allowed is not None:
            raise told("stop_at and allowed, expected one of them")
        return self

    @property
    def label(self) -> str:
        """Its name, or its topic and field."""
        return self.name or (self.topic if self.field == "data" else f"{self.topic} {self.field}")

    @property
    def values(self) -> tuple[Value, ...]:
        """Those of `allowed`, or else those that stop."""
        return self.allowed or self.stop_at or (True,)


@dataclass(frozen=True, config=STRICT)
class ControllerCheck:
    """Controllers of ros2_control that must be active.

    Attributes:
        active: their names.
        manager: the controller manager's node, which is asked (controller_manager_msgs/srv/ListControllers).
        every: s between two questions.
        max_age: s; an answer that is older stops the robot.
    """

    active: Annotated[tuple[Name, ...], Field(min_length=1)]
    manager: Topic = "/controller_manager"
    every: Annotated[float, between(0.1, 10.0)] = 0.5
    max_age: Annotated[float, between(0.2, 60.0)] = 2.0

    @model_validator(mode="after")
    def _in_time(self) -> ControllerCheck:
        if self.max_age < 2.0 * self.every:
            raise told(f"max_age: {self.max_age:g}, expected {2.0 * self.every:g} or more: twice `every`")
        return self


@dataclass(frozen=True, config=STRICT)
class Start:
    """How to begin: where the training episodes began, or elsewhere.

    Attributes:
        far: what enabling does where a joint is farther than `within` from all of the training data's start poses.
        within: rad (m); at most a tenth of a joint's range.
        speed: share of the joints' speeds at which `go_to_start` moves.
    """

    far: Literal["warn", "refuse", "ignore"] = "warn"
    within: Annotated[float, between(0.0, 10.0)] = 0.2
    speed: Annotated[float, between(0.01, 1.0)] = 0.1
