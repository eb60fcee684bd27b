"""Executors: they wait for work and run callbacks, in one thread or several."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from robot_bridge.ros.context import Context, get_default_context
from robot_bridge.ros.entity import Entity
from robot_bridge.ros.task import Future, Task


class Member(Protocol):
    """What an executor runs: a node."""

    executor: Executor | None
    _executor: Any

    def _entities(self) -> list[Entity]:
        """All its entities, in the order in which they have their turn."""


class TimeoutException(Exception):
    """Nothing to do within the time-out."""


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down while the executor waited, by a signal or another thread."""


class ConditionReachedException(Exception):
    """What was waited for happened."""


_running = threading.local()


def current_entity() -> tuple[Executor | None, Entity | None]:
    """The executor and the entity whose callback this thread is running."""
    return getattr(_running, "executor", None), getattr(_running, "entity", None)


class Executor(ABC):
    """Base of executors.

    I/O threads append to queues and `wake`; callbacks run only in threads that spin. The condition's lock is held
    while looking for work and never while running it.
    """

    def __init__(self, *, context: Context | None = None) -> None:
        self._context = context or get_default_context()
        self._nodes: list[Member] = []
        self._condition = threading.Condition()  # re-entrant: a signal handler may wake us while we hold it
        self._tasks: deque[Task[Any]] = deque()
        self._batch: deque[Task[Any] | Entity] = deque()  # what one look found
        self._errors: deque[BaseException] = deque()
        self._active = 0
        self._is_shutdown = False
        self._context.on_shutdown(self.wake)

    @property
    def context(self) -> Context:
        return self._context

    def add_node(self, node: Member) -> bool:
        """Run this node's callbacks. Returns False if it does already."""
        with self._condition:
            if self._is_shutdown:
                raise ShutdownException("the executor was shut down")
            if node in self._nodes:
                return False
            self._nodes.append(node)
        node.executor = self
        self.wake()
        return True

    def remove_node(self, node: Member) -> None:
        with self._condition:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
        if node.executor is self:
            node._executor = None
        self.wake()

    def get_nodes(self) -> list[Any]:
        return list(self._nodes)

    def wake(self) -> None:
        """Look for work now. Of any thread."""
        with self._condition:
            self._condition.notify_all()

    def create_task(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Task[Any]:
        """Have `callback(*args, **kwargs)`, or a coroutine, run by this executor."""
        task: Task[Any] = Task(callback, args, kwargs, executor=self)
        self._queue_task(task)
        return task

    def spin(self) -> None:
        """Run callbacks until the context or the executor is shut down.

        Raises:
            ExternalShutdownException: the context was shut down from outside, while this waited; not raised by the
                MultiThreadedExecutor, as in rclpy.
        """
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, or wait for one: `timeout_sec` seconds, None: as long as it takes. What the callback raises
        is raised."""
        self._spin_once(timeout_sec, None)

    def spin_until_future_complete(self, future: Future[Any], timeout_sec: float | None = None) -> None:
        """Run callbacks until `future` is done or `timeout_sec` seconds have passed."""
        future._add_waiter(self.wake)
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._context.ok() and not future.done() and not self._is_shutdown:
            rest = None if end is None else end - time.monotonic()
            if rest is not None and rest < 0:
                return
            self._spin_once(rest, future.done)

    def spin_once_until_future_complete(self, future: Future[Any], timeout_sec: float | None = None) -> None:
        """As `spin_once`, but also ends when `future` is done."""
        future._add_waiter(self.wake)
        self._spin_once(timeout_sec, future.done)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Run nothing more, wait for what is running, let go of the nodes. Returns False if that took longer than
        `timeout_sec`."""
        with self._condition:
            self._is_shutdown = True
            self._condition.notify_all()
            mine = current_entity()[0] is self  # a callback that shuts its own executor down
            done = self._condition.wait_for(lambda: self._active <= mine, timeout_sec)
        if not done:
            return False
        for node in self.get_nodes():
            self.remove_node(node)
        self._tasks.clear()
        self._batch.clear()
        return True

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.shutdown()

    # For subclasses ---------------------------------------------------------------------------------------------------

    def _room(self) -> bool:
        """Whether another callback may begin."""
        return True

    @abstractmethod
    def _spin_once(self, timeout_sec: float | None, condition: Callable[[], bool] | None) -> None:
        """Wait for one callback and run it, or have it run; raises as `_next`."""

    def _queue_task(self, task: Task[Any]) -> None:
        with self._condition:
            self._tasks.append(task)
            self._condition.notify_all()

    def _next(self, timeout_sec: float | None, condition: Callable[[], bool] | None) -> Task[Any]:
        """Wait for something to run.

        Raises one of the exceptions above, or what a callback in another thread raised."""
        if current_entity()[0] is self:
            raise RuntimeError("Executor is already spinning: a callback must not spin its own executor; await instead")
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        with self._condition:
            while True:
                if self._errors:
                    raise self._errors.popleft()
                if self._is_shutdown:
                    raise ShutdownException
                if not self._context.ok():
                    raise ExternalShutdownException
                if condition is not None and condition():
                    raise ConditionReachedException
                if self._room() and (task := self._collect()) is not None:
                    self._active += 1
                    return task
                now = time.monotonic()
                if end is not None and now >= end:
                    raise TimeoutException
                times = [] if end is None else [end]
                if self._room():
                    times += [t for node in self._nodes for e in node._entities() if (t := _due(e)) is not None]
                self._condition.wait(max(0.0, min(times) - now) if times else None)

    def _collect(self) -> Task[Any] | None:
        """The next thing to run. All that was ready at one look has its turn before the next look."""
        for looked in (False, True):
            while self._batch:
                item = self._batch.popleft()
                task = item if isinstance(item, Task) else self._begin(item)
                if task is not None:
                    return task
            if not looked:
                self._batch.extend(self._tasks)
                self._tasks.clear()
                self._batch.extend(e for node in self._nodes for e in node._entities() if _may_run(e))
        return None

    def _begin(self, entity: Entity) -> Task[Any] | None:
        """Take a job of an entity, if it still has one and its group lets it begin."""
        group = entity.callback_group
        if not _may_run(entity) or (group is not None and not group.beginning_execution(entity)):
            return None
        job = entity._take()
        if job is None and group is not None:
            group.ending_execution(entity)
        return None if job is None else self._task_of(entity, job)

    def _task_of(self, entity: Entity, job: Callable[[], Any]) -> Task[Any]:
        task: Task[Any] = Task(job, executor=self)
        task._entity = entity
        group = entity.callback_group

        def ended() -> None:
            if group is not None:
                group.ending_execution(entity)
                self.wake()

        task._ended = ended
        return task

    def _run(self, task: Task[Any]) -> None:
        before = current_entity()
        _running.executor, _running.entity = self, task._entity
        try:
            task()
        finally:
            _running.executor, _running.entity = before
            with self._condition:
                self._active -= 1
                self._condition.notify_all()


def _may_run(entity: Entity) -> bool:
    group = entity.callback_group
    return not entity._destroyed and entity._is_ready() and (group is None or group.can_execute(entity))


def _due(entity: Entity) -> float | None:
    """When to look at an entity again; None: when somebody wakes us, such as the callback that its group waits for."""
    group = entity.callback_group
    return entity._wait_until() if group is None or group.can_execute(entity) else None


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def _spin_once(self, timeout_sec: float | None, condition: Callable[[], bool] | None) -> None:
        try:
            task = self._next(timeout_sec, condition)
        except (TimeoutException, ShutdownException, ConditionReachedException):
            return
        self._run(task)
        error = task.exception() if task.done() else None
        if error is not None:
            raise error


class MultiThreadedExecutor(Executor):
    """Runs callbacks in `num_threads` threads (default: as many as there are cores, at least 2).

    What is not begun stays in the subscriptions' own queues, which keep the newest. An exception of a callback is
    raised by the thread that spins.
    """

    def __init__(self, num_threads: int | None = None, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads is {num_threads}: expected at least 1")
        self._num_threads = num_threads or max(2, os.cpu_count() or 2)
        self._pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="callbacks")

    def _room(self) -> bool:
        return self._active < self._num_threads

    def _spin_once(self, timeout_sec: float | None, condition: Callable[[], bool] | None) -> None:
        try:
            task = self._next(timeout_sec, condition)
        except (TimeoutException, ShutdownException, ConditionReachedException, ExternalShutdownException):
            return
        self._pool.submit(self._run_and_report, task)

    def _run_and_report(self, task: Task[Any]) -> None:
        try:
            self._run(task)
            error = task.exception() if task.done() else None
        except BaseException as raised:  # such as SystemExit: the thread that spins shall have it
            error = raised
        if error is not None:
            with self._condition:
                self._errors.append(error)
                self._condition.notify_all()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        done = super().shutdown(timeout_sec)
        if done:
            self._pool.shutdown(wait=current_entity()[0] is not self)
        return done
