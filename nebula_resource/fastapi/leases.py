"""RequestLeases: the leases of one request that end together: with its handler, or with its response."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final

from starlette.requests import ClientDisconnect, HTTPConnection

from nebula_resource.errors import InternalError, ResourceError
from nebula_resource.fastapi.adapter import Until
from nebula_resource.fastapi.record import RECORD, RequestRecord
from nebula_resource.manager import Manager, OpenScope, current_scope
from nebula_resource.manager.current import enter, innermost_of, leave
from nebula_resource.manager.open_scope import IDLE
from nebula_resource.manager.scope_part import ScopePart
from nebula_resource.model.problems import status_of
from nebula_resource.model.scope import Scope, ScopeLevel

__all__ = ["MANAGER", "RequestLeases", "leases_of"]

MANAGER: Final = "nebula_manager"
"""The attribute of ``app.state`` that holds the manager."""
EXECUTION_ALONE: Final = 1 << int(ScopeLevel.EXECUTION)


class RequestLeases(ScopePart):
    """A block of leases that end together; a part of its parent, else the request's own scope.

    ``handling`` tells the handler that it belongs to from others of the request (a mounted application has its own): it
    is that handler's connection. ``exits`` holds what ends with it in the fallback, and itself; mostly None.
    """

    __slots__ = ("exits", "handling", "record", "until")

    exits: AsyncExitStack | None
    until: Until

    def __init__(
        self, record: RequestRecord, around: OpenScope | None, handling: HTTPConnection, until: Until
    ) -> None:
        # Written out, from ScopePart too: one is made for every request.
        if around is None:
            self._manager = record.manager
            self._context = None
            self._counted = record.endpoint is None and record.response is None
        else:
            self._manager = around._manager
            self._context = around._context
            self._counted = False
        self._parent = self._opener = around
        self._rare = self._entry = self._more = self._token = self.exits = None
        self._closed = False
        self.record = record
        self.handling = handling
        self.until = until
        if self._counted:
            if self._manager.scope_listeners:
                self._manager.scope_opened(self.scope)
            else:
                self._manager.scope_counts[EXECUTION_ALONE] += 1

    @property
    def scope(self) -> Scope:  # type: ignore[override]  # nobody sets it
        """The scope, which most requests never look at, and which may have to be made."""
        around = self._parent
        return self.record.value if around is None else around.scope

    def end_now(self) -> bool:
        """End after a handler that ended well, if that takes no wait; False: ``__aexit__`` does the rest."""
        record = self.record
        if self.until == "endpoint":
            record.endpoint = None
        else:
            record.response = None
            if record.is_cut:
                # Starlette ends a stream that nobody reads any more without an error: it was not a success.
                self.outcome = ClientDisconnect()
        entry = self._entry
        if (
            self._rare is None
            and self._more is None
            and (entry is None or not (entry.attention or self._pool.line.waiters))
        ):  # the shortest road back, written out
            self._closed = True
            if entry is not None:
                self._entry = None
                entry.state = IDLE
                self._pool.shelf.put_hot(entry)
        elif not self.close_now():
            return False
        if (token := self._token) is not None:
            leave(self, token)
        if self._counted:
            if self._manager.scope_listeners:
                self._manager.scope_closed(self.scope)
            else:
                self._manager.scope_counts[EXECUTION_ALONE] -= 1
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Called by the exit stack, with the handler's exception."""
        if error is None:
            if self.end_now():
                return
        elif self.until == "endpoint":
            self.record.endpoint = None
        else:
            self.record.response = None
        try:
            await super().__aexit__(kind, error, trace)
        except ResourceError as raised:
            if status_of(raised) < 500:
                # Nothing was wrong with what the client asked for: it could not be brought to its end.
                raise InternalError("a lease could not be ended", resource_id=raised.resource_id) from raised
            raise


def leases_of(conn: HTTPConnection, until: Until) -> tuple[RequestLeases, bool]:
    """The block whose leases end when ``until`` is reached, and whether it is new: then whoever asked has to end it.

    It is a part of the innermost open scope: the middleware's, or one that a dependency opened; with neither, it is
    a tenantless EXECUTION. Leases until the response need the middleware: servers end a stream that nobody reads
    any more as they end a whole one, and only who stands around the sending can tell the two apart.
    """
    here = current_scope()
    record: RequestRecord | None = conn.scope.get(RECORD)
    if record is None:
        record = conn.scope[RECORD] = _new_record(conn, here)
    leases = record.endpoint
    if here is not None:
        if here._manager is not record.manager:
            here = innermost_of(record.manager)
        if here is leases and leases is not None:
            # What the handler's own part stands in is where a lease belongs that lives longer, or that is asked for again.
            here = leases._parent
    if until == "response":
        leases = record.response
    if leases is not None and leases.handling is conn and leases._parent is here:
        return leases, False
    if until == "endpoint":
        leases = record.endpoint = RequestLeases(record, here, conn, until)
        leases._token = enter(leases)
        return leases, True
    if record.is_whole is None and conn.scope["type"] == "http":
        raise InternalError(
            "until='response' has to see the answer go out: without that a stream which the client cut off would be "
            "committed; add NebulaMiddleware, or call nebula_resource.fastapi.install(app, manager)"
        )
    # Never the current scope: a background task does not find it.
    leases = record.response = RequestLeases(record, here, conn, until)
    return leases, True


def _new_record(conn: HTTPConnection, here: OpenScope | None) -> RequestRecord:
    """No middleware was here: the application's manager, or, of one that knows nothing of us, that of the open scope."""
    state = conn.scope["app"].state
    try:
        manager = state[MANAGER]  # half of the time of asking for its attribute
    except (KeyError, TypeError):  # TypeError: a state of the application's own kind
        manager = getattr(state, MANAGER, None)
    if isinstance(manager, Manager):
        own = None if here is None else innermost_of(manager)
        return RequestRecord(manager, None if own is None else own.scope, None)
    if here is None:
        raise InternalError(
            "this application has no manager: call nebula_resource.fastapi.install(app, manager)"
        )
    return RequestRecord(here.manager, here.scope, None)
