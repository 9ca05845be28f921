"""Watch: where evidence becomes a verdict, and a verdict a refusal; direct calls, an event never steers."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import CreateFailed, ResourceError, Unavailable
from nebula_resource.events import (
    AdmissionStepped,
    ErrorOccurred,
    Event,
    EventBus,
    HealthChanged,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.health import HealthBoard, HealthChecker, Propagation
from nebula_resource.hooks import HookEvent, HookRegistry
from nebula_resource.hooks.payload import OnHealthChange
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.probes import Probes
from nebula_resource.manager.registration import Cause, Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthState, HealthStatus, Postponed, Unhealthy, Unknown
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.quarantine import (
    ConsecutiveFailures,
    HalfOpenGate,
    QuarantineEntry,
    QuarantineListener,
    QuarantineManager,
)
from nebula_resource.quarantine.ward import AttemptOutcome

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.creation import Creation

__all__ = ["Watch"]

log = logging.getLogger("nebula_resource.manager")

Open = Callable[[Registration], Any]


class Watch(QuarantineListener):
    """Introduces the pool's evidence, the health board, the checker and quarantine to each other.

    It is the listener of all of them. Every way of a verdict to callers goes through ``registration.refuse`` and
    ``registration.allow``.
    """

    def __init__(
        self,
        registry: Registry,
        graph: DependencyGraph[str],
        bus: EventBus,
        hooks: HookRegistry,
        tasks: OwnedTasks,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._registry = registry
        self._bus = bus
        self._hooks = hooks
        self._tasks = tasks
        self.board = HealthBoard(self)
        self.propagation = Propagation(self.board, graph)
        self.checker = HealthChecker(self, rng=rng)
        self.quarantine = QuarantineManager(self, self, rng=rng)
        self._probes: dict[str, Probes] = {}
        self._creations: dict[str, Creation] = {}
        self.reopen: Callable[[Registration], Any] | None = None
        """Opens a registration whose opening had failed; set by the manager."""

    # ── who is watched ──

    def begin(self, registration: Registration, creation: Creation) -> None:
        """Look after a registration from now on."""
        public_id = registration.public_id
        self._creations[public_id] = creation
        if registration.health is None:
            return
        self.board.add(public_id, registration.health)
        self._probes[public_id] = Probes(registration, registration.health, creation.context())
        self.checker.watch(
            public_id,
            self._probes[public_id].idle_or_fresh,
            registration.health,
            resource=registration.resource,
            backs_off=registration.quarantine is None,
        )
        self.propagation.refresh()

    def end(self, registration: Registration) -> None:
        """Look after it no more."""
        public_id = registration.public_id
        self.checker.unwatch(public_id)
        self.propagation.rose(public_id)
        self.quarantine.forget(public_id)
        if public_id in self.board:
            self.board.forget(public_id)
        self._probes.pop(public_id, None)
        self._creations.pop(public_id, None)
        self.propagation.refresh()

    async def check(self, registration: Registration) -> HealthStatus:
        """Check now, or wait for the check that is under way."""
        return await self.checker.check(registration.public_id)

    # ── evidence from pools ──

    def saw(self, registration: Registration, error: BaseException | None) -> None:
        """A create went well, or a create, a validation or a body failed."""
        public_id = registration.public_id
        if error is not None and not registration.is_open:
            return  # an opening that fails has a verdict of its own
        if error is not None:
            self.quarantine.failed(public_id)
        if public_id in self.board:
            cause = error.__cause__ if isinstance(error, CreateFailed) else error
            self.board.evidence(
                public_id, failure=error is not None, reason="" if cause is None else type(cause).__name__
            )

    # ── the checker's findings (CheckListener) ──

    def checked(self, id: str, status: HealthStatus) -> None:
        """A periodic or asked-for check landed."""
        if id in self.board:
            self.board.observe(id, status)

    def postponed(self, id: str, status: HealthStatus) -> None:
        """Nothing to check with: real use is the evidence."""

    # ── the board's verdicts (BoardListener) ──

    def own_changed(self, id: str, old: HealthState, new: HealthState) -> None:
        """Its own evidence says something else now: dependents are told."""
        registration = self._registry.get(id)
        if registration is None:
            return
        if isinstance(new, Unhealthy):
            self._fell(registration)
        elif id not in self.quarantine:
            self.propagation.rose(id)

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        """Callers are refused, or served again."""
        registration = self._registry.get(id)
        if registration is None:
            return
        if new.is_usable():
            registration.allow(Cause.UNHEALTHY)
            if new.kind == "degraded":
                log.warning(
                    "resource degraded", extra={"resource.id": registration.key, "because": new.because}
                )
        else:
            recoverable = not isinstance(new, Unhealthy) or new.recoverable
            registration.refuse(Cause.UNHEALTHY, self._unhealthy(registration, recoverable))
            if not recoverable:
                registration.pool.retire_where(lambda _: True, CleanupReason.UNHEALTHY)
        causes = tuple(filter(None, (because, new.because)))
        self._publish(registration, HealthChanged, old=old.kind, new=new.kind, because=causes)
        self._run_hooks(registration, old, new, causes)

    def threshold_reached(self, id: str, failures: int) -> None:
        """So many failures in a row: quarantine, where it is on."""
        registration = self._registry.get(id)
        if registration is not None and registration.quarantine is not None:
            self.quarantine.enter_automatically(
                id,
                ConsecutiveFailures(failures),
                resource_id=registration.key,
                scope=registration.scope,
                policy=registration.quarantine,
            )

    def quarantine_failed_opening(self, registration: Registration) -> None:
        """It could not be opened: callers are refused, and recovery opens it when it can.

        Where quarantine is off, it stays closed until it is registered again.
        """
        if registration.quarantine is not None and registration.public_id not in self.quarantine:
            self.quarantine.enter(
                registration.public_id,
                ConsecutiveFailures(1),
                resource_id=registration.key,
                scope=registration.scope,
                policy=registration.quarantine,
            )

    def _fell(self, registration: Registration) -> None:
        depth = registration.health.propagate_depth if registration.health is not None else 3
        self.propagation.fell(registration.public_id, depth=depth)

    def _unhealthy(self, registration: Registration, recoverable: bool) -> Callable[[], ResourceError]:
        interval = registration.health.interval if registration.health is not None and recoverable else None
        return lambda: Unavailable(
            "unhealthy", resource_id=registration.key, retryable=recoverable, retry_after=interval
        )

    def _run_hooks(
        self, registration: Registration, old: HealthState, new: HealthState, because: tuple[str, ...]
    ) -> None:
        hooks = self._hooks.for_resource(registration.key, HookEvent.HEALTH_CHANGED)
        if not hooks:
            return
        payload = OnHealthChange(
            resource_id=registration.key,
            public_id=registration.public_id,
            scope=registration.scope,
            old=old.kind,
            new=new.kind,
            because=because,
        )

        async def run() -> None:
            began = await self._hooks.run_before(hooks, payload)
            await began.after(None)

        self._tasks.start(run(), name=f"health hooks {registration.public_id}")

    # ── what quarantine asks (Ward) ──

    async def probe(self, id: str, /) -> HealthStatus:
        """One check on a fresh instance; a registration that never opened is opened by it."""
        registration = self._registry.get(id)
        if registration is None:
            raise Postponed("it is registered no more")
        if not registration.is_open:
            assert self.reopen is not None, "the manager sets it"
            await self.reopen(registration)
            return HealthStatus.healthy() if registration.is_open else HealthStatus.unhealthy("not open")
        probes = self._probes.get(id)
        if probes is None:
            async with registration.pool.borrow(fresh=True) as borrowed:
                borrowed.is_good = await registration.resource.is_valid(borrowed.instance)
                return HealthStatus.healthy() if borrowed.is_good else HealthStatus.unhealthy("not valid")
        return await probes.fresh()

    def success_threshold(self, id: str, /) -> int:
        """How many passes in a row a release needs."""
        registration = self._registry.get(id)
        if registration is None or registration.health is None:
            return 1
        return registration.health.success_threshold

    def max_size(self, id: str, /) -> int:
        """The pool's bound."""
        registration = self._registry.get(id)
        return 1 if registration is None else registration.pool.ledger.max_size

    def context(self, id: str, /) -> ResourceContext:
        """What a create of this registration would get."""
        creation = self._creations.get(id)
        return ResourceContext() if creation is None else creation.context()

    # ── what quarantine tells (QuarantineListener) ──

    def entered(self, id: str, entry: QuarantineEntry) -> None:
        """Callers are refused from now on."""
        registration = self._registry.get(id)
        if registration is None:
            return
        registration.gates = tuple(gate for gate in registration.gates if not isinstance(gate, HalfOpenGate))
        registration.refuse(Cause.QUARANTINED, self._quarantined(registration))
        self._fell(registration)
        self._publish(
            registration, Quarantined, reason=entry.reason.kind, detail=str(entry.reason), by=entry.by
        )
        log.error(
            "resource quarantined", extra={"resource.id": registration.key, "because": str(entry.reason)}
        )

    def _quarantined(self, registration: Registration) -> Callable[[], ResourceError]:
        public_id = registration.public_id
        return lambda: Unavailable(
            "quarantined",
            resource_id=registration.key,
            retryable=True,
            retry_after=self.quarantine.retry_after(public_id),
        )

    def attempted(self, id: str, entry: QuarantineEntry, outcome: AttemptOutcome) -> None:
        """A recovery attempt ended."""
        registration = self._registry.get(id)
        if registration is not None:
            self._publish(
                registration,
                RecoveryAttempted,
                outcome=outcome,
                attempt=entry.attempts,
                next_in_s=self.quarantine.retry_after(id),
            )

    def exhausted(self, id: str, entry: QuarantineEntry) -> None:
        """The attempts are used up."""
        registration = self._registry.get(id)
        if registration is not None:
            self._publish(registration, QuarantineExhausted, attempts=entry.attempts)

    def released(self, id: str, entry: QuarantineEntry, by: str, attempts: int) -> None:
        """Its own health is unknown again, and callers are let in step by step."""
        registration = self._registry.get(id)
        if registration is None:
            return
        admission = self.quarantine.admission(id)
        if admission is not None:
            gate = HalfOpenGate(
                admission, resource_id=registration.key, is_fault=registration.resource.is_fault
            )
            registration.gates = (*registration.gates, gate)
        if id in self.board:
            self.board.reset(id)
        self.propagation.rose(id)
        registration.allow(Cause.UNHEALTHY)
        registration.allow(Cause.QUARANTINED)
        self._publish(registration, QuarantineReleased, by=by, attempts=attempts)
        if registration.is_open and self.on_released is not None:
            self.on_released(registration)
        log.info("resource released from quarantine", extra={"resource.id": registration.key, "by": by})
        self._changed_road(registration)

    def stepped(self, id: str, permits: int) -> None:
        """The admission lets more in, or all."""
        registration = self._registry.get(id)
        if registration is None:
            return
        if self.quarantine.admission(id) is None:
            registration.gates = tuple(
                gate for gate in registration.gates if not isinstance(gate, HalfOpenGate)
            )
        self._publish(registration, AdmissionStepped, permits=permits)
        self._changed_road(registration)

    def faulted(self, id: str, error: BaseException) -> None:
        """A recovery strategy raised or answered nonsense."""
        registration = self._registry.get(id)
        if registration is not None:
            self._publish(registration, ErrorOccurred, code="recovery_strategy", error=type(error).__name__)

    on_released: Callable[[Registration], None] | None = None
    """Called when callers may have a registration again; set by the manager."""
    on_road_changed: Callable[[Registration], None] | None = None
    """Called when the gates of a registration changed; set by the manager."""

    def _changed_road(self, registration: Registration) -> None:
        if self.on_road_changed is not None:
            self.on_road_changed(registration)

    def _publish(self, registration: Registration, event: type[Event], **fields: Any) -> None:
        self._bus.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )

    async def close(self) -> None:
        """End every check and every attempt."""
        await self.checker.close()
        await self.quarantine.close()

    def health_of(self, registration: Registration) -> HealthState:
        """The effective health; Unknown where it is not watched."""
        public_id = registration.public_id
        return self.board.effective(public_id) if public_id in self.board else Unknown()
