"""Hold: whose lease a call chain uses when it asks for that of an enclosing level."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from nebula_resource.model.scope import ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope

__all__ = ["holder_of"]


def holder_of(scope: OpenScope, key: str, level: ScopeLevel) -> tuple[OpenScope, Hashable]:
    """The open scope whose lease ``scope`` uses for ``hold=level``, and the lease's slot there. Raises `NoOpenScope`.

    The held lease passes from a block to one block opened in it at a time, the first that asks: two that are open
    together never share it. Another gets a lease of its own, which serves what is nested in it by the same rule, and
    keeps it to its end.
    """
    top = scope.at(level)
    path: list[OpenScope] = []
    here = scope
    while here is not top:
        path.append(here)
        opener = here.opener
        assert opener is not None, "every scope was opened somewhere inside the ones around it"
        here = opener
    holder: OpenScope = top
    slot: Hashable = key
    own = (key, level)
    for child in reversed(path):
        users = here.users
        if child.holds(own):
            holder, slot = child, own
        elif (user := users.get(own)) is None or user is child or user.is_closed:
            users[own] = child
        else:
            holder, slot = child, own
        here = child
    return holder, slot
