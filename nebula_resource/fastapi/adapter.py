"""Adapter: where FastAPI lets a dependency leave work for the end of the handler, or of the response.

This module alone knows the two private names in which FastAPI (the range pinned in pyproject.toml) keeps the exit
stacks of a request, and the one in which such a stack keeps what it will call. `canary.private_names_work` drives
FastAPI once to see whether they do what is needed; where they do not, a generator dependency of FastAPI's own gives us a stack instead, which costs more and needs no private name.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Annotated, Any, Final, Literal, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from nebula_resource.errors import InternalError

__all__ = ["PRIVATE_NAMES", "ExitStack", "Until", "exit_stack", "fallback_signature", "leave", "signature"]

Until = Literal["endpoint", "response"]


class Ending(Protocol):
    """What is left on an exit stack: it ends at once where it can, else by its ``__aexit__``."""

    def end_now(self) -> bool:
        """End after what ended well, if that takes no wait; False: ``__aexit__`` does the rest."""
        ...

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class ExitStack(Protocol):
    """What leases leave their end on: an `AsyncExitStack`, or `Exits`."""

    def push_async_exit(self, exit: Ending, /) -> object:
        """End it when the time comes."""
        ...


PRIVATE_NAMES: Final = {"endpoint": "fastapi_function_astack", "response": "fastapi_inner_astack"}


def exit_stack(conn: HTTPConnection, until: Until) -> AsyncExitStack:
    """The stack that FastAPI closes, with the handler's exception, when ``until`` is reached."""
    stack = conn.scope.get(PRIVATE_NAMES[until])
    if not isinstance(stack, AsyncExitStack):
        raise InternalError("resource(...) is a dependency: it works in FastAPI's Depends and nowhere else")
    return stack


def leave(stack: ExitStack, ending: Ending) -> None:
    """``stack.push_async_exit(ending)``, for an `AsyncExitStack` without the four calls and the wrapper that it takes."""
    callbacks = getattr(stack, "_exit_callbacks", None)
    if callbacks is None:
        stack.push_async_exit(ending)
    else:
        callbacks.append((False, ending.__aexit__))  # False: it is to be awaited


class Exits:
    """The fallback's exit stack: what is left on it ends, the last first, with the error of the moment."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: list[Ending] = []

    def push_async_exit(self, exit: Ending, /) -> None:
        """End it when the time comes."""
        self._left.append(exit)

    def end_now(self) -> bool:
        """End what takes no wait; False when `end` has something left to do."""
        left = self._left
        while left:
            if not left[-1].end_now():
                return False
            left.pop()
        return True

    async def end(self, error: BaseException | None) -> None:
        """End everything, and raise what is wrong then: the error given, or one that came on the way."""
        while self._left:
            try:
                await self._left.pop().__aexit__(None if error is None else type(error), error, None)
            except BaseException as raised:
                error = raised
        if error is not None:
            raise error


async def _endpoint_exits() -> AsyncGenerator[Exits]:
    exits = Exits()
    try:
        yield exits
    except BaseException as error:
        await exits.end(error)
    else:
        if not exits.end_now():
            await exits.end(None)


async def _response_exits() -> AsyncGenerator[Exits]:
    # A function of its own: FastAPI keeps one result for each function and request.
    exits = Exits()
    try:
        yield exits
    except BaseException as error:
        await exits.end(error)
    else:
        if not exits.end_now():
            await exits.end(None)


def signature() -> inspect.Signature:
    """What FastAPI is told of a dependency that uses the private names."""
    return inspect.Signature([_parameter("conn", HTTPConnection)])


def fallback_signature(until: Until) -> inspect.Signature:
    """What FastAPI is told of a dependency that gets its stack from a generator dependency."""
    exits: Any = (
        Depends(_endpoint_exits, scope="function")
        if until == "endpoint"
        else Depends(_response_exits, scope="request")
    )
    return inspect.Signature(
        [_parameter("conn", HTTPConnection), _parameter("stack", Annotated[Exits, exits])]
    )


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
