"""ActionScope: opening the ACTION of one call, under the id that an executor prepared for it or a given one."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from nebula_resource.errors import NoOpenScope
from nebula_resource.manager.current import current_scope
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["open_action", "prepare_action"]

_prepared: ContextVar[list[str]] = ContextVar("nebula_resource_action_id")


def prepare_action(id: str) -> None:
    """Give the next action of this call chain its id; the actions that it calls get their own."""
    _prepared.set([id])


def open_action(name: str, new_id: Callable[[], str]) -> OpenScope:
    """Open an ACTION in the innermost open scope, or, inside an ACTION, beside it. Not entered yet.

    Args:
        name: who asks, for the error.
        new_id: makes an id where nobody prepared one.

    Raises:
        NoOpenScope: nothing is open.
    """
    opener = current_scope()
    if opener is None:
        raise NoOpenScope(
            f"{name}() is an action and no scope is open; wrap the call: "
            f"async with manager.scope(execution=...): await {name}(...)"
        )
    parent: OpenScope | None = opener
    while parent is not None and parent.scope.level >= ScopeLevel.ACTION:
        parent = parent.parent
    prepared = _prepared.get(None)
    action_id = prepared.pop() if prepared else new_id()
    manager = opener.manager
    if parent is None:
        scope = Scope.action(action_id)
        opened = OpenScope(manager, scope, opener.context, None, opener)
    else:
        scope = parent.scope.with_action(action_id)
        opened = OpenScope(manager, scope, None, parent, opener)
    manager.scope_opened(scope)
    return opened
