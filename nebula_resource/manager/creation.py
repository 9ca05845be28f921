"""Creation: what a create of a registration is given: its scope, its credentials, its dependencies."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import ConfigurationError
from nebula_resource.manager.overheard import Overheard
from nebula_resource.model.context import ResourceContext
from nebula_resource.quarantine import HalfOpenTicket

if TYPE_CHECKING:
    from nebula_resource.manager.checkout import Checkout
    from nebula_resource.manager.handle import ManagedHandle
    from nebula_resource.manager.registration import Registration
    from nebula_resource.model.credentials import CredentialProvider
    from nebula_resource.pool import Pool

__all__ = ["Creation", "Dependencies"]


class Dependencies:
    """The dependencies one instance holds: acquired inside its ``create``, given back when it is gone."""

    def __init__(self, registration: Registration, checkout: Checkout, tasks: OwnedTasks) -> None:
        self._registration = registration
        self._checkout = checkout
        self._tasks = tasks
        self._held: list[ManagedHandle[Any]] = []
        self._released = False

    def acquire(self, id: str, /) -> DependencyUse:
        """A lease of a declared dependency. Raises `ConfigurationError` for one that is not declared."""
        if id not in self._registration.dependencies:
            raise ConfigurationError(
                f"'{self._registration.key}' does not declare the dependency '{id}'; add it to its dependencies",
                resource_id=self._registration.key,
            )
        return DependencyUse(self, id)

    async def take(self, id: str) -> ManagedHandle[Any]:
        """Acquire it in the registration's own scope, hierarchically whatever the manager's strategy is (SPEC §7)."""
        scope = self._registration.scope
        found = self._checkout.registry.find(id, scope)
        return await self._checkout.take(found, scope, ResourceContext(scope), None)

    async def hold(self, id: str) -> Any:
        """Acquire it and keep it as long as the instance lives."""
        handle = await self.take(id)
        _prove(handle)
        handle.expect_long_use()
        self._held.append(handle)
        if self._released:
            self.release()
        return handle.value

    def holds_from(self, pool: Pool[Any, Any, Any]) -> bool:
        """Whether something of this pool is held."""
        return any(handle.is_from(pool) for handle in self._held)

    def release(self) -> None:
        """The instance is gone: give everything back, the last first, in tasks of the manager."""
        self._released = True
        held, self._held = self._held, []
        for handle in reversed(held):
            # One task each: a lease that fails, or hangs, while it ends keeps back no other.
            self._tasks.start(
                handle.release(), name=f"release a dependency of {self._registration.public_id}"
            )


def _prove(handle: ManagedHandle[Any]) -> None:
    """A use that lasts as long as an instance is no trial: its half-open permit is given back as a success.

    Kept, it would hold up everybody else until it runs out, though the dependency works.
    """
    for ticket in handle._tickets:
        if isinstance(ticket, HalfOpenTicket):
            ticket.leave(None)


class DependencyUse:
    """Awaited: held until the instance is retired; ``async with``: for the block."""

    def __init__(self, dependencies: Dependencies, id: str) -> None:
        self._dependencies = dependencies
        self._id = id
        self._handle: ManagedHandle[Any] | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._dependencies.hold(self._id).__await__()

    async def __aenter__(self) -> Any:
        self._handle = await self._dependencies.take(self._id)
        return self._handle.value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handle is not None, "__aexit__ follows __aenter__"
        await self._handle.release(error)


class Creation:
    """Makes the context of each create of one registration."""

    __slots__ = ("_checkout", "_credentials", "_registration", "_tasks")

    def __init__(
        self,
        registration: Registration,
        checkout: Checkout,
        tasks: OwnedTasks,
        credentials: CredentialProvider | None,
    ) -> None:
        self._registration = registration
        self._checkout = checkout
        self._tasks = tasks
        self._credentials = credentials

    def context(self) -> ResourceContext:
        """The registration's own context, without dependencies (probes)."""
        provider = self._registration.credentials or self._credentials
        credentials = None if provider is None else Overheard(provider, self._registration.secrets)
        return ResourceContext(self._registration.scope, credentials=credentials)

    def __call__(self) -> tuple[ResourceContext, Dependencies | None]:
        context = self.context()
        if not self._registration.dependencies:
            return context, None
        dependencies = Dependencies(self._registration, self._checkout, self._tasks)
        return context.with_dependencies(dependencies), dependencies
