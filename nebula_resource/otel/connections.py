"""ConnectionMetrics: a manager's pools as `db.client.connection.*`, read when OpenTelemetry collects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias
from weakref import ref

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from nebula_resource.events import ConfigReloaded, Deregistered, Event, Registered
from nebula_resource.manager import Manager, Registration
from nebula_resource.metrics.family import merged
from nebula_resource.metrics.steady import steadied
from nebula_resource.model.numbers import PoolNumbers
from nebula_resource.otel import conventions
from nebula_resource.otel.conventions import POOL_NAME, STATE, Convention
from nebula_resource.pool import Pool
from nebula_resource.pool.state import PoolState

__all__ = ["ConnectionMetrics"]

PATIENCE = 1.0
"""Seconds that a collection waits for the event loop, before it goes without these numbers."""

Count = Callable[[PoolNumbers], int]
AnyPool: TypeAlias = Pool[Any, Any, Any]

_SIZES: Mapping[Convention, Count] = {
    conventions.IDLE_MAX: lambda numbers: numbers.max,
    conventions.IDLE_MIN: lambda numbers: numbers.min,
    conventions.MAX: lambda numbers: numbers.max,
    conventions.PENDING: lambda numbers: numbers.waiting,
}


class ConnectionMetrics:
    """Registers the sizes and counters of OpenTelemetry's conventions; `WithPoolTimes` adds the three durations.

    The pools of one resource are summed over all scopes: no tenant, and no digest of one, is an attribute. Instances
    that are being checked count as used. A pool that goes leaves what its counters last said, for as long as there is
    another of its resource: nothing falls. Make it inside the manager's event loop; collections from other threads read
    the numbers there. It ends with the manager, to which it holds no reference.

    Args:
        manager: whose pools.
        meter: None: the global provider's, ``nebula_resource``.
    """

    def __init__(self, manager: Manager, meter: Meter | None = None) -> None:
        self._manager = ref(manager)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._seen: dict[int, _Seen] = {}
        self._past: dict[str, PoolNumbers] = {}
        self._current: dict[str, ref[AnyPool]] = {}
        self._leaving: list[AnyPool] = []
        """Held until they are closed or collected: they may have come and gone between two collections."""
        manager.events.add_listener(self._pool_changed, types=(Registered, Deregistered, ConfigReloaded))
        for registration in manager.pools():
            self._begin(registration)
        meter = metrics.get_meter("nebula_resource") if meter is None else meter
        _ = meter.create_observable_up_down_counter(
            conventions.COUNT.name,
            [self._counts],
            unit=conventions.COUNT.unit,
            description=conventions.COUNT.description,
        )
        for convention, count in _SIZES.items():
            _ = meter.create_observable_up_down_counter(
                convention.name,
                [self._each(count)],
                unit=convention.unit,
                description=convention.description,
            )
        _ = meter.create_observable_counter(
            conventions.TIMEOUTS.name,
            [self._each(lambda numbers: numbers.timeouts)],
            unit=conventions.TIMEOUTS.unit,
            description=conventions.TIMEOUTS.description,
        )

    # ── instruments ──

    def _counts(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, pools in self.read().items():
            yield Observation(sum(each.idle for each in pools), {POOL_NAME: name, STATE: "idle"})
            used = sum(each.in_use + each.checking for each in pools)
            yield Observation(used, {POOL_NAME: name, STATE: "used"})

    def _each(self, count: Count) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for name, pools in self.read().items():
                yield Observation(sum(map(count, pools)), {POOL_NAME: name})

        return observe

    # ── what comes and goes ──

    def _begin(self, registration: Registration) -> None:
        pool = registration.pool
        self._current[registration.public_id] = ref(pool)
        if id(pool) not in self._seen:
            self._seen[id(pool)] = _Seen(ref(pool), registration.key, pool.numbers())

    def _pool_changed(self, event: Event) -> None:
        """A pool came, went or was swapped; those that have ended by now are added up, so that none is kept for long."""
        manager = self._manager()
        if manager is None or event.public_id is None:
            return
        registration = manager.registry.get(event.public_id)
        known = self._current.pop(event.public_id, None)
        old = None if known is None else known()
        if registration is not None:
            self._begin(registration)
        if old is not None and (registration is None or registration.pool is not old):
            self._leaving.append(old)
        for pool in [each for each in self._leaving if each.state is PoolState.CLOSED]:
            self._leaving.remove(pool)
            self._take_in(self._seen.pop(id(pool)))

    def _take_in(self, gone: _Seen) -> None:
        past = self._past.get(gone.key)
        self._past[gone.key] = _counters_of(gone.last) if past is None else _both(past, gone.last)

    # ── numbers ──

    def read(self) -> dict[str, list[PoolNumbers]]:
        """The pools' numbers by resource id; empty when the manager is gone, or its loop does not answer.

        One of them stands for the pools that are gone: its counters are theirs, and it holds no instance.
        """
        if threading.get_ident() == self._thread:
            return self._read()
        answer: Future[dict[str, list[PoolNumbers]]] = Future()

        def work() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._read())

        try:
            self._loop.call_soon_threadsafe(work)
            return answer.result(PATIENCE)
        except (RuntimeError, TimeoutError):
            answer.cancel()
            return {}

    def _read(self) -> dict[str, list[PoolNumbers]]:
        manager = self._manager()
        pools: dict[str, list[PoolNumbers]] = {}
        before, self._seen = self._seen, {}
        for registration in () if manager is None else manager.pools():
            pool = registration.pool
            known = before.get(id(pool))
            numbers = pool.numbers()
            if known is not None and known.pool() is pool:
                del before[id(pool)]
                numbers = steadied(known.numbers, numbers)
            self._seen[id(pool)] = _Seen(ref(pool), registration.key, numbers)
            pools.setdefault(registration.key, []).append(numbers)
        for gone in before.values():
            self._take_in(gone)
        self._leaving.clear()  # taken in just now
        self._past = {key: past for key, past in self._past.items() if key in pools}
        for key, past in self._past.items():
            pools[key].append(past)
        return pools


class _Seen(NamedTuple):
    """A pool as it was read last; not held by it."""

    pool: ref[AnyPool]
    key: str
    numbers: PoolNumbers

    @property
    def last(self) -> PoolNumbers:
        """Its numbers of now, if it is still about: it may have gone on since."""
        pool = self.pool()
        return self.numbers if pool is None else steadied(self.numbers, pool.numbers())


def _counters_of(numbers: PoolNumbers) -> PoolNumbers:
    return numbers._replace(size=0, idle=0, in_use=0, checking=0, waiting=0, min=0, max=0)


def _both(past: PoolNumbers, gone: PoolNumbers) -> PoolNumbers:
    """What is exported of their counters, added up."""
    return past._replace(
        timeouts=past.timeouts + gone.timeouts,
        create=merged([past.create, gone.create]),
        wait=merged([past.wait, gone.wait]),
        use=merged([past.use, gone.use]),
    )
