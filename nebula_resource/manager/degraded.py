"""Degradations: who is degraded now, how many were served meanwhile, and the gate that lets fewer out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from nebula_resource.errors import PoolExhausted
from nebula_resource.events import Event, HealthChanged
from nebula_resource.model.health import Degraded, HealthState
from nebula_resource.model.printable import printable

if TYPE_CHECKING:
    from nebula_resource.manager.registration import Registration

__all__ = ["Degradations", "LimitGate", "limit_for"]

log = logging.getLogger("nebula_resource.manager")


def limit_for(impact: float, max_size: int) -> int:
    """How many of a degraded resource may be out: max(1, ⌈(1 − impact) × max⌉) (SPEC §11)."""
    # Rounded first: (1 − 0.9) × 10 is a hair above 1 in floating point, and would be 2.
    return max(1, math.ceil(round((1 - impact) * max_size, 9)))


class LimitTicket:
    """One caller that is in."""

    __slots__ = ("_gate",)

    def __init__(self, gate: LimitGate) -> None:
        self._gate = gate

    def leave(self, error: BaseException | None) -> None:
        """The use ended, however it did."""
        self._gate.inside -= 1


class LimitGate:
    """Lets at most ``limit`` uses of a degraded resource out; those that were out before count too."""

    __slots__ = ("_registration", "inside", "limit")

    def __init__(self, registration: Registration, limit: int) -> None:
        self._registration = registration
        self.limit = limit
        self.inside = 0

    def enter(self) -> LimitTicket:
        """Let a caller in.

        Raises:
            PoolExhausted: as many are out as may be.
        """
        # Who came before this gate is only in the pool's count, who still waits for an instance only in ours.
        if max(self.inside, self._registration.pool.ledger.in_use) >= self.limit:
            raise PoolExhausted(self.limit, 0, resource_id=self._registration.key)
        self.inside += 1
        return LimitTicket(self)


class Degradations:
    """Degraded below 0.8: served, counted, warned of once per change; limited where the policy says so."""

    def __init__(self, is_logged: Callable[[type[Event]], bool] = lambda _: False) -> None:
        self._is_logged = is_logged
        self._began: dict[str, int] = {}

    # ── counting ──

    def changed(self, registration: Registration, new: HealthState) -> None:
        """The effective state really changed."""
        public_id = registration.public_id
        if isinstance(new, Degraded) and new.is_usable():
            if public_id not in self._began:
                self._began[public_id] = registration.pool.ledger.acquisitions
            if not self._is_logged(HealthChanged):
                log.warning(
                    "resource degraded",
                    extra={
                        "resource.id": registration.key,
                        "because": printable(new.because),
                        "impact": new.impact,
                    },
                )
        elif public_id in self._began:
            log.info(
                "resource degraded no more",
                extra={"resource.id": registration.key, "served": self.served(registration)},
            )
            del self._began[public_id]

    def served(self, registration: Registration) -> int:
        """How many uses were handed out since it became degraded; 0 when it is not."""
        began = self._began.get(registration.public_id)
        # A reload brings a new pool, which counts from 0.
        return 0 if began is None else max(0, registration.pool.ledger.acquisitions - began)

    def forget(self, public_id: str) -> None:
        """It is gone."""
        self._began.pop(public_id, None)

    # ── limiting ──

    def limit(self, registration: Registration, own: HealthState) -> bool:
        """Put the gate in, move its limit, or take it out, by the resource's own state; whether the gates changed."""
        gate = next((each for each in registration.gates if isinstance(each, LimitGate)), None)
        wanted = (
            isinstance(own, Degraded)
            and registration.health is not None
            and registration.health.limit_degraded
        )
        if isinstance(own, Degraded) and wanted:
            limit = limit_for(own.impact, registration.pool.ledger.max_size)
            if gate is not None:
                gate.limit = limit
                return False
            registration.gates = (*registration.gates, LimitGate(registration, limit))
            return True
        if gate is None:
            return False
        registration.gates = tuple(each for each in registration.gates if each is not gate)
        return True
