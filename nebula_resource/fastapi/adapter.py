"""Adapter: where FastAPI lets a dependency leave work for the end of the handler, or of the response.

This module alone knows the two private names in which FastAPI (the range pinned in pyproject.toml) keeps the exit
stacks of a request, and the one in which such a stack keeps what it will call. `canary.private_names_work` drives
FastAPI once to see whether they do what is needed; where they do not, `fallback` does without them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Literal, Protocol

from starlette.requests import HTTPConnection

from nebula_resource.errors import InternalError

__all__ = ["PRIVATE_NAMES", "Ending", "Until", "exit_stack", "leave"]

Until = Literal["endpoint", "response"]

PRIVATE_NAMES: Final = {"endpoint": "fastapi_function_astack", "response": "fastapi_inner_astack"}


class Ending(Protocol):
    """What is left on an exit stack: it ends at once where it can, else by its ``__aexit__``."""

    def end_now(self) -> bool:
        """End after what ended well, if that takes no wait; False: ``__aexit__`` does the rest."""
        ...

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def exit_stack(conn: HTTPConnection, until: Until) -> AsyncExitStack:
    """The stack that FastAPI closes, with the handler's exception, when ``until`` is reached."""
    stack = conn.scope.get(PRIVATE_NAMES[until])
    if not isinstance(stack, AsyncExitStack):
        raise InternalError("resource(...) is a dependency: it works in FastAPI's Depends and nowhere else")
    return stack


def leave(stack: AsyncExitStack, ending: Ending) -> None:
    """``stack.push_async_exit(ending)``, for an `AsyncExitStack` without the calls, the wrapper and the coroutine of that."""
    try:
        callbacks = stack._exit_callbacks  # type: ignore[attr-defined]  # the private name
    except AttributeError:
        stack.push_async_exit(ending)
        return

    def end(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not ending.end_now():
            callbacks.append((False, ending.__aexit__))  # it is what the stack calls next; False: and awaits

    callbacks.append((True, end))
