"""TokenGuard: a block, or one await, that ends when a token is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from nebula_resource.errors import AcquireCancelled
from nebula_resource.model.context import Cancellation

__all__ = ["TokenGuard", "race"]

T = TypeVar("T")


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
