"""A transport over rclpy itself, for computers with ROS 2: no rosbridge in between.

`RclpyTransport` does what `robot_bridge.transport.Transport` says, with a node of the rclpy that is installed. It uses
only what the stand-in has too, so the tests run it on that.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from robot_bridge.interfaces import from_dict, get_interface, to_dict
from robot_bridge.transport import Counters, GoalHandle, GoalStatus, Message, TransportError
from robot_bridge.transport import Respond as Answer
from robot_bridge.transport.base import Done, Result
from robot_bridge.transport.rclpy_parts import Closer, Goal, Part, Respond, ServedGoal, convert

TICK = 0.02  # s, how often time-outs and missing services are looked at
RETRY = 0.05  # s, between looks whether a service or an action server is there
_log = logging.getLogger(__name__)


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
        self._node_name, self._root, self._init = node_name, rclpy, init
        self._lock = threading.RLock()
        self._parts: list[Part] = []
        self._topics: dict[tuple[str, str], list[str]] = {}  # a type for each declaration
        self._offers: set[tuple[str, str]] = set()
        self._publishers: dict[str, list[Any]] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._clients: dict[tuple[str, str], Any] = {}
        self.under_way: dict[str, Callable[[str], None]] = {}  # calls and goals under way: how to end them
        self.goals: dict[str, Goal] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._ids = itertools.count(1)
        self.node: Any = None
        """The node, while started."""

    # Connection -------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self.node is not None and self._context.ok()

    def start(self, timeout: float | None = 5.0) -> None:
        """Start the node. Raises `TransportError`: rclpy is not installed, or started already."""
        if self.node is not None:
            raise TransportError("started already")
        try:
            self._modules = {
                name: import_module(f"{self._root}.{name}")
                for name in ("context", "executors", "node", "task", "qos", "clock", "callback_groups", "action")
            }
        except ImportError as error:
            raise TransportError(
                f"{self._root} cannot be imported ({error}): source ROS 2's setup.bash, or use rosbridge"
            ) from None
        self._context = self._modules["context"].Context()
        self._context.init(**({"args": []} | self._init))
        node = self._modules["node"].Node(
            self._node_name,
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.group = self._modules["callback_groups"].ReentrantCallbackGroup()  # a service waits for its answer
        self._executor = self._modules["executors"].SingleThreadedExecutor(context=self._context)
        clock = self._modules["clock"]
        steady = clock.Clock(clock_type=clock.ClockType.STEADY_TIME)
        node.create_timer(TICK, self._tick, callback_group=self.group, clock=steady)
        self._executor.add_node(node)
        with self._lock:
            self.node = node
            for part in self._parts:
                part.open()
        self._thread = threading.Thread(target=self._spin, name=f"rclpy {self._node_name}", daemon=True)
        self._thread.start()
        self._tell(True)

    def close(self) -> None:
        with self._lock:
            node, self.node = self.node, None
        if node is None:
            return
        self._executor.shutdown(timeout_sec=2.0)
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)
        for end in list(self.under_way.values()):
            end("the connection was closed")
        with self._lock:
            for part in self._parts:
                part.undo = None
            self._clients.clear()
            self._publishers = {topic: [] for topic in self._publishers}
            self._later.clear()
        node.destroy_node()
        self._context.try_shutdown()
        self._tell(False)

    def on_connection(self, callback: Callable[[bool], None]) -> Closer:
        self._listeners.append(callback)
        return Closer(lambda: self._listeners.remove(callback))

    def _tell(self, connected: bool) -> None:
        for callback in list(self._listeners):
            self.guard("a connection callback", callback, connected)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except self._modules["executors"].ExternalShutdownException:
            pass

    def _tick(self) -> None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._later or self._later[0][0] > now:
                    return
                job = heapq.heappop(self._later)[2]
            self.guard("a time-out", job)

    def later(self, delay: float, job: Callable[[], None]) -> None:
        """Run `job` on the I/O thread after `delay` seconds."""
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + delay, next(self._ids), job))

    def post(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Run `job` on the I/O thread; here, if there is none."""
        if self.node is None:
            self.guard("a callback", job, *arguments)
        else:
            self._executor.create_task(self.guard, "a callback", job, *arguments)

    def guard(self, what: str, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call a callback; what it raises is logged and counted, and starves nobody."""
        try:
            callback(*arguments)
        except Exception:
            if self.counters.add("callback_errors") == 1:
                _log.exception("%s raised (further ones are counted only)", what)

    def future(self) -> Any:
        return self._modules["task"].Future()

    def wake(self) -> None:
        if self.node is not None:
            self._executor.wake()

    def find(self, name: str) -> Any:
        """The class of a type for this rclpy."""
        if self._root != "rclpy":
            return get_interface(name)
        package, folder, short = name.split("/")
        return getattr(import_module(f"{package}.{folder}"), short)

    def outward(self, values: Message, ours: Any, theirs: Any) -> Any:
        """A message for rclpy from JSON values; missing fields get their defaults, as in rosbridge_server."""
        return convert(from_dict(ours, values, partial=True), self.find, theirs)

    def inward(self, message: Any, ours: Any) -> Message:
        """JSON values of a message from rclpy; NaN and infinity become None."""
        return to_dict(convert(message, get_interface, ours), allow_nan=True)

    def _declare(self, make: Callable[[Any], Callable[[], None]], forget: Callable[[], None]) -> Closer:
        part = Part(self, make)
        with self._lock:
            if self.node is not None:
                part.open()
            self._parts.append(part)

        def close() -> None:
            with self._lock:
                self._parts.remove(part)
                forget()
                undo, part.undo = part.undo, None
            if undo is not None and self.node is not None:
                self.post(undo)

        return Closer(close)

    # Topics -----------------------------------------------------------------------------------------------------------

    def _typed(self, kind: str, topic: str, type: str) -> Callable[[], None]:
        """Remember the type of a topic; returns what forgets it."""
        with self._lock:
            known = self._topics.setdefault((kind, topic), [])
            if known and known[0] != type:
                raise ValueError(f"{topic} is {known[0]} already, not {type}")
            known.append(type)
        return lambda: known.remove(type)

    def advertise(self, topic: str, type: str) -> Closer:
        get_interface(type)
        forget = self._typed("publish", topic, type)
        self._publishers.setdefault(topic, [])

        def make(node: Any) -> Callable[[], None]:
            qos = self._modules["qos"].QoSProfile(depth=1)
            publisher = node.create_publisher(self.find(type), topic, qos, callback_group=self.group)
            self._publishers[topic].append(publisher)

            def undo() -> None:
                if publisher in self._publishers.get(topic, []):
                    self._publishers[topic].remove(publisher)
                node.destroy_publisher(publisher)

            return undo

        return self._declare(make, forget)

    def publish(self, topic: str, message: Message) -> bool:
        types = self._topics.get(("publish", topic))
        if not types:
            raise ValueError(f"{topic} is not advertised")
        type = types[0]
        outgoing = self.outward(message, get_interface(type), self.find(type))
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
        queue_length: int = 1,
        throttle_ms: int = 0,
    ) -> Closer:
        if queue_length < 1 or throttle_ms < 0:
            raise ValueError(f"queue_length {queue_length}, throttle_ms {throttle_ms}: expected at least 1 and 0")
        ours = get_interface(type)
        forget = self._typed("subscribe", topic, type)
        last = [0.0]

        def receive(message: Any) -> None:
            now = time.monotonic()
            if now - last[0] >= throttle_ms / 1000:
                last[0] = now
                self.guard(f"a callback of {topic}", callback, self.inward(message, ours))

        def make(node: Any) -> Callable[[], None]:
            qos = self._modules["qos"]  # best effort fits every publisher
            profile = qos.QoSProfile(depth=queue_length, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
            found = node.create_subscription(
                self.find(type),
                topic,
                lambda message: self.guard(f"a message of {topic}", receive, message),
                profile,
                callback_group=self.group,
            )
            return lambda: node.destroy_subscription(found)

        return self._declare(make, forget)

    # Services ---------------------------------------------------------------------------------------------------------

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        ours = get_interface(type)
        outgoing = self.outward(request, ours.Request, self.find(type).Request)
        id = f"call {next(self._ids)}"
        once = threading.Lock()

        def finish(values: Message | None, error: str | None) -> None:
            if once.acquire(blocking=False):
                self.under_way.pop(id, None)
                self.post(done, values, error)
            else:
                self.counters.add("late_answers")

        def answered(future: Any) -> None:
            try:
                finish(self.inward(future.result(), ours.Response), None)
            except Exception as error:
                finish(None, str(error))

        def attempt() -> None:
            if id not in self.under_way or self.node is None:
                return
            key = (name, type)
            if key not in self._clients:
                self._clients[key] = self.node.create_client(self.find(type), name, callback_group=self.group)
            if self._clients[key].service_is_ready():
                self._clients[key].call_async(outgoing).add_done_callback(answered)
            else:
                self.later(RETRY, attempt)

        if not self.connected:
            finish(None, f"{name}: not connected")
            return
        self.under_way[id] = lambda reason: finish(None, f"{name}: {reason}")

        def expire() -> None:
            if id in self.under_way:
                finish(None, f"{name}: no response within {timeout} s")

        self.later(timeout, expire)
        self.post(attempt)

    def advertise_service(self, name: str, type: str, handler: Callable[[Message, Answer], None]) -> Closer:
        ours = get_interface(type)
        self._offer("service", name)

        async def answer(request: Any, response: Any) -> Any:
            respond = Respond(self, ours.Response, self.find(type).Response)
            try:
                handler(self.inward(request, ours.Request), respond)
            except Exception as error:
                self.counters.add("callback_errors")
                respond(None, f"{error.__class__.__name__}: {error}")
            return await respond.future

        def make(node: Any) -> Callable[[], None]:
            service = node.create_service(self.find(type), name, answer, callback_group=self.group)
            return lambda: node.destroy_service(service)

        return self._declare(make, lambda: self._offers.discard(("service", name)))

    def _offer(self, kind: str, name: str) -> None:
        with self._lock:
            if (kind, name) in self._offers:
                raise ValueError(f"the {kind} {name} is offered already")
            self._offers.add((kind, name))

    # Actions ----------------------------------------------------------------------------------------------------------

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
        ours = get_interface(type)
        outgoing = self.outward(goal, ours.Goal, self.find(type).Goal)
        state = Goal(self, f"goal {next(self._ids)}", action, ours, feedback, result)
        if not self.connected:
            state.finish(None, GoalStatus.UNKNOWN, "not connected")
            return state.id
        self.goals[state.id] = state
        self.under_way[state.id] = lambda reason: state.finish(None, GoalStatus.UNKNOWN, reason)
        if timeout is not None:
            self.later(timeout, lambda: state.expire(f"no result within {timeout} s"))
        if accept_timeout is not None:
            self.later(
                accept_timeout, lambda: None if state.heard else state.expire(f"no sign within {accept_timeout} s")
            )

        def attempt() -> None:
            if state.ended or self.node is None:
                return
            key = (action, type)
            if key not in self._clients:
                make = self._modules["action"].ActionClient
                self._clients[key] = make(self.node, self.find(type), action, callback_group=self.group)
            if self._clients[key].server_is_ready():
                sent = self._clients[key].send_goal_async(outgoing, feedback_callback=state.fed_back)
                sent.add_done_callback(state.answered)
            else:
                self.later(RETRY, attempt)

        self.post(attempt)
        return state.id

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        state = self.goals.get(goal_id)
        if state is None or not self.connected:
            return False
        self.later(timeout, lambda: state.finish(None, GoalStatus.UNKNOWN, f"no result {timeout} s after the cancel"))
        self.post(state.cancel)
        return True

    def advertise_action(self, action: str, type: str, handler: Callable[[Message, GoalHandle], None]) -> Closer:
        ours = get_interface(type)
        self._offer("action", action)
        running: dict[bytes, ServedGoal] = {}

        async def execute(goal_handle: Any) -> Any:
            key = bytes(goal_handle.goal_id.uuid)
            served = running.setdefault(key, ServedGoal(self, goal_handle, ours, self.find(type)))
            try:
                handler(self.inward(goal_handle.request, ours.Goal), served)
            except Exception as error:
                self.counters.add("callback_errors")
                served.result(None, GoalStatus.ABORTED, f"{error.__class__.__name__}: {error}")
            status, message = await served.ended
            running.pop(key, None)
            if status == GoalStatus.SUCCEEDED:
                goal_handle.succeed()
            elif status == GoalStatus.CANCELED and goal_handle.is_cancel_requested:
                goal_handle.canceled()
            else:
                goal_handle.abort()
            return message

        def make(node: Any) -> Callable[[], None]:
            module = self._modules["action"]

            def cancel(goal_handle: Any) -> Any:
                served = running.setdefault(
                    bytes(goal_handle.goal_id.uuid), ServedGoal(self, goal_handle, ours, self.find(type))
                )
                self.post(served.cancel)
                return module.CancelResponse.ACCEPT

            server = module.ActionServer(
                node, self.find(type), action, execute, cancel_callback=cancel, callback_group=self.group
            )
            return server.destroy

        return self._declare(make, lambda: self._offers.discard(("action", action)))

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
        actions = self._modules["action"]
        self._ask(done, lambda: [name for name, _ in actions.get_action_names_and_types(self.node)])

    def _ask(self, done: Callable[[Any, str | None], None], question: Callable[[], Any]) -> None:
        def answer() -> None:
            try:
                values, error = question(), None
            except Exception as raised:
                values, error = None, str(raised)
            done(values, error)

        if self.connected:
            self.post(answer)
        else:
            done(None, "not connected")
