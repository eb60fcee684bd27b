"""A node of an installed rclpy, spun by a thread of its own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from robot_bridge.counters import Counters
from robot_bridge.transport.base import Closing, TransportError

TICK = 0.02  # s, how often time-outs and missing services are looked at
MODULES = ("context", "executors", "node", "task", "qos", "clock", "callback_groups", "action")
LOGGER = logging.getLogger(__name__)

Make = Callable[[Any], Callable[[], None]]
"""Makes something of a node, a publisher for instance; returns what destroys it."""


class _Declaration:
    """Something that is made anew with every start."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.undo: Callable[[], None] | None = None


class SpunNode:
    """The node, and the one thread that runs its callbacks: the I/O thread.

    Args:
        name: the node's.
        root: the package to import: rclpy, or robot_bridge.ros.
        init: arguments of its `Context.init`.
    """

    def __init__(self, name: str, root: str, init: dict[str, Any], counters: Counters) -> None:
        self._name, self._root, self._init, self._counters = name, root, init, counters
        self._lock = threading.RLock()
        self._declarations: list[_Declaration] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._modules: dict[str, Any] = {}
        self.node: Any = None
        """The node, while started."""
        self.group: Any = None
        """The callback group of everything: reentrant, for a service waits for its answer."""

    @property
    def connected(self) -> bool:
        return self.node is not None and self._context.ok()

    def start(self) -> None:
        """Start the node and make what is declared. Raises `TransportError`: no such package, or started already."""
        if self.node is not None:
            raise TransportError("started already")
        try:
            self._modules = {name: import_module(f"{self._root}.{name}") for name in MODULES}
        except ImportError as error:
            raise TransportError(
                f"{self._root} cannot be imported ({error}): source ROS 2's setup.bash, or use rosbridge"
            ) from None
        self._context = self._modules["context"].Context()
        self._context.init(**({"args": []} | self._init))
        node = self._modules["node"].Node(
            self._name,
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.group = self._modules["callback_groups"].ReentrantCallbackGroup()
        self._executor = self._modules["executors"].SingleThreadedExecutor(context=self._context)
        clock = self._modules["clock"]
        steady = clock.Clock(clock_type=clock.ClockType.STEADY_TIME)
        node.create_timer(TICK, self._tick, callback_group=self.group, clock=steady)
        self._executor.add_node(node)
        with self._lock:
            self.node = node
            for declaration in self._declarations:
                declaration.undo = declaration.make(node)
        self._thread = threading.Thread(target=self._spin, name=f"rclpy {self._name}", daemon=True)
        self._thread.start()

    def stop(self, ended: Callable[[], None]) -> bool:
        """End the thread and the node; `ended` is called between the two. Returns False if it was not started."""
        with self._lock:
            node, self.node = self.node, None
        if node is None:
            return False
        self._executor.shutdown(timeout_sec=2.0)
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)
        ended()
        with self._lock:
            for declaration in self._declarations:
                declaration.undo = None
            self._later.clear()
        node.destroy_node()
        self._context.try_shutdown()
        return True

    def module(self, name: str) -> Any:
        """A module of this rclpy, once started."""
        return self._modules[name]

    def declare(self, make: Make, forget: Callable[[], None]) -> Closing:
        """Have something made, now and with every start, until it is closed; then `forget` is called."""
        declaration = _Declaration(make)
        with self._lock:
            if self.node is not None:
                declaration.undo = make(self.node)
            self._declarations.append(declaration)

        def close() -> None:
            with self._lock:
                self._declarations.remove(declaration)
                forget()
                undo, declaration.undo = declaration.undo, None
            if undo is not None and self.node is not None:
                self.post(undo)

        return Closing(close)

    # The I/O thread ---------------------------------------------------------------------------------------------------

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
            self.call("a time-out", job)

    def later(self, delay: float, job: Callable[[], None]) -> None:
        """Run `job` on the I/O thread after `delay` seconds."""
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + delay, next(self._order), job))

    def post(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Run `job` on the I/O thread; here, if there is none."""
        if self.node is None:
            self.call("a callback", job, *arguments)
        else:
            self._executor.create_task(self.call, "a callback", job, *arguments)

    def call(self, what: str, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call a callback; what it raises is logged and counted, and starves nobody."""
        try:
            callback(*arguments)
        except Exception:
            if self._counters.add("callback_errors") == 1:
                LOGGER.exception("%s raised (further ones are counted only)", what)

    def future(self) -> Any:
        """A future that a callback of this node may await."""
        return self._modules["task"].Future()

    def wake(self) -> None:
        """Have the thread look at what was done to a future."""
        if self.node is not None:
            self._executor.wake()
