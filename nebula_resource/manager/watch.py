"""Watch: where evidence becomes a verdict, and a verdict a refusal; direct calls, an event never steers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import CreateFailed, ResourceError, Unavailable
from nebula_resource.events import CheckerSuspected, Event, EventBus, HealthChanged
from nebula_resource.health import CheckTally, HealthBoard, HealthChecker, Propagation, Suspicion
from nebula_resource.hooks import HookRegistry
from nebula_resource.manager.blame import refused_dependency
from nebula_resource.manager.degraded import Degradations
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.health_hooks import HealthHooks
from nebula_resource.manager.incidents import Incidents
from nebula_resource.manager.isolation import Isolation
from nebula_resource.manager.probes import Probes
from nebula_resource.manager.registration import Cause, Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.manager.ward import RegistrationWard
from nebula_resource.model.health import HealthPolicy, HealthState, HealthStatus, Unhealthy, Unknown
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.why import why
from nebula_resource.quarantine import ConsecutiveFailures, QuarantineManager

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.creation import Creation
    from nebula_resource.model.ports import Tracing

__all__ = ["Watch"]

SUSPICION_WINDOW = 30.0
"""Seconds within which nearly everything must fail, while nothing is watched: `HealthPolicy.interval`."""


class Watch:
    """Introduces the pool's evidence, the health board, the checker, quarantine and cascades to each other.

    It listens to the board, the checker and the suspicion; `Isolation` and `Incidents` listen for it to quarantine and
    to cascades. A verdict reaches callers by ``registration.refuse`` and ``registration.allow`` alone.
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
        self._graph = graph
        self._bus = bus
        self._health_hooks = HealthHooks(hooks, tasks)
        self._probes: dict[str, Probes] = {}
        self._creations: dict[str, Creation] = {}
        self.board = HealthBoard(self)
        self.propagation = Propagation(self.board, graph)
        self.checker = HealthChecker(self, rng=rng)
        self.suspicion = Suspicion(graph, self, interval=SUSPICION_WINDOW)
        self._ward = RegistrationWard(registry, self._probes, self._creations)
        isolation = Isolation(registry, self, self._publish, bus.is_logged)
        self.quarantine = QuarantineManager(self._ward, isolation, rng=rng)
        self.incidents = Incidents(registry, graph, self.quarantine, self._publish)
        self.degradations = Degradations(bus.is_logged)
        self.checks = CheckTally()
        self.tracing: Tracing | None = None
        """Stands around creates and health checks; set by the manager."""
        self.on_released: Callable[[Registration], None] | None = None
        """Called when callers may have a registration again; set by the manager."""
        self.on_road_changed: Callable[[Registration], None] | None = None
        """Called when the gates of a registration changed; set by the manager."""

    @property
    def reopen(self) -> Callable[[Registration], Awaitable[None]] | None:
        """Opens a registration whose opening had failed; set by the manager."""
        return self._ward.reopen

    @reopen.setter
    def reopen(self, reopen: Callable[[Registration], Awaitable[None]]) -> None:
        self._ward.reopen = reopen

    # ── who is watched ──

    def begin(self, registration: Registration, creation: Creation) -> None:
        """Look after a registration from now on; with health off, only a probe of recovery or of a person looks at it."""
        public_id = registration.public_id
        self._creations[public_id] = creation
        probes = self._probes[public_id] = Probes(
            registration,
            registration.health or HealthPolicy(),
            creation.context,
            states=lambda: self._needed_by(public_id),
            is_failing=lambda: self._goes_on_failing(public_id),
            is_isolated=lambda: public_id in self.quarantine,
            tracing=lambda: self.tracing,
        )
        if registration.health is None:
            return
        self.board.add(public_id, registration.health)
        self.checker.watch(
            public_id,
            probes.idle_or_fresh,
            registration.health,
            resource=registration.resource,
            backs_off=registration.quarantine is None,
            rests=lambda: probes.rests() and not self.quarantine.is_frozen,
        )
        self.propagation.refresh()
        self._set_suspicion_window()

    def end(self, registration: Registration) -> None:
        """Look after it no more."""
        public_id = registration.public_id
        self.checker.unwatch(public_id)
        self.propagation.rose(public_id)
        self.quarantine.forget(public_id)
        self.incidents.forget(public_id)
        if public_id in self.board:
            self.board.forget(public_id)
        self.degradations.forget(public_id)
        self._probes.pop(public_id, None)
        self._creations.pop(public_id, None)
        self.propagation.refresh()
        self.suspicion.forget(public_id)
        if not self._registry.has_others(registration):
            self.checks.forget(registration.key)
        self._set_suspicion_window()

    def follow(self, registration: Registration, creation: Creation) -> None:
        """Its resource or its policy is another now: checks go by that one; the evidence so far is kept."""
        self.begin(registration, creation)
        if registration.health is not None:
            return
        public_id = registration.public_id
        # With nobody looking, nothing that was found stays: no refusal, no limit, no place in an incident, no doubt.
        self.checker.unwatch(public_id)
        if public_id not in self.quarantine:
            self.propagation.rose(public_id)
        self.board.forget(public_id)
        self.degradations.forget(public_id)
        registration.allow(Cause.UNHEALTHY)
        self.incidents.leave(public_id)
        self.suspicion.forget(public_id)
        if self.degradations.limit(registration, Unknown()):
            self.changed_road(registration)
        self._set_suspicion_window()

    def _needed_by(self, public_id: str) -> Mapping[str, HealthState]:
        return {each: self.board.effective(each) for each in self._graph.dependencies(public_id)}

    def _set_suspicion_window(self) -> None:
        """The longest of all intervals: within it everything has been looked at once."""
        self.suspicion.interval = self.checker.longest_interval or SUSPICION_WINDOW

    async def check(self, registration: Registration) -> HealthStatus:
        """Check now, or wait for the check that is under way."""
        return await self.checker.check(registration.public_id)

    # ── evidence from pools ──

    def saw(self, registration: Registration, error: BaseException | None) -> None:
        """A create went well, or a create, a validation or a body failed."""
        public_id = registration.public_id
        if error is not None:
            if not registration.is_open:
                return  # an opening that fails has a verdict of its own
            refused = refused_dependency(error, registration.dependencies)
            if refused is not None and not self._goes_on_failing(public_id):
                return  # an echo of what was said of another
            self.quarantine.failed(public_id)
        cause = error.__cause__ if isinstance(error, CreateFailed) else error
        self.board.evidence(public_id, failure=error is not None, reason="" if cause is None else why(cause))

    def _goes_on_failing(self, public_id: str) -> bool:
        """Whether a refusal one floor below prolongs a streak of its own; in quarantine there is nothing to prolong."""
        return self.board.is_failing(public_id) and public_id not in self.quarantine

    def resized(self, registration: Registration) -> None:
        """The bounds of a pool moved: shares of them follow."""
        public_id = registration.public_id
        self.quarantine.resized(public_id, registration.pool.ledger.max_size)
        if self.degradations.limit(registration, self.board.own(public_id)):
            self.changed_road(registration)

    # ── the checker's findings (CheckListener) ──

    def checked(self, id: str, status: HealthStatus, *, is_counted: bool = False) -> None:
        """A periodic or asked-for check landed."""
        registration = self._registry.get(id)
        if registration is not None:
            self.checks.note(registration.key, status)
        self.board.observe(id, status, is_counted=is_counted)
        if not isinstance(status.state, Unknown):
            now = asyncio.get_running_loop().time()
            self.suspicion.probed(id, failed=not status.is_usable(), now=now)

    def postponed(self, id: str, status: HealthStatus) -> None:
        """Nothing to check with: real use is the evidence."""

    # ── doubt (SuspicionListener) ──

    def suspected(self, failing: int, probed: int) -> None:
        """Nearly everything fails at once: nobody enters quarantine on evidence."""
        self.quarantine.freeze()
        self._bus.publish(CheckerSuspected, failing=failing, probed=probed)

    def cleared(self, well: int, known: int) -> None:
        """Half are well: whoever is still over the threshold enters now."""
        self.quarantine.thaw()
        for id_ in self.board.over_threshold():
            view = self.board.get(id_)
            if view is not None and not self.incidents.isolate(id_):
                self.threshold_reached(id_, view.failures)

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
            if isinstance(new, Unknown):
                self.incidents.unsettled(id)
            elif new.is_usable():
                self.incidents.passes(id)
        if self.degradations.limit(registration, new):
            self.changed_road(registration)

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        """Callers are refused, or served again."""
        registration = self._registry.get(id)
        if registration is None:
            return
        if new.is_usable():
            registration.allow(Cause.UNHEALTHY)
            if _is_final(old):
                registration.pool.grant()  # nothing was made ahead of need meanwhile
        else:
            recoverable = not _is_final(new)
            registration.refuse(Cause.UNHEALTHY, self._unhealthy(registration, recoverable))
            if not recoverable:
                registration.pool.retire_where(lambda _: True, CleanupReason.UNHEALTHY)
        self.degradations.changed(registration, new)
        causes = tuple(filter(None, (because, new.because)))
        self._publish(registration, HealthChanged, old=old.kind, new=new.kind, because=causes)
        self._health_hooks.run(registration, old, new, causes)
        if isinstance(self.board.own(id), Unhealthy):
            # Only now: that it fell is told before what follows from it.
            self.incidents.fails(id)

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

        With quarantine off it stays closed until it is registered anew, and its callers are told so.
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
        public_id = registration.public_id
        return lambda: Unavailable(
            "unhealthy",
            resource_id=registration.key,
            retryable=recoverable,
            retry_after=self.checker.retry_after(public_id) if recoverable else None,
        )

    # ── what follows from quarantine (told by Isolation) ──

    def isolated(self, registration: Registration) -> None:
        """Callers are refused: those that need it are degraded."""
        self._fell(registration)
        self.incidents.entered(registration.public_id)

    def readmitted(self, registration: Registration) -> None:
        """Callers are let in: nothing is known of it, and nothing is imposed on others any more."""
        public_id = registration.public_id
        self.board.reset(public_id)
        self.propagation.rose(public_id)
        self.incidents.released(public_id)
        if self.on_released is not None:
            self.on_released(registration)
        self.changed_road(registration)

    def changed_road(self, registration: Registration) -> None:
        """The gates of a registration are others."""
        if self.on_road_changed is not None:
            self.on_road_changed(registration)

    def _publish(self, registration: Registration, event: type[Event], **fields: Any) -> None:
        self._bus.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )

    async def close(self) -> None:
        """End every check and every attempt; none begins while others are waited for."""
        self.checker.stop()
        self.quarantine.stop()
        await self.checker.close()
        await self.quarantine.close()

    def is_given_up(self, registration: Registration) -> bool:
        """Whether it said that it cannot come back: its instances are retired, and none is made but to check it."""
        return _is_final(self.board.own(registration.public_id))

    def health_of(self, registration: Registration) -> HealthState:
        """The effective health; Unknown where it is not watched."""
        return self.board.effective(registration.public_id)


def _is_final(state: HealthState) -> bool:
    return isinstance(state, Unhealthy) and not state.recoverable
