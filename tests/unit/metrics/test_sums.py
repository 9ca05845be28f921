"""Sums of pools that come, work and go."""

from __future__ import annotations

import random
from typing import Any

from nebula_resource.metrics import CATALOGUE, PREFIX, PoolReading, Readings, TextRenderer, render
from nebula_resource.metrics.pool_text import POOL_FAMILIES
from nebula_resource.metrics.sums import PoolSums
from nebula_resource.model.histogram import Histogram
from tests.unit.metrics.builders import L, Sample, histogram, parsed, pool, value


def test_a_pool_alone_is_its_own_reading_and_the_same_until_it_changes() -> None:
    """Nothing is copied, so what is written of it can be kept."""
    sums = PoolSums()
    one = pool("a")
    sums.put(1, one)
    assert sums.readings() == (one,)
    assert sums.readings()[0] is one
    sums.put(2, pool("a", acquisitions=3))
    both = sums.readings()
    assert both[0].stats.acquisitions == 3
    sums.put(1, one)
    assert sums.readings()[0] is both[0]


def test_a_sum_of_counters_never_falls() -> None:
    """A pool that is gone takes its gauges along; Prometheus would take a fall for a restart."""
    sums = PoolSums()
    busy: dict[str, Any] = {
        "acquisitions": 100,
        "idle": 2,
        "size": 2,
        "max": 4,
        "destroyed": {"expired": 3},
        "wait": histogram(0.1),
    }
    sums.put(1, pool(**busy, refused={"unhealthy": 2}))
    sums.put(2, pool(acquisitions=1, idle=1, size=1, max=4, wait=histogram(0.2)))
    sums.drop(1)
    samples = parsed(render(Readings(pools=sums.readings())))
    assert value(samples, "pool_acquires_total", **L, outcome="ok") == 101
    assert value(samples, "pool_acquires_total", **L, outcome="unhealthy") == 2
    assert value(samples, "pool_instances_destroyed_total", **L, reason="expired") == 3
    assert value(samples, "pool_acquire_duration_seconds_count", **L, outcome="ok") == 2
    assert value(samples, "pool_instances", **L, state="idle") == 1
    assert value(samples, "pool_instances_max", **L) == 4
    sums.drop(2)
    [left] = sums.readings()
    assert (left.stats.acquisitions, left.stats.idle, left.stats.max) == (101, 0, 0)


def test_a_set_of_labels_without_a_pool_has_counters_alone() -> None:
    """Gauges at 0 would tell of a pool that is there and empty; the next pool of these labels brings them back."""
    sums, kept = PoolSums(), TextRenderer()
    sums.put(0, pool("other", idle=1))
    sums.put(1, pool(acquisitions=5, idle=1, size=1, max=4, target=3, leaks=2))

    def told() -> tuple[set[str], dict[Sample, float]]:
        samples = parsed(kept.render(Readings(pools=sums.readings())))
        return {name for name, labels in samples if ("pool", "db") in labels}, samples

    with_pool, _ = told()
    sums.drop(1)
    without, samples = told()
    assert value(samples, "pool_acquires_total", **L, outcome="ok") == 5
    assert value(samples, "pool_leaks_total", **L) == 2
    assert value(samples, "pool_instances", **L | {"pool": "other"}, state="idle") == 1
    gauges = {f"{PREFIX}{name}" for name in POOL_FAMILIES if CATALOGUE[name].kind == "gauge"}
    assert with_pool - without == gauges
    assert not without & gauges
    sums.put(2, pool(idle=2, size=2, max=4, target=3))
    again, samples = told()
    assert again == with_pool
    assert value(samples, "pool_acquires_total", **L, outcome="ok") == 5
    assert value(samples, "pool_instances", **L, state="idle") == 2


def test_a_pool_whose_labels_change_moves() -> None:
    """It is counted where it is now."""
    sums = PoolSums()
    sums.put(1, pool("a", idle=1))
    sums.put(1, pool("b", idle=1))
    assert [one.resource_id for one in sums.readings()] == ["b"]
    sums.put(2, pool("b", idle=1))
    sums.put(1, pool("a", idle=1))
    assert [(one.resource_id, one.stats.idle) for one in sums.readings()] == [("b", 1), ("a", 1)]


def test_what_is_added_step_by_step_is_the_sum() -> None:
    """Whatever comes and changes, the sums are those of all readings at once."""
    rng = random.Random(7)
    print("seed 7")
    sums = PoolSums()
    held: dict[int, PoolReading] = {}
    waits = {name: Histogram() for name in range(5)}
    for _ in range(300):
        name = rng.randrange(5)
        waits[name].add(rng.random())
        before = held.get(name)
        held[name] = pool(
            in_use=rng.randrange(5),
            max=5,
            acquisitions=rng.randrange(3) + (before.stats.acquisitions if before else 0),
            wait=waits[name].snapshot(),
            destroyed={"expired": (before.stats.destroyed["expired"] + rng.randrange(2) if before else 1)},
            target=rng.choice([None, 3]),
        )
        sums.put(name, held[name])
        got = parsed(render(Readings(pools=sums.readings())))
        wanted = parsed(render(Readings(pools=tuple(held.values()))))
        assert got.keys() == wanted.keys()
        assert all(abs(got[key] - wanted[key]) < 1e-9 for key in wanted)
