"""A ROS graph in one process for tests of the rclpy-shaped layer: obeys the `Transport` protocol, without a network.

All callbacks run on the hub's one I/O thread, in order. JSON is encoded and decoded on the way, as on a wire.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from robot_bridge.transport import Counters, GoalStatus


class Closer:
    def __init__(self, close: Callable[[], None]) -> None:
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()


class Hub:
    """The graph and its I/O thread."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, list[Callable[[dict], None]]] = defaultdict(list)
        self.advertised: dict[str, list[str]] = defaultdict(list)
        self.services: dict[str, tuple[str, Callable]] = {}
        self.actions: dict[str, tuple[str, Callable]] = {}
        self.goals: dict[str, HubGoal] = {}
        self.published: list[tuple[str, dict]] = []
        self.ids = itertools.count()
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self.thread.start()

    def post(self, job: Callable[..., Any], *arguments: Any) -> None:
        self._jobs.put((job, arguments))

    def settle(self) -> None:
        """Wait until everything posted so far, and what it caused, was done."""
        for _ in range(3):
            done = threading.Event()
            self.post(done.set)
            assert done.wait(5)

    def stop(self) -> None:
        self._jobs.put(None)
        self.thread.join(5)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, arguments = item
            job(*arguments)

    @property
    def empty(self) -> bool:
        """Whether nothing is subscribed, advertised or offered."""
        lists = [*self.subscriptions.values(), *self.advertised.values()]
        return not any(lists) and not self.services and not self.actions


class HubGoal:
    def __init__(self, hub: Hub, goal_id: str, feedback: Callable | None, result: Callable) -> None:
        self.hub, self.goal_id = hub, goal_id
        self._feedback, self._result = feedback, result
        self.cancel_requested = False
        self._on_cancel: list[Callable[[], None]] = []
        self.done = False

    def on_cancel(self, callback: Callable[[], None]) -> None:
        if self.cancel_requested:
            self.hub.post(callback)
        self._on_cancel.append(callback)

    def cancel(self) -> None:
        if not self.cancel_requested:
            self.cancel_requested = True
            for callback in self._on_cancel:
                callback()

    def feedback(self, values: dict) -> bool:
        if self._feedback is not None and not self.done:
            self.hub.post(self._feedback, wire(values))
        return not self.done

    def result(self, values: dict | None, status: int, error: str | None = None) -> bool:
        if self.done:
            return False
        self.done = True
        self.hub.post(self._result, values and wire(values), status, error)
        return True


class HubTransport:
    """One client."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.counters = Counters()
        self.connected = True
        self.silent_actions: set[str] = set()
        """Actions whose goals vanish, like a refused goal behind a real rosbridge."""

    def start(self, timeout: float | None = 5.0) -> None:
        self.connected = True

    def close(self) -> None:
        self.connected = False

    def on_connection(self, callback: Callable[[bool], None]) -> Closer:
        return Closer(lambda: None)

    def advertise(self, topic: str, type: str, *, latch=False) -> Closer:
        self.hub.advertised[topic].append(type)
        return Closer(lambda: self.hub.advertised[topic].remove(type))

    def publish(self, topic: str, message: dict) -> bool:
        if topic not in self.hub.advertised:
            raise ValueError(f"{topic} is not advertised")
        text = json.dumps(message, allow_nan=False)
        if not self.connected:
            return False
        self.hub.published.append((topic, json.loads(text)))
        self.inject(topic, json.loads(text))
        return True

    def inject(self, topic: str, values: dict) -> None:
        """Deliver a message as somebody else's would be."""
        for callback in list(self.hub.subscriptions[topic]):
            self.hub.post(callback, values)

    def subscribe(self, topic: str, type: str, callback: Callable, *, queue_length=10, **_: object) -> Closer:
        assert queue_length >= 1
        self.hub.subscriptions[topic].append(callback)
        return Closer(lambda: self.hub.subscriptions[topic].remove(callback))

    def call_service(self, name: str, type: str, request: dict, done: Callable, timeout: float) -> None:
        request = wire(request)
        once = Once(self.hub, done)
        timer = threading.Timer(timeout, lambda: once(None, f"no response within {timeout} s"))
        timer.daemon = True
        if name.startswith("/rosapi/"):
            self.hub.post(once, self._rosapi(name[8:], request), None)
        elif name not in self.hub.services:
            self.hub.post(once, None, f"service {name} does not exist")
        else:
            timer.start()
            once.timer = timer
            self.hub.post(self.hub.services[name][1], request, lambda v, e=None: once((v and wire(v)) or v, e))

    def _rosapi(self, question: str, request: dict) -> dict:
        hub = self.hub
        if question == "service_type":
            return {"type": hub.services.get(request["service"], ("", None))[0]}
        if question == "subscribers":
            return {"subscribers": ["/rosbridge_websocket"] if hub.subscriptions[request["topic"]] else []}
        if question == "publishers":
            return {"publishers": ["/rosbridge_websocket"] if hub.advertised[request["topic"]] else []}
        assert question == "nodes"
        return {"nodes": ["/rosbridge_websocket"]}

    def advertise_service(self, name: str, type: str, handler: Callable) -> Closer:
        if name in self.hub.services:
            raise ValueError(f"the service {name} is offered already")
        self.hub.services[name] = (type, handler)
        return Closer(lambda: self.hub.services.pop(name))

    def send_goal(self, action, type, goal, *, feedback=None, result, timeout=None, accept_timeout=None) -> str:
        goal_id = f"goal-{next(self.hub.ids)}"
        handle = self.hub.goals[goal_id] = HubGoal(self.hub, goal_id, feedback, result)
        if action in self.hub.actions:
            self.hub.post(self.hub.actions[action][1], wire(goal), handle)
        return goal_id

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        goal = self.hub.goals[goal_id]
        if action in self.hub.actions and action not in self.silent_actions:
            self.hub.post(goal.cancel)
        else:
            goal.result(None, GoalStatus.UNKNOWN, "no result after the cancel")
        return True

    def advertise_action(self, action: str, type: str, handler: Callable) -> Closer:
        if action in self.hub.actions:
            raise ValueError(f"the action {action} is offered already")
        self.hub.actions[action] = (type, handler)
        return Closer(lambda: self.hub.actions.pop(action))

    def topics_and_types(self, done: Callable, timeout: float = 3.0) -> None:
        self.hub.post(done, {topic: types[0] for topic, types in self.hub.advertised.items() if types}, None)

    def services(self, done: Callable, timeout: float = 3.0) -> None:
        self.hub.post(done, list(self.hub.services), None)

    def action_servers(self, done: Callable, timeout: float = 3.0) -> None:
        self.hub.post(done, list(self.hub.actions), None)


class Once:
    """Calls `done` on the I/O thread, the first time only."""

    def __init__(self, hub: Hub, done: Callable) -> None:
        self.hub, self.done = hub, done
        self.lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def __call__(self, values: Any, error: str | None = None) -> bool:
        if not self.lock.acquire(blocking=False):
            return False
        if self.timer is not None:
            self.timer.cancel()
        self.hub.post(self.done, values, error)
        return True


def wire(values: dict) -> dict:
    return json.loads(json.dumps(values, allow_nan=False))
