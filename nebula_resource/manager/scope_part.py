"""ScopePart: a stretch of an open scope with leases of its own, which end before the scope does."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType

from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.manager.scope_end import end_scopes

__all__ = ["ScopePart"]


class ScopePart:
    """For integrations whose framework ends a part of a request (the handler) before the rest (the sending).

    Args:
        scope: the block's open scope, not entered yet.
        counted: whether it is a scope of its own for the manager's books (quotas, TTL), not a part of one.
    """

    __slots__ = ("_counted", "_token", "scope")

    def __init__(self, scope: OpenScope, *, counted: bool = False) -> None:
        self.scope = scope
        self._token: Token[OpenScope | None] | None = None
        self._counted = counted
        if counted:
            scope.manager.scope_opened(scope.scope)

    def enter(self) -> None:
        """Make it the current scope of this call chain, until it ends; nothing that could be cancelled half-way."""
        self._token = enter(self.scope)

    async def __aenter__(self) -> OpenScope:
        self.enter()
        return self.scope

    def end_now(self) -> bool:
        """End it after a part that ended well, if that takes no await; False: ``__aexit__`` does the rest."""
        scope = self.scope
        if not scope.close_now():
            return False
        if self._token is not None:
            leave(self._token)
        if self._counted:
            scope.manager.scope_closed(scope.scope)
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.end_now():
            return
        if self._token is not None:
            leave(self._token)
        await end_scopes([self.scope], error, counted=self._counted)
