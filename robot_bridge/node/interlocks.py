"""What must allow the robot to move: at enabling, and all the time after.

Each `Permit` watches one condition: a dead-man switch, a field of a topic, the controllers of ros2_control. It objects
in words while it does not allow motion. A robot that moves is then stopped, and stays so until somebody enables again.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from robot_bridge.node.observation import PATIENCE
from robot_bridge.node.sender_clock import SenderClock, seconds
from robot_bridge.paths import value_at
from robot_bridge.robot.interlocks import JOY, ControllerCheck, DeadMan, Interlock
from robot_bridge.robot.robot import Robot
from robot_bridge.transport import Closable, Message, Transport

Clock = Callable[[], float]
RENEWAL = 2.0  # s of silence, after which a topic is subscribed anew
LIST, LIST_TYPE = "list_controllers", "controller_manager_msgs/srv/ListControllers"


class Permit(ABC):
    """One condition. Messages come by the transport's thread; all else may be called from any."""

    def __init__(self, name: str, clock: Clock) -> None:
        """`name`: for messages to people. `clock`: s."""
        self.name, self._clock = name, clock
        self._lock = threading.Lock()
        self._passing = ""  # an objection since the latest look

    def open(self, transport: Transport) -> None:
        """Listen."""

    def close(self) -> None:
        """Undo `open`."""

    @abstractmethod
    def objection(self, now: float) -> str:
        """Why the robot must not move; empty if it may."""

    def refusal(self, now: float) -> str:
        """Why it must not begin to move; empty if it may."""
        return self.objection(now)

    def look(self, now: float) -> str:
        """Once a tick: the objection, or one that came and went since the tick before, however short it was."""
        with self._lock:
            passing, self._passing = self._passing, ""
        return self.objection(now) or passing

    def stopped(self) -> None:
        """The robot moves no longer, or is about to stop."""

    def forget(self) -> None:
        """The connection is lost: what was heard may no longer be so."""

    def _object(self, text: str) -> None:
        with self._lock:
            self._passing = self._passing or text


