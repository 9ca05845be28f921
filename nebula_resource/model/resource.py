"""Resource: the recipe a user writes: how to make, check, reset, lend and clean up one instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from nebula_resource.model.scope import ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.errors import FieldViolation
    from nebula_resource.model.context import ResourceContext

__all__ = ["DelegatedStats", "Resource", "ResourceMetadata"]

ConfigT = TypeVar("ConfigT")
InstanceT = TypeVar("InstanceT")
LeaseT = TypeVar("LeaseT", default=InstanceT)


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """What people see of a resource: a name, a description, an icon, tags."""

    name: str
    description: str = ""
    icon: str | None = None
    icon_url: str | None = None
    tags: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class DelegatedStats:
    """The numbers of a library that pools inside one instance of ours; counts, ``None`` where it cannot tell."""

    size: int | None = None
    idle: int | None = None
    in_use: int | None = None
    waiting: int | None = None
    max: int | None = None


class Resource(ABC, Generic[ConfigT, InstanceT, LeaseT]):
    """How one kind of external thing is made, checked, reset, lent and cleaned up.

    Only `create` must be written. A hook that is left at its default costs nothing on the hot path: a pool looks
    once, when it is built, at which hooks a class overrides. ``LeaseT``, what callers get, is ``InstanceT`` unless
    `lease` is overridden.
    """

    id: str
    """Matches ``^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$``; a class or an instance attribute."""
    dependencies: Sequence[str] = ()
    """Ids that must be open before this one."""
    metadata: ResourceMetadata | None = None
    min_level: ScopeLevel = ScopeLevel.GLOBAL
    """``TENANT``: an instance holds one tenant's data; a registration scope without that level's field is refused."""

    @abstractmethod
    async def create(self, config: ConfigT, context: ResourceContext) -> InstanceT:
        """Make one instance.

        Runs in a task of the pool, with the registration's own scope and credentials, within ``create_timeout``.
        Whatever it raises becomes the cause of a ``CreateFailed``.
        """

    async def is_valid(self, instance: InstanceT) -> bool:
        """Say whether an idle instance still works; an exception counts as False."""
        return True

    def recycle(self, instance: InstanceT) -> Awaitable[None] | None:
        """Make a used instance clean for the next caller; a plain ``def`` or an ``async def``.

        An exception retires the instance.
        """
        return None

    async def cleanup(self, instance: InstanceT) -> None:
        """End one instance; an exception is reported, never lost, and the instance counts as gone."""

    def lease(self, instance: InstanceT, context: ResourceContext) -> AbstractAsyncContextManager[LeaseT]:
        """Give a caller something made for the one use, and learn how the use ended.

        The body's exception (a cancellation too) is thrown into the context manager. Its exit may run in a task of
        the pool, so it keeps nothing task-bound across its yield. Not overridden: the caller gets the instance.
        """
        raise NotImplementedError("the default lease is the instance itself; a pool never calls this")

    def is_broken(self, instance: InstanceT) -> bool:
        """Say, synchronously and cheaply, whether an instance that comes back is beyond repair."""
        return False

    def is_fault(self, error: BaseException) -> bool:
        """Say whether an error of a caller's body speaks against the server (then it counts for health)."""
        return False

    def validate_config(self, config: ConfigT) -> Iterable[FieldViolation]:
        """Cross-check a configuration whose fields are each valid; yield what is wrong."""
        return ()

    def delegated_stats(self, instance: InstanceT) -> DelegatedStats | None:
        """Report the inner numbers, where a library pools inside one instance."""
        return None

    def memory_usage(self, instance: InstanceT) -> int | None:
        """Bytes the instance holds, if it can tell."""
        return None


def overrides(resource: Resource[Any, Any, Any], hook: str) -> bool:
    """Whether ``resource`` brings its own ``hook``, on its class or on the instance."""
    return hook in vars(resource) or getattr(type(resource), hook) is not getattr(Resource, hook)
