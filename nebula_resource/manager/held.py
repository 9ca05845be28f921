"""Held: one thing that an open scope holds, or is getting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import CleanupError

if TYPE_CHECKING:
    from nebula_resource.manager.acquisition import ScopedAcquisition
    from nebula_resource.pool import Pool
    from nebula_resource.pool.entry import Entry

__all__ = ["END_TIMEOUT", "NOTHING", "Held", "Hit", "Kept", "Lease", "end_held", "end_in_time", "lose_held"]

NOTHING: Any = object()
"""In place of a value: it is being acquired."""

END_TIMEOUT = 10.0
"""Seconds that a user's own last step may take, as a pool's ``cleanup_timeout``: closing always ends."""


class Hit:
    """What was had by the shortest road: an entry that was idle, and whose it is."""

    __slots__ = ("entry", "pool")

    def __init__(self, entry: Entry, pool: Pool[Any, Any, Any]) -> None:
        self.entry = entry
        self.pool = pool

    @property
    def value(self) -> Any:
        """What the caller got."""
        return self.entry.instance


class Lease:
    """What takes a longer road: a lease that is waited for, or ended with an await; a context manager of a user."""

    __slots__ = ("acquisition", "task", "value")

    def __init__(self) -> None:
        self.acquisition: ScopedAcquisition[Any] | Kept | None = None
        self.task: asyncio.Task[Any] | None = None
        self.value: Any = NOTHING


class Kept:
    """A user's context manager in the place of an acquisition: its exit is given a limited time."""

    __slots__ = ("_manager", "_tasks")

    def __init__(self, manager: AbstractAsyncContextManager[Any], tasks: OwnedTasks) -> None:
        self._manager = manager
        self._tasks = tasks

    async def __aenter__(self) -> Any:
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_in_time(self._manager.__aexit__(kind, error, trace), self._tasks)


Held: TypeAlias = Hit | Lease


async def end_held(held: Held, error: BaseException | None) -> None:
    """Give one thing back, with the outcome."""
    if isinstance(held, Hit):
        await held.pool.give_back(held.entry, held.entry.use, error)
        return
    acquisition = held.acquisition
    assert acquisition is not None, "what never came took itself out of the books"
    if error is None:
        await acquisition.__aexit__(None, None, None)
    else:
        await acquisition.__aexit__(type(error), error, error.__traceback__)


def lose_held(held: Held) -> bool:
    """Tell its pool that nobody gives it back, from wherever; False: it is a user's, who is not told."""
    if isinstance(held, Hit):
        held.pool.returns.report_lost(held.entry, held.entry.use)
        return True
    if isinstance(held.acquisition, Kept):
        return False
    if held.acquisition is not None:  # else its task, which is not in the books any more, gives it back
        held.acquisition.lose()
    return True


async def end_in_time(step: Awaitable[object], tasks: OwnedTasks) -> None:
    """Wait for a user's last step, but not for ever. Raises what it raises, and `CleanupError` when it is too slow."""
    task = tasks.spawn(_awaited(step), name="last step", awaited=True)
    await asyncio.wait((task,), timeout=END_TIMEOUT)
    if task.done():
        task.result()
        return
    task.cancel()
    tasks.unwatch(task)
    raise CleanupError(
        TimeoutError(f"the last step of something kept in a scope took longer than {END_TIMEOUT:g} s")
    )


async def _awaited(step: Awaitable[object]) -> None:
    await step
