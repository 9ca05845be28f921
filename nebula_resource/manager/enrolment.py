"""Enrolment: enters a registration in every book, or in none, and strikes it out of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.events import Deregistered, EventBus, Registered
from nebula_resource.manager.registration import Registration, RegistrationState
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.construction import Construction
    from nebula_resource.manager.dependencies import DependencyGraph
    from nebula_resource.manager.registry import Registry
    from nebula_resource.manager.road import Road
    from nebula_resource.manager.startup import Startup
    from nebula_resource.manager.watch import Watch

__all__ = ["Enrolment"]


class Enrolment:
    """The books: registry, dependency graph, watch; and who is told."""

    def __init__(
        self,
        registry: Registry,
        graph: DependencyGraph[str],
        watch: Watch,
        startup: Startup,
        construction: Construction,
        road: Road,
        bus: EventBus,
        tasks: OwnedTasks,
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._watch = watch
        self._startup = startup
        self._construction = construction
        self._road = road
        self._bus = bus
        self._tasks = tasks
        self._announced: set[Registration] = set()

    def enter(self, registration: Registration) -> None:
        """Put it in the books: all or nothing. Raises `AlreadyRegistered`, `CircularDependency`, `AmbiguousScope`."""
        self._construction.build(registration)
        self._registry.add(registration)
        try:
            self._startup.link(registration)
            self._startup.relink(registration.key)
        except BaseException:
            self._strike_out(registration)
            raise
        self._road.pave(registration)
        self._watch.begin(registration, self._construction.creation(registration))

    def announce(self, registration: Registration) -> None:
        """Tell, once, that it is registered, if it still is."""
        if registration in self._announced or self._registry.get(registration.public_id) is not registration:
            return
        self._announced.add(registration)
        self._bus.publish(
            Registered,
            registration.key,
            registration.scope,
            public_id=registration.public_id,
            generation=registration.generation,
        )

    def forget(self, registration: Registration) -> None:
        """Take it out of the books; those that meant it may mean another now, and open by that."""
        if self._registry.get(registration.public_id) is not registration:
            return
        registration.state = RegistrationState.CLOSED
        registration.pave(False)
        self._watch.end(registration)
        self._strike_out(registration)
        if registration.pool.state not in {PoolState.CLOSING, PoolState.CLOSED}:
            self._tasks.start(registration.pool.close(0.0), name=f"close {registration.public_id}")
        if registration in self._announced:
            self._announced.remove(registration)
            self._bus.publish(
                Deregistered, registration.key, registration.scope, public_id=registration.public_id
            )
        self._startup.begin_dependents(registration.key)

    def _strike_out(self, registration: Registration) -> None:
        self._registry.remove(registration)
        if registration.public_id in self._graph:
            self._graph.remove(registration.public_id)
        self._startup.relink(registration.key)
