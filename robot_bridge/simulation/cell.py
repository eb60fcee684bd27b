"""What is around a simulated arm: a hand on its dead-man switch, its interlocks' topics, its controller manager.

All as the robot's config names them, and all is well until somebody says otherwise: a std_msgs/String on /sim/interlock
names the interlock that stops from then on, and an empty one none; the service `switch_controller` of the controller
manager activates and deactivates controllers, which then take no commands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from robot_bridge.node.diagnostics import DIAGNOSTICS, DIAGNOSTICS_TYPE
from robot_bridge.node.interlocks import LIST, LIST_TYPE
from robot_bridge.node.sender import time_message
from robot_bridge.paths import with_value
from robot_bridge.robot.interlocks import JOY, DeadMan, Interlock, Value
from robot_bridge.robot.robot import Robot
from robot_bridge.simulation.controllers import Controllers
from robot_bridge.transport import Closable, Message, Respond, Transport

SWITCH, SWITCH_TYPE = "switch_controller", "controller_manager_msgs/srv/SwitchController"
EVERY = 0.02  # s between two words of the hand and the interlocks; steps may be much shorter
LET_GO = 0.3  # s for which the hand lets go of a joystick's switch before it presses it anew


class Hand:
    """Holds the dead-man switch. A joystick's it lets go when the robot's node stops, and presses when it stands."""

    def __init__(self, switch: DeadMan, robot: Robot, transport: Transport) -> None:
        self._switch, self._transport = switch, transport
        self._topics = {output.topic for output in robot.outputs}
        self._states: dict[str, str] = {}
        self._pressed = time.monotonic() + LET_GO  # when it presses
        self.holds: bool | None = True
        """Whether it holds the switch whenever it should; None: the switch's topic is silent."""

    def open(self) -> list[Closable]:
        """Declare what it holds."""
        closables = [self._transport.advertise(self._switch.topic, self._switch.type)]
        if self._switch.type == JOY:
            closables.append(self._transport.subscribe(DIAGNOSTICS, DIAGNOSTICS_TYPE, self._on_diagnostics))
        return closables

    def _on_diagnostics(self, message: Message) -> None:
        for status in message.get("status", []):
            values = {entry.get("key"): str(entry.get("value")) for entry in status.get("values", [])}
            node, state = values.get("node"), values.get("state", "")
            if node is None or not set(values.get("outputs", "").split()) <= self._topics:
                continue  # of another robot
            if self._states.get(node) != state and state != "active":
                self._pressed = math.inf if state == "stopping" else time.monotonic() + LET_GO
            self._states[node] = state

    def publish(self) -> None:
        """Tell how it is."""
        if self.holds is not None:
            held = self.holds and time.monotonic() >= self._pressed
            self._transport.publish(self._switch.topic, self._message(held))

    def _message(self, held: bool) -> Message:
        switch = self._switch
        if switch.type != JOY:
            return {"data": self.holds}
        buttons, axes = [0] * ((switch.button or 0) + 1), [0.0] * ((switch.axis or 0) + 1)
        if switch.button is not None:
            buttons[switch.button] = int(held)
        else:
            pressed = 1.0 if switch.above is not None else -1.0
            axes[-1] = pressed if held else -pressed
        return {"header": {"stamp": time_message(time.time())}, "axes": axes, "buttons": buttons}


class Cell:
    """Of one robot. Messages come by the transport's thread."""

    def __init__(
        self,
        robot: Robot,
        controllers: Controllers,
        transport: Transport,
        submit: Callable[[Callable[[], None]], None],
        *,
        hold: bool,
    ) -> None:
        """`submit`: has a function called in the simulation's thread. `hold`: the dead-man switch is held."""
        self._robot, self._controllers, self._transport, self._submit = robot, controllers, transport, submit
        self.hand = Hand(robot.dead_man, robot, transport) if robot.dead_man is not None and hold else None
        self.stops = ""
        """The name of the interlock that stops, or empty."""
        self._told: dict[str, Value] = {}  # what is told at changes only
        active = () if robot.controllers is None else robot.controllers.active
        self.states = dict.fromkeys(active, "active")
        """Of the controllers that must be active."""
        ages = [part.max_age for part in (robot.dead_man, *robot.interlocks) if part is not None and part.max_age]
        self._every, self._next = min(EVERY, 0.25 * min(ages, default=1.0)), 0.0

    def open(self) -> list[Closable]:
        """Declare everything."""
        transport = self._transport
        closables = [] if self.hand is None else self.hand.open()
        for interlock in self._robot.interlocks:
            closables.append(transport.advertise(interlock.topic, interlock.type, latch=interlock.max_age is None))
        if self._robot.interlocks:
            closables.append(transport.on_connection(lambda _: self._told.clear()))
            closables.append(transport.subscribe("/sim/interlock", "std_msgs/msg/String", self._on_interlock))
        if self._robot.controllers is not None:
            manager = self._robot.controllers.manager
            closables.append(transport.advertise_service(f"{manager}/{LIST}", LIST_TYPE, self._on_list))
            closables.append(transport.advertise_service(f"{manager}/{SWITCH}", SWITCH_TYPE, self._on_switch))
        return closables

    def publish(self) -> None:
        """Tell how all is, if it is time: once a step of the simulation."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every
        if self.hand is not None:
            self.hand.publish()
        for interlock in self._robot.interlocks:
            value = told(interlock, stops=self.stops == interlock.label)
            if interlock.max_age is None and self._told.get(interlock.label) == value:
                continue
            if self._transport.publish(interlock.topic, with_value({}, interlock.field, value)):
                self._told[interlock.label] = value

    def _on_interlock(self, message: Message) -> None:
        self.stops = str(message.get("data", ""))

    def _on_list(self, _: Message, respond: Respond) -> None:
        respond({"controller": [{"name": name, "state": state} for name, state in self.states.items()]})

    def _on_switch(self, request: Message, respond: Respond) -> None:
        wanted = dict.fromkeys(request.get("deactivate_controllers", []), "inactive")
        wanted |= dict.fromkeys(request.get("activate_controllers", []), "active")

        def switch() -> None:
            known = set(wanted) <= set(self.states)
            for name, state in wanted.items() if known else ():
                self.states[name] = state
                for controller in self._controllers.all:
                    if f"/{name}/" in controller.output.topic:
                        controller.active = state == "active"
                        controller.clear()
            respond({"ok": known})

        self._submit(switch)


def told(interlock: Interlock, *, stops: bool) -> Value:
    """What an interlock's field holds while it stops, or does not."""
    known = interlock.values
    if stops is (interlock.allowed is None):
        return known[0]
    if isinstance(known[0], bool):
        return not known[0]
    if isinstance(known[0], str):
        return next(text for text in ("", "other", "another") if text not in known)
    return max(value for value in known if isinstance(value, int | float)) + 1
