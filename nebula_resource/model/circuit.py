"""Circuit: stops an operation that keeps failing, and lets one try through when its time has come."""

from __future__ import annotations

from enum import Enum

__all__ = ["Circuit", "CircuitState"]


EARLY = 0.0006
"""Seconds by which a timer set for the end of a pause may ring before it: uvloop's ring at the nearest millisecond, and
sums of floats differ in their last place. Whoever is woken then is not woken again."""


class CircuitState(Enum):
    """Closed passes all, open passes none, half-open one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """``threshold`` failures in a row open it for ``open_for`` seconds; then one trial decides.

    It is synchronous and reads no clock: the caller passes ``now`` (seconds, ``loop.time()``).
    """

    __slots__ = ("_failures", "_open_for", "_opened_at", "_threshold", "_trial_out", "opened")

    def __init__(self, threshold: int, open_for: float) -> None:
        self._threshold = threshold
        self._open_for = open_for
        self._failures = 0
        self._opened_at: float | None = None
        self._trial_out = False
        self.opened = 0
        """How often it opened."""

    def __repr__(self) -> str:
        return f"<Circuit failures={self._failures} opened_at={self._opened_at} trial_out={self._trial_out}>"

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    @property
    def is_closed(self) -> bool:
        """Whether everything passes."""
        return self._opened_at is None

    def state(self, now: float) -> CircuitState:
        """Where it stands at ``now``."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        is_over = now >= self._opened_at + self._open_for - EARLY
        return CircuitState.HALF_OPEN if is_over else CircuitState.OPEN

    def passes(self, now: float) -> bool:
        """Whether one more operation may start at ``now``."""
        state = self.state(now)
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._trial_out)

    def retry_after(self, now: float) -> float:
        """Seconds until a trial may start; 0 when it may."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._open_for - now)

    def start(self) -> None:
        """An operation that `passes` allowed begins."""
        if self._opened_at is not None:
            self._trial_out = True

    def succeeded(self) -> bool:
        """An operation went well; True when this closed the circuit."""
        was_open = self._opened_at is not None
        self._failures = 0
        self._opened_at = None
        self._trial_out = False
        return was_open

    def failed(self, now: float) -> bool:
        """An operation failed; True when this opened the circuit (again)."""
        self._failures += 1
        if self._opened_at is None and self._failures < self._threshold:
            return False
        newly = self._opened_at is None or self._trial_out
        if newly:
            self._opened_at = now
            self.opened += 1
        self._trial_out = False
        return newly

    def abandoned(self) -> None:
        """An operation ended without a verdict (cancelled): another trial may start."""
        self._trial_out = False
