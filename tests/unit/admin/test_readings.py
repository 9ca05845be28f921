"""Readings: no pool's work is lost for having lived between two scrapes, and no number of a series falls."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from nebula_resource import Manager, Unavailable
from nebula_resource.admin.readings import ReadingsCollector
from nebula_resource.manager.registration import Cause
from nebula_resource.metrics import TextRenderer
from nebula_resource.metrics.sums import KEPT, PoolSums
from tests.unit.manager.things import Thing
from tests.unit.metrics.builders import parsed, pool, value


async def use(manager: Manager, times: int) -> None:
    """So many acquires."""
    for _ in range(times):
        async with manager.acquire("thing"):
            pass


def told(collector: ReadingsCollector) -> dict[str, tuple[int, int]]:
    """Acquires and instances that a scrape of now tells of, by scope level."""
    return {each.scope_level: (each.stats.acquisitions, each.stats.size) for each in collector.read().pools}


async def test_a_pool_that_no_scrape_saw_is_counted() -> None:
    """The one that was registered, and each that a reload put in its place."""
    async with Manager() as manager:
        collector = ReadingsCollector(manager)
        await manager.register(Thing())
        await use(manager, 3)
        await manager.reload("thing", {"size": 2})
        await use(manager, 4)
        await manager.reload("thing", {"size": 3})
        await use(manager, 5)
        await manager.deregister("thing")
        assert told(collector) == {"global": (12, 0)}
        await manager.register(Thing())
        await use(manager, 1)
        [reading] = collector.read().pools
        assert (reading.stats.acquisitions, reading.stats.releases, reading.stats.wait.count) == (13, 13, 13)
        assert reading.stats.size == 1


async def test_a_pool_that_ends_holds_nothing_for_a_scrape_that_never_comes() -> None:
    """A hundred came and went; nobody scraped: at most the one that went last is held."""
    async with Manager() as manager:
        collector = ReadingsCollector(manager)
        for _ in range(100):
            await manager.register(Thing())
            await use(manager, 1)
            await manager.deregister("thing")
        assert len(collector._pools) <= 1
        assert told(collector) == {"global": (100, 0)}
        assert (collector._pools, collector._leaving) == ({}, {})


async def test_a_pool_that_was_there_before_the_collector_is_counted() -> None:
    """It ends before the first scrape."""
    async with Manager() as manager:
        await manager.register(Thing())
        await use(manager, 2)
        collector = ReadingsCollector(manager)
        await manager.deregister("thing")
        assert told(collector) == {"global": (2, 0)}


@pytest.mark.parametrize("end", ["refused", "called off", "served"])
async def test_no_counter_falls_while_an_instance_is_handed_over(end: str) -> None:
    """A scrape falls between the hand-over and its caller's turn: what it told stands until the truth has caught up."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        collector = ReadingsCollector(manager)
        kept, told = TextRenderer(), []

        def look() -> None:
            samples = parsed(kept.render(collector.read()))
            told.append(
                {
                    key: held
                    for key, held in samples.items()
                    if key[0].endswith(("_total", "_bucket", "_count"))
                }
            )

        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
            await asyncio.sleep(3.0)
            look()
        look()  # handed over by the release just now; the waiter has not run since
        if end == "refused":
            registration._causes[Cause.UNHEALTHY] = lambda: Unavailable("unhealthy", retryable=True)
            registration._settle()
        elif end == "called off":
            waiter.cancel()
        await asyncio.wait([waiter])
        look()
        registration._causes.clear()
        registration._settle()
        if end == "refused":
            assert isinstance(waiter.exception(), Unavailable)
        elif end == "served":
            waiter.result()
            registration.pool.resize(max_size=2)
        await use(manager, 3)
        look()
        for before, after in pairwise(told):
            fallen = {key: (held, after[key]) for key, held in before.items() if after[key] < held}
            assert not fallen
        stats = registration.pool.stats()
        assert told[1] != told[0], "the scrape fell into that turn"
        assert stats.acquisitions == (5 if end == "served" else 4)
        outcome = value(
            told[-1], "pool_acquires_total", pool="thing", driver="custom", scope_level="global", outcome="ok"
        )
        assert outcome == stats.acquisitions
        labels = {"pool": "thing", "driver": "custom", "scope_level": "global", "outcome": "ok"}
        waits = [
            value(told[-1], "pool_acquire_duration_seconds_bucket", **labels, le=le)
            for le in ("0.0005", "5.0")
        ]
        assert waits == [4, stats.acquisitions]


async def test_a_scrape_that_pauses_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lets others run, a pool that it has not reached yet ends, and one that is leaving is closed."""
    monkeypatch.setattr("nebula_resource.admin.readings.SLICE", 1)
    async with Manager() as manager:
        collector = ReadingsCollector(manager)
        for name in ("a", "b"):
            await manager.register(Thing(name))
            async with manager.acquire(name):
                pass
        look = collector._look()
        next(look)
        await manager.deregister("b")
        await manager.register(Thing("c"))
        for _ in look:
            pass
        seen = {each.resource_id: each.stats.acquisitions for each in collector._readings(()).pools}
        assert seen == {"a": 1, "b": 1}
        later = {each.resource_id: each.stats.acquisitions for each in collector.read().pools}
        assert later == {**seen, "c": 0}


def test_counters_without_a_pool_are_kept_for_so_many() -> None:
    """Then the series that has been without one longest ends."""
    sums = PoolSums()
    values: dict[str, Any] = {"acquisitions": 1, "idle": 1, "size": 1}
    for number in range(KEPT + 2):
        sums.put(number, pool(f"r{number}", **values))
        sums.drop(number)
    left = sums.readings()
    assert len(left) == KEPT
    assert left[0].resource_id == "r2"
    assert {(each.stats.acquisitions, each.stats.size, each.saturation) for each in left} == {(1, 0, 0.0)}


def test_a_series_whose_pool_came_back_does_not_end() -> None:
    """It was without one for a while; those that are without one now end before it, and its counters go on."""
    sums = PoolSums()
    values: dict[str, Any] = {"acquisitions": 1, "idle": 1, "size": 1}
    sums.put("back", pool("back", **values))
    sums.drop("back")
    sums.put("again", pool("back", **values))
    for number in range(KEPT + 1):
        sums.put(number, pool(f"r{number}", **values))
        sums.drop(number)
    left = {each.resource_id: each.stats for each in sums.readings()}
    assert len(left) == KEPT + 1
    assert "r0" not in left
    assert (left["back"].acquisitions, left["back"].size) == (2, 1)
    sums.drop("again")
    assert {each.resource_id: each.stats.size for each in sums.readings()}["back"] == 0
    assert "r1" not in {each.resource_id for each in sums.readings()}
