"""ScopePart: leases of a stretch of a request, which end before the request's scope does."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING

from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.manager.scope_end import end_scopes
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.manager.manager import Manager

__all__ = ["ScopePart"]


class ScopePart(OpenScope):
    """For integrations whose framework ends a part of a request (the handler) before the rest (the sending).

    Inside ``around`` it is a block with the same scope, which counts as no scope of its own (quotas, TTL). With nothing
    around it stands for the request's scope itself, and counts when ``counted`` says so.
    """

    __slots__ = ("_counted", "_token")

    def __init__(
        self, manager: Manager, scope: Scope, around: OpenScope | None, *, counted: bool = False
    ) -> None:
        # Written out: one is made for every request.
        self._manager = manager
        self._context = None if around is None else around._context
        self._parent = self._opener = around
        self._rare = self._entry = self._more = None
        self._closed = False
        self.scope = scope
        self._token: Token[OpenScope | None] | None = None
        self._counted = counted
        if counted:
            self._count(1)

    @property
    def beneath(self) -> OpenScope | None:
        """The scope that was the current one when this was entered, be it another manager's."""
        if self._token is None:
            return self._opener
        before = self._token.old_value
        return None if before is Token.MISSING else before

    def enter(self) -> None:
        """Make it the current scope of this call chain, until it ends; nothing that could be cancelled half-way."""
        self._token = enter(self)

    async def __aenter__(self) -> OpenScope:
        self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.close_now():
            self.left()
            return
        if self._token is not None:
            leave(self, self._token)
        try:
            await end_scopes([self], error, counted=False)
        finally:
            if self._counted:
                self._count(-1)

    def left(self) -> None:
        """It has closed without a wait: it is not the current scope any more, and not counted."""
        if self._token is not None:
            leave(self, self._token)
        if self._counted:
            self._count(-1)

    def _count(self, by: int) -> None:
        """Tell the manager that it opened, or that it closed."""
        (self._manager.scope_opened if by > 0 else self._manager.scope_closed)(self.scope)
