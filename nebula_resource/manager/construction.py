"""Construction: builds the pool of a registration, with what its creates get and whom it tells what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nebula_resource.manager.creation import Creation
from nebula_resource.manager.observer import RegistrationObserver
from nebula_resource.pool import Pool

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.events import EventBus
    from nebula_resource.hooks import HookRegistry
    from nebula_resource.manager.checkout import Checkout
    from nebula_resource.manager.registration import Registration
    from nebula_resource.manager.watch import Watch
    from nebula_resource.model.credentials import CredentialProvider

__all__ = ["Construction"]


class Construction:
    """Knows whom a pool must be introduced to.

    Args:
        checkout: where creates get their dependencies.
        releases: owns the tasks in which dependencies are given back.
        credentials: the manager's, for registrations that bring none.
        bus: where events go.
        hooks: those around creates and cleanups.
        watch: takes the evidence.
    """

    def __init__(
        self,
        checkout: Checkout,
        releases: OwnedTasks,
        credentials: CredentialProvider | None,
        *,
        bus: EventBus,
        hooks: HookRegistry,
        watch: Watch,
    ) -> None:
        self._checkout = checkout
        self._releases = releases
        self._credentials = credentials
        self._bus = bus
        self._hooks = hooks
        self._watch = watch

    def creation(self, registration: Registration) -> Creation:
        """What its creates are given."""
        return Creation(registration, self._checkout, self._releases, self._credentials)

    def build(self, registration: Registration) -> None:
        """Give it a new pool, not open yet; what an operator moved the bounds of the one before to stays."""
        before: Pool[Any, Any, Any] | None = registration.pool
        registration.pool = pool = self.pool_for(registration)
        if before is not None:
            pool.ledger.min_size, pool.ledger.max_size = before.ledger.min_size, before.ledger.max_size

    def pool_for(self, registration: Registration, wanted: Registration | None = None) -> Pool[Any, Any, Any]:
        """A new pool of this registration, or of what it is ``wanted`` to be; not open yet."""
        plan = wanted or registration
        return Pool(
            plan.resource,
            plan.config,
            plan.pool_config,
            context_factory=self.creation(plan),
            capacity=plan.budget,
            observer=RegistrationObserver(registration, self._bus, self._hooks, self._watch),
        )
