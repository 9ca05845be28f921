"""RequestLeases: the leases of one request that end together: with its handler, or with its response."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from types import TracebackType

from starlette.requests import ClientDisconnect, HTTPConnection

from nebula_resource.errors import ConfigurationError, InternalError, ResourceError
from nebula_resource.fastapi.adapter import Until
from nebula_resource.fastapi.record import RECORD, RequestRecord, record_of
from nebula_resource.manager import Manager, OpenScope, ScopeBlock, current_scope
from nebula_resource.manager.scope_part import ScopePart
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.problems import status_of
from nebula_resource.model.scope import Scope

__all__ = ["MANAGER", "RequestLeases", "leases_of", "new_execution_id"]

MANAGER = "nebula_manager"
"""The attribute of ``app.state`` that holds the manager."""


def new_execution_id() -> str:
    """An id for one request: 96 random bits, so that processes need not agree; a forked worker is seeded anew."""
    return f"{random.getrandbits(96):024x}"


class RequestLeases:
    """A part of the request's open scope, on one of FastAPI's exit stacks."""

    __slots__ = ("around", "part", "record", "stack", "until")

    def __init__(self, record: RequestRecord, around: OpenScope, stack: AsyncExitStack, until: Until) -> None:
        self.record = record
        self.around = around
        self.stack = stack
        self.until = until
        self.part = ScopePart(around)

    async def end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Called by FastAPI's exit stack, with the handler's exception."""
        if error is None and self.until == "response" and self.record.is_cut:
            # Starlette ends a stream that nobody reads any more without an error: it was not a success.
            self.part.scope.outcome = ClientDisconnect()
        try:
            await self.part.end(kind, error, trace)
        except ResourceError as raised:
            if status_of(raised) < 500:
                # Nothing was wrong with what the client asked for: it could not be brought to its end.
                raise InternalError("a lease could not be ended", resource_id=raised.resource_id) from raised
            raise


def leases_of(conn: HTTPConnection, until: Until, stack: AsyncExitStack) -> OpenScope:
    """The block whose leases end when ``until`` is reached; opened by the first who asks."""
    here = current_scope()
    record = record_of(conn.scope)
    if record is None:
        record, here = _open_request(conn, here, stack)
    elif here is None:
        here = record.scope
    endpoint = record.endpoint
    # What the handler's own part stands in is where a lease belongs that lives longer, or that is asked for again.
    around = endpoint.around if endpoint is not None and endpoint.part.scope is here else here
    leases = endpoint if until == "endpoint" else record.response
    if leases is None or leases.stack is not stack or leases.around is not around:
        leases = RequestLeases(record, around, stack, until)
        if until == "endpoint":
            record.endpoint = leases
            leases.part.enter()
        else:
            # Never the current scope: a background task does not find it.
            record.response = leases
        stack.push_async_exit(leases.end)
    return leases.part.scope


def _open_request(
    conn: HTTPConnection, here: OpenScope | None, stack: AsyncExitStack
) -> tuple[RequestRecord, OpenScope]:
    """No middleware was here: the scope that somebody opened around us, else a tenantless EXECUTION of our own."""
    if here is None:
        context = ResourceContext(Scope.execution(new_execution_id()))
        block = ScopeBlock(_manager_of(conn), context, parent=None, opener=None)
        here = block.open()
        stack.push_async_exit(block)
    record = RequestRecord(here)
    conn.scope[RECORD] = record
    return record, here


def _manager_of(conn: HTTPConnection) -> Manager:
    manager = getattr(conn.app.state, MANAGER, None)
    if not isinstance(manager, Manager):
        raise ConfigurationError(
            "this application has no manager: call nebula_resource.fastapi.install(app, manager)"
        )
    return manager
