"""Step: one call of a user's hook in a task of the pool: within its time limit, watched for holding the loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from nebula_resource._aio import watch_steps
from nebula_resource.errors import AcquireTimeout

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts

__all__ = ["BLOCKED_AFTER", "is_stopped", "must_pass", "run_step"]

T = TypeVar("T")

BLOCKED_AFTER = 0.1
"""Seconds that one step may hold the loop before it is reported (asyncio's own debug threshold)."""


async def run_step(pool: PoolParts, name: str, work: Awaitable[T], limit: float | None) -> T:
    """Await ``work`` for up to ``limit`` seconds. Raises `AcquireTimeout` naming the step, and whatever it raises."""
    observer = pool.observer
    if inspect.iscoroutine(work):
        work = watch_steps(work, BLOCKED_AFTER, lambda seconds: pool.observer.loop_blocked(name, seconds))
    if observer.traces:
        with observer.around(name):
            return await _within(pool, name, work, limit)
    return await _within(pool, name, work, limit)


async def _within(pool: PoolParts, name: str, work: Awaitable[T], limit: float | None) -> T:
    watch = asyncio.timeout(None)
    try:
        async with watch:
            if limit is not None:
                pool.deadlines.begin(watch, limit)
            return await work
    except TimeoutError as error:
        if watch.expired():
            raise AcquireTimeout(name, limit or 0.0, **pool.names) from error
        raise
    finally:
        pool.deadlines.end(watch)


def is_stopped(error: BaseException) -> bool:
    """Whether this very task was cancelled, by a close or by the end of the loop.

    A CancelledError that a user's code raises by itself is a failure like any other.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def must_pass(error: BaseException) -> bool:
    """Whether an error is not for the pool to judge: it repairs its books and lets it go on."""
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit) or is_stopped(error)
