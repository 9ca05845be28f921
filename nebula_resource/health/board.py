"""HealthBoard: how well every resource of a manager is, by its own evidence and by what others impose on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from nebula_resource.health.record import HealthRecord
from nebula_resource.health.view import HealthView, Transition
from nebula_resource.model.health import HealthPolicy, HealthState, HealthStatus, Unhealthy, Unknown

__all__ = ["BoardListener", "HealthBoard"]


class BoardListener(Protocol):
    """Who is told what the board concludes. Called at once, after the board is consistent; must not raise."""

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        """The effective state of ``id`` really changed (not merely the impact of a degradation)."""

    def own_changed(self, id: str, old: HealthState, new: HealthState) -> None:
        """The own state of ``id`` is another value, a different impact included."""

    def threshold_reached(self, id: str, failures: int) -> None:
        """``failures`` in a row made ``id`` Unhealthy; told once until it is well again or reset."""


class HealthBoard:
    """One record per public id; every method is synchronous and takes effect at once.

    A resource is added before anything is said about it; what is said about one that is not on the board (any more)
    is dropped, since a check may outlive its registration.
    """

    def __init__(
        self, listener: BoardListener, *, utc: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._listener = listener
        self._utc = utc
        self._records: dict[str, HealthRecord] = {}

    def __repr__(self) -> str:
        kinds = [record.effective.kind for record in self._records.values()]
        counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return f"<HealthBoard {counted or 'empty'}>"

    def add(self, id: str, policy: HealthPolicy) -> None:
        """Put a resource on the board as Unknown; one that is there keeps its evidence and gets the policy."""
        record = self._records.get(id)
        if record is None:
            self._records[id] = HealthRecord(policy, self._utc())
        else:
            record.policy = policy

    def forget(self, id: str) -> None:
        """Take a resource off the board. What it imposes on others is lifted by whoever imposed it."""
        self._records.pop(id, None)

    # ── evidence ──────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(
        self,
        id: str,
        found: HealthStatus | HealthState,
        at: datetime | None = None,
        *,
        is_counted: bool = False,
    ) -> None:
        """Take in what a check found.

        Args:
            id: the public id.
            found: a usable state is a pass, any other a failure; Unknown is neither.
            at: when (UTC); by default the status's own time, else now.
            is_counted: this failure is counted already, as that of a use.
        """
        record = self._records.get(id)
        if record is None:
            return
        state = found.state if isinstance(found, HealthStatus) else found
        if at is None:
            at = found.checked_at if isinstance(found, HealthStatus) else self._utc()
        record.last_checked = at
        own = record.own
        reached = record.checked(state, is_counted=is_counted)
        self._conclude(id, record, own, reached, at, "check")

    def evidence(self, id: str, *, failure: bool, reason: str = "") -> None:
        """Take in what a real use showed: a failed create or validation, a fault of a body, or success."""
        record = self._records.get(id)
        if record is None:
            return
        own = record.own
        reached = record.used(reason or "a use failed" if failure else None)
        self._conclude(id, record, own, reached, self._utc(), "use")

    def reset(self, id: str) -> None:
        """Forget the own evidence on a resource: Unknown again, all counts 0."""
        record = self._records.get(id)
        if record is not None:
            own = record.own
            record.reset()
            self._conclude(id, record, own, False, self._utc(), "reset")

    # ── causes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def impose(self, id: str, cause_id: str, state: HealthState) -> None:
        """Make ``id`` at least as ill as ``state`` on account of ``cause_id``. Counts nothing."""
        record = self._records.get(id)
        if record is not None:
            record.causes[cause_id] = state
            self._conclude(id, record, record.own, False, self._utc(), f"dependency {cause_id}")

    def lift(self, id: str, cause_id: str) -> None:
        """Take back what was imposed on account of exactly ``cause_id``; no other cause is touched."""
        record = self._records.get(id)
        if record is not None and record.causes.pop(cause_id, None) is not None:
            self._conclude(id, record, record.own, False, self._utc(), f"dependency {cause_id}")

    def bears(self, id: str, cause_id: str) -> bool:
        """Whether exactly ``cause_id`` imposes something on ``id``."""
        record = self._records.get(id)
        return record is not None and cause_id in record.causes

    # ── what is known ─────────────────────────────────────────────────────────────────────────────────────────────

    def __contains__(self, id: object) -> bool:
        return id in self._records

    def ids(self) -> tuple[str, ...]:
        """Everything on the board, in the order of adding."""
        return tuple(self._records)

    def own(self, id: str) -> HealthState:
        """What the resource's own evidence says; Unknown when it is not on the board."""
        record = self._records.get(id)
        return Unknown() if record is None else record.own

    def effective(self, id: str) -> HealthState:
        """Own evidence and causes together; Unknown when it is not on the board."""
        record = self._records.get(id)
        return Unknown() if record is None else record.effective

    def last_checked(self, id: str) -> datetime | None:
        """When a check last said anything (UTC); None: never, or it is not on the board."""
        record = self._records.get(id)
        return None if record is None else record.last_checked

    def looked_at(self, id: str) -> tuple[HealthState, datetime | None] | None:
        """`effective` and `last_checked` in one, for who asks for thousands; None when it is not on the board."""
        record = self._records.get(id)
        return None if record is None else (record.effective, record.last_checked)

    def is_failing(self, id: str) -> bool:
        """Whether its last check or use failed, or its own state is Unhealthy."""
        record = self._records.get(id)
        return record is not None and (record.failures > 0 or isinstance(record.own, Unhealthy))

    def get(self, id: str) -> HealthView | None:
        """Everything known of a resource, as a frozen copy; None when it is not on the board."""
        record = self._records.get(id)
        return None if record is None else record.view()

    def history(self, id: str) -> tuple[Transition, ...]:
        """The last 50 real changes of a resource, oldest first."""
        record = self._records.get(id)
        return () if record is None else tuple(record.history)

    def over_threshold(self) -> tuple[str, ...]:
        """Who reached the failure threshold and has not been well since, whoever acted on it or not."""
        return tuple(key for key, record in self._records.items() if record.is_over)

    # ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(
        self,
        id: str,
        record: HealthRecord,
        own_before: HealthState,
        reached: bool,
        at: datetime,
        because: str,
    ) -> None:
        """Settle the record first, then tell; a listener may call back into the board."""
        own, failures = record.own, record.failures
        change = record.settle(at, because)
        if own != own_before:
            self._listener.own_changed(id, own_before, own)
        if change is not None:
            self._listener.changed(id, *change, because)
        if reached:
            self._listener.threshold_reached(id, failures)
