"""Ward: what quarantine needs to know of the resources in its care, and whom it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext
    from nebula_resource.model.health import HealthStatus
    from nebula_resource.quarantine.entry import QuarantineEntry

__all__ = ["AttemptOutcome", "QuarantineListener", "Ward"]

AttemptOutcome: TypeAlias = Literal["recovered", "failed", "postponed"]


class Ward(Protocol):
    """The manager's side, by public id."""

    async def probe(self, id: str, /) -> HealthStatus:
        """Run the full health pipeline once on a fresh instance; `Postponed` when there is no room for one."""
        ...

    def success_threshold(self, id: str, /) -> int:
        """How many passes in a row a release needs."""
        ...

    def max_size(self, id: str, /) -> int:
        """The pool's bound, for the steps of admission."""
        ...

    def context(self, id: str, /) -> ResourceContext:
        """What a create of this registration would get."""
        ...

    def secrets(self, id: str, /) -> object:
        """What holds the secrets of this registration: a strategy's words are censored by it."""
        ...


class QuarantineListener:
    """Subclass and override; every method here does nothing.

    Called at once, when the state is consistent and the next step is planned; must not raise, may call back in.
    """

    __slots__ = ()

    def entered(self, id: str, entry: QuarantineEntry) -> None:
        """``id`` is quarantined."""

    def attempted(self, id: str, entry: QuarantineEntry, outcome: AttemptOutcome) -> None:
        """A recovery attempt ended; ``entry`` shows what is planned next (or, recovered, what was)."""

    def exhausted(self, id: str, entry: QuarantineEntry) -> None:
        """The attempts are used up; told once per quarantine."""

    def released(self, id: str, entry: QuarantineEntry, by: str, attempts: int) -> None:
        """``id`` is out, after so many attempts; its admission is half open."""

    def stepped(self, id: str, permits: int) -> None:
        """Its admission reached a step with so many permits; with ``max_size`` it is open."""

    def faulted(self, id: str, error: BaseException) -> None:
        """A strategy raised or answered nonsense; the attempt failed, or the policy's own wait is used."""
