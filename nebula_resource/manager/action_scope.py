"""ActionScope: the ACTION of one call: opened under the id that an executor prepared or a given one, and ended."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

from nebula_resource.errors import NoOpenScope
from nebula_resource.manager.current import current_scope, leave, restore
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["end_action", "open_action", "prepare_action"]

_ACTION: Final = int(ScopeLevel.ACTION)
_ACTION_ALONE: Final = 1 << _ACTION

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
        NoOpenScope: nothing is open, or what was open has ended.
    """
    opener = current_scope()
    if opener is None:
        raise NoOpenScope(
            f"{name}() is an action and no scope is open; wrap the call: "
            f"async with manager.scope(execution=...): await {name}(...)"
        )
    if opener._closed:
        raise NoOpenScope(
            f"{name}() is an action and the scope it is called in has ended (in a background task?); take a scope of the task's "
            f"own while that one is open: async with scope.detach(): await {name}(...)"
        )
    parent: OpenScope | None = opener
    while parent is not None and parent.scope._level >= _ACTION:
        parent = parent.parent
    prepared = _prepared.get(None)
    action_id = prepared.pop() if prepared else new_id()
    manager = opener._manager
    if parent is None:
        scope = Scope.action(action_id)
        opened = OpenScope(manager, scope, opener.context, None, opener)
    else:
        scope = parent.scope.with_action(action_id)
        opened = OpenScope(manager, scope, None, parent, opener)
    if manager.scope_listeners:
        manager.scope_opened(scope)
    else:
        manager.scope_counts[_ACTION_ALONE] += 1
    return opened


def end_action(scope: OpenScope, token: Token[OpenScope | None]) -> bool:
    """End after a call that ended well, if that takes no wait; False: `end_scopes` does what is left."""
    if current_scope() is scope:
        restore(token)
    else:
        leave(scope, token)
    if not scope.close_now():
        return False
    manager = scope._manager
    if manager.scope_listeners:
        manager.scope_closed(scope.scope)
    else:
        manager.scope_counts[_ACTION_ALONE] -= 1
    return True
