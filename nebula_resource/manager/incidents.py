"""Incidents: what follows from a cascade: root and members isolated together, one event, one way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import CircuitOpen
from nebula_resource.events import CascadeDetected, CascadeResolved, CircuitClosed, CircuitOpened, Event
from nebula_resource.health import CascadeListener, CascadeWatch, Incident
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.registration import Cause, Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.quarantine import CascadeFailure, QuarantineManager

if TYPE_CHECKING:
    from nebula_resource.errors import ResourceError

__all__ = ["Incidents"]


class Incidents(CascadeListener):
    """Feeds the cascade watch, and does what it finds: quarantine with `CascadeFailure`, and the group's circuit.

    The circuit refuses a member from the detection until the member itself is released; the members wait for their
    root, and are tried one by one when it is back.
    """

    def __init__(
        self,
        registry: Registry,
        graph: DependencyGraph[str],
        quarantine: QuarantineManager,
        publish: Callable[..., None],
    ) -> None:
        self._registry = registry
        self._quarantine = quarantine
        self._publish = publish
        self.cascades = CascadeWatch(graph, self)

    # ── what is known of each ──

    def fails(self, id: str) -> None:
        """``id`` is Unhealthy by its own evidence."""
        self.cascades.fails(id)

    def passes(self, id: str) -> None:
        """``id`` is well by its own evidence, and not quarantined."""
        self._close_circuit(id)
        self.cascades.passes(id)
        # A root without quarantine is never released: being well is its way back.
        self.cascades.root_released(id)

    def unsettled(self, id: str) -> None:
        """What was known of ``id`` no longer counts."""
        self.cascades.unsettled(id)

    def entered(self, id: str) -> None:
        """``id`` is quarantined."""
        self.cascades.root_fell(id)

    def released(self, id: str) -> None:
        """``id`` left quarantine: its own circuit closes, and as a root it opens the way for its members."""
        self._close_circuit(id)
        self.cascades.root_released(id)

    def leave(self, id: str) -> None:
        """``id`` is looked at no more: no incident waits for it, and none holds it back."""
        self._close_circuit(id)
        self.cascades.forget(id)

    def forget(self, id: str) -> None:
        """``id`` is gone."""
        self.cascades.forget(id)

    def isolate(self, id: str) -> bool:
        """Quarantine a member or root of an open incident with it; False when ``id`` is in none."""
        incident = self.cascades.incident_of(id)
        if incident is None:
            return False
        self._isolate(id, incident)
        return True

    # ── what the watch finds (CascadeListener) ──

    def detected(self, incident: Incident) -> None:
        """One failure took most of its dependents along."""
        self._tell(
            incident.root,
            CascadeDetected,
            root=incident.root,
            affected=incident.members,
            incident=incident.id,
        )
        for id_ in (incident.root, *incident.members):
            self._isolate(id_, incident)
        if incident.root not in self._quarantine and not self.cascades.is_failing(incident.root):
            # Well itself, and not isolated: nobody will ever release it, and nothing will show that it became well.
            self.cascades.root_released(incident.root)

    def joined(self, incident: Incident, member: str) -> None:
        """One more of its dependents fails."""
        self._isolate(member, incident)

    def resolved(self, incident: Incident) -> None:
        """The root was released and every member is well, or gone."""
        for member in incident.members:
            self._close_circuit(member)
        self._tell(incident.root, CascadeResolved, root=incident.root, incident=incident.id)

    # ── how ──

    def _isolate(self, id: str, incident: Incident) -> None:
        registration = self._registry.get(id)
        if registration is None or self._quarantine.is_frozen:
            return
        if registration.quarantine is not None:
            self._quarantine.enter_automatically(
                id,
                CascadeFailure(incident.root),
                resource_id=registration.key,
                scope=registration.scope,
                policy=registration.quarantine,
            )
        if id != incident.root and not registration.is_refused(Cause.GROUP):
            registration.refuse(Cause.GROUP, self._refusal(registration))
            self._tell(id, CircuitOpened, operation="group", open_for_s=self._quarantine.retry_after(id))

    def _refusal(self, registration: Registration) -> Callable[[], ResourceError]:
        return lambda: CircuitOpen(
            "group",
            resource_id=registration.key,
            retry_after=self._quarantine.retry_after(registration.public_id),
        )

    def _close_circuit(self, id: str) -> None:
        registration = self._registry.get(id)
        if registration is not None and registration.is_refused(Cause.GROUP):
            registration.allow(Cause.GROUP)
            self._tell(id, CircuitClosed, operation="group")

    def _tell(self, id: str, event: type[Event], **fields: Any) -> None:
        registration = self._registry.get(id)
        if registration is not None:
            self._publish(registration, event, **fields)
