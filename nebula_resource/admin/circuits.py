"""CircuitCounts: how many circuits of a resource are open, and whom a cascade holds back, at the moment of a scrape."""

from __future__ import annotations

from collections.abc import Iterator

from nebula_resource.manager import Manager, Registration
from nebula_resource.manager.registration import Cause
from nebula_resource.metrics import Family
from nebula_resource.model.circuit import Circuit, CircuitState

__all__ = ["CircuitCounts"]

_CLOSED = {state.value: 0 for state in CircuitState}


class CircuitCounts:
    """Looks at every registration of a scrape; a resource is written from the first time that one of its circuits opened.

    A pool has a circuit for creates and one for recycles; a member of a cascade that waits for its root is a third.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._known: set[str] = set()
        self._states: dict[str, dict[str, int]] = {}

    def begin(self) -> None:
        """A scrape begins."""
        self._states = {}

    def look(self, registration: Registration) -> None:
        """Count the circuits of one registration."""
        pool = registration.pool
        created, recycled = pool.maker.circuit, pool.releaser.circuit
        is_held_back = registration.refusal is not None and registration.is_refused(Cause.GROUP)
        if created.opened or recycled.opened or is_held_back or registration.key in self._known:
            self._count(registration, (created, recycled), is_held_back)

    def families(self) -> Iterator[Family]:
        """What the scrape has seen."""
        self._known = set(self._states)
        yield Family.of(
            "breaker_state",
            {(key, state): count for key, states in self._states.items() for state, count in states.items()},
        )
        yield Family.of("dependency_group_breaker_open", self._held_back())

    def _count(self, registration: Registration, circuits: tuple[Circuit, ...], is_held_back: bool) -> None:
        states = self._states.setdefault(registration.key, dict(_CLOSED))
        now = registration.pool.clock()
        for circuit in circuits:
            states[circuit.state(now).value] += 1
        states["open" if is_held_back else "closed"] += 1

    def _held_back(self) -> dict[tuple[str, ...], int]:
        """Members that are refused, by the resource id of their group's root."""
        registry = self._manager.registry
        held: dict[tuple[str, ...], int] = {}
        for incident in self._manager.watch.incidents.cascades.incidents():
            root = registry.get(incident.root)
            if root is None:
                continue  # gone with its incident
            members = [registry.get(id_) for id_ in incident.members]
            count = sum(each is not None and each.is_refused(Cause.GROUP) for each in members)
            held[root.key,] = held.get((root.key,), 0) + count
        return held
