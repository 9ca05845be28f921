"""RegistrationWard: what quarantine asks of registrations: a probe, a size, a context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from nebula_resource.manager.registry import Registry
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthStatus, Postponed
from nebula_resource.quarantine.ward import Ward

if TYPE_CHECKING:
    from nebula_resource.manager.creation import Creation
    from nebula_resource.manager.probes import Probes
    from nebula_resource.manager.registration import Registration

__all__ = ["RegistrationWard"]


class RegistrationWard(Ward):
    """Answers by public id.

    Args:
        registry: what there is.
        probes: how each is looked at.
        creations: what each create gets.
    """

    def __init__(
        self,
        registry: Registry,
        probes: Mapping[str, Probes],
        creations: Mapping[str, Creation],
    ) -> None:
        self._registry = registry
        self._probes = probes
        self._creations = creations
        self.reopen: Callable[[Registration], Awaitable[None]] | None = None
        """Opens a registration whose opening had failed; set by the manager."""

    async def probe(self, id: str, /) -> HealthStatus:
        """One check on a fresh instance; a registration that never opened is opened by it, and what that made checked.

        It makes one instance at most: a release that fails has asked the server so often as it has probed.
        """
        registration = self._registry.get(id)
        if registration is None:
            raise Postponed("it is registered no more")
        opens = not registration.is_open
        if opens:
            await self._open(registration)
        probes = self._probes[id]  # who is registered has them, with health off too
        return await (probes.idle_or_fresh() if opens else probes.fresh())

    async def _open(self, registration: Registration) -> None:
        assert self.reopen is not None, "the manager sets it"
        await self.reopen(registration)
        if self._registry.get(registration.public_id) is not registration:
            raise Postponed("it is registered no more")
        if not registration.is_open:
            raise Postponed("something that it needs is not open")

    def success_threshold(self, id: str, /) -> int:
        """How many passes in a row a release needs."""
        registration = self._registry.get(id)
        if registration is None or registration.health is None:
            return 1
        return registration.health.success_threshold

    def max_size(self, id: str, /) -> int:
        """The pool's bound."""
        registration = self._registry.get(id)
        return 1 if registration is None else registration.pool.ledger.max_size

    def context(self, id: str, /) -> ResourceContext:
        """What a create of this registration would get."""
        creation = self._creations.get(id)
        return ResourceContext() if creation is None else creation.context()

    def secrets(self, id: str, /) -> object:
        """What holds its secrets: its configuration, and what its provider gave."""
        registration = self._registry.get(id)
        return None if registration is None else registration.what_is_secret()
