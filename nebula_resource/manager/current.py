"""Current: which open scope a call chain is in."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope

__all__ = [
    "Detached",
    "Visit",
    "current_scope",
    "enter",
    "innermost_of",
    "is_inside",
    "leave",
    "reset",
    "restore",
]

_current: ContextVar[OpenScope | None] = ContextVar("nebula_resource_scope", default=None)

current_scope = _current.get
"""The innermost open scope of this call chain, or None."""

enter = _current.set
"""Make a scope the innermost one; the token takes it back."""


reset = _current.reset
"""Take back what `enter` did; a ValueError in another task than that."""


def innermost_of(manager: object) -> OpenScope | None:
    """The innermost open scope of this call chain that is this manager's.

    What another manager opened names that one's tenants: here it is as if it were not there.
    """
    here, visit = current_scope(), _visit.get()
    while here is not None and here.manager is not manager:
        if visit is not None and visit.scope is here:
            here, visit = visit.beneath, visit.before
        else:
            here = here.beneath
    return here


def restore(token: Token[OpenScope | None]) -> None:
    """Take back what `enter` did."""
    try:
        reset(token)
    except ValueError:
        # Left from another task (an async generator that was collected): that context is gone anyway.
        pass


def leave(scope: OpenScope, token: Token[OpenScope | None]) -> None:
    """Take back the `enter` of a scope that ends, with what was opened inside of it and never left.

    Where the one it was entered in ended before it, the call chain is out of both already, and must not come back: it would
    go on as the tenant of a scope that is over.
    """
    here = current_scope()
    if here is scope or is_inside(here, scope):
        try:
            reset(token)  # `restore`, written out: each request comes by here
        except ValueError:
            pass


def is_inside(here: OpenScope | None, scope: OpenScope) -> bool:
    """Whether ``here`` is this scope, or was opened in its block, inside of it or as its ``detach``."""
    while here is not None and here is not scope:
        here = here.origin
    return here is scope


class Visit:
    """``with Visit(scope):`` goes into a scope that was opened elsewhere: what the call chain was in lies beneath it."""

    __slots__ = ("_entered", "_noted", "before", "beneath", "scope")

    _entered: Token[OpenScope | None]
    _noted: Token[Visit | None]

    def __init__(self, scope: OpenScope) -> None:
        self.scope = scope
        self.beneath = current_scope()
        self.before = _visit.get()

    def __enter__(self) -> None:
        self._noted = _visit.set(self)
        self._entered = enter(self.scope)

    def __exit__(self, *_: object) -> None:
        try:
            reset(self._entered)
            _visit.reset(self._noted)
        except ValueError:
            pass  # left from another task: that context is gone anyway


_visit: ContextVar[Visit | None] = ContextVar("nebula_resource_visit", default=None)


class Detached:
    """``with manager.detached():`` leaves the open scopes of this call chain; operators and janitors only."""

    __slots__ = ("_token",)

    _token: Token[OpenScope | None]

    def __enter__(self) -> None:
        self._token = enter(None)

    def __exit__(self, *_: object) -> None:
        restore(self._token)
