"""Nodes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from robot_bridge.interfaces import get_interface, to_dict
from robot_bridge.ros.arguments import Arguments
from robot_bridge.ros.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from robot_bridge.ros.client import Client
from robot_bridge.ros.clock import Clock, ROSClock
from robot_bridge.ros.context import Context, get_default_context
from robot_bridge.ros.entity import Entity
from robot_bridge.ros.exceptions import InvalidHandle, NotInitializedException
from robot_bridge.ros.executors import Executor
from robot_bridge.ros.guard_condition import GuardCondition
from robot_bridge.ros.logging import (
    LoggingSeverity,
    RcutilsLogger,
    get_logger,
    get_logging_severity_from_string,
    set_sink,
)
from robot_bridge.ros.names import expand_topic_name, validate_namespace, validate_node_name, validate_topic_name
from robot_bridge.ros.node_parameters import NodeParameters
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.parameter_service import ParameterService
from robot_bridge.ros.parameters import Parameters
from robot_bridge.ros.publisher import Publisher
from robot_bridge.ros.qos import (
    QoSProfile,
    as_profile,
    qos_profile_parameter_events,
    qos_profile_services_default,
    without_effect,
)
from robot_bridge.ros.rosapi import ask, wait
from robot_bridge.ros.service import Service
from robot_bridge.ros.subscription import Subscription
from robot_bridge.ros.time_source import TimeSource
from robot_bridge.ros.timer import Rate, Timer
from robot_bridge.ros.topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum


class Node(NodeParameters):
    """A node, in rclpy's shape.

    Raises:
        NotInitializedException: `init` was not called.
        InvalidNodeNameException, InvalidNamespaceException: wrong names.
    """

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
    ) -> None:
        self._context = context or get_default_context()
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        self._arguments = [Arguments.parse(cli_args)] if cli_args else []
        if use_global_arguments:
            self._arguments.append(self._context.arguments)
        name, space = node_name, namespace or "/"
        for arguments in reversed(self._arguments):
            name, space = arguments.node_name(node_name), arguments.namespace(node_name, space)
        validate_node_name(name)
        space = space if space.startswith("/") else f"/{space}"
        validate_namespace(space)
        self._name, self._namespace = name, space

        self._timers: list[Timer] = []
        self._subscriptions: list[Subscription] = []
        self._guards: list[GuardCondition] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._waitables: list[Entity] = []
        self._publishers: list[Publisher] = []
        self._cached: list[Entity] | None = None
        self._rates: dict[Rate, Timer] = {}
        self._default_callback_group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._executor: weakref.ReferenceType[Executor] | None = None
        self._destroyed = False
        self._clock = ROSClock()
        self._logger = get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        for arguments in self._arguments:
            for logger, level in arguments.log_levels:
                (get_logger(logger) if logger else self._logger).set_level(get_logging_severity_from_string(level))
        self._context._members.add(self)

        self._rosout = self._parameter_events = None
        if enable_rosout:
            log = get_interface("rcl_interfaces/msg/Log")
            self._rosout = self.create_publisher(log, "/rosout", 1000)
            set_sink(self._logger.name, _weakly(self, "_log"))
        events = get_interface("rcl_interfaces/msg/ParameterEvent")
        self._parameter_events = self.create_publisher(events, "/parameter_events", qos_profile_parameter_events)

        given: dict[str, Any] = {}
        for arguments in reversed(self._arguments):
            given |= arguments.parameters_of(name, space)
        overrides = {key: Parameter(key, value=value) for key, value in given.items()}
        overrides |= {parameter.name: parameter for parameter in parameter_overrides or []}
        self._parameters = Parameters(overrides, allow_undeclared_parameters, self._publish_parameter_event)
        if automatically_declare_parameters_from_overrides:
            for parameter in overrides.values():
                self.declare_parameter(parameter.name, parameter.value)
        self._time_source = TimeSource(self, self._clock, self.create_subscription)
        if start_parameter_services:
            self._parameter_service = ParameterService(self, self.create_service)

    # Names and parts --------------------------------------------------------------------------------------------------

    def get_name(self) -> str:
        return self._name

    def get_namespace(self) -> str:
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        return f"{self._namespace.rstrip('/')}/{self._name}"

    def get_logger(self) -> RcutilsLogger:
        return self._logger

    def get_clock(self) -> Clock:
        return self._clock

    @property
    def context(self) -> Context:
        return self._context

    @property
    def default_callback_group(self) -> CallbackGroup:
        return self._default_callback_group

    @property
    def publishers(self) -> Iterable[Publisher]:
        yield from self._publishers

    @property
    def subscriptions(self) -> Iterable[Subscription]:
        yield from self._subscriptions

    @property
    def clients(self) -> Iterable[Client]:
        yield from self._clients

    @property
    def services(self) -> Iterable[Service]:
        yield from self._services

    @property
    def timers(self) -> Iterable[Timer]:
        yield from self._timers

    @property
    def guards(self) -> Iterable[GuardCondition]:
        yield from self._guards

    @property
    def waitables(self) -> Iterable[Entity]:
        yield from self._waitables

    @property
    def executor(self) -> Executor | None:
        """The executor that runs this node's callbacks."""
        return self._executor() if self._executor is not None else None

    @executor.setter
    def executor(self, new_executor: Executor | None) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        self._executor = None if new_executor is None else weakref.ref(new_executor)
        if new_executor is not None:
            new_executor.add_node(self)

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """The absolute name of a topic, after remapping unless `only_expand`."""
        return self._resolve(topic, only_expand, is_service=False)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """The absolute name of a service, after remapping unless `only_expand`."""
        return self._resolve(service, only_expand, is_service=True)

    def _resolve(self, name: str, only_expand: bool, is_service: bool) -> str:
        validate_topic_name(name, is_service=is_service)
        full = expand_topic_name(name, self._name, self._namespace)
        if not only_expand:
            for arguments in self._arguments:
                for rule in arguments.remaps:
                    if rule.source.startswith("__") or rule.node not in (None, self._name):
                        continue
                    if rule.kind not in ("", "service" if is_service else "topic"):
                        continue
                    if expand_topic_name(rule.source, self._name, self._namespace) == full:
                        return expand_topic_name(rule.target, self._name, self._namespace)
        return full

    # Making and destroying --------------------------------------------------------------------------------------------

    def create_publisher(
        self,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: Any = None,
        qos_overriding_options: Any = None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Publisher:
        """A publisher of `topic`.

        Raises:
            NotImplementedError: `event_callbacks` or `qos_overriding_options`, which rosbridge cannot keep.
        """
        profile, name = as_profile(qos_profile), self.resolve_topic_name(topic)
        self._check_alive()
        self._check_quality(name, profile, event_callbacks, qos_overriding_options)
        publisher = publisher_class(self._context, msg_type, name, profile, self._group(callback_group))
        return self._keep(self._publishers, publisher)

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: Any = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
    ) -> Subscription:
        """Have `callback(message)` called with the messages of `topic`; with `raw` their CDR bytes.

        Raises:
            NotImplementedError: `event_callbacks` or `qos_overriding_options`, which rosbridge cannot keep.
        """
        profile, name = as_profile(qos_profile), self.resolve_topic_name(topic)
        self._check_alive()
        self._check_quality(name, profile, event_callbacks, qos_overriding_options)
        group = self._group(callback_group)
        subscription = Subscription(self._context, msg_type, name, callback, group, profile, raw)
        return self._keep(self._subscriptions, subscription)

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """A client of the service `srv_name`."""
        self._check_alive()
        name = self.resolve_service_name(srv_name)
        return self._keep(
            self._clients, Client(self._context, srv_type, name, qos_profile, self._group(callback_group))
        )

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """Answer the service `srv_name` with `callback(request, response)`."""
        self._check_alive()
        name = self.resolve_service_name(srv_name)
        group = self._group(callback_group)
        return self._keep(self._services, Service(self._context, srv_type, name, callback, group, qos_profile))

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[..., Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
    ) -> Timer:
        """Have `callback()` called every `timer_period_sec` seconds of `clock` (default: the node's)."""
        self._check_alive()
        period = int(float(timer_period_sec) * 1e9)
        timer = Timer(callback, self._group(callback_group), period, clock or self._clock, context=self._context)
        return self._keep(self._timers, timer)

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Have `callback()` called after somebody triggered the result."""
        self._check_alive()
        return self._keep(self._guards, GuardCondition(callback, self._group(callback_group)))

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """A rate of `frequency` Hz."""
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        timer = self.create_timer(1.0 / frequency, lambda: None, ReentrantCallbackGroup(), clock)
        rate = Rate(timer, context=self._context)
        self._rates[rate] = timer
        return rate

    def add_waitable(self, waitable: Entity) -> None:
        """Have the executor run this too; for actions."""
        self._keep(self._waitables, waitable)

    def remove_waitable(self, waitable: Entity) -> None:
        self._forget(waitable)

    def destroy_publisher(self, publisher: Publisher) -> bool:
        return self._destroy_one(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._destroy_one(self._subscriptions, subscription)

    def destroy_client(self, client: Client) -> bool:
        return self._destroy_one(self._clients, client)

    def destroy_service(self, service: Service) -> bool:
        return self._destroy_one(self._services, service)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._destroy_one(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._destroy_one(self._guards, guard)

    def destroy_rate(self, rate: Rate) -> bool:
        if rate not in self._rates:
            return False
        rate.destroy()
        return self.destroy_timer(self._rates.pop(rate))

    def destroy_node(self) -> None:
        """End everything of this node; the executor lets go of it."""
        if self._destroyed:
            return
        self._destroyed = True
        if self.executor is not None:
            self.executor.remove_node(self)
        self._disconnect()
        for rate in list(self._rates):
            rate.destroy()
        self._context._members.discard(self)

    def _disconnect(self) -> None:
        """Destroy all parts: at the end of the node, or of its context."""
        set_sink(self._logger.name, None)
        for entity in [*self._entities(), *self._publishers]:
            entity.destroy()

    def _group(self, group: CallbackGroup | None) -> CallbackGroup:
        return group or self._default_callback_group

    def _keep(self, parts: list[Any], entity: Any) -> Any:
        parts.append(entity)
        self._cached = None
        entity._attach(self)
        return entity

    def _destroy_one(self, parts: list[Any], entity: Any) -> bool:
        if entity not in parts:
            return False
        entity.destroy()
        return True

    def _forget(self, entity: Entity) -> None:
        for parts in (*self._lists(), self._publishers):
            if entity in parts:
                parts.remove(entity)
        self._cached = None

    def _lists(self) -> tuple[list[Any], ...]:
        return (self._timers, self._subscriptions, self._guards, self._clients, self._services, self._waitables)

    def _entities(self) -> list[Entity]:
        """What executors run, in the order in which they look at it."""
        entities = self._cached
        if entities is None:
            entities = self._cached = [entity for parts in self._lists() for entity in tuple(parts)]
        return entities

    def _wake(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _check_quality(self, topic: str, profile: QoSProfile, events: Any, overriding: Any) -> None:
        if events is not None:
            raise NotImplementedError(f"{topic}: rosbridge has no QoS events: event_callbacks would never be called")
        if overriding is not None:
            raise NotImplementedError(f"{topic}: qos_overriding_options are not supported, rosbridge carries no QoS")
        if names := without_effect(profile):
            self._logger.warning(f"{topic}: {', '.join(names)} of the QoS profile: no effect over rosbridge")

    def _check_alive(self) -> None:
        if self._destroyed:
            raise InvalidHandle("cannot use node: it was destroyed")
        if not self._context.ok():
            raise NotInitializedException

    # Graph and log ----------------------------------------------------------------------------------------------------

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        """All topics of the graph; asks rosapi."""
        topics = wait(lambda done: self._context.transport.topics_and_types(done, 2.0), 2.0) or {}
        return sorted((name, [kind]) for name, kind in topics.items())

    def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
        """All services of the graph; asks rosapi."""
        transport = self._context.transport
        names = wait(lambda done: transport.services(done, 2.0), 2.0) or []
        types = {name: ask(transport, "service_type", {"service": name}).get("type") for name in names}
        return sorted((name, [kind] if kind else []) for name, kind in types.items())

    def get_node_names(self) -> list[str]:
        """The names of all nodes; all clients of rosbridge are one node."""
        nodes = ask(self._context.transport, "nodes", {}).get("nodes", [])
        return [name.rpartition("/")[2] for name in nodes]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        """The names and namespaces of all nodes, likewise."""
        nodes = ask(self._context.transport, "nodes", {}).get("nodes", [])
        return [(name.rpartition("/")[2], name.rpartition("/")[0] or "/") for name in nodes]

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """The nodes that publish a topic; asks rosapi, which does not tell their quality of service."""
        return self._endpoints(topic_name, "publishers", TopicEndpointTypeEnum.PUBLISHER)

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """The nodes that subscribe to a topic, likewise."""
        return self._endpoints(topic_name, "subscribers", TopicEndpointTypeEnum.SUBSCRIPTION)

    def _endpoints(self, topic_name: str, question: str, kind: TopicEndpointTypeEnum) -> list[TopicEndpointInfo]:
        topic = self.resolve_topic_name(topic_name)
        nodes = ask(self._context.transport, question, {"topic": topic}).get(question, [])
        type_ = dict(self.get_topic_names_and_types()).get(topic, [""])[0] if nodes else ""
        return [
            TopicEndpointInfo(name.rpartition("/")[2], name.rpartition("/")[0] or "/", type_, kind) for name in nodes
        ]

    def count_publishers(self, topic_name: str) -> int:
        """How many nodes publish a topic; all clients of rosbridge are one node."""
        topic = self.resolve_topic_name(topic_name, only_expand=True)
        return len(ask(self._context.transport, "publishers", {"topic": topic}).get("publishers", []))

    def count_subscribers(self, topic_name: str) -> int:
        """How many nodes subscribe to a topic; all clients of rosbridge are one node."""
        topic = self.resolve_topic_name(topic_name, only_expand=True)
        return len(ask(self._context.transport, "subscribers", {"topic": topic}).get("subscribers", []))

    def _log(self, severity: LoggingSeverity, logger: str, message: str, frame: Any) -> None:
        publisher = self._rosout
        if publisher is None or publisher._destroyed or not self._context.ok():
            return
        entry = publisher.msg_type(name=logger, msg=message, stamp=self._clock.now().to_msg(), level=int(severity))
        entry.file, entry.function, entry.line = frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno
        publisher._transport.publish(publisher.topic, to_dict(entry))

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.destroy_node()


def _weakly(node: Node, method: str) -> Callable[..., None]:
    """The method, without keeping the node."""
    weak = weakref.ref(node)

    def call(*arguments: Any) -> None:
        alive = weak()
        if alive is not None:
            getattr(alive, method)(*arguments)

    return call
