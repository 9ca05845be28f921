"""Fallback: leases without FastAPI's private names: a generator dependency of FastAPI's own opens the block and ends it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from functools import cache
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from nebula_resource.fastapi.adapter import Until, leave
from nebula_resource.fastapi.leases import RequestLeases, leases_of
from nebula_resource.manager import current_scope

__all__ = ["fallback_signature", "leases_here", "signature"]


def signature() -> inspect.Signature:
    """What FastAPI is told of a dependency that uses the private names."""
    return inspect.Signature([_parameter("conn", HTTPConnection)])


def fallback_signature(name: str, until: Until) -> inspect.Signature:
    """What FastAPI is told of a dependency whose block a generator opens and ends."""
    opened: Any = Depends(_opening(name, until), scope="function" if until == "endpoint" else "request")
    return inspect.Signature(
        [_parameter("conn", HTTPConnection), _parameter("opened", Annotated[RequestLeases, opened])]
    )


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


@cache  # FastAPI keeps one result for each function and request
def _opening(name: str, until: Until) -> Callable[[HTTPConnection], AsyncGenerator[RequestLeases]]:
    """The generator that finds the block of one resource's lease, and ends it where it opened it.

    Each resource has its own, so that a block ends before what was open around it: a scope that another dependency opened
    after the first lease and before the second is still open when the second ends.
    """

    async def opening(conn: HTTPConnection) -> AsyncGenerator[RequestLeases]:
        leases, is_new = leases_of(conn, until)
        try:
            yield leases
        except BaseException as error:
            if is_new:
                await (leases.exits or leases).__aexit__(type(error), error, error.__traceback__)
            raise
        if is_new and (leases.exits is not None or not leases.end_now()):
            await (leases.exits or leases).__aexit__(None, None, None)

    return opening


def leases_here(conn: HTTPConnection, opened: RequestLeases) -> RequestLeases:
    """The block that was opened, or another, if a dependency has gone into a scope since and the key is asked for anew.

    That one ends first, with the first one's generator.
    """
    if current_scope() is opened:
        return opened
    leases, is_new = leases_of(conn, opened.until)
    if is_new:
        if opened.exits is None:
            opened.exits = AsyncExitStack()
            leave(opened.exits, opened)
        leave(opened.exits, leases)
    return leases
