"""The semantic conventions for connection pools: names against the installed package, numbers against a pool."""

from __future__ import annotations

import asyncio
import gc
import time
from itertools import accumulate, pairwise
from operator import le
from typing import Any

import opentelemetry.semconv._incubating.attributes.db_attributes as attributes
import opentelemetry.semconv._incubating.metrics.db_metrics as published
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from nebula_resource import AcquireTimeout, Manager, Scope
from nebula_resource.otel import CONVENTIONS, ConnectionMetrics, WithPoolTimes
from nebula_resource.otel.conventions import POOL_NAME, STATE
from tests.unit.manager.things import Thing


def test_the_table_has_the_names_of_the_installed_conventions() -> None:
    """Every metric that OpenTelemetry publishes for connections, and no other; a renaming there is noticed here."""
    names = {
        getattr(published, name)
        for name in dir(published)
        if name.startswith("DB_CLIENT_CONNECTION_") and isinstance(getattr(published, name), str)
    }
    assert {each.name for each in CONVENTIONS} == names
    assert (attributes.DB_CLIENT_CONNECTION_POOL_NAME, attributes.DB_CLIENT_CONNECTION_STATE) == (
        POOL_NAME,
        STATE,
    )
    assert {each.value for each in attributes.DbClientConnectionStateValues} == {"idle", "used"}


class Kept(MetricExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[MetricsData] = []

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        self.data.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None: ...


def by_name(data: MetricsData | None) -> dict[str, Metric]:
    """Every metric of an export, each once."""
    assert data is not None
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def points(metric: Metric) -> dict[tuple[Any, ...], Any]:
    """The values of a metric by its attributes' values."""
    return {tuple((each.attributes or {}).values()): each.value for each in metric.data.data_points}  # type: ignore[union-attr]  # numbers, here


async def test_sizes_and_counters_are_those_of_the_pools() -> None:
    """Known use, known numbers; the pools of two tenants are one, and no tenant is named."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    async with Manager() as manager:
        _ = ConnectionMetrics(manager, provider.get_meter("test"))
        for tenant in ("acme", "globex"):
            await manager.register(
                Thing("db"), {}, pool={"min_size": 2, "max_size": 3}, scope=Scope.tenant(tenant)
            )
        await manager.register(Thing("cache"), {}, pool={"min_size": 0, "max_size": 1})
        async with manager.scope(tenant="acme"), manager.acquire("db"), manager.acquire("cache"):
            with pytest.raises(AcquireTimeout):
                await manager.acquire("cache", timeout=0.1)
            waiter = asyncio.ensure_future(_once(manager))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = by_name(reader.get_metrics_data())
        await waiter
    provider.shutdown()
    assert {each.name: (each.unit, each.description) for each in found.values()} == {
        each.name: (each.unit, each.description) for each in CONVENTIONS if each.instrument != "histogram"
    }
    assert points(found["db.client.connection.count"]) == {
        ("db", "idle"): 3,
        ("db", "used"): 1,
        ("cache", "idle"): 0,
        ("cache", "used"): 1,
    }
    assert points(found["db.client.connection.max"]) == {("db",): 6, ("cache",): 1}
    assert points(found["db.client.connection.idle.min"]) == {("db",): 4, ("cache",): 0}
    assert points(found["db.client.connection.pending_requests"]) == {("db",): 0, ("cache",): 1}
    assert points(found["db.client.connection.timeouts"]) == {("db",): 0, ("cache",): 1}
    assert "acme" not in str(found)


async def _once(manager: Manager) -> None:
    async with manager.acquire("cache"):
        pass


async def test_durations_are_put_into_the_export() -> None:
    """The pool's own buckets, beside whatever else is exported."""
    kept = Kept()
    exporter = WithPoolTimes(kept, None)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], shutdown_on_exit=False)
    async with Manager() as manager:
        exporter.connections = ConnectionMetrics(manager, provider.get_meter("test"))
        await manager.register(Thing("db"), {}, pool={"use_timing": "always"})
        for _ in range(3):
            async with manager.acquire("db"):
                await asyncio.sleep(0.2)
        provider.force_flush()
        found = by_name(kept.data[-1])
        assert {each.name for each in CONVENTIONS} == set(found)
        [use] = found["db.client.connection.use_time"].data.data_points
        wanted = manager.pools()[0].pool.stats().use
    assert (use.count, use.sum) == (3, pytest.approx(0.6))  # type: ignore[union-attr]  # a histogram's
    assert tuple(use.bucket_counts) == wanted.counts  # type: ignore[union-attr]  # the same
    assert tuple(use.explicit_bounds) == wanted.bounds  # type: ignore[union-attr]  # the same
    assert found["db.client.connection.use_time"].unit == "s"
    provider.shutdown()


