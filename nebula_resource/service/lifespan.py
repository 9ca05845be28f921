"""Lifespan: an application's own start and end, with the error that stopped it instead of a log line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from nebula_resource._aio import OwnedTasks, cancel_soundly

__all__ = ["AsgiApp", "Lifespan"]

AsgiApp = Callable[..., Any]
"""``await app(scope, receive, send)``."""


class Lifespan:
    """Speaks ASGI's lifespan protocol with an application, in a task of its own.

    uvicorn's would log a failed start with its traceback and leave with a code of its own; here the application's
    error comes out of `start`, for the caller to say in one line.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._tasks = OwnedTasks("lifespan", on_error=_nothing)
        self._to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._is_up = False
        self._is_abandoned = False
        self.state: dict[str, Any] = {}
        """What the application's lifespan gave to every request."""

    async def start(self) -> bool:
        """Start the application; returns whether it is up, or `abandon` came first. Raises what its start raised."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = self._tasks.spawn(self._run(scope), name="application", awaited=True)
        try:
            await self._ask("startup")
        except asyncio.CancelledError:
            if self._is_abandoned and self._task.cancelled():
                return False
            raise
        self._is_up = True
        return True

    def abandon(self) -> None:
        """Let what is not up yet not come up: its start is cancelled. Where it is up, this does nothing."""
        if self._task is not None and not self._is_up and not self._task.done():
            self._is_abandoned = True
            cancel_soundly(self._task)

    async def stop_within(self, seconds: float, *, cancel: bool = False) -> bool:
        """End the application; returns whether it has ended in time. Raises what its end raised.

        May be called again, to wait on; ``cancel`` says that one which does not end is cancelled.
        """
        if self._task is None:
            return True
        if self._stopping is None:
            self._stopping = self._tasks.spawn(self._stop(self._task), name="stop", awaited=True)
        await asyncio.wait((self._stopping,), timeout=seconds)
        if self._stopping.done():
            failed = self._stopping.exception()  # not result(): asked twice, that loses the traceback
            if failed is not None:
                raise failed
            return True
        if cancel:
            self._tasks.cancel()
            await asyncio.wait((self._stopping, self._task), timeout=seconds)
        return False

    async def _stop(self, task: asyncio.Task[None]) -> None:
        if not task.done():
            await self._ask("shutdown")
            await task

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._app(scope, self._to_app.get, self._hear)

    async def _hear(self, message: MutableMapping[str, Any]) -> None:
        self._answers.put_nowait(str(message["type"]))

    async def _ask(self, what: str) -> None:
        """Send one message and wait for its answer, or for the end of the application."""
        assert self._task is not None, "start comes first"
        self._to_app.put_nowait({"type": f"lifespan.{what}"})
        answer = self._tasks.spawn(self._answers.get(), name=what, awaited=True)
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.result() == f"lifespan.{what}.complete":
            return
        answer.cancel()
        # It failed: the application raises its own error once it has said so. Raised here, with its traceback.
        await self._task


def _nothing(error: BaseException, task: str) -> None:
    """Errors of the application are raised to those who start and stop it."""
