"""HealthRecord: the evidence on one resource, and what it adds up to."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from nebula_resource.health.view import HealthView, Transition
from nebula_resource.model.health import Degraded, HealthPolicy, HealthState, Unhealthy, Unknown

__all__ = ["HISTORY", "HealthRecord", "combine", "is_real_change"]

HISTORY = 50
"""Transitions kept per resource, for an operator's history strip (notes/operations.md §1a)."""


def combine(own: HealthState, causes: dict[str, HealthState]) -> HealthState:
    """The worst of a resource's own state and all that is imposed on it.

    On a tie the own state wins, then the cause imposed first. An Unknown loses against every cause: ignorance about
    a resource must not hide what is known of those it needs.
    """
    worst = own
    for state in causes.values():
        if isinstance(worst, Unknown) or (not isinstance(state, Unknown) and state.score() < worst.score()):
            worst = state
    return worst


def is_real_change(old: HealthState, new: HealthState) -> bool:
    """Whether people should hear of it: another kind, served now and refused before, or another degradation.

    An impact that drifts from check to check is none, and neither is another reason while it is Unhealthy: a server
    that is down says "reset", "refused" and "timed out" in turn, and that would be an event per check. That it cannot
    come back any more is one.
    """
    if type(old) is not type(new) or old.is_usable() != new.is_usable():
        return True
    if isinstance(old, Unhealthy) and isinstance(new, Unhealthy):
        return old.recoverable != new.recoverable
    return old.because != new.because


class HealthRecord:
    """Counts failures and passes in a row and moves the own state by the policy's thresholds.

    Two streaks, because a check and a real use see different things: a passing check ends both (it went the whole
    way), a good use ends only that of uses, so that creates which succeed cannot hide a check that fails. Failures
    of both count together.

    Invariants: ``passes`` is 0 unless the own state is Unhealthy; ``is_over`` implies that it is.
    """

    __slots__ = (
        "causes",
        "effective",
        "history",
        "is_over",
        "last_checked",
        "own",
        "passes",
        "policy",
        "probe_failures",
        "since",
        "use_failures",
    )

    def __init__(self, policy: HealthPolicy, now: datetime) -> None:
        self.policy = policy
        self.own: HealthState = Unknown()
        self.causes: dict[str, HealthState] = {}
        self.effective: HealthState = self.own
        self.probe_failures = 0
        self.use_failures = 0
        self.passes = 0
        self.is_over = False
        """Whether the failure threshold was reached and the resource has not become well since."""
        self.since = now
        self.last_checked: datetime | None = None
        self.history: deque[Transition] = deque(maxlen=HISTORY)

    @property
    def failures(self) -> int:
        """Failures in a row, of checks and uses together."""
        return self.probe_failures + self.use_failures

    def checked(self, state: HealthState, *, is_counted: bool = False) -> bool:
        """Take in what a check found; True when this reached the failure threshold.

        ``is_counted``: the failure that it met was taken in as that of a use, and is one failure all the same.
        """
        if isinstance(state, Unknown):
            # No evidence either way: it ends trust in a good state, but does not make a bad one usable.
            if not isinstance(self.own, Unhealthy):
                self.own = state
            return False
        if state.is_usable():
            self._passed(state)
            return False
        self.probe_failures += not is_counted
        # "It cannot come back" is believed at once; any other failure waits for the threshold.
        return self._failed(state, at_once=isinstance(state, Unhealthy) and not state.recoverable)

    def used(self, failure: str | None) -> bool:
        """Take in a real use that failed for the reason given, or went well (None); True at the threshold."""
        if failure is not None:
            self.use_failures += 1
            # A failed use does not unsay a check's "it cannot come back".
            lost = isinstance(self.own, Unhealthy) and not self.own.recoverable
            return self._failed(Unhealthy(failure, not lost), at_once=False)
        self.use_failures = 0
        if isinstance(self.own, Unknown):
            self.own = HealthState.healthy()
        return False

    def reset(self) -> None:
        """Forget the own evidence: Unknown, all counts 0. What others impose stays."""
        self.own = Unknown()
        self.probe_failures = self.use_failures = self.passes = 0
        self.is_over = False

    def settle(self, now: datetime, because: str) -> tuple[HealthState, HealthState] | None:
        """Recompute the effective state; return old and new when people should hear of it."""
        old, new = self.effective, combine(self.own, self.causes)
        self.effective = new
        if not is_real_change(old, new):
            return None
        self.since = now
        self.history.append(Transition(now, old, new, because))
        return old, new

    def view(self) -> HealthView:
        """A frozen copy."""
        return HealthView(
            own=self.own,
            effective=self.effective,
            causes=dict(self.causes),
            since=self.since,
            last_checked=self.last_checked,
            failures=self.failures,
        )

    def _passed(self, state: HealthState) -> None:
        self.probe_failures = self.use_failures = 0
        if isinstance(self.own, Unhealthy):
            self.passes += 1
            if self.passes < self.policy.success_threshold:
                return
        self.passes = 0
        self.is_over = False
        self.own = state

    def _failed(self, state: HealthState, *, at_once: bool) -> bool:
        self.passes = 0
        over = self.failures >= self.policy.failure_threshold
        if over or at_once:
            unrecoverable = isinstance(state, Unhealthy) and not state.recoverable
            self.own = Unhealthy(state.because, not unrecoverable)
        elif isinstance(state, Degraded) and not isinstance(self.own, Unhealthy):
            self.own = state
        reached = over and not self.is_over
        self.is_over = self.is_over or over
        return reached
