"""Asyncio tricks: owned tasks, work that outlives its caller, deadlines and cancellation tokens; all of them are here.

Invariants:

- A task started here is in exactly one `OwnedTasks` until it ended; its error is either raised into whoever awaits it
  or reported once, never dropped.
- Nobody who was cancelled leaves here without a ``CancelledError``. A task may catch it, but it is raised again.
- A token keeps hold of those who listen and of nobody else.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any, Final, TypeVar

from nebula_resource.errors import AcquireCancelled
from nebula_resource.model.context import Cancellation

__all__ = [
    "CancellationToken",
    "OwnedTasks",
    "TokenGuard",
    "WorkCancelled",
    "beside",
    "cancel_soundly",
    "earliest",
    "finish",
    "has_started",
    "leave",
    "race",
    "run_to_end",
    "until",
    "watch_steps",
    "within",
]

T = TypeVar("T")

OnError = Callable[[BaseException, str], object]


class WorkCancelled(Exception):
    """The work somebody awaited was cancelled by its owner, not by the one who awaits."""


# ── tasks with an owner ───────────────────────────────────────────────────────────────────────────────────────────


_NONE: Final[dict[asyncio.Task[Any], bool]] = {}
"""Of every owner that has no task, as most have mostly; nobody puts anything in it."""


class OwnedTasks:
    """The tasks of one owner (a pool, a checker): held until they end, their errors told to ``on_error``.

    Args:
        name: whose tasks they are; it stands before each task's own name.
        on_error: called with the error and the task's name when a task fails and nobody awaits it. None: the loop's
            exception handler is told.
    """

    __slots__ = ("_on_error", "_started", "_tasks", "name")

    def __init__(self, name: str, *, on_error: OnError | None = None) -> None:
        self.name = name
        self._on_error = on_error
        self._started = 0
        # The value: nobody awaits it, so its error is reported.
        self._tasks: dict[asyncio.Task[Any], bool] = _NONE

    def spawn(
        self,
        work: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        awaited: bool = False,
    ) -> asyncio.Task[T]:
        """Start a task and hold it until it ends.

        Args:
            work: what it does. It is closed when no task can be made.
            name: what it is called; a number when not given.
            context: the context variables it runs with (changes stay in it); None: a copy of the caller's.
            awaited: the caller awaits the task and so learns of its error; see `unwatch`.
        """
        self._started += 1
        full_name = f"{self.name}: {name or self._started}"
        try:
            task = asyncio.get_running_loop().create_task(work, name=full_name, context=context)
        except BaseException:
            work.close()
            raise
        if self._tasks is _NONE:
            self._tasks = {}
        self._tasks[task] = not awaited
        task.add_done_callback(self._ended)
        return task

    def start(
        self, work: Coroutine[Any, Any, object], *, name: str | None = None, context: Context | None = None
    ) -> None:
        """Start a task that nobody will look at: `spawn` without the task."""
        _ = self.spawn(work, name=name, context=context)

    def unwatch(self, task: asyncio.Task[Any]) -> None:
        """Say that nobody awaits the task any more: if it fails, or has failed, that is reported."""
        if task in self._tasks:
            self._tasks[task] = True
        else:
            self._report(task)

    async def idle(self) -> None:
        """Wait until no task is left, those started meanwhile included; the task that calls does not count."""
        while waited_for := self._others():
            await asyncio.wait(waited_for)

    async def cancel_all(self) -> None:
        """Cancel every task, those started meanwhile included, and wait until each has ended.

        Each is asked once. Cancelled itself, it stops waiting; the tasks stay cancelled.
        """
        asked: set[asyncio.Task[Any]] = set()
        while waited_for := self._others():
            for task in waited_for:
                if task not in asked:
                    asked.add(task)
                    task.cancel()
            # Look again after each: one that ends may have started another.
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)

    def cancel(self) -> None:
        """Ask every task to end, without waiting."""
        for task in self._others():
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(tuple(self._tasks))

    def __bool__(self) -> bool:
        return True  # an owner without tasks is an owner

    def __repr__(self) -> str:
        return f"<OwnedTasks {self.name!r}: {len(self._tasks)} running>"

    def _others(self) -> list[asyncio.Task[Any]]:
        current = asyncio.current_task()
        return [task for task in self._tasks if task is not current]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        is_watched = self._tasks.pop(task)
        if not self._tasks:
            self._tasks = _NONE
        if is_watched:
            self._report(task)

    def _report(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self._on_error is None:
            _tell_loop(f"{task.get_name()} failed", error)
            return
        try:
            self._on_error(error, task.get_name())
        except Exception as second:
            second.__context__ = error
            _tell_loop(f"on_error of {self.name} failed", second)


def _tell_loop(message: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


# ── work that outlives its caller ─────────────────────────────────────────────────────────────────────────────────


async def finish(
    work: Coroutine[Any, Any, T],
    owner: OwnedTasks,
    *,
    name: str | None = None,
    context: Context | None = None,
) -> T:
    """Run ``work`` in an owned task and wait for its end through any number of cancellations.

    A caller cancelled meanwhile gets its ``CancelledError`` when the work has ended; an error of the work is then
    reported by the owner.

    Raises:
        WorkCancelled: the owner cancelled the work, and nobody the caller.
    """
    task = owner.spawn(work, name=name, context=context, awaited=True)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error  # raised below: it is put off, not swallowed
        if cancelled is not None:
            owner.unwatch(task)
            raise cancelled
        return _result(task)
    except GeneratorExit:  # the caller's coroutine was closed: nobody will look any more
        owner.unwatch(task)
        raise
    finally:
        del cancelled  # an error that a frame of its own traceback holds is a cycle


async def leave(
    work: Coroutine[Any, Any, T],
    owner: OwnedTasks,
    *,
    name: str | None = None,
    context: Context | None = None,
) -> T:
    """Run ``work`` in an owned task; a cancelled caller leaves at once, and the work goes on.

    What the work returns is lost on a caller who left, even one that was cancelled in the very turn in which the work
    ended: what must not be lost, the work itself puts where it belongs. Its error is then reported by the owner.

    Raises:
        WorkCancelled: the owner cancelled the work, and nobody the caller.
    """
    task = owner.spawn(work, name=name, context=context, awaited=True)
    try:
        await asyncio.wait((task,))
    except BaseException:
        owner.unwatch(task)
        raise
    return _result(task)


def run_to_end(
    work: Coroutine[Any, Any, T],
    owner: OwnedTasks,
    *,
    wait: bool,
    name: str | None = None,
    context: Context | None = None,
) -> Coroutine[Any, Any, T]:
    """Return `finish` (``wait=True``) or `leave` of the work."""
    return (finish if wait else leave)(work, owner, name=name, context=context)


async def beside(work: Callable[[], T], *, name: str) -> T:
    """Run a function that may stand still, such as one that reads a file, in a thread that nobody has to wait for.

    The loop's own threads are waited for when the loop and the interpreter end: one that hangs would keep the process.
    Whoever is cancelled leaves at once; what the function returns or raises then is lost.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def give(settle: Callable[[Any], None], value: object) -> None:
        if not answer.done():  # cancelled meanwhile
            settle(value)

    def run() -> None:
        settle: Callable[[Any], None]
        value: object
        try:
            settle, value = answer.set_result, work()
        except BaseException as error:  # raised where it is awaited
            settle, value = answer.set_exception, error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(give, settle, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer


def _result(task: asyncio.Task[T]) -> T:
    if task.cancelled():
        raise WorkCancelled(f"{task.get_name()} was cancelled by its owner")
    return task.result()


# ── deadlines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def until(deadline: float | None) -> asyncio.Timeout:
    """Return ``async with until(deadline):``, a TimeoutError at that loop time (seconds); None: never."""
    return asyncio.timeout_at(deadline)


def within(seconds: float | None) -> asyncio.Timeout:
    """Return ``async with within(seconds):``, a TimeoutError that much later; None: never."""
    return asyncio.timeout(seconds)


def earliest(*deadlines: float | None) -> float | None:
    """Return the first of the deadlines (loop time, seconds); None when there is none."""
    given = [deadline for deadline in deadlines if deadline is not None]
    return min(given) if given else None


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────


class CancellationToken:
    """A request to stop that is handed around: ``cancel()``, ``cancelled``, ``child()``, ``await token``.

    Cancelling a token cancels its children, never its parent. A parent knows only those children that somebody listens
    to, so children that were dropped cost it nothing. A token belongs to the thread of its loop.
    """

    __slots__ = ("__weakref__", "_cancelled", "_leave_parent", "_listeners", "_parent")

    def __init__(self) -> None:
        self._cancelled = False
        self._parent: CancellationToken | None = None
        self._leave_parent: Callable[[], None] | None = None
        self._listeners: dict[object, Callable[[], object]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether it, or one it is a child of, was cancelled."""
        token: CancellationToken | None = self
        while token is not None:
            if token._cancelled:
                return True
            token = token._parent
        return False

    def cancel(self) -> None:
        """Ask all who hold it, or a child of it, to stop; a second call does nothing.

        Raises:
            Exception: what a listener raised, several as an ExceptionGroup, after all were called.
        """
        if self._cancelled:
            return
        self._cancelled = True
        self._leave()
        errors: list[Exception] = []
        while self._listeners:  # one may take another back, so each is looked up when its turn comes
            mark = next(iter(self._listeners))
            listener = self._listeners.pop(mark)
            try:
                listener()
            except Exception as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("listeners of a cancellation token failed", errors)

    def child(self) -> CancellationToken:
        """Return a token that is cancelled with this one, or on its own."""
        child = CancellationToken()
        child._parent = self
        return child

    def subscribe(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call ``callback`` once on cancellation, now if that has been; the result takes the callback back.

        The callback is called synchronously and must not wait.
        """
        if self.cancelled:
            callback()
            return _nothing
        mark = object()
        if not self._listeners and self._parent is not None:
            self._leave_parent = self._parent.subscribe(self.cancel)
        self._listeners[mark] = callback

        def unsubscribe() -> None:
            if self._listeners.pop(mark, None) is not None and not self._listeners:
                self._leave()

        return unsubscribe

    def _leave(self) -> None:
        """Stop listening to the parent: nobody listens to us, or we are done."""
        leave_parent, self._leave_parent = self._leave_parent, None
        if leave_parent is not None:
            leave_parent()

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self.cancelled:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        unsubscribe = self.subscribe(lambda: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        finally:
            unsubscribe()

    def __repr__(self) -> str:
        return f"<CancellationToken {'cancelled' if self.cancelled else f'{len(self._listeners)} listening'}>"


def _nothing() -> None:
    """Take back a callback that was called already."""


class TokenGuard:
    """``async with TokenGuard(token):`` a block whose waiting ends with ``AcquireCancelled`` when the token is cancelled.

    Works as ``asyncio.timeout`` does: the block's task is cancelled, and the ``CancelledError`` that comes out is
    turned into the error unless the task was also cancelled by somebody else. No token: no cost.

    Args:
        token: what to watch; None: nothing.
        error: makes the error that is raised.
    """

    __slots__ = ("_cancelling", "_error", "_task", "_token", "_tripped", "_unsubscribe")

    def __init__(
        self, token: Cancellation | None, *, error: Callable[[], Exception] = AcquireCancelled
    ) -> None:
        self._token = token
        self._error = error
        self._tripped = False
        self._unsubscribe: Callable[[], None] | None = None

    async def __aenter__(self) -> None:
        token = self._token
        if token is None:
            return
        if token.cancelled:
            raise self._error()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a TokenGuard watches a task: use it inside one")
        self._task = task
        self._cancelling = task.cancelling()
        self._unsubscribe = token.subscribe(self._trip)

    def _trip(self) -> None:
        self._tripped = True
        self._task.cancel("the token was cancelled")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unsubscribe is None:
            return
        self._unsubscribe()
        if not self._tripped:
            return
        ours = self._task.uncancel() <= self._cancelling
        if ours and isinstance(error, asyncio.CancelledError):
            raise self._error() from error
        if ours and error is None:
            await _drop_cancel(self._task)


async def _drop_cancel(task: asyncio.Task[Any]) -> None:
    """Take back a cancel of ours that has not arrived: the block itself cancelled the token and then ended.

    From 3.13 on ``uncancel`` does it; before, it would hit the next wait of the task, long after the block.
    """
    if getattr(task, "_must_cancel", False):
        before = task.cancelling()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if task.cancelling() > before:  # somebody else's came in the same turn
                raise


async def race(
    awaitable: Awaitable[T],
    token: Cancellation | None,
    *,
    error: Callable[[], Exception] = AcquireCancelled,
) -> T:
    """Await, unless the token is cancelled first: then the awaitable is cancelled and ``error()`` raised.

    It runs in the caller's task. A coroutine that is not even begun, because the token was cancelled before, is closed.
    """
    try:
        async with TokenGuard(token, error=error):
            return await awaitable
    finally:
        if isinstance(awaitable, Coroutine):
            awaitable.close()  # no effect on one that ended


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Steps(Awaitable[T]):
    """A coroutine each of whose steps is timed."""

    __slots__ = ("_limit", "_report", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], limit: float, report: Callable[[float], object]) -> None:
        self._work = work
        self._limit = limit
        self._report = report

    def __await__(self) -> Generator[Any, Any, T]:
        work = self._work
        step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731  # replaced on every turn
        while True:
            started = perf_counter()
            try:
                waits_for = step()
            except StopIteration as end:
                value: T = end.value
                return value
            finally:
                # The wall clock, not the loop's: a blocked loop's own time may be virtual.
                if (held := perf_counter() - started) > self._limit:
                    self._report(held)
            try:
                answer = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                step = partial(work.throw, error)
            else:
                step = partial(work.send, answer)


def watch_steps(
    work: Coroutine[Any, Any, T], limit: float, report: Callable[[float], object]
) -> Awaitable[T]:
    """Return an awaitable that runs ``work`` in place and reports each step that held the loop over ``limit`` seconds.

    A step is what runs between two awaits that suspend. Exceptions and cancellations pass unchanged.
    """
    return _Steps(work, limit, report)


def has_started(task: asyncio.Task[Any]) -> bool:
    """Whether the task's code has begun to run; cancelling it before would skip its every ``finally``."""
    work = task.get_coro()
    return not (inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED)


def cancel_soundly(task: asyncio.Task[Any]) -> None:
    """Cancel a task, but let it take its first step before."""
    if task.done():
        return
    if has_started(task):
        task.cancel()
    else:
        task.get_loop().call_soon(cancel_soundly, task)
