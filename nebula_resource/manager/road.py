"""Road: what an acquire of each registration has to look at, derived when something changes, not per acquire."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nebula_resource.events import Acquired, EventBus, Released
from nebula_resource.hooks import HookEvent, HookRegistry
from nebula_resource.manager.observer import RegistrationObserver
from nebula_resource.pool import Pool, Sharing, UseTiming

if TYPE_CHECKING:
    from nebula_resource.manager.registration import Registration

__all__ = ["Road"]


class Road:
    """Keeps ``is_plain``, the hooks and the short way of every registration up to date.

    Args:
        registrations: all there are, when hooks or listeners come or go.
        hooks: around an acquire and a release.
        bus: whether somebody listens.
        beside: a registration's pools beside the one that serves.
    """

    def __init__(
        self,
        registrations: Iterable[Registration],
        hooks: HookRegistry,
        bus: EventBus,
        beside: Callable[[Registration], Iterable[Pool[Any, Any, Any]]],
    ) -> None:
        self._registrations = registrations
        self._hooks = hooks
        self._bus = bus
        self._beside = beside
        hooks.on_change(self.pave_all)
        bus.on_interest(self.pave_all)

    def pave_all(self) -> None:
        """Hooks or listeners have changed."""
        for registration in self._registrations:
            self.pave(registration)

    def pave(self, registration: Registration) -> None:
        """Something about this registration has changed."""
        key = registration.key
        registration.acquire_hooks = self._hooks.for_resource(key, HookEvent.ACQUIRE)
        registration.release_hooks = self._hooks.for_resource(key, HookEvent.RELEASE)
        # Whoever stands beside every use, or is told of its end, is told how long it was.
        are_told = bool(registration.acquire_hooks or registration.release_hooks) or self._bus.wants(Released)
        for pool in (registration.pool, *self._beside(registration)):
            assert isinstance(pool.observer, RegistrationObserver), "Construction gave it one"
            pool.observer.look_at_hooks()
            pool.time_uses(are_told)
        registration.pave(self._is_plain(registration))

    def _is_plain(self, registration: Registration) -> bool:
        pool = registration.pool
        return (
            registration.is_open
            and not registration.gates
            and not registration.acquire_hooks
            and not registration.release_hooks
            and not pool.leases
            and pool.config.sharing is Sharing.EXCLUSIVE
            and pool.config.leak_threshold is None
            and pool.config.use_timing is not UseTiming.ALWAYS
            and not self._bus.wants(Acquired)
            and not self._bus.wants(Released)
            and not pool.loop.get_debug()
        )
