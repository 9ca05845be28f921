"""ExecutionBlock: what a border opens around every request: one execution in a scope that is known from before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nebula_resource.manager.block import Block
from nebula_resource.manager.current import enter, leave
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.manager.manager import Manager

__all__ = ["ExecutionBlock", "Within", "new_execution_id"]


def new_execution_id() -> str:
    """An id for one execution: 96 random bits, so that processes need not agree; a forked worker is seeded anew."""
    return hex(random.getrandbits(96))


class Within:
    """The scope around executions, with the levels that each of them opens: 1 << level for each."""

    __slots__ = ("levels", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.levels = sum(1 << level for level, _ in scope.fields) | 1 << int(ScopeLevel.EXECUTION)


class ExecutionBlock(Block):
    """A block whose scope has a random id, and is made when somebody asks for it: most requests never do.

    Entered and left by plain calls where that takes no wait: an ``async with`` costs a coroutine for either.

    Args:
        manager: whose scope it is.
        within: what it is in.
        id: the execution's id; a random one without. Raises `InvalidScope` for a bad one.
    """

    __slots__ = ("_value", "_within")

    _value: Scope | None

    def __init__(self, manager: Manager, within: Within, id: str | None = None) -> None:
        # Written out, from Block too: one is made for every request.
        self._manager = manager
        self._within = within
        self._context = self._parent = None
        self._rare = self._entry = self._more = self._closed = self._outer = None
        self._value = None if id is None else within.scope.with_execution(id)

    @property
    def scope(self) -> Scope:  # type: ignore[override]  # nobody sets it
        """The scope, made when somebody asks for it (a ``__getattr__`` would slow down all other attributes)."""
        value = self._value
        if value is None:
            value = self._value = self._within.scope.with_execution(new_execution_id())
        return value

    def enter_now(self) -> None:
        """Begin; nothing that could be cancelled half-way."""
        if self._manager.scope_listeners:
            self._tell_opened()
        else:
            self._manager.scope_counts[self._within.levels] += 1
        self._closed = False
        self._token = enter(self)

    def leave_now(self) -> bool:
        """End after what ended well, if that takes no wait; False: ``__aexit__`` does what is left."""
        if self._outer or not self.close_now():
            return False
        leave(self, self._token)
        if self._manager.scope_listeners:
            self._tell_closed()
        else:
            self._manager.scope_counts[self._within.levels] -= 1
        return True

    def _count(self, by: int) -> None:
        """Count its levels without making its scope."""
        self._manager.scope_counts[self._within.levels] += by
