"""Isolation: carries out what quarantine decides: callers refused, or let in again step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import ResourceError, Unavailable
from nebula_resource.events import (
    AdmissionStepped,
    ErrorOccurred,
    Event,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.manager.registration import Cause, Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.model.printable import printable
from nebula_resource.quarantine import HalfOpenGate, QuarantineEntry, QuarantineListener
from nebula_resource.quarantine.entry import reason_of
from nebula_resource.quarantine.ward import AttemptOutcome

if TYPE_CHECKING:
    from nebula_resource.manager.watch import Watch

__all__ = ["Isolation"]

log = logging.getLogger("nebula_resource.manager")


class Isolation(QuarantineListener):
    """What quarantine tells becomes a refusal, a gate, an event; the watch is told what else follows from it."""

    def __init__(
        self,
        registry: Registry,
        watch: Watch,
        publish: Callable[..., None],
        is_logged: Callable[[type[Event]], bool],
    ) -> None:
        self._registry = registry
        self._watch = watch
        self._publish = publish
        self._is_logged = is_logged

    def entered(self, id: str, entry: QuarantineEntry) -> None:
        """Callers are refused from now on."""
        registration = self._registry.get(id)
        if registration is None:
            return
        self._take_gate_out(registration)
        registration.refuse(Cause.QUARANTINED, self._quarantined(registration))
        by = None if entry.by == "automatic" else entry.by
        detail = reason_of(id, entry.reason)
        self._publish(registration, Quarantined, reason=entry.reason.kind, detail=detail, by=by)
        if not self._is_logged(Quarantined):
            extra = {"resource.id": registration.key, "because": printable(detail)}
            level = logging.ERROR if by is None else logging.WARNING
            log.log(level, "resource quarantined", extra=extra)
        self._watch.isolated(registration)

    def _quarantined(self, registration: Registration) -> Callable[[], ResourceError]:
        public_id = registration.public_id
        return lambda: Unavailable(
            "quarantined",
            resource_id=registration.key,
            retryable=True,
            retry_after=self._watch.quarantine.retry_after(public_id),
        )

    def attempted(self, id: str, entry: QuarantineEntry, outcome: AttemptOutcome) -> None:
        """A recovery attempt ended; after the last one there is no next."""
        next_in_s = None if outcome == "recovered" else self._watch.quarantine.retry_after(id)
        self._tell(id, RecoveryAttempted, outcome=outcome, attempt=entry.attempts, next_in_s=next_in_s)

    def exhausted(self, id: str, entry: QuarantineEntry) -> None:
        """The attempts are used up."""
        then = "park" if entry.phase == "parked" else "stop"
        self._tell(id, QuarantineExhausted, attempts=entry.attempts, then=then)

    def released(self, id: str, entry: QuarantineEntry, by: str, attempts: int) -> None:
        """Its own health is unknown again, and callers are let in step by step."""
        registration = self._registry.get(id)
        if registration is None:
            return
        admission = self._watch.quarantine.admission(id)
        if admission is not None:
            gate = HalfOpenGate(
                admission, resource_id=registration.key, is_fault=registration.resource.is_fault
            )
            registration.gates = (*registration.gates, gate)
        registration.allow(Cause.QUARANTINED)
        self._publish(registration, QuarantineReleased, by=by, attempts=attempts)
        if not self._is_logged(QuarantineReleased):
            log.info(
                "resource released from quarantine",
                extra={"resource.id": registration.key, "by": printable(by)},
            )
        self._watch.readmitted(registration)

    def stepped(self, id: str, permits: int) -> None:
        """The admission lets more in, or all."""
        registration = self._registry.get(id)
        if registration is None:
            return
        if self._watch.quarantine.admission(id) is None:
            self._take_gate_out(registration)
        self._publish(registration, AdmissionStepped, permits=permits)
        self._watch.changed_road(registration)

    def faulted(self, id: str, error: BaseException) -> None:
        """A recovery strategy raised or answered nonsense."""
        self._tell(id, ErrorOccurred, code="recovery_strategy", error=type(error).__name__)

    @staticmethod
    def _take_gate_out(registration: Registration) -> None:
        registration.gates = tuple(gate for gate in registration.gates if not isinstance(gate, HalfOpenGate))

    def _tell(self, id: str, event: type[Event], **fields: Any) -> None:
        registration = self._registry.get(id)
        if registration is not None:
            self._publish(registration, event, **fields)
