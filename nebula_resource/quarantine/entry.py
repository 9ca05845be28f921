"""QuarantineEntry: one isolated resource as an operator sees it: why, since when, what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal, TypeAlias, final

from pydantic import Field

from nebula_resource.model.scope import Scope

__all__ = [
    "CascadeFailure",
    "ConsecutiveFailures",
    "Manual",
    "Phase",
    "QuarantineEntry",
    "QuarantineReason",
    "reason_of",
]


@final
@dataclass(frozen=True, slots=True)
class ConsecutiveFailures:
    """It failed ``n`` times in a row."""

    n: int
    kind: Literal["consecutive_failures"] = "consecutive_failures"
    is_manual: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"health check failed ({self.n} in a row)" if self.n != 1 else "failed once"


@final
@dataclass(frozen=True, slots=True)
class CascadeFailure:
    """It went down with ``root``, a public id: most of what depends on that resource fails."""

    root: str
    kind: Literal["cascade"] = "cascade"
    is_manual: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"failed with '{self.root}'"


@final
@dataclass(frozen=True, slots=True)
class Manual:
    """A person isolated it and says why in ``text``."""

    text: str
    kind: Literal["manual"] = "manual"
    is_manual: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"manual: {self.text}"


def reason_of(id: str, reason: ConsecutiveFailures | CascadeFailure | Manual) -> str:
    """Why ``id``, a public id, is in, for people."""
    if isinstance(reason, CascadeFailure) and reason.root == id:
        return "most of what needs it fails"  # it did not fail with itself
    return str(reason)


QuarantineReason: TypeAlias = Annotated[
    ConsecutiveFailures | CascadeFailure | Manual, Field(discriminator="kind")
]

Phase: TypeAlias = Literal["waiting", "probing", "parked", "stopped"]
"""waiting: for a time (the next attempt, an expiry, or the release of a cascade's root); probing: an attempt runs;
parked: attempts were used up, probed rarely; stopped: only a person releases it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """One quarantine at one moment. Times are UTC, for people; scheduling goes by the loop's clock.

    ``attempts`` counts the attempts made. ``next_attempt_at`` is None while none is planned: a manual
    quarantine, a stopped one, a member of a cascade whose root is still isolated. ``by`` says who isolated it.
    """

    resource_id: str
    scope: Scope
    reason: QuarantineReason
    quarantined_at: datetime
    attempts: int
    max_attempts: int
    next_attempt_at: datetime | None
    phase: Phase
    by: str
    expires_at: datetime | None = None
