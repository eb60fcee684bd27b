"""Managed nodes: states, transitions and the services to trigger them, by rclpy's names."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.lifecycle import (
    ACTIVE,
    ERROR_PROCESSING,
    FINALIZED,
    STATES,
    TRANSITIONS,
    UNCONFIGURED,
    State,
    Transition,
)
from robot_bridge.ros.exceptions import RCLError
from robot_bridge.ros.node import Node as BaseNode
from robot_bridge.ros.publisher import Publisher as BasePublisher


class TransitionCallbackReturn(Enum):
    SUCCESS = 97
    FAILURE = 98
    ERROR = 99


LifecycleState = State


class ManagedEntity:
    """Something of a managed node that goes through its transitions with it."""

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS


class SimpleManagedEntity(ManagedEntity):
    """Enabled while its node is active."""

    _enabled = False

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        self._enabled = True
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        self._enabled = False
        return TransitionCallbackReturn.SUCCESS

    @property
    def is_activated(self) -> bool:
        return self._enabled


class LifecyclePublisher(SimpleManagedEntity, BasePublisher):
    """A publisher that is silent unless its node is active."""

    def publish(self, msg: Any) -> None:
        if self.is_activated:
            super().publish(msg)


Publisher = LifecyclePublisher


class LifecycleNodeMixin(ManagedEntity):
    """States and transitions for a node. Overridden callbacks call `super()` to include the managed entities.

    A callback that fails leaves the state it came from; one that raises, or returns ERROR, leads to `on_error`, and
    from there to unconfigured, or finalized if that does not succeed either.
    """

    def __init__(self, *, enable_communication_interface: bool = True) -> None:
        self._state = UNCONFIGURED
        self._managed_entities: list[ManagedEntity] = []
        self._callbacks: dict[str, Callable[[State], TransitionCallbackReturn]] = {}
        self._transition_event: BasePublisher | None = None
        if enable_communication_interface:
            self._offer_services()

    def _offer_services(self) -> None:
        node: Any = self
        event = get_interface("lifecycle_msgs/msg/TransitionEvent")
        self._transition_event = node.create_publisher(event, "~/transition_event", 10)
        for name, kind, answer in (
            ("change_state", "ChangeState", self._on_change_state),
            ("get_state", "GetState", self._on_get_state),
            ("get_available_states", "GetAvailableStates", self._on_get_available_states),
            ("get_available_transitions", "GetAvailableTransitions", self._on_get_available_transitions),
            ("get_transition_graph", "GetAvailableTransitions", self._on_get_transition_graph),
        ):
            node.create_service(get_interface(f"lifecycle_msgs/srv/{kind}"), f"~/{name}", answer)

    # For users --------------------------------------------------------------------------------------------------------

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self._trigger("configure")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self._trigger("cleanup")

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self._trigger("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self._trigger("deactivate")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        return self._trigger("shutdown")

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        if not isinstance(entity, ManagedEntity):
            raise TypeError("Expected a rclpy.lifecycle.ManagedEntity instance.")
        self._managed_entities.append(entity)

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """As `create_publisher`, silent unless the node is active."""
        node: Any = self
        publisher = node.create_publisher(*args, **kwargs, publisher_class=LifecyclePublisher)
        publisher._enabled = self._state is ACTIVE
        self._managed_entities.append(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        if publisher in self._managed_entities:
            self._managed_entities.remove(publisher)
        node: Any = self
        return node.destroy_publisher(publisher)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_configure", state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_cleanup", state)

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_shutdown", state)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_activate", state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_deactivate", state)

    def on_error(self, state: State) -> TransitionCallbackReturn:
        return self._all("on_error", state)

    def _all(self, name: str, state: State) -> TransitionCallbackReturn:
        for entity in list(self._managed_entities):
            outcome = getattr(entity, name)(state)
            if outcome is not TransitionCallbackReturn.SUCCESS:
                return outcome
        return TransitionCallbackReturn.SUCCESS

    # The machine ------------------------------------------------------------------------------------------------------

    def _trigger(self, label: str) -> TransitionCallbackReturn:
        transition = next((t for t in TRANSITIONS if t.label == label and t.start == self._state), None)
        if transition is None:
            raise RCLError(f"Transition '{label}' is not possible in the state '{self._state.label}'")
        start = self._state
        self._enter(transition, transition.during)
        outcome = self._call(transition.callback, start)
        if outcome is TransitionCallbackReturn.SUCCESS:
            self._enter(transition, transition.goal)
        elif outcome is TransitionCallbackReturn.FAILURE:
            self._enter(transition, start)
        else:
            self._enter(transition, ERROR_PROCESSING)
            recovered = self._call("on_error", start) is TransitionCallbackReturn.SUCCESS
            self._enter(transition, UNCONFIGURED if recovered else FINALIZED)
        return outcome

    def _call(self, name: str, state: State) -> TransitionCallbackReturn:
        node: Any = self
        try:
            outcome = getattr(self, name)(state)
        except Exception as error:
            node.get_logger().error(f"{name} raised {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR
        if not isinstance(outcome, TransitionCallbackReturn):
            node.get_logger().error(f"{name} returned {outcome!r}, expected a TransitionCallbackReturn")
            return TransitionCallbackReturn.ERROR
        return outcome

    def _enter(self, transition: Transition, state: State) -> None:
        before, self._state = self._state, state
        if self._transition_event is not None and not self._transition_event._destroyed:
            node: Any = self
            event = self._transition_event.msg_type(start_state=_state(before), goal_state=_state(state))
            event.transition = _transition(transition)
            event.timestamp = node.get_clock().now().nanoseconds
            self._transition_event.publish(event)

    # Services ---------------------------------------------------------------------------------------------------------

    def _possible(self) -> list[Transition]:
        return [transition for transition in TRANSITIONS if transition.start == self._state]

    def _on_change_state(self, request: Any, response: Any) -> Any:
        wanted = request.transition
        for transition in self._possible():
            if wanted.label == transition.label or (not wanted.label and wanted.id == transition.id):
                response.success = self._trigger(transition.label) is TransitionCallbackReturn.SUCCESS
                return response
        node: Any = self
        node.get_logger().warning(
            f"transition '{wanted.label or wanted.id}' is not possible in the state '{self._state.label}'"
        )
        return response

    def _on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state = _state(self._state)
        return response

    def _on_get_available_states(self, request: Any, response: Any) -> Any:
        response.available_states = [_state(state) for state in STATES]
        return response

    def _on_get_available_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(transition) for transition in self._possible()]
        return response

    def _on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(transition) for transition in TRANSITIONS]
        return response


class LifecycleNode(LifecycleNodeMixin, BaseNode):
    """A managed node. Keyword arguments as `Node`'s."""

    def __init__(self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any) -> None:
        BaseNode.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(self, enable_communication_interface=enable_communication_interface)


Node = LifecycleNode


def _state(state: State) -> Any:
    return get_interface("lifecycle_msgs/msg/State")(id=state.state_id, label=state.label)


def _transition(transition: Transition) -> Any:
    return get_interface("lifecycle_msgs/msg/Transition")(id=transition.id, label=transition.label)


def _description(transition: Transition) -> Any:
    return get_interface("lifecycle_msgs/msg/TransitionDescription")(
        transition=_transition(transition), start_state=_state(transition.start), goal_state=_state(transition.during)
    )