async def test_a_clock_that_is_set_back_ends_nothing_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back between the start and the export: who reads it would throw points away that end before they begin."""
    kept = Kept()
    exporter = WithPoolTimes(kept, None)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], shutdown_on_exit=False)
    async with Manager() as manager:
        exporter.connections = ConnectionMetrics(manager, provider.get_meter("test"))
        await manager.register(Thing("db"), {})
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600_000_000_000)
        provider.force_flush()
        [wait] = by_name(kept.data[-1])["db.client.connection.wait_time"].data.data_points
        assert wait.time_unix_nano >= wait.start_time_unix_nano
        monkeypatch.undo()
    provider.shutdown()


async def test_nothing_falls_when_a_pool_goes() -> None:
    """A reload swaps one, a tenant's goes: counters keep what they said; what is held and may be held is of now."""
    kept = Kept()
    exporter = WithPoolTimes(kept, None)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], shutdown_on_exit=False)

    def collected() -> list[Any]:
        provider.force_flush()
        found = by_name(kept.data[-1])
        [wait] = found["db.client.connection.wait_time"].data.data_points or [None]
        names = ("timeouts", "max")
        assert wait is not None
        return [wait.count, *(points(found[f"db.client.connection.{name}"]) for name in names)]  # type: ignore[union-attr]  # a histogram's

    async with Manager() as manager:
        exporter.connections = ConnectionMetrics(manager, provider.get_meter("test"))
        for tenant in ("acme", "globex"):
            await manager.register(Thing("db"), {}, pool={"max_size": 1}, scope=Scope.tenant(tenant))
            async with manager.scope(tenant=tenant), manager.acquire("db"):
                with pytest.raises(AcquireTimeout):
                    await manager.acquire("db", timeout=0.1)
        assert collected() == [2, {("db",): 2}, {("db",): 2}]
        for left in (1, 0):
            async with manager.scope(tenant="globex"), manager.acquire("db"):
                pass  # after the collection, before it goes
            if left:
                await manager.deregister("db", scope=Scope.tenant("acme"))
                assert collected() == [3, {("db",): 2}, {("db",): 1}]
        await manager.deregister("db", scope=Scope.tenant("globex"))
        assert exporter.connections.read() == {}
    provider.shutdown()


async def test_a_pool_that_lives_and_dies_between_two_collections_is_counted() -> None:
    """What it did is told with the next, while another of its resource is there; many of them are not held for it."""
    async with Manager() as manager:
        connections = ConnectionMetrics(manager, MeterProvider(shutdown_on_exit=False).get_meter("test"))
        await manager.register(Thing("db"), {}, pool={"max_size": 1}, scope=Scope.tenant("acme"))
        for number in range(5):
            scope = Scope.tenant(str(number))
            await manager.register(Thing("db"), {}, pool={"max_size": 1}, scope=scope)
            async with manager.scope(tenant=str(number)), manager.acquire("db"):
                with pytest.raises(AcquireTimeout):
                    await manager.acquire("db", timeout=0.1)
            await manager.deregister("db", scope=scope)
            assert len(connections._leaving) <= 1
        for _ in range(2):  # none is counted twice
            pools = connections.read()["db"]
            assert [sum(getattr(each, name) for each in pools) for name in ("timeouts", "max")] == [5, 1]
            assert sum(each.wait.count for each in pools) == 5
        assert connections._leaving == []


async def test_a_swapped_pool_keeps_what_it_did() -> None:
    """A reload between two collections."""
    async with Manager() as manager:
        await manager.register(Thing("db"), {}, pool={"max_size": 1})
        connections = ConnectionMetrics(manager, MeterProvider(shutdown_on_exit=False).get_meter("test"))
        for size in (2, 3, 4):
            async with manager.acquire("db"):
                pass
            await manager.reload("db", {"size": size})
        pools = connections.read()["db"]
        assert sum(each.wait.count for each in pools) == 3
        async with manager.acquire("db"):
            await manager.reload("db", {"size": 5})
            pools = connections.read()["db"]  # the old one is not closed yet, and told of
            assert (sum(each.wait.count for each in pools), connections._leaving) == (4, [])
        await manager.reload("db", {"size": 6})
        assert sum(each.wait.count for each in connections.read()["db"]) == 4


@pytest.mark.parametrize("end", ["called off", "served"])
async def test_no_counter_falls_while_an_instance_is_handed_over(end: str) -> None:
    """A collection falls between the hand-over and its caller's turn: what it told stands until the truth has caught up."""
    async with Manager() as manager:
        await manager.register(Thing("db"), pool={"max_size": 1})
        connections = ConnectionMetrics(manager, MeterProvider(shutdown_on_exit=False).get_meter("test"))
        told: list[tuple[int, ...]] = []

        def look() -> None:
            (numbers,) = connections.read()["db"]
            told.append((numbers.wait.counts[0], *accumulate(numbers.wait.counts)))

        async with manager.acquire("db"):
            waiter = asyncio.ensure_future(manager.acquire("db").__aenter__())
            await asyncio.sleep(3.0)
            look()
        look()  # handed over by the release just now; the waiter has not run since
        if end == "called off":
            waiter.cancel()
        await asyncio.wait([waiter])
        look()
        for before, after in pairwise(told):
            assert all(map(le, before, after)), told
        assert told[1] != told[0], "the collection fell into that turn"


def test_a_loop_that_ended_gives_nothing() -> None:
    """And a manager that is gone gives nothing either: it is not kept alive."""

    async def make() -> ConnectionMetrics:
        manager = Manager()
        return ConnectionMetrics(manager, MeterProvider(shutdown_on_exit=False).get_meter("test"))

    connections = asyncio.run(make())
    gc.collect()
    assert connections.read() == {}
