"""The policy node as a managed node of ROS 2: lifecycle_msgs' services and topic of transitions, under its name.

    the node's state      inactive    active    stopping        fault       ending, stopping    ending
    in lifecycle_msgs     inactive    active    deactivating    inactive    shuttingdown        finalized

`activate` is enable, `deactivate` disable, `shutdown` ends the program, decelerating first. They answer at once; the
state says when the robot stands. There is nothing to configure, and why a node is inactive is told by /diagnostics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from robot_bridge.lifecycle import (
    ACTIVE,
    DEACTIVATING,
    FINALIZED,
    INACTIVE,
    SHUTTING_DOWN,
    STATES,
    TRANSITIONS,
    UNCONFIGURED,
    State,
    Transition,
)
from robot_bridge.transport import Closable, Message, Respond, Transport

OFFERED = tuple(t for t in TRANSITIONS if t.label in ("activate", "deactivate", "shutdown") and t.start != UNCONFIGURED)
EVENT_TYPE = "lifecycle_msgs/msg/TransitionEvent"


class Node(Protocol):
    """What is managed; `name` in full, such as /policy."""

    name: str

    @property
    def state(self) -> str: ...

    @property
    def ending(self) -> bool:
        """Whether it is about to end."""

    def enable(self) -> tuple[bool, str]: ...

    def disable(self) -> tuple[bool, str]: ...

    def shut_down(self) -> None: ...


class Managed:
    """The services of one node. `changed` is to be called after every change of its state, by any thread."""

    def __init__(self, node: Node, transport: Transport, say: Callable[[str], None]) -> None:
        self._node, self._transport, self._say = node, transport, say
        self._event = f"{node.name}/transition_event"
        self._before = self.state

    @property
    def state(self) -> State:
        """The node's state in lifecycle_msgs' terms."""
        if self._node.ending:
            return SHUTTING_DOWN if self._node.state == "stopping" else FINALIZED
        return {"active": ACTIVE, "stopping": DEACTIVATING}.get(self._node.state, INACTIVE)

    def open(self) -> list[Closable]:
        """Declare everything."""
        closables = [self._transport.advertise(self._event, EVENT_TYPE)]
        for name, kind, answer in (
            ("change_state", "ChangeState", self._change),
            ("get_state", "GetState", lambda _: {"current_state": _state(self.state)}),
            ("get_available_states", "GetAvailableStates", lambda _: {"available_states": [_state(s) for s in STATES]}),
            ("get_available_transitions", "GetAvailableTransitions", lambda _: _transitions(self._possible())),
            ("get_transition_graph", "GetAvailableTransitions", lambda _: _transitions(OFFERED)),
        ):
            service = f"{self._node.name}/{name}"
            closables.append(self._transport.advertise_service(service, f"lifecycle_msgs/srv/{kind}", _handler(answer)))
        return closables

    def changed(self) -> None:
        """Tell of a new state."""
        before, self._before = self._before, self.state
        if before == self._before or not self._transport.connected:
            return
        way = next((t for t in OFFERED if before in (t.start, t.during) and self._before in (t.during, t.goal)), None)
        self._transport.publish(
            self._event,
            {
                "timestamp": time.time_ns(),
                "transition": _transition(way) if way else {"id": 0, "label": ""},
                "start_state": _state(before),
                "goal_state": _state(self._before),
            },
        )

    def _possible(self) -> tuple[Transition, ...]:
        return tuple(t for t in OFFERED if t.start == self.state)

    def _change(self, request: Message) -> Message:
        wanted = request.get("transition", {})
        name = wanted.get("label") or wanted.get("id", 0)
        way = next((t for t in self._possible() if name in (t.label, t.id)), None)
        if way is None:
            self._say(f"change_state: transition '{name}' is not possible while {self.state.label}")
            return {"success": False}
        if way.label == "shutdown":
            self._node.shut_down()
            return {"success": True}
        done, why = self._node.enable() if way.label == "activate" else self._node.disable()
        if not done:
            self._say(f"change_state: {why}")
        return {"success": done}


def _handler(answer: Callable[[Message], Message]) -> Callable[[Message, Respond], None]:
    def handle(request: Message, respond: Respond) -> None:
        respond(answer(request))

    return handle


def _state(state: State) -> Message:
    return {"id": state.state_id, "label": state.label}


def _transition(transition: Transition) -> Message:
    return {"id": transition.id, "label": transition.label}


def _transitions(transitions: tuple[Transition, ...]) -> Message:
    return {
        "available_transitions": [
            {"transition": _transition(t), "start_state": _state(t.start), "goal_state": _state(t.during)}
            for t in transitions
        ]
    }