class DeadManSwitch(Permit):
    """Held, and told so lately. What cannot be read counts as let go."""

    RELEASED = "the dead-man switch is not held"

    def __init__(self, switch: DeadMan, patience: float, clock: Clock) -> None:
        """`patience`: s of steady lateness that are a clock that was set; see `SenderClock`."""
        super().__init__("dead man", clock)
        self._switch = switch
        self._held, self._heard = False, -math.inf
        self._let_go = self._pressed = False  # since the robot moved, and after that pressed
        self._unread = ""
        self._sender = SenderClock(switch.max_age, patience)
        self._subscription: Closable | None = None

    def open(self, transport: Transport) -> None:
        self._subscription = transport.subscribe(
            self._switch.topic, self._switch.type, self._receive, renew_after=RENEWAL
        )

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    def _receive(self, message: Message) -> None:
        try:
            stamp = seconds((message.get("header") or {}).get("stamp") or {})
            delay = self._sender.delay(stamp, self._clock()) if stamp else 0.0
            if delay is None:  # the same again, or an older one
                return
            held, self._unread = self._is_held(message), ""
        except (ValueError, TypeError, AttributeError) as error:
            held, delay, self._unread = False, 0.0, f": {self._switch.topic} cannot be read: {error}"
        if self._held and self._clock() - self._heard > self._switch.max_age:  # a hand may have come and gone
            self._let_go = self._pressed = False
        self._held, self._heard = held, self._clock() - delay
        if held:
            self._pressed = self._let_go
        else:
            self._let_go, self._pressed = True, False
            self._object(self.RELEASED + self._unread)

    def _is_held(self, message: Message) -> bool:
        switch = self._switch
        if switch.type != JOY:
            return message.get("data") is True
        if switch.button is not None:
            return value_at(message, f"buttons.{switch.button}") == 1
        value = value_at(message, f"axes.{switch.axis}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value > switch.above if switch.above is not None else value < switch.below  # type: ignore[operator]

    def objection(self, now: float) -> str:
        topic = self._switch.topic
        if math.isinf(self._heard):
            return f"{self.RELEASED}: nothing came on {topic}"
        if now - self._heard > self._switch.max_age:
            return f"{self.RELEASED}: {topic} is silent, or late by its stamps"
        return "" if self._held else self.RELEASED + self._unread

    def refusal(self, now: float) -> str:
        objection = self.objection(now)
        if not objection and self._switch.type == JOY and not self._pressed:
            return "the dead-man switch was held before: let go of it and press it anew"
        return objection

    def stopped(self) -> None:
        self._let_go, self._pressed = not self._held, False

    def forget(self) -> None:
        self._held = self._let_go = self._pressed = False
        self._heard = -math.inf


class FieldPermit(Permit):
    """A field of a topic's messages."""

    def __init__(self, interlock: Interlock, clock: Clock) -> None:
        super().__init__(interlock.label, clock)
        self._interlock = interlock
        self._heard = -math.inf
        self._said = ""  # the objection of the latest message
        self._transport: Transport | None = None
        self._subscription: Closable | None = None
        self._subscribed = math.inf

    def open(self, transport: Transport) -> None:
        interlock, latched = self._interlock, self._interlock.max_age is None
        self._transport, self._subscribed = transport, self._clock()
        self._subscription = transport.subscribe(
            interlock.topic,
            interlock.type,
            self._receive,
            throttle_ms=round(1000 * interlock.throttle),
            renew_after=None if latched else max(RENEWAL, 2.0 * (interlock.max_age or 0.0)),
            latched=latched,
        )

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    def look(self, now: float) -> str:
        # What is told at changes only may be resubscribed only until it was told.
        latched, silent = self._interlock.max_age is None, math.isinf(self._heard)
        if self._transport is not None and latched and silent and now - self._subscribed > RENEWAL:
            self.close()
            self.open(self._transport)
        return super().look(now)

    def _receive(self, message: Message) -> None:
        self._said, self._heard = self._objection_to(message), self._clock()
        if self._said:
            self._object(self._said)

    def _objection_to(self, message: Message) -> str:
        interlock = self._interlock
        try:
            value = value_at(message, interlock.field)
        except ValueError as error:
            return f"{self.name} cannot be read: {error}"
        kin = [known for known in interlock.values if _kind(known) is _kind(value)]
        if not kin:
            return f"{self.name} cannot be read: it is {str(value)[:40]!r}"
        return f"{self.name} is {value}" if (value in kin) is (interlock.allowed is None) else ""

    def objection(self, now: float) -> str:
        interlock = self._interlock
        if self._said:
            return self._said
        if interlock.required and math.isinf(self._heard):
            return f"{self.name} is not known: nothing came on {interlock.topic}"
        if interlock.required and interlock.max_age is not None and now - self._heard > interlock.max_age:
            return f"{self.name} is not known: {interlock.topic} is silent"
        return ""

    def forget(self) -> None:
        self._heard = -math.inf  # what stopped goes on stopping until it is told otherwise


class ControllersPermit(Permit):
    """Controllers of ros2_control. Their manager is asked, for it tells nothing by itself."""

    def __init__(self, check: ControllerCheck, transport: Transport, clock: Clock) -> None:
        super().__init__("controllers", clock)
        self._check, self._transport = check, transport
        self._service = f"{check.manager}/{LIST}"
        self._states: dict[str, str] | None = None
        self._answered = self._asked = -math.inf
        self._error = ""
        self._round = 0  # questions of before a lost connection mean nothing any more
        self._waiting = False

    def look(self, now: float) -> str:
        if not self._waiting and now - self._asked >= self._check.every and self._transport.connected:
            self._waiting, self._asked = True, now
            done = partial(self._done, self._round)
            self._transport.call_service(self._service, LIST_TYPE, {}, done, timeout=self._check.max_age)
        return super().look(now)

    def _done(self, number: int, values: Message | None, error: str | None) -> None:
        if number != self._round:
            return
        self._waiting = False
        try:
            states = None if values is None else {c["name"]: str(c["state"]) for c in values["controller"]}
        except (KeyError, TypeError) as wrong:
            states, error = None, f"no list of controllers: {wrong}"
        if states is None:
            self._error = error or "no answer"
        else:
            self._states, self._answered, self._error = states, self._clock(), ""

    def objection(self, now: float) -> str:
        if self._states is None or now - self._answered > self._check.max_age:
            return f"{self._service} does not answer" + (f": {self._error}" if self._error else "")
        for name in self._check.active:
            if (state := self._states.get(name, "not loaded")) != "active":
                return f"controller {name} is {state}"
        return ""

    def forget(self) -> None:
        self._round += 1
        self._states, self._waiting = None, False
        self._answered = self._asked = -math.inf


class Permits:
    """All of a robot's."""

    def __init__(self, robot: Robot, transport: Transport, clock: Clock) -> None:
        patience = PATIENCE + robot.guards.hold_timeout
        self.dead_man = None if robot.dead_man is None else DeadManSwitch(robot.dead_man, patience, clock)
        self.interlocks: list[Permit] = [FieldPermit(interlock, clock) for interlock in robot.interlocks]
        if robot.controllers is not None:
            self.interlocks.append(ControllersPermit(robot.controllers, transport, clock))
        self.all = [*([self.dead_man] if self.dead_man else []), *self.interlocks]
        self._transport = transport

    def open(self) -> None:
        """Listen."""
        for permit in self.all:
            permit.open(self._transport)

    def close(self) -> None:
        """Undo `open`."""
        for permit in self.all:
            permit.close()

    def refusal(self, now: float) -> str:
        """Why the robot must not begin to move; empty if it may."""
        return next(filter(None, (permit.refusal(now) for permit in self.all)), "")

    def look(self, now: float) -> tuple[str | None, str]:
        """Once a tick: what the dead-man switch objects to (None where there is none), and what the others do."""
        dead_man = None if self.dead_man is None else _looked(self.dead_man, now)
        objections = [_looked(permit, now) for permit in self.interlocks]
        return dead_man, next(filter(None, objections), "")

    def stopped(self) -> None:
        """The robot moves no longer, or is about to stop."""
        for permit in self.all:
            permit.stopped()

    def forget(self) -> None:
        """The connection is lost."""
        for permit in self.all:
            permit.forget()

    def told(self, now: float) -> list[tuple[str, str]]:
        """The name of each, and why it does not allow motion to begin; empty where it does."""
        return [(permit.name, permit.refusal(now)) for permit in self.all]


def _looked(permit: Permit, now: float) -> str:
    """What a permit objects to; that it cannot be watched, whatever is raised, is an objection."""
    try:
        return permit.look(now)
    except Exception as error:
        return f"{permit.name} cannot be watched: {type(error).__name__}: {error}"


def _kind(value: Any) -> type:
    """What can be compared: a number is no truth value, and a text neither."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
