"""QuarantinePolicy: when recovery is tried, and what happens when it keeps failing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast, final

from nebula_resource.model.backoff import Backoff
from nebula_resource.model.policy import Rules
from nebula_resource.quarantine.recovery import RecoveryStrategy

__all__ = ["OnExhausted", "QuarantinePolicy", "RecoveryBackoff"]

OnExhausted: TypeAlias = Literal["park", "stop"]


@final
@dataclass(frozen=True, slots=True)
class RecoveryBackoff(Backoff):
    """Waits between recovery attempts: 1, 2, 4 … 60 seconds, each ± 20 % (SPEC §12).

    The spread keeps many processes from probing a server that just came back at the same instant.
    """

    base: float = 1.0  # seconds
    factor: float = 2.0
    max: float = 60.0  # seconds
    jitter: float = 0.2  # share of the wait, 0…1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePolicy:
    """How a quarantined resource comes back.

    After ``max_attempts`` failed attempts it is parked (``on_exhausted="park"``: probed every ``park_interval``
    seconds, so that it heals after a long outage without a person) or stopped until a person releases it
    (``"stop"``). ``strategy`` replaces the default attempt or its waits (code: the one field that a JSON round trip
    does not carry).

    Raises:
        ValidationFailed: with every rule that is broken.
    """

    backoff: RecoveryBackoff = field(default_factory=RecoveryBackoff)
    max_attempts: int = 10
    on_exhausted: OnExhausted = "park"
    park_interval: float = 300.0  # seconds
    strategy: RecoveryStrategy | None = None

    def __post_init__(self) -> None:
        rules = Rules()
        # Without a type checker a wrong type arrives here, so both are looked at as what they may be.
        backoff, strategy = cast("object", self.backoff), cast("object", self.strategy)
        if not isinstance(backoff, RecoveryBackoff):
            rules.breach("backoff", "must be a RecoveryBackoff", backoff)
        rules.count("max_attempts", self.max_attempts, least=1)
        if self.on_exhausted not in ("park", "stop"):
            rules.breach("on_exhausted", "must be 'park' or 'stop'", self.on_exhausted)
        rules.number("park_interval", self.park_interval, above=0)
        if strategy is not None and not isinstance(strategy, RecoveryStrategy):
            rules.breach("strategy", "must be a RecoveryStrategy", strategy)
        rules.raise_if_broken()
