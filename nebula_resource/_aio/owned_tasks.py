"""OwnedTasks: the tasks of one owner, held until they end, whose errors are heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any, Final, TypeVar

__all__ = ["OwnedTasks"]

T = TypeVar("T")

OnError = Callable[[BaseException, str], object]

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
            # Not `create_task`: a loop's task factory may be an eager one, which would run the work here and now, in
            # the middle of whatever decision it follows from.
            task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=full_name, context=context)
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
