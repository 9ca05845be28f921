"""AdminState: what the routes of one admin application share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.check_rate import CheckRate
from nebula_resource.admin.counts import AdminCounts
from nebula_resource.admin.idempotency import Answers
from nebula_resource.admin.paging import Cursors
from nebula_resource.admin.schemas.common import ProcessView, process_view
from nebula_resource.admin.sse import Hub
from nebula_resource.errors import AmbiguousScope, NotRegistered
from nebula_resource.events import ShutdownStarted

if TYPE_CHECKING:
    from nebula_resource.admin.audit import Audit
    from nebula_resource.admin.auth.authority import Authority
    from nebula_resource.admin.configuration import Configuration
    from nebula_resource.admin.operations import Operations
    from nebula_resource.admin.readings import ReadingsCollector
    from nebula_resource.manager import Manager, Registration

__all__ = ["AdminState"]


class AdminState:
    """The manager and everything around it; one for each application.

    ``is_started`` and ``is_stopping`` are what ``/health/startup`` and ``/health/ready`` go by.
    """

    def __init__(
        self,
        manager: Manager,
        authority: Authority,
        *,
        readings: ReadingsCollector,
        hub: Hub,
        operations: Operations,
        audit: Audit,
        started: bool,
        groups: Mapping[str, Collection[str]],
        configuration: Configuration | None = None,
    ) -> None:
        self.manager = manager
        self.authority = authority
        self.readings = readings
        self.hub = hub
        self.operations = operations
        self.audit = audit
        self.cursors = Cursors()
        self.checks = CheckRate()
        self.answers = Answers()
        self.counts = AdminCounts()
        self.is_started = started
        self.set_groups(groups)
        self.configuration = configuration
        self.is_stopping = False
        manager.events.add_listener(lambda _: self.mark_stopping(), types=ShutdownStarted)

    def set_groups(self, groups: Mapping[str, Collection[str]]) -> None:
        """From now on ``/health/groups/{name}`` tells of these."""
        self.groups = {name: frozenset(members) for name, members in groups.items()}

    def mark_started(self) -> None:
        """Start-up is done: from now on the process may be ready."""
        self.is_started = True

    def mark_stopping(self) -> None:
        """It goes down: not ready any more, whatever comes."""
        self.is_stopping = True

    def stop(self) -> None:
        """The server was told to stop: not ready, and every stream says goodbye."""
        self.mark_stopping()
        self.hub.close()

    @property
    def process(self) -> ProcessView:
        """Which process answers."""
        return process_view(self.hub.main.boot)

    # ── what a caller may see ─────────────────────────────────────────────────────────────────────────────────────

    def visible(self, who: Principal) -> list[Registration]:
        """Every registration that exists for this caller."""
        if who.tenant is None:
            return list(self.manager.pools())
        return [each for each in self.manager.pools() if who.sees(each.scope)]

    def find(self, who: Principal, key: str) -> Registration:
        """The one that this caller means: an exact public id, else the only one with that id that it may see.

        Raises `NotRegistered` (unknown and foreign alike), `AmbiguousScope`.
        """
        exact = self.manager.registry.get(key)
        if exact is not None and who.sees(exact.scope):
            return exact
        candidates = [each for each in self.manager.registry.named(key) if who.sees(each.scope)]
        if len(candidates) > 1:
            raise AmbiguousScope(key, candidates=[each.public_id for each in candidates])
        if not candidates:
            raise NotRegistered(key)
        return candidates[0]
