"""Steps: what a coroutine does between two awaits that suspend, how long it took, and whether the first was done."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

__all__ = ["cancel_soundly", "has_started", "watch_steps"]

T = TypeVar("T")


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
