"""ResourceContext: what travels with one acquire: the scope, how long, until when, and with which credentials."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, final, overload

from nebula_resource.errors import ConfigurationError
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.model.credentials import CredentialProvider
    from nebula_resource.model.key import ResourceKey

__all__ = ["Cancellation", "DependencyLease", "DependencySource", "ResourceContext"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Cancellation(Protocol):
    """A request to stop, as a context carries it (``CancellationToken`` is the one we give)."""

    @property
    def cancelled(self) -> bool:
        """Whether it has been asked."""
        ...

    def subscribe(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call ``callback`` once when it is asked, at once if it was; the result takes the callback back."""
        ...


class DependencyLease(Protocol[T_co]):
    """A declared dependency, not taken yet: awaited it is held until the instance is retired, else for a block."""

    def __await__(self) -> Generator[Any, Any, T_co]:
        """Take it and keep it as long as the instance lives."""
        ...

    async def __aenter__(self) -> T_co:
        """Take it for a block."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        """Give it back."""
        ...


class DependencySource(Protocol):
    """Where ``context.dependency`` gets dependencies from; the manager gives one to every create."""

    def acquire(self, id: str, /) -> DependencyLease[Any]:
        """Return the lease of the dependency ``id``; nothing is taken yet."""
        ...


_EMPTY: Mapping[str, Any] = MappingProxyType({})
_set = object.__setattr__


@final
class ResourceContext:
    """What a caller brings to an acquire, and a pool to a create; frozen.

    Args:
        scope: who asks.
        deadline: the loop time (``loop.time()``, seconds) after which nothing is waited for; None: none.
        cancellation: whatever waits stops when it is cancelled.
        metadata: values for hooks and resources; copied.
        credentials: where ``create`` gets credentials from; never shown.
    """

    __slots__ = ("_dependencies", "cancellation", "credentials", "deadline", "metadata", "scope")

    scope: Scope
    deadline: float | None
    cancellation: Cancellation | None
    metadata: Mapping[str, Any]
    credentials: CredentialProvider | None
    _dependencies: DependencySource | None

    def __init__(
        self,
        scope: Scope = Scope.GLOBAL,
        *,
        deadline: float | None = None,
        cancellation: Cancellation | None = None,
        metadata: Mapping[str, Any] = _EMPTY,
        credentials: CredentialProvider | None = None,
    ) -> None:
        _set(self, "scope", scope)
        _set(self, "deadline", deadline)
        _set(self, "cancellation", cancellation)
        _set(self, "metadata", MappingProxyType(dict(metadata)) if metadata else _EMPTY)
        _set(self, "credentials", credentials)
        _set(self, "_dependencies", None)

    @property
    def tenant_id(self) -> str | None:
        """The tenant of the scope."""
        return self.scope.tenant_id

    @property
    def user_id(self) -> str | None:
        """The user of the scope."""
        return self.scope.user_id

    @property
    def workflow_id(self) -> str | None:
        """The workflow of the scope."""
        return self.scope.workflow_id

    @property
    def execution_id(self) -> str | None:
        """The execution of the scope."""
        return self.scope.execution_id

    @property
    def action_id(self) -> str | None:
        """The action of the scope."""
        return self.scope.action_id

    @property
    def bounds_waits(self) -> bool:
        """Whether it may end a wait: by its deadline, or by its cancellation."""
        return self.deadline is not None or self.cancellation is not None

    # ── copies ────────────────────────────────────────────────────────────────────────────────────────────────────

    def with_scope(self, scope: Scope) -> ResourceContext:
        """Return a copy in another scope."""
        return self._with("scope", scope)

    def with_deadline(self, deadline: float | None) -> ResourceContext:
        """Return a copy with another deadline (loop time, seconds)."""
        return self._with("deadline", deadline)

    def with_cancellation(self, cancellation: Cancellation | None) -> ResourceContext:
        """Return a copy with another cancellation."""
        return self._with("cancellation", cancellation)

    def with_metadata(self, metadata: Mapping[str, Any] = _EMPTY, /, **more: Any) -> ResourceContext:
        """Return a copy whose metadata has these entries added, the new ones winning."""
        return self._with("metadata", MappingProxyType({**self.metadata, **metadata, **more}))

    def with_credentials(self, credentials: CredentialProvider | None) -> ResourceContext:
        """Return a copy with another credential provider."""
        return self._with("credentials", credentials)

    def with_dependencies(self, dependencies: DependencySource | None) -> ResourceContext:
        """Return a copy whose ``dependency`` asks this source (for whoever runs ``create``)."""
        return self._with("_dependencies", dependencies)

    def _with(self, slot: str, value: object) -> ResourceContext:
        copy = object.__new__(ResourceContext)
        for name in ResourceContext.__slots__:
            _set(copy, name, getattr(self, name))
        _set(copy, slot, value)
        return copy

    # ── dependencies ──────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def dependency(self, id: ResourceKey[T], /) -> DependencyLease[T]: ...

    @overload
    def dependency(self, id: str, /) -> DependencyLease[Any]: ...

    def dependency(self, id: str, /) -> DependencyLease[Any]:
        """Acquire a declared dependency inside ``create``.

        ``await context.dependency("db")`` holds it until the instance is retired; ``async with
        context.dependency("db") as db`` for the block.

        Raises:
            ConfigurationError: nobody gave this context dependencies (a pool without a manager).
        """
        source = self._dependencies
        if source is None:
            raise ConfigurationError(
                f"there is no dependency '{id}' here: this context has none, because the pool was not opened by a "
                "manager; register the resource with a Manager",
                resource_id=id,
            )
        return source.acquire(id)

    # ── as a value ────────────────────────────────────────────────────────────────────────────────────────────────

    def to_json(self) -> dict[str, Any]:
        """Return what another process can use: scope and metadata.

        A deadline is a time of this loop, and tokens, credentials and dependencies live here: they stay.
        """
        return {"scope": self.scope.to_json(), "metadata": dict(self.metadata)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ResourceContext:
        """Return the context that ``to_json`` gave. Raises InvalidScope."""
        return cls(Scope.from_json(value["scope"]), metadata=value.get("metadata", _EMPTY))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResourceContext):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in ResourceContext.__slots__)

    def __hash__(self) -> int:
        return hash((self.scope, self.deadline))

    def __repr__(self) -> str:
        parts = [str(self.scope)]
        if self.deadline is not None:
            parts.append(f"deadline={self.deadline:.3f}")
        if self.cancellation is not None:
            parts.append("cancelled" if self.cancellation.cancelled else "cancellable")
        if self.metadata:
            parts.append(
                f"metadata: {', '.join(map(str, self.metadata))}"
            )  # keys alone: values may be anything
        if self.credentials is not None:
            parts.append("with credentials")
        return f"<ResourceContext {', '.join(parts)}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a context cannot be changed; with_* return copies")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a context cannot be changed; with_* return copies")
