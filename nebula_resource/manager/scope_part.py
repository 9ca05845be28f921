"""ScopePart: a stretch of an open scope with leases of its own, which end before the scope does."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType

from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.manager.scope_block import end_scopes

__all__ = ["ScopePart"]


class ScopePart:
    """For integrations whose framework ends a part of a request (the handler) before the rest (the sending).

    It is a block inside ``around`` with the same scope and context; it counts as no scope of its own (quotas, TTL).
    ``enter`` makes it the current one, ``end`` (for ``AsyncExitStack.push_async_exit``) closes it with the outcome, as a
    `ScopeBlock` does. Nothing is awaited between the two, so nothing can be cancelled half-way.
    """

    __slots__ = ("_token", "scope")

    def __init__(self, around: OpenScope) -> None:
        self.scope = OpenScope(around.manager, around.scope, around.context, around, around)
        self._token: Token[OpenScope | None] | None = None

    def enter(self) -> None:
        """Make it the current scope of this call chain, until it ends."""
        self._token = enter(self.scope)

    async def end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it with what the part raised; raises what goes wrong."""
        if self._token is not None:
            leave(self._token)
        if error is None and self.scope.close_now():
            return
        await end_scopes([self.scope], error, counted=False)
