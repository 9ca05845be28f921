"""Made: waiting for what providers make, so that a cancellation does no harm to dependency-injector's futures."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from typing import Any, TypeGuard

__all__ = ["all_made", "let_go", "when_made"]


async def all_made(awaited: Sequence[tuple[str, Awaitable[Any]]]) -> dict[str, Any]:
    """The values by name, waited for together. The first error ends the waiting for the others."""
    if len(awaited) == 1:
        ((name, made),) = awaited
        return {name: await when_made(made)}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(when_made(made), name=f"make {name}") for name, made in awaited}
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        let_go(awaited)  # one that was cancelled before it began has not looked at what it was to wait for
    return {name: task.result() for name, task in tasks.items()}


async def when_made(made: Awaitable[Any]) -> Any:
    """Wait for one. Cancelled, it cancels a coroutine or a task, and leaves alone what is a bare future.

    Such a one is dependency-injector's: it sets its result, whatever has become of it, when what it is made from is there
    or has failed. Had it been cancelled, the loop would report that for an error of nobody's.
    """
    if _is_to_be_left(made):
        try:
            await asyncio.wait((made,))
        except BaseException:
            _leave(made)
            raise
    return await made


def let_go(awaited: Sequence[tuple[str, Awaitable[Any]]]) -> None:
    """Nobody will wait for these: what has ended is not touched."""
    for _, made in awaited:
        if _is_to_be_left(made):
            _leave(made)
        elif isinstance(made, asyncio.Task):
            made.cancel()
        elif inspect.iscoroutine(made):
            made.close()


def _is_to_be_left(made: Awaitable[Any]) -> TypeGuard[asyncio.Future[Any]]:
    return asyncio.isfuture(made) and not isinstance(made, asyncio.Task)


def _leave(made: asyncio.Future[Any]) -> None:
    """Its error is nobody's any more, and no news: what it needed was given back."""
    made.add_done_callback(lambda done: None if done.cancelled() else done.exception())
