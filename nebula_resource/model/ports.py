"""Ports: what the rooms ask of each other, so that none needs to know another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nebula_resource.model.reasons import CleanupReason
    from nebula_resource.model.scope import Scope
    from nebula_resource.model.stats import PoolStats

__all__ = [
    "Capacity",
    "Donor",
    "Gate",
    "PoolObserver",
    "Probe",
    "RegistrationSource",
    "ScopeListener",
    "StatsSource",
    "Ticket",
    "Tracing",
    "Unlimited",
]


class Capacity(Protocol):
    """A budget over many pools: asked before a create, never on a hit."""

    def take(self) -> bool:
        """Take one place; False when there is none, and the pool is told by `Donor.grant` when there is."""
        ...

    def give_back(self) -> None:
        """One instance is gone."""

    def want(self, waiting: int) -> None:
        """So many callers of this pool wait for a place; 0 withdraws."""


class Donor(Protocol):
    """A pool as a budget sees it."""

    def grant(self) -> None:
        """A place may be had now: try again."""

    def spare(self) -> bool:
        """Retire one idle instance to make room elsewhere; False when there is none to spare."""
        ...


class Unlimited:
    """The capacity of a pool without a budget."""

    __slots__ = ()

    def take(self) -> bool:
        """Always."""
        return True

    def give_back(self) -> None:
        """Nothing to count."""

    def want(self, waiting: int) -> None:
        """Nothing to wait for."""


class Ticket(Protocol):
    """What a gate gave; it is given back exactly once."""

    def leave(self, error: BaseException | None) -> None:
        """The use ended, with this error or well."""


class Gate(Protocol):
    """A condition of admission beside the refusal: a quota, a half-open permit. Synchronous."""

    def enter(self) -> Ticket | None:
        """Let a caller in, or raise to refuse it."""


class PoolObserver:
    """What a pool tells of itself. Subclass and override; every method here does nothing.

    The synchronous ones must not raise and must not wait. The two pairs of asynchronous ones run inside the pool's
    own tasks, around a real creation and a real cleanup.
    """

    __slots__ = ()

    hooks_create: bool = False
    """Whether `before_create` and `after_create` are to be awaited at all."""
    hooks_cleanup: bool = False
    """Whether `before_cleanup` and `after_cleanup` are to be awaited at all."""

    @property
    def traces(self) -> bool:
        """Whether `around` is to be asked at all."""
        return False

    @property
    def holds_back(self) -> bool:
        """Whether nothing is to be made ahead of need now: the server is held for broken, and only a probe asks it."""
        return False

    def around(self, step: str) -> AbstractContextManager[object]:
        """What one call of a user's hook runs inside of (a span); ``step`` is create, validate, recycle and so on."""
        return nullcontext()

    async def before_create(self) -> object:
        """Before a creation; may raise to stop it. What it returns is given to `after_create`."""
        return None

    async def after_create(self, token: object, error: BaseException | None) -> None:
        """After a creation that `before_create` let pass."""

    async def before_cleanup(self, reason: CleanupReason) -> object:
        """Before a cleanup; what it returns is given to `after_cleanup`."""
        return None

    async def after_cleanup(self, token: object, reason: CleanupReason, error: BaseException | None) -> None:
        """After a cleanup."""

    def created(self, seconds: float) -> None:
        """An instance was made in so many seconds."""

    def create_failed(self, error: BaseException) -> None:
        """A create failed."""

    def validation_failed(self, error: BaseException | None) -> None:
        """An instance said it is not valid, or raised ``error`` instead of answering."""

    def body_failed(self, error: BaseException) -> None:
        """A caller's body raised an error that the resource's ``is_fault`` confirms."""

    def retired(self, reason: CleanupReason) -> None:
        """An instance leaves the pool."""

    def cleaned_up(self, reason: CleanupReason, error: BaseException | None, seconds: float | None) -> None:
        """An instance is gone; ``error`` is what its cleanup raised, ``seconds`` its time, None: it had none."""

    def rejected(self, reason: str, waited_s: float) -> None:
        """A caller was turned away: exhausted, timeout, circuit."""

    def leaked(self, held_s: float, where: Sequence[str]) -> None:
        """A handle is held too long, or was lost; ``where`` holds ``file:line in function``, nearest first."""

    def circuit_opened(self, operation: str, retry_after: float) -> None:
        """A circuit opened for so many seconds."""

    def circuit_closed(self, operation: str) -> None:
        """A circuit closed."""

    def resized(self, min_size: int, max_size: int, *, old_min_size: int, old_max_size: int) -> None:
        """The bounds moved."""

    def draining(self) -> None:
        """Nothing is handed out any more."""

    def drained(self) -> None:
        """The last handle is back."""

    def suspended(self) -> None:
        """Callers wait, or are refused, until it resumes."""

    def resumed(self) -> None:
        """It hands out again."""

    def loop_blocked(self, step: str, seconds: float) -> None:
        """A user's step held the event loop for so many seconds without yielding."""

    def failed(self, error: BaseException) -> None:
        """Something went wrong that no caller is there to hear."""


class Probe(Protocol):
    """How a health check gets at an instance without disturbing callers."""

    async def borrow(self) -> Any:
        """An async context manager's value: a reserved idle instance, or a counted fresh one."""


class Tracing(Protocol):
    """Who stands around operations while they happen: spans. Asked on the longer roads alone, never for a hit."""

    def around(
        self, operation: str, resource_id: str, public_id: str, scope: Scope
    ) -> AbstractContextManager[Callable[[str, str | float], None] | None]:
        """What one operation runs inside of; it must neither raise nor swallow.

        Args:
            operation: acquire, release, health_check, or a step of the pool (create, recycle, cleanup …).
            resource_id: whose.
            public_id: of which registration.
            scope: the caller's for an acquire, else the registration's own.

        The context manager's value notes a fact about the operation, or is None where nobody wants to know.
        """
        ...


class RegistrationSource(Protocol):
    """Asked for a registration when the registry has none (templates)."""

    def claim(self, key: str, scope: Scope) -> Any:
        """A registration for this caller, or None."""


class ScopeListener(Protocol):
    """Told when open scopes open and close (TTL, usage)."""

    def opened(self, scope: Scope) -> None:
        """An open scope of this value was entered."""

    def closed(self, scope: Scope) -> None:
        """It was left."""


class StatsSource(Protocol):
    """Whatever can report a pool's numbers."""

    def stats(self) -> PoolStats:
        """A frozen snapshot."""
        ...
