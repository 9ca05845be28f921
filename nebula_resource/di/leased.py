"""Leased: the provider of a lease of the open scope in which it is asked."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from dependency_injector import providers

from nebula_resource.errors import NoOpenScope
from nebula_resource.manager.hold import holder_of
from nebula_resource.manager.open_scope import OpenScope, current_scope
from nebula_resource.model.key import ResourceKey, check_resource_id
from nebula_resource.model.scope import ScopeLevel

__all__ = ["Leased", "outside"]

T = TypeVar("T")


class Leased(providers.Provider[T]):
    """Gives what the current open scope leases for a key: one lease per scope, ended with it and with its outcome.

    It is always awaited: ``db = Provide["db"]`` in an ``@action`` or ``@inject`` function, an argument of a
    ``Factory``, or ``await container.db.async_()``.

    Args:
        key: the resource; a `ResourceKey` also says the type.
        hold: the level of the enclosing scope whose lease it is; None: the innermost scope's own. Blocks that are open
            together in that scope never share its lease: the first that asks uses it, each other gets one of its own,
            which ends with that block.

    Raises:
        NoOpenScope: when it is asked outside an open scope, or (``hold``) outside one of that level.
    """

    __slots__ = ("_given", "_hold", "_key")

    @overload
    def __init__(self, key: ResourceKey[T], *, hold: ScopeLevel | str | None = None) -> None: ...

    @overload
    def __init__(self: Leased[Any], key: str, *, hold: ScopeLevel | str | None = None) -> None: ...

    def __init__(self, key: str, *, hold: ScopeLevel | str | None = None) -> None:
        check_resource_id(key, field="key")
        self._given = key
        self._key = str(key)  # a plain str: dictionaries find it faster than a key
        self._hold = None if hold is None else ScopeLevel.parse(hold)
        super().__init__()
        # Decided here and for good: a Factory that once saw a ready value would later be given a bare task.
        self.enable_async_mode()

    @property
    def key(self) -> str:
        """The resource it leases."""
        return self._given

    @property
    def hold(self) -> ScopeLevel | None:
        """The level whose scope holds the lease; None: the innermost."""
        return self._hold

    def _provide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Which scope is decided now: what is awaited may run in another task.
        scope = current_scope()
        if scope is None:
            raise outside(f"Leased({self._key!r})")
        if self._hold is None:
            return scope.get(self._key)
        return scope.held(self._key, self._hold)

    def slot_in(self, scope: OpenScope) -> tuple[OpenScope, Any]:
        """The scope that leases it for somebody in ``scope``, and its slot there. Raises `NoOpenScope`."""
        if self._hold is None:
            return scope, self._key
        return holder_of(scope, self._key, self._hold)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> Leased[T]:
        memo = {} if memo is None else memo
        copied: Leased[T] | None = memo.get(id(self))
        if copied is None:
            copied = memo[id(self)] = Leased(self._given, hold=self._hold)
            self._copy_overridings(copied, memo)
        return copied

    def __str__(self) -> str:
        held = "" if self._hold is None else f", hold={self._hold.name}"
        return f"Leased({self._key!r}{held})"

    __repr__ = __str__


def outside(what: str) -> NoOpenScope:
    """The error for what was asked outside an open scope."""
    return NoOpenScope(
        f"{what} was asked for outside an open scope; wrap the call: "
        "async with manager.scope(execution=...): ... (an @action opens its own inside that)"
    )
