"""Quick acquisitions of a manager: the shortest road from a key to an instance, one class for each manager.

It is `ManagedAcquisition` for a caller who brings nothing but the key, with the manager's parts in closure cells (see
pool/quick.py for why). Wherever something has to be looked at, it becomes the general one and goes its way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from nebula_resource.manager.acquisition import ManagedAcquisition
from nebula_resource.manager.checkout import Checkout
from nebula_resource.manager.current import current_scope
from nebula_resource.manager.handle import ManagedHandle
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.scope import Strategy
from nebula_resource.pool.handle import entered_twice
from nebula_resource.pool.quick import FRESH

__all__ = ["quick_class"]


def quick_class(checkout: Checkout, manager: object) -> Callable[[], ManagedAcquisition[Any]]:
    """Makes acquisitions of this manager, their key and their first entry yet to be set."""
    registry = checkout.registry
    current, find = current_scope, registry.find
    # A strict manager takes the general road: its callers are served by the equal scope alone.
    known = registry.known.get if checkout.strategy is not Strategy.STRICT else (lambda key: None)
    is_strict = checkout.strategy is Strategy.STRICT
    in_use, fresh = Lifecycle.IN_USE, FRESH

    class QuickManagedAcquisition(ManagedAcquisition[Any]):
        """Knows its key alone."""

        __slots__ = ()

        # The general class takes arguments; this one is made without running a line of Python.
        __init__ = object.__init__  # pyright: ignore[reportAssignmentType]  # that is the point

        async def __aenter__(self) -> Any:
            if self._entry is not fresh:
                raise entered_twice(self._key)
            here = current()
            if here is not None and here._manager is not manager:
                here = checkout.here()
            registration = known(self._key) if here is None or is_strict else find(self._key, here.scope)
            if registration is not None and (take := registration.take) is not None:
                try:
                    self._entry = entry = take()
                except IndexError:
                    pass  # nothing idle: the general road waits
                else:
                    pool = self._pool = registration.pool
                    entry.state = in_use
                    entry.uses = uses = entry.uses + 1
                    return entry.instance if uses < entry.timed_next else pool.time_this(entry)
            self._become_general()
            return await ManagedAcquisition.__aenter__(self)

        def __await__(self) -> Generator[Any, Any, ManagedHandle[Any]]:
            self._become_general()
            return ManagedAcquisition.__await__(self)

        def _become_general(self) -> None:
            self._checkout = checkout
            self._context = self._timeout = self._strategy = None

    return QuickManagedAcquisition  # type: ignore[no-any-return]  # mypy takes __init__ for an Any
