"""Block: ``async with manager.scope(...) as scope``: the scope itself, and the levels around it that were not open."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING

from nebula_resource.errors import ConfigurationError
from nebula_resource.manager.current import current_scope, enter, is_inside, leave, reset
from nebula_resource.manager.open_scope import IDLE, OpenScope
from nebula_resource.manager.scope_end import end_scopes
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.manager.manager import Manager

__all__ = ["Block", "QuickBlock", "Sibling"]


class Block(OpenScope):
    """One use of ``manager.scope(...)``: an open scope between its ``async with`` and the end of that.

    The levels that it names and that were not open are open with it, outermost first. They are counted and told to
    listeners with it, and made when somebody asks for one of them (``parent``, ``at``): most requests never do.
    """

    __slots__ = ("_outer", "_token")

    _token: Token[OpenScope | None]

    _outer: tuple[OpenScope, ...] | None

    def __init__(
        self, manager: Manager, scope: Scope, context: ResourceContext | None, around: OpenScope | None
    ) -> None:
        # Written out: one is made for every request.
        self._manager = manager
        self._context = context
        self._parent = around
        self._rare = self._entry = self._more = self._closed = self._outer = None
        self.scope = scope

    @property
    def parent(self) -> OpenScope | None:
        """The open scope around it, of the nearest level that is open."""
        outer = self._outer
        if outer is None:
            outer = self._outer = self._make_outer()
        return outer[-1] if outer else self._parent

    @property
    def opener(self) -> OpenScope | None:
        """The same: it was opened in nothing else."""
        return self.parent

    @property
    def beneath(self) -> OpenScope | None:
        """The scope that was the current one when this was entered, be it another manager's."""
        before = self._token.old_value
        return None if before is Token.MISSING else before

    def _make_outer(self) -> tuple[OpenScope, ...]:
        around = self._parent
        made: list[OpenScope] = []
        for value in self._levels()[:-1]:
            around = OpenScope(self._manager, value, self._context, around, around)
            if self._closed:
                around.refuse_more()
            made.append(around)
        return tuple(made)

    def _levels(self) -> list[Scope]:
        """The scopes of every level that it opens, outermost first; at least its own."""
        base = Scope.GLOBAL if self._parent is None else self._parent.scope
        scope = self.scope
        return [*(each for each in reversed(scope.ancestors()) if each.level > base.level), scope]

    # ── the block ──

    async def __aenter__(self) -> OpenScope:
        if self._closed is not None:
            raise ConfigurationError(
                "this scope block was entered before: call manager.scope() once for every block"
            )
        manager = self._manager
        if self._parent is not None or manager.scope_listeners:
            self._tell_opened()
        else:
            manager.scope_counts[self.scope._bits] += 1
        self._closed = False
        self._token = enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parent is None or current_scope() is self:  # `leave`, written out
            try:
                reset(self._token)
            except ValueError:
                pass  # left from another task: that context is gone anyway
        else:
            leave(self, self._token)
        # The shortest road back, written out: one lease at most, of what wants no attention and nobody waits for.
        if error is None and self._rare is None and self._more is None and not self._outer:
            entry = self._entry
            if entry is None or (not entry.attention and not self._pool.line.waiters):
                self._closed = True
                if entry is not None:
                    self._entry = None
                    entry.state = IDLE
                    self._pool.shelf.put_hot(entry)
                manager = self._manager
                if self._parent is not None or manager.scope_listeners:
                    self._tell_closed()
                else:
                    manager.scope_counts[self.scope._bits] -= 1
                return
        await self._end(error)

    async def _end(self, error: BaseException | None) -> None:
        scopes = [*(self._outer or ()), self]
        try:
            while error is None and scopes and scopes[-1].close_now():
                scopes.pop()
            if scopes:
                await end_scopes(scopes, error, counted=False)
        finally:
            self._tell_closed()

    def _tell_opened(self) -> None:
        manager = self._manager
        if manager.scope_listeners:
            for value in self._levels():
                manager.scope_opened(value)
        else:
            self._count(1)

    def _tell_closed(self) -> None:
        manager = self._manager
        if manager.scope_listeners:
            for value in reversed(self._levels()):
                manager.scope_closed(value)
        else:
            self._count(-1)

    def _count(self, by: int) -> None:
        """Count its levels, those below its parent's, without making the scopes of them; at least its own."""
        bits, own = self.scope._bits, self.scope._level
        if self._parent is not None:
            below = self._parent.scope._level + 1
            bits = bits >> below << below | 1 << own
        self._manager.scope_counts[bits] += by


class Sibling(Block):
    """What ``scope.detach()`` gives: it is entered beside that scope, which may end before it."""

    __slots__ = ("_origin",)

    def __init__(self, beside: OpenScope, context: ResourceContext) -> None:
        super().__init__(beside.manager, beside.scope, context, beside.parent)
        self._origin = beside

    @property
    def origin(self) -> OpenScope | None:
        """The scope that it is beside."""
        return self._origin

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        here = current_scope()
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            if not is_inside(here, self):
                enter(here)  # it went back to a scope that was left meanwhile: see `leave`


class QuickBlock(Block):
    """The same, made without running a line of Python: whoever makes it sets its slots (see ``Manager.scope``)."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__
