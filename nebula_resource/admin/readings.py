"""ReadingsCollector: turns a manager into the numbers of one scrape, at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nebula_resource.manager import Manager, Registration
from nebula_resource.metrics import (
    EventTally,
    Family,
    HealthReading,
    PoolReading,
    QuarantineReading,
    Readings,
    TextRenderer,
)
from nebula_resource.model.resource import Resource

__all__ = ["MAX_AGE", "ReadingsCollector", "driver_of"]

MAX_AGE = 1.0
"""Seconds that a rendered scrape serves whoever scrapes again."""

_DRIVERS = "nebula_resource.drivers."


def driver_of(resource: Resource[Any, Any, Any]) -> str:
    """Return which driver a resource is of: ``sqlalchemy``, ``redis`` …; ``custom`` for one a user wrote."""
    for cls in type(resource).__mro__:
        if cls.__module__.startswith(_DRIVERS):
            return cls.__module__.removeprefix(_DRIVERS).partition(".")[0]
    return "custom"


class ReadingsCollector:
    """Reads pools, board, quarantine and bus; keeps the text for `MAX_AGE` seconds for each format.

    Args:
        manager: whose numbers.
        renderer: writes them; it remembers what stays the same between scrapes.
        more: others' numbers as text, asked with whether it is to be OpenMetrics (then without ``# EOF``); they stand
            before ours, in the same scrape.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        renderer: TextRenderer | None = None,
        more: Callable[[bool], bytes] | None = None,
    ) -> None:
        self._manager = manager
        self._renderer = renderer or TextRenderer()
        self._more = more
        self._tally = EventTally()
        self._texts: dict[bool, tuple[float, bytes]] = {}
        manager.events.add_listener(self._tally, types=self._tally.types)

    def text(self, *, openmetrics: bool = False, families: tuple[Family, ...] = ()) -> bytes:
        """Return the scrape as it is sent; ``families`` are further counts of the caller's."""
        now = asyncio.get_running_loop().time()
        known = self._texts.get(openmetrics)
        if known is not None and now - known[0] < MAX_AGE:
            return known[1]
        body = self._renderer.render(self.read(families=families), openmetrics=openmetrics).encode()
        if self._more is not None:
            body = self._more(openmetrics) + body
        self._texts[openmetrics] = (now, body)
        return body

    def read(self, *, families: tuple[Family, ...] = ()) -> Readings:
        """Return the numbers of now."""
        manager = self._manager
        registrations = manager.pools()
        told = manager.events.stats()
        return Readings(
            pools=tuple(map(_pool, registrations)),
            health=tuple(filter(None, map(self._health, registrations))),
            quarantine=tuple(
                QuarantineReading(
                    resource_id=entry.resource_id,
                    reason=entry.reason.kind,
                    attempts=entry.attempts,
                    next_attempt_at=None
                    if entry.next_attempt_at is None
                    else entry.next_attempt_at.timestamp(),
                )
                for entry in manager.watch.quarantine.entries().values()
            ),
            scopes={level.name.lower(): count for level, count in manager.open_scopes.items()},
            events_emitted=told.emitted,
            events_dropped=told.dropped,
            events_subscribers=told.subscribers,
            families=(*self._tally.families(), *families),
            version=_version(),
        )

    def _health(self, registration: Registration) -> HealthReading | None:
        view = self._manager.watch.board.get(registration.public_id)
        if view is None:
            return None
        return HealthReading(
            resource_id=registration.key,
            driver=driver_of(registration.resource),
            state=view.effective.kind,
            score=view.effective.score(),
            last_check_at=None if view.last_checked is None else view.last_checked.timestamp(),
        )


def _pool(registration: Registration) -> PoolReading:
    return PoolReading(
        resource_id=registration.key,
        driver=driver_of(registration.resource),
        scope_level=registration.scope.level.name.lower(),
        tenant=registration.scope.tenant_id,
        stats=registration.pool.stats(),
    )


def _version() -> str | None:
    try:
        return version("nebula-resource")
    except PackageNotFoundError:
        return None
