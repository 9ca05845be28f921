"""ReadingsCollector: turns a manager into the numbers of one scrape, at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from nebula_resource.admin.circuits import CircuitCounts
from nebula_resource.events import ConfigReloaded, Deregistered, Event, Registered
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
from nebula_resource.metrics.rows import SLICE
from nebula_resource.metrics.steady import steadied
from nebula_resource.metrics.sums import PoolSums
from nebula_resource.model.health import HealthState
from nebula_resource.model.resource import Resource
from nebula_resource.pool import Pool
from nebula_resource.pool.state import PoolState

__all__ = ["MAX_AGE", "ReadingsCollector", "driver_of"]

MAX_AGE = 1.0
"""Seconds that a rendered scrape serves whoever scrapes again."""
TURN = 0.002
"""Seconds after which a scrape lets others run."""

AnyPool: TypeAlias = Pool[Any, Any, Any]
_Watched: TypeAlias = tuple[HealthState, datetime | None, int, HealthReading]
"""What decides whether a reading of health still holds, and the reading."""

_DRIVERS = "nebula_resource.drivers."
_REFUSED = PoolReading._fields.index("refused")


def driver_of(resource: Resource[Any, Any, Any]) -> str:
    """Return which driver a resource is of: ``sqlalchemy``, ``redis`` …; ``custom`` for one a user wrote."""
    return _driver_of_type(type(resource))


@cache
def _driver_of_type(kind: type) -> str:
    for cls in kind.__mro__:
        if cls.__module__.startswith(_DRIVERS):
            return cls.__module__.removeprefix(_DRIVERS).partition(".")[0]
    return "custom"


class ReadingsCollector:
    """Reads pools, board, quarantine, hooks and bus; keeps the text for `MAX_AGE` seconds for each format.

    Nothing runs on the hot path for it, and no scrape blocks the loop: it pauses every `TURN` seconds.

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
        self._tally = EventTally(self._renderer.budget)
        self._circuits = CircuitCounts(manager)
        self._texts: dict[bool, tuple[float, bytes]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._sums = PoolSums()
        self._pools: dict[AnyPool, _Seen] = {}
        self._current: dict[str, AnyPool] = {}
        self._leaving: dict[AnyPool, None] = {}
        self._health: dict[str, _Watched] = {}
        manager.events.add_listener(self._tally, types=self._tally.types)
        manager.events.add_listener(self._pool_changed, types=(Registered, Deregistered, ConfigReloaded))
        for registration in manager.pools():
            self._begin(registration)

    async def text(
        self, *, openmetrics: bool = False, families: Callable[[], tuple[Family, ...]] = tuple
    ) -> bytes:
        """Return the scrape as it is sent; ``families`` makes further counts of the caller's, if they are needed."""
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            known = self._texts.get(openmetrics)
            if known is not None and loop.time() - known[0] < MAX_AGE:
                return known[1]
            await _paced(self._look())
            readings = self._readings(families())
            pieces = await _paced(self._renderer.pieces(readings, openmetrics=openmetrics))
            if self._more is not None:
                pieces.insert(0, self._more(openmetrics))
            body = b"".join(pieces)
            self._texts[openmetrics] = (loop.time(), body)
            return body

    def forget_texts(self) -> None:
        """Let the next scrape read anew."""
        self._texts.clear()

    def read(self, *, families: tuple[Family, ...] = ()) -> Readings:
        """Return the numbers of now, at once."""
        for _ in self._look():
            pass
        return self._readings(families)

    def _readings(self, families: tuple[Family, ...]) -> Readings:
        manager = self._manager
        told = manager.events.stats()
        return Readings(
            pools=self._sums.readings(),
            health=tuple(reading for *_, reading in self._health.values()),
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
            hooks=manager.hooks.durations,
            families=(*self._tally.families(), *self._circuits.families(), *families),
            version=_version(),
        )

    # ── pools ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> Iterator[None]:
        """Read every pool; yields after each slice of them."""
        gone = dict(self._pools)
        watched: dict[str, _Watched] = {}
        keys: set[str] = set()
        self._circuits.begin()
        for done, registration in enumerate(self._manager.pools(), 1):
            gone.pop(registration.pool, None)
            self._look_at(registration)
            self._circuits.look(registration)
            health = self._health_of(registration, is_first=registration.key not in keys)
            if health is not None:
                watched[registration.public_id] = health
                keys.add(registration.key)
            if not done % SLICE:
                yield
        self._health = watched
        for pool in gone:
            # Swapped by a reload or taken off: what it did since the last scrape still counts, until it is closed.
            self._take_in(pool)
        yield

    def _look_at(self, registration: Registration) -> None:
        pool = registration.pool
        seen = self._pools.get(pool)
        if seen is None:
            if pool.state is PoolState.CLOSED:
                return  # it ended while this scrape let others run, and is counted
            self._begin(registration)
            seen = self._pools[pool]
        before = seen.told
        if before is not seen.update(pool):
            self._sums.put(pool, seen.reading)
            seen.told = seen.reading

    def _take_in(self, pool: AnyPool) -> None:
        """One that serves no more: its numbers of now; once it is closed they are its last, and stay in the sums."""
        seen = self._pools.get(pool)
        if seen is None:
            return  # taken in meanwhile, for good
        self._sums.put(pool, seen.update(pool))
        if pool.state is PoolState.CLOSED:
            del self._pools[pool]
            self._leaving.pop(pool, None)
            self._sums.drop(pool)

    def _begin(self, registration: Registration) -> None:
        """From now on this pool's numbers are known, whether or not a scrape comes while it lives."""
        pool = registration.pool
        self._current[registration.public_id] = pool
        if pool not in self._pools:
            tenant = self._renderer.tenant_label(registration.scope.tenant_id)
            self._pools[pool] = _Seen(registration, tenant)

    def _pool_changed(self, event: Event) -> None:
        """A pool came, went or was swapped. Those that have ended by now are taken in, so that none is kept for a scrape."""
        if event.public_id is None:
            return
        registration = self._manager.registry.get(event.public_id)
        old = self._current.pop(event.public_id, None)
        if registration is not None:
            self._begin(registration)
        if old is not None and (registration is None or registration.pool is not old):
            self._leaving[old] = None
        for pool in [each for each in self._leaving if each.state is PoolState.CLOSED]:
            self._take_in(pool)

    # ── health ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _health_of(self, registration: Registration, *, is_first: bool) -> _Watched | None:
        """The last reading again, unless something has changed. The first of an id tells of the checks of them all."""
        watch, public_id, key = self._manager.watch, registration.public_id, registration.key
        looked = watch.board.looked_at(public_id)
        if looked is None:
            return None
        state, checked = looked
        checks = watch.checks.count(key) if is_first else -1
        known = self._health.get(public_id)
        if known is not None and known[0] is state and known[1] is checked and known[2] == checks:
            return known
        reading = HealthReading(
            resource_id=key,
            driver=driver_of(registration.resource),
            state=state.kind,
            score=state.score(),
            last_check_at=None if checked is None else checked.timestamp(),
            checks=watch.checks.results(key) if is_first else {},
            durations=watch.checks.durations(key) if is_first else {},
        )
        return state, checked, checks, reading


class _Seen:
    """A pool as it was read last."""

    __slots__ = ("_refused", "reading", "told")

    def __init__(self, registration: Registration, tenant: str | None) -> None:
        self._refused = registration.refused  # a reload gives the registration another one
        self.reading = PoolReading(
            registration.key,
            registration.pool.numbers(),
            driver_of(registration.resource),
            registration.scope.level.name.lower(),
            tenant,
            dict(self._refused),
        )
        self.told: PoolReading | None = None
        """The reading that was added up last."""

    def update(self, pool: AnyPool) -> PoolReading:
        """Read it again; the same reading as before where nothing is another."""
        known = self.reading
        numbers = steadied(known.stats, pool.numbers())
        if numbers != known.stats or (self._refused and self._refused != known.refused):
            # As the tuple it is, with the labels that it has: by its own constructor it takes three times as long.
            refused = dict(self._refused)
            self.reading = known = tuple.__new__(
                PoolReading, (known[0], numbers, *known[2:_REFUSED], refused, *known[_REFUSED + 1 :])
            )
        return known


async def _paced(work: Iterator[bytes | None]) -> list[bytes]:
    """Do the work, letting others run every `TURN` seconds; returns what it yields but for empty pieces."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    found: list[bytes] = []
    for piece in work:
        if piece:
            found.append(piece)
        if loop.time() - since > TURN:
            await asyncio.sleep(0)
            since = loop.time()
    return found


@cache
def _version() -> str:
    """Read once: it opens a file."""
    try:
        return version("nebula-resource")
    except PackageNotFoundError:
        return "unknown"  # it runs from its sources
