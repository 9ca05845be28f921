"""Backoff: how long to wait before the next try, growing and jittered."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import inf

from nebula_resource.errors import FieldViolation, ValidationFailed

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays ``base``, ``base × factor``, … up to ``max`` seconds, each spread by ± ``jitter`` of itself."""

    base: float = 0.2  # seconds
    factor: float = 2.0
    max: float = 15.0  # seconds
    jitter: float = 0.2  # share of the delay, 0…1

    def __post_init__(self) -> None:
        violations = list(self.violations())
        if violations:
            raise ValidationFailed(violations)

    def violations(self) -> list[FieldViolation]:
        """Every rule that the values break."""
        found = []
        if not 0 < self.base < inf:
            found.append(FieldViolation("base", "must be above 0 seconds", f"{self.base}"))
        if not self.factor >= 1:
            found.append(FieldViolation("factor", "must be at least 1", f"{self.factor}"))
        if not self.base <= self.max < inf:
            found.append(FieldViolation("max", "must be at least base, and finite", f"{self.max}"))
        if not 0 <= self.jitter <= 1:
            found.append(FieldViolation("jitter", "must be from 0 to 1", f"{self.jitter}"))
        return found

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after failure number ``attempt`` (the first is 1)."""
        # The exponent is bounded so that a very long outage cannot overflow a float.
        exponent = min(max(attempt, 1) - 1, 1023)
        try:
            bare = self.base * self.factor**exponent
        except OverflowError:
            bare = self.max
        bare = min(bare, self.max)
        return bare * (1 + self.jitter * rng.uniform(-1, 1)) if self.jitter else bare
