"""Case: one quarantine while it lasts: what is planned, on the loop's clock and on people's."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine.entry import CascadeFailure, Phase, QuarantineEntry, QuarantineReason
from nebula_resource.quarantine.policy import QuarantinePolicy

__all__ = ["Case", "Finding", "as_wait", "later"]


def later(now: datetime, seconds: float) -> datetime:
    """``now`` and so many seconds; the end of time when that is beyond it."""
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination came to: a status, or the error instead of one; ``postponed``: neither way."""

    passed: bool
    status: HealthStatus
    error: BaseException | None = None
    postponed: bool = False


class Case:
    """Mutable, owned by the manager of quarantines alone.

    Invariants: ``next_at`` is set exactly while a timer for an attempt runs; ``is_held`` implies that the reason is a
    cascade whose root is another resource.
    """

    __slots__ = (
        "attempts",
        "by",
        "examination",
        "expires",
        "expires_at",
        "id",
        "is_exhausted",
        "is_held",
        "last_error",
        "level",
        "next_at",
        "next_utc",
        "phase",
        "policy",
        "quarantined_at",
        "reason",
        "recovery",
        "resource_id",
        "scope",
        "stubborn",
        "timer",
    )

    def __init__(
        self,
        id: str,
        *,
        resource_id: str,
        scope: Scope,
        reason: QuarantineReason,
        policy: QuarantinePolicy,
        by: str,
        level: int,
        quarantined_at: datetime,
    ) -> None:
        self.id = id
        self.resource_id = resource_id
        self.scope = scope
        self.reason = reason
        self.policy = policy
        self.by = by
        self.level = level
        self.quarantined_at = quarantined_at
        self.attempts = 0
        self.phase: Phase = "stopped"
        self.next_at: float | None = None  # loop time
        self.next_utc: datetime | None = None
        self.expires: float | None = None  # loop time
        self.expires_at: datetime | None = None
        self.is_exhausted = False
        self.is_held = False
        self.last_error: BaseException | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.recovery: asyncio.Task[None] | None = None
        self.examination: asyncio.Task[Finding] | None = None
        self.stubborn: asyncio.Task[HealthStatus] | None = None
        """An attempt that took no notice of its cancellation."""

    @property
    def root(self) -> str | None:
        """The other resource with which this one went down, if any."""
        reason = self.reason
        return reason.root if isinstance(reason, CascadeFailure) and reason.root != self.id else None

    @property
    def is_manual(self) -> bool:
        """Whether only a person, or an expiry that a person set, lets it out."""
        return self.reason.is_manual

    @property
    def number(self) -> int:
        """The number of the next attempt on the scale of waits: earlier quarantines that still count included."""
        return self.level + self.attempts + 1

    def entry(self) -> QuarantineEntry:
        """A frozen copy, as an operator sees it."""
        return QuarantineEntry(
            resource_id=self.resource_id,
            scope=self.scope,
            reason=self.reason,
            quarantined_at=self.quarantined_at,
            attempts=self.attempts,
            max_attempts=self.policy.max_attempts,
            next_attempt_at=self.next_utc,
            phase=self.phase,
            by=self.by,
            expires_at=self.expires_at,
        )

    def stop_timer(self) -> None:
        """Nothing is planned any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.next_at = self.next_utc = None

    def take_over(self, reason: QuarantineReason, by: str) -> None:
        """A person isolates what was in on evidence: nothing is tried any more, and an attempt that runs is given up."""
        self.drop()
        self.reason, self.by, self.is_held = reason, by, False

    def drop(self) -> None:
        """It is over: end the timer and what runs."""
        self.stop_timer()
        if self.examination is not None:
            self.examination.cancel()


def as_wait(seconds: object) -> float | None:
    """A strategy's answer as seconds to wait; None when it is no finite number of at least 0."""
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        return float(seconds) if math.isfinite(seconds) and seconds >= 0 else None
    return None
