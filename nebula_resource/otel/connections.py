"""ConnectionMetrics: a manager's pools as `db.client.connection.*`, read when OpenTelemetry collects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from weakref import ref

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from nebula_resource.manager import Manager
from nebula_resource.model.stats import PoolStats
from nebula_resource.otel import conventions
from nebula_resource.otel.conventions import POOL_NAME, STATE, Convention

__all__ = ["ConnectionMetrics"]

PATIENCE = 1.0
"""Seconds that a collection waits for the event loop, before it goes without these numbers."""

Count = Callable[[PoolStats], int]

_SIZES: Mapping[Convention, Count] = {
    conventions.IDLE_MAX: lambda stats: stats.max,
    conventions.IDLE_MIN: lambda stats: stats.min,
    conventions.MAX: lambda stats: stats.max,
    conventions.PENDING: lambda stats: stats.waiting,
}


class ConnectionMetrics:
    """Registers the sizes and counters of OpenTelemetry's conventions; `WithPoolTimes` adds the three durations.

    The pools of one resource are summed over all scopes: no tenant, and no digest of one, is an attribute. Instances
    that are being checked count as used. Make it inside the manager's event loop; collections from other threads read
    the numbers there. It ends with the manager, to which it holds no reference.

    Args:
        manager: whose pools.
        meter: None: the global provider's, ``nebula_resource``.
    """

    def __init__(self, manager: Manager, meter: Meter | None = None) -> None:
        self._manager = ref(manager)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
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
            [self._each(lambda stats: stats.timeouts)],
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

    # ── numbers ──

    def read(self) -> dict[str, list[PoolStats]]:
        """The pools' numbers by resource id; empty when the manager is gone, or its loop does not answer."""
        if threading.get_ident() == self._thread:
            return self._read()
        answer: Future[dict[str, list[PoolStats]]] = Future()

        def work() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._read())

        try:
            self._loop.call_soon_threadsafe(work)
            return answer.result(PATIENCE)
        except (RuntimeError, TimeoutError):
            answer.cancel()
            return {}

    def _read(self) -> dict[str, list[PoolStats]]:
        manager = self._manager()
        pools: dict[str, list[PoolStats]] = {}
        for registration in () if manager is None else manager.pools():
            pools.setdefault(registration.key, []).append(registration.pool.stats())
        return pools
