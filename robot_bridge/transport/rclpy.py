"""A transport over rclpy itself, for computers with ROS 2: no rosbridge in between.

`RclpyTransport` does what `robot_bridge.transport.Transport` says, with a node of the rclpy that is installed. It uses
only what the stand-in has too, so the tests run it on that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.interfaces import get_interface
from robot_bridge.transport.base import Closing, Done, GoalHandle, Message, Respond, Result
from robot_bridge.transport.rclpy_node import SpunNode
from robot_bridge.transport.rclpy_requests import Clients, Servers
from robot_bridge.transport.rclpy_types import Types


class RclpyTransport:
    """A connection to ROS by a node of its own, spun by one thread: the I/O thread of the protocol.

    What differs from rosbridge: `connected` only says that it was started, for the middleware has no connection that
    could be lost; what a service reports as an error reaches an rclpy client as a response with `success` false and
    the error as `message`, or as an empty response where it has no such fields.

    Args:
        node_name: the node's name.
        rclpy: the package to import: rclpy, or robot_bridge.ros.
        init: arguments of its `Context.init`.
    """

    def __init__(self, node_name: str = "robot_bridge", *, rclpy: str = "rclpy", **init: Any) -> None:
        self.counters = Counters()
        self._spun = SpunNode(node_name, rclpy, init, self.counters)
        self._types = Types(rclpy)
        self._clients = Clients(self._spun, self._types, self.counters)
        self._servers = Servers(self._spun, self._types, self.counters)
        self._lock = threading.Lock()
        self._topics: dict[tuple[str, str], list[str]] = {}  # a type for each declaration
        self._publishers: dict[str, list[Any]] = {}
        self._listeners: list[Callable[[bool], None]] = []

    # Connection -------------------------------------------------------------------------------------------------------

    @property
    def node(self) -> Any:
        """The node, while started."""
        return self._spun.node

    @property
    def connected(self) -> bool:
        return self._spun.connected

    def start(self, timeout: float | None = 5.0) -> None:
        """Start the node. Raises `TransportError`: rclpy is not installed, or started already."""
        self._spun.start()
        self._tell(True)

    def close(self) -> None:
        if self._spun.stop(lambda: self._clients.fail("the connection was closed")):
            self._publishers = {topic: [] for topic in self._publishers}
            self._tell(False)

    def on_connection(self, callback: Callable[[bool], None]) -> Closing:
        self._listeners.append(callback)
        return Closing(lambda: self._listeners.remove(callback))

    def _tell(self, connected: bool) -> None:
        for callback in list(self._listeners):
            self._spun.call("a connection callback", callback, connected)

    # Topics -----------------------------------------------------------------------------------------------------------

    def _typed(self, kind: str, topic: str, type: str) -> Callable[[], None]:
        """Remember the type of a topic; returns what forgets it."""
        with self._lock:
            known = self._topics.setdefault((kind, topic), [])
            if known and known[0] != type:
                raise ValueError(f"{topic} is {known[0]} already, not {type}")
            known.append(type)
        return lambda: known.remove(type)

    def advertise(self, topic: str, type: str, *, latch: bool = False) -> Closing:
        get_interface(type)
        forget = self._typed("publish", topic, type)
        self._publishers.setdefault(topic, [])

        def make(node: Any) -> Callable[[], None]:
            qos = self._spun.module("qos")
            policy = qos.DurabilityPolicy.TRANSIENT_LOCAL if latch else qos.DurabilityPolicy.VOLATILE
            profile = qos.QoSProfile(depth=1, durability=policy)
            publisher = node.create_publisher(self._types.find(type), topic, profile, callback_group=self._spun.group)
            self._publishers[topic].append(publisher)

            def undo() -> None:
                if publisher in self._publishers.get(topic, []):
                    self._publishers[topic].remove(publisher)
                node.destroy_publisher(publisher)

            return undo

        return self._spun.declare(make, forget)

    def publish(self, topic: str, message: Message) -> bool:
        types = self._topics.get(("publish", topic))
        if not types:
            raise ValueError(f"{topic} is not advertised")
        type = types[0]
        outgoing = self._types.outward(message, get_interface(type), self._types.find(type))
        publishers = self._publishers[topic]
        if not self.connected or not publishers:
            self.counters.add("dropped.disconnected")
            return False
        publishers[0].publish(outgoing)
        return True

    def subscribe(
        self,
        topic: str,
        type: str,
        callback: Callable[[Message], None],
        *,
        queue_length: int = 10,
        throttle_ms: int = 0,
        renew_after: float | None = None,  # of no use here: the middleware hears publishers whenever they come
        latched: bool = False,
    ) -> Closing:
        if queue_length < 1 or throttle_ms < 0:
            raise ValueError(f"queue_length {queue_length}, throttle_ms {throttle_ms}: expected at least 1 and 0")
        ours = get_interface(type)
        forget = self._typed("subscribe", topic, type)
        last = [0.0]

        def receive(message: Any) -> None:
            now = time.monotonic()
            if now - last[0] >= throttle_ms / 1000:
                last[0] = now
                self._spun.call(f"a callback of {topic}", callback, self._types.inward(message, ours))

        def make(node: Any) -> Callable[[], None]:
            qos = self._spun.module("qos")
            reliable, durable = qos.ReliabilityPolicy, qos.DurabilityPolicy
            profile = qos.QoSProfile(  # best effort fits every publisher, but gets nothing of before
                depth=queue_length,
                reliability=reliable.RELIABLE if latched else reliable.BEST_EFFORT,
                durability=durable.TRANSIENT_LOCAL if latched else durable.VOLATILE,
            )
            found = node.create_subscription(
                self._types.find(type),
                topic,
                lambda message: self._spun.call(f"a message of {topic}", receive, message),
                profile,
                callback_group=self._spun.group,
            )
            return lambda: node.destroy_subscription(found)

        return self._spun.declare(make, forget)

    # Services and actions ---------------------------------------------------------------------------------------------

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        self._clients.call_service(name, type, request, done, timeout)

    def advertise_service(self, name: str, type: str, handler: Callable[[Message, Respond], None]) -> Closing:
        return self._servers.offer_service(name, type, handler)

    def send_goal(
        self,
        action: str,
        type: str,
        goal: Message,
        *,
        feedback: Callable[[Message], None] | None = None,
        result: Result,
        timeout: float | None = None,
        accept_timeout: float | None = None,
    ) -> str:
        return self._clients.send_goal(action, type, goal, feedback, result, timeout, accept_timeout)

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        return self._clients.cancel_goal(goal_id, timeout)

    def advertise_action(self, action: str, type: str, handler: Callable[[Message, GoalHandle], None]) -> Closing:
        return self._servers.offer_action(action, type, handler)

    # Graph ------------------------------------------------------------------------------------------------------------

    def topics_and_types(self, done: Callable[[dict[str, str] | None, str | None], None], timeout: float = 3.0) -> None:
        self._ask(done, lambda: {name: types[0] for name, types in self.node.get_topic_names_and_types() if types})

    def publishers(
        self, topic: str, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0
    ) -> None:
        self._ask(done, lambda: [info.node_name for info in self.node.get_publishers_info_by_topic(topic)])

    def services(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        self._ask(done, lambda: [name for name, _ in self.node.get_service_names_and_types()])

    def action_servers(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        def names() -> list[str]:
            return [name for name, _ in self._spun.module("action").get_action_names_and_types(self.node)]

        self._ask(done, names)

    def _ask(self, done: Callable[[Any, str | None], None], question: Callable[[], Any]) -> None:
        def answer() -> None:
            try:
                values, error = question(), None
            except Exception as raised:
                values, error = None, str(raised)
            done(values, error)

        if self.connected:
            self._spun.post(answer)
        else:
            done(None, "not connected")
