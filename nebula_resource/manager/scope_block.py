"""ScopeBlock: ``async with manager.scope(...)``: opens every named level that is not open yet, outermost first."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING

from nebula_resource.errors import ConfigurationError
from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.manager.scope_end import end_scopes
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.manager.manager import Manager

__all__ = ["ScopeBlock"]


class ScopeBlock:
    """One use of ``manager.scope(...)``; it is entered once.

    ``levels`` are the scopes to open, outermost first, for who knows them already (a border that saw this tenant before).
    """

    __slots__ = ("_context", "_levels", "_manager", "_opened", "_opener", "_parent", "_scopes", "_token")

    _token: Token[OpenScope | None]

    def __init__(
        self,
        manager: Manager,
        context: ResourceContext,
        *,
        parent: OpenScope | None,
        opener: OpenScope | None,
        levels: Sequence[Scope] | None = None,
    ) -> None:
        self._manager = manager
        self._context = context
        self._levels = levels
        self._parent = parent
        self._opener = opener
        self._scopes: list[OpenScope] = []
        self._opened = False

    async def __aenter__(self) -> OpenScope:
        return self.open()

    def open(self) -> OpenScope:
        """Open the levels; synchronous, so that nothing can be cancelled half-way."""
        if self._opened:
            raise ConfigurationError(
                "this scope block was entered before: call manager.scope() once for every block"
            )
        self._opened = True
        manager = self._manager
        parent, opener = self._parent, self._opener
        # A scope of GLOBAL, or one that is open already, gets a block of its own all the same: its own leases.
        levels = _levels_to_open(self._context.scope, parent) if self._levels is None else self._levels
        scopes, context, counts = self._scopes, self._context, manager.scope_counts
        for value in levels:
            parent = opener = OpenScope(manager, value, context, parent, opener)
            scopes.append(parent)
            counts[value.level] += 1
        for listener in manager.scope_listeners:
            for value in levels:
                listener.opened(value)
        assert parent is not None, "there is always one level to open"
        self._token = enter(parent)
        return parent

    def close_now(self) -> bool:
        """Close after a block that ended well, as far as that takes no await; False: ``__aexit__`` does the rest."""
        scopes, manager = self._scopes, self._manager
        while scopes:
            scope = scopes[-1]
            if not scope.close_now():
                return False
            scopes.pop()
            closed = scope.scope
            manager.scope_counts[closed.level] -= 1
            for listener in manager.scope_listeners:
                listener.closed(closed)
        leave(self._token)
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.close_now():
            return
        leave(self._token)
        await end_scopes(self._scopes, error)


def _levels_to_open(scope: Scope, parent: OpenScope | None) -> list[Scope]:
    """The scopes of every level that ``parent`` does not have open, outermost first; at least ``scope`` itself."""
    base = parent.scope if parent is not None else Scope.GLOBAL
    values = [each for each in reversed((scope, *scope.ancestors())) if each.level > base.level]
    return values or [scope]
