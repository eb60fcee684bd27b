"""Futures and tasks."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

T = TypeVar("T")

_running = threading.local()  # `task`: the one that this thread is running


class TaskRunner(Protocol):
    """What runs tasks: an executor."""

    def create_task(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Task[Any]:
        """Have a function run as a task."""

    def _queue_task(self, task: Task[Any]) -> None:
        """Have a task go on."""


class Future(Generic[T]):
    """A result to come. `result()` is None before it is there; `await` works in callbacks."""

    def __init__(self, *, executor: TaskRunner | None = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: T | None = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future[T]], Any]] = []
        self._waiters: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._executor: Callable[[], TaskRunner | None] = lambda: None
        if executor is not None:
            self._set_executor(executor)

    def __del__(self) -> None:
        if self._exception is not None and not self._exception_fetched:
            print(f"The following exception was never retrieved: {self._exception!r}", file=sys.stderr)

    def __await__(self) -> Generator[None, None, T | None]:
        while not self.done():
            task: Task[Any] | None = getattr(_running, "task", None)
            if task is not None:  # else some other event loop awaits, asyncio's for instance, and asks again
                task._awaited = self
            yield
        return self.result()

    def cancel(self) -> None:
        """Cancel, unless it is done; callbacks are called."""
        self._finish(None, None, cancelled=True)

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._done or self._cancelled

    def result(self) -> T | None:
        """The result; None if there is none yet. Raises the exception, if that is the outcome."""
        if self._exception is not None:
            raise self.exception()  # type: ignore[misc]
        return self._result

    def exception(self) -> BaseException | None:
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: T) -> None:
        self._finish(result, None)

    def set_exception(self, exception: BaseException) -> None:
        self._finish(None, exception)

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Have `callback(future)` called when done: as a task of the executor if the future has one, else in the thread
        that finishes it; at once if it is done already."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        self._call([callback])

    def remove_done_callback(self, callback: Callable[[Future[T]], Any]) -> bool:
        with self._lock:
            before = len(self._callbacks)
            self._callbacks = [known for known in self._callbacks if known != callback]
            return len(self._callbacks) < before

    def _set_executor(self, executor: TaskRunner) -> None:
        self._executor = ref(executor)

    def _finish(self, result: T | None, exception: BaseException | None, cancelled: bool = False) -> None:
        with self._lock:
            if self.done():
                return
            self._result, self._exception = result, exception
            self._done, self._cancelled = not cancelled, cancelled
            callbacks, self._callbacks = self._callbacks, []
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter()
        self._call(callbacks)

    def _call(self, callbacks: list[Callable[[Future[T]], Any]]) -> None:
        executor = self._executor()
        for callback in callbacks:
            if executor is not None:
                executor.create_task(callback, self)
            else:
                callback(self)

    def _add_waiter(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` when done, in whatever thread; at once if it is done."""
        with self._lock:
            if not self.done():
                self._waiters.append(waiter)
                return
        waiter()


class Task(Future[T]):
    """A function or coroutine that an executor runs; its outcome is the future's."""

    def __init__(
        self,
        handler: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        executor: TaskRunner | None = None,
    ) -> None:
        super().__init__(executor=executor)
        self._handler: Callable[..., Any] | None = handler
        self._args, self._kwargs = args or (), kwargs or {}
        self._coroutine: Any = handler if inspect.iscoroutine(handler) else None
        self._executing = False
        self._awaited: Future[Any] | None = None
        self._entity: Any = None
        self._ended: Callable[[], None] | None = None
        """Called once when it will not run any more."""

    def executing(self) -> bool:
        return self._executing

    def __call__(self) -> None:
        """Run it, to the end or to the next thing it awaits."""
        with self._lock:
            if self.done() or self._executing:
                return
            self._executing = True
        suspended = False
        outer, _running.task = getattr(_running, "task", None), self
        self._awaited = None
        try:
            if self._coroutine is None:
                assert self._handler is not None
                outcome = self._handler(*self._args, **self._kwargs)
                if not inspect.iscoroutine(outcome):
                    self.set_result(outcome)
                    return
                self._coroutine = outcome
            self._coroutine.send(None)
            suspended = True
        except StopIteration as stop:
            self.set_result(stop.value)
        except Exception as error:
            self.set_exception(error)
        finally:
            _running.task = outer
            self._executing = False
            if not suspended:
                self._release()
        if suspended:
            self._resume()

    def cancel(self) -> None:
        super().cancel()
        if not self._executing:
            self._release()

    def _resume(self) -> None:
        """Go on when what it awaits is done."""
        executor, awaited = self._executor(), self._awaited
        if executor is None:
            return
        if awaited is not None:
            awaited._add_waiter(lambda: executor._queue_task(self))
        else:
            executor._queue_task(self)

    def _release(self) -> None:
        self._handler, self._args, self._kwargs = None, (), {}
        if self._coroutine is not None:
            self._coroutine.close()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
