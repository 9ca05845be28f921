"""Work that outlives its caller: waited for through cancellations, or left to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from nebula_resource._aio.owned_tasks import OwnedTasks

__all__ = ["WorkCancelled", "end_of_all", "error_of", "finish", "leave", "run_to_end"]

T = TypeVar("T")


class WorkCancelled(Exception):
    """The work somebody awaited was cancelled by its owner, not by the one who awaits."""


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


def _result(task: asyncio.Task[T]) -> T:
    error = _cancelled(task)
    if error is not None:
        raise error
    return task.result()


def _cancelled(task: asyncio.Task[Any]) -> WorkCancelled | None:
    return WorkCancelled(f"{task.get_name()} was cancelled by its owner") if task.cancelled() else None


async def end_of_all(tasks: Collection[asyncio.Task[Any]], owner: OwnedTasks) -> None:
    """Wait until all of an owner's tasks have ended; a caller called off meanwhile calls them off, and waits for that.

    Raises nothing of theirs: `error_of` tells.
    """
    try:
        await asyncio.wait(tasks)
    except BaseException as error:
        for task in tasks:
            task.cancel()
        if isinstance(error, GeneratorExit):  # the caller's coroutine was closed: nobody waits any more
            for task in tasks:
                owner.unwatch(task)
        else:
            await asyncio.wait(tasks)
        raise


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What an ended task raised; `WorkCancelled` where its owner called it off, since that is no cancel of who asks."""
    return _cancelled(task) or task.exception()
