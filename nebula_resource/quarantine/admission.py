"""Admission: lets callers back to a released resource step by step, and notices the first that fails."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

__all__ = ["Admission", "AdmissionState", "Outcome", "Permit"]

STEPS = 4
"""One permit, a quarter, a half, all of ``max_size`` (SPEC §12)."""
PERMIT_SECONDS = 30.0
"""A permit held longer is given to the next in line and counts neither way: one caller that never ends must not keep
a resource half open for ever. As long as a caller waits by default (``PoolConfig.acquire_timeout``). Whoever gets it
may keep it twice as long: where every use takes a minute, none would ever count."""


class AdmissionState(Enum):
    """Half open lets some through; then open (for all) or failed (back to quarantine), for good."""

    HALF_OPEN = "half_open"
    OPEN = "open"
    FAILED = "failed"


class Outcome(Enum):
    """How the use of a permit ended: it speaks for the resource, against it, or not at all."""

    OK = "ok"
    FAILED = "failed"
    NEUTRAL = "neutral"


class Permit:
    """The right to use a half-open resource once; given back by `leave`, exactly once (later calls do nothing)."""

    __slots__ = ("_admission", "seconds", "until")

    def __init__(self, admission: Admission, now: float, seconds: float) -> None:
        self._admission: Admission | None = admission
        self.seconds = seconds
        """How long it may be held before it is given to another."""
        self.until = now + seconds
        """Loop time in seconds after which it may be given to another."""

    def leave(self, outcome: Outcome) -> None:
        """The use ended so. A permit that was given to another meanwhile counts no more."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._left(self, outcome)


class Admission:
    """Counts permits and successes; synchronous, and told the time.

    A step holds as many permits as its share of ``max_size``; as many successes lift it to the next. With the last
    one everybody is let through and it is open. One failure ends it. Invariant: while it is half open, no more permits are out than the step
    has (more only after `resize` made the step smaller).

    Args:
        max_size: of the pool.
        stepped: called with the permits of each step reached, the last one's being ``max_size``.
        failed: called at a failure; whether the resource was led back to quarantine. If not, because evidence does
            not count now, it starts again with one permit.
    """

    __slots__ = ("_failed", "_max_size", "_out", "_seconds", "_step", "_stepped", "_successes", "state")

    def __init__(
        self, max_size: int, *, stepped: Callable[[int], object], failed: Callable[[], bool]
    ) -> None:
        self._max_size = max(1, max_size)
        self._stepped = stepped
        self._failed = failed
        self._step = 0
        self._successes = 0
        self._seconds = PERMIT_SECONDS
        # An ordered set, the oldest first; since no permit lasts less long than one before, it runs out first.
        self._out: dict[Permit, None] = {}
        self.state = AdmissionState.HALF_OPEN

    def __repr__(self) -> str:
        return f"<Admission {self.state.value}: {self.out} of {self.permits} permits out, {self._successes} successes>"

    @property
    def permits(self) -> int:
        """How many may be out at this step."""
        size = self._max_size
        return (1, -(-size // 4), -(-size // 2), size)[self._step]

    @property
    def out(self) -> int:
        """How many are out."""
        return len(self._out)

    @property
    def successes(self) -> int:
        """How many uses ended well at this step."""
        return self._successes

    @property
    def is_open(self) -> bool:
        """Whether everybody is let through."""
        return self.state is AdmissionState.OPEN

    def enter(self, now: float) -> Permit | None:
        """Take a permit at loop time ``now``; None when none is free, or it is not half open."""
        if self.state is not AdmissionState.HALF_OPEN:
            return None
        if len(self._out) >= self.permits:
            oldest = next(iter(self._out))
            if now < oldest.until:
                return None
            del self._out[oldest]
            self._seconds = max(self._seconds, 2 * oldest.seconds)
            if len(self._out) >= self.permits:
                return None
        permit = Permit(self, now, self._seconds)
        self._out[permit] = None
        return permit

    def retry_after(self, now: float) -> float:
        """Seconds until a permit is free at the latest; 0 when one is."""
        if self.state is not AdmissionState.HALF_OPEN or len(self._out) < self.permits:
            return 0.0
        return max(0.0, next(iter(self._out)).until - now)

    def fail(self) -> None:
        """Something else than a permit failed: a create or a validation in the background."""
        if self.state is AdmissionState.HALF_OPEN:
            self.close()
            if not self._failed():
                self.state = AdmissionState.HALF_OPEN
                self._step = self._successes = 0
                self._stepped(self.permits)

    def close(self) -> None:
        """It is of no use any more; permits that are out count no more. Nobody is told."""
        if self.state is AdmissionState.HALF_OPEN:
            self.state = AdmissionState.FAILED
            self._out.clear()

    def resize(self, max_size: int) -> None:
        """The pool's bound moved; the step stays."""
        self._max_size = max(1, max_size)

    def _left(self, permit: Permit, outcome: Outcome) -> None:
        if permit not in self._out:
            return
        del self._out[permit]
        if outcome is Outcome.FAILED:
            self.fail()
        elif outcome is Outcome.OK:
            self._successes += 1
            if self._successes >= self.permits:
                self._step_up()

    def _step_up(self) -> None:
        self._step += 1
        self._successes = 0
        if self._step == STEPS - 1:
            self.state = AdmissionState.OPEN
            self._out.clear()
        self._stepped(self.permits)
