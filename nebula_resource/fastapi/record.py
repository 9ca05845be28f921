"""RequestRecord: what is known of one request or websocket while it is served; it rides in the ASGI scope."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

from nebula_resource.manager import Manager, OpenScope, new_execution_id
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.fastapi.leases import RequestLeases

__all__ = ["RequestRecord", "note_outcome", "record_of"]

RECORD: Final = "nebula_resource"
"""The key in the ASGI scope."""


class RequestRecord:
    """One request: its open scope, the leases that FastAPI ends for it, and whether its response went out whole."""

    __slots__ = ("_value", "endpoint", "is_whole", "manager", "response", "scope")

    def __init__(
        self,
        manager: Manager,
        value: Scope | None,
        scope: OpenScope | None,
    ) -> None:
        self.manager = manager
        self._value = value
        self.scope = scope
        """What the middleware opened; without one, None: the leases' own block is the request's scope."""
        self.endpoint: RequestLeases | None = None
        """Leases that end with the handler."""
        self.response: RequestLeases | None = None
        """Leases that end when the response was sent."""
        self.is_whole: bool | None = None
        """Whether the last piece of the response was sent; None: nobody watches it go out (the middleware does)."""

    @property
    def value(self) -> Scope:
        """Who the request is, as a scope; nobody we know is an execution, made when somebody asks."""
        value = self._value
        if value is None:
            opened = self.scope
            value = Scope.GLOBAL.with_execution(new_execution_id()) if opened is None else opened.scope
            self._value = value
        return value

    @property
    def is_cut(self) -> bool:
        """Whether the response is known not to have gone out whole: the client left."""
        return self.is_whole is False  # a websocket has no response: nobody watches it


def record_of(scope: MutableMapping[str, Any]) -> RequestRecord | None:
    """The record in an ASGI scope, if somebody put one there."""
    record = scope.get(RECORD)
    return record if isinstance(record, RequestRecord) else None


def note_outcome(scope: MutableMapping[str, Any], error: BaseException) -> None:
    """An error was turned into a response: what is still held in the request's open scopes ends with it."""
    record = record_of(scope)
    # All that the middleware opened: what a tenant's scope holds for this request ends with it as well.
    here = None if record is None else record.scope
    while here is not None:
        here.outcome = here.outcome or error
        here = here.parent
