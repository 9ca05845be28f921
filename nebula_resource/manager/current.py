"""Current: which open scope a call chain is in."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope

__all__ = ["Detached", "current_scope", "enter", "innermost_of", "is_inside", "leave", "reset", "restore"]

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
    here = current_scope()
    while here is not None and here.manager is not manager:
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


class Detached:
    """``with manager.detached():`` leaves the open scopes of this call chain; operators and janitors only."""

    __slots__ = ("_token",)

    _token: Token[OpenScope | None]

    def __enter__(self) -> None:
        self._token = enter(None)

    def __exit__(self, *_: object) -> None:
        restore(self._token)
