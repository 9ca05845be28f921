"""Pools as text: sums over tenants, a renderer that is kept, speed."""

from __future__ import annotations

import random
import re
import time

import pytest

from nebula_resource.metrics import (
    HealthReading,
    PoolReadout,
    QuarantineReading,
    Readings,
    TextRenderer,
    render,
)
from nebula_resource.metrics.pool_text import _PARTS
from nebula_resource.metrics.rows import SLICE
from nebula_resource.model.histogram import Histogram, HistogramSnapshot
from tests.unit.metrics.builders import L, by_pool, histogram, parsed, pool, stats, value

_LEAKS, _ACQUIRES = ([part.name for part in _PARTS].index(name) for name in ("pool_leaks", "pool_acquires"))


def test_pools_of_one_resource_in_many_tenants_are_one() -> None:
    """Numbers are added, saturation is the fullest pool's, and no tenant's id is anywhere."""
    readings = Readings(
        pools=(
            pool(
                tenant="acme",
                scope_level="tenant",
                size=4,
                in_use=4,
                max=4,
                acquisitions=10,
                timeouts=1,
                destroyed={"expired": 1},
                wait=histogram(0.1),
                state="draining",
                target=4,
            ),
            pool(
                tenant="globex",
                scope_level="tenant",
                size=6,
                idle=3,
                in_use=3,
                max=12,
                acquisitions=5,
                exhausted=2,
                destroyed={"expired": 2, "broken": 1},
                wait=histogram(0.1, 0.2),
                refused={"unhealthy": 3},
            ),
            pool(scope_level="global", acquisitions=1),
        )
    )
    text = render(readings)
    samples = parsed(text)
    tenants = L | {"scope_level": "tenant"}
    assert value(samples, "pool_instances", **tenants, state="used") == 7
    assert value(samples, "pool_instances", **tenants, state="idle") == 3
    assert value(samples, "pool_instances_max", **tenants) == 16
    assert value(samples, "pool_saturation_ratio", **tenants) == 1.0
    assert value(samples, "pool_acquires_total", **tenants, outcome="ok") == 15
    assert value(samples, "pool_acquires_total", **tenants, outcome="exhausted") == 2
    assert value(samples, "pool_acquires_total", **tenants, outcome="unhealthy") == 3
    assert value(samples, "pool_instances_destroyed_total", **tenants, reason="expired") == 3
    assert value(samples, "pool_acquire_duration_seconds_count", **tenants, outcome="ok") == 3
    assert value(samples, "pool_acquire_duration_seconds_sum", **tenants, outcome="ok") == pytest.approx(0.4)
    assert value(samples, "pool_draining", **tenants) == 1
    assert value(samples, "autoscale_target_instances", **tenants) == 4
    assert value(samples, "pool_acquires_total", **L, outcome="ok") == 1
    assert "acme" not in text
    assert "globex" not in text


def test_series_do_not_grow_with_tenants() -> None:
    """Ten thousand tenants' pools make as many lines as one's."""
    one = tuple(pool(tenant="t0", scope_level="tenant", acquisitions=1) for _ in range(1))
    many = tuple(pool(tenant=f"t{n}", scope_level="tenant", acquisitions=1) for n in range(10_000))
    assert len(render(Readings(pools=many)).splitlines()) == len(render(Readings(pools=one)).splitlines())


def test_histograms_with_other_bounds_cannot_be_added() -> None:
    """Their sum would be a lie, so it is an error that says so."""
    other = Histogram((1.0, 2.0)).snapshot()
    with pytest.raises(ValueError, match="bounds"):
        render(Readings(pools=(pool(), pool(wait=other))))


def test_registrations_of_one_resource_are_counted_by_state() -> None:
    """The score is the worst one's and the check the oldest, so that an alert sees the one that is ill."""
    samples = parsed(
        render(
            Readings(
                health=(
                    HealthReading(resource_id="db", state="healthy", score=1.0, last_check_at=200.0),
                    HealthReading(resource_id="db", state="unhealthy", score=0.0, last_check_at=100.0),
                    HealthReading(resource_id="db", state="healthy", score=1.0),
                ),
                quarantine=(
                    QuarantineReading(resource_id="db", reason="manual"),
                    QuarantineReading(resource_id="db", reason="cascade", next_attempt_at=9.0),
                    QuarantineReading(resource_id="db", reason="cascade", next_attempt_at=8.0),
                ),
            )
        )
    )
    assert value(samples, "health_state", resource="db", state="healthy") == 2
    assert value(samples, "health_state", resource="db", state="unhealthy") == 1
    assert value(samples, "health_score_ratio", resource="db") == 0.0
    assert value(samples, "health_last_check_timestamp_seconds", resource="db") == 100.0
    assert value(samples, "quarantine_active", resource="db", reason="cascade") == 2
    assert value(samples, "quarantine_next_attempt_timestamp_seconds", resource="db") == 8.0


def test_a_kept_renderer_writes_what_a_new_one_would() -> None:
    """Whatever it remembers: numbers that change, pools that come, go, end and change places, bounds that change."""
    kept = TextRenderer()
    first, second = pool("a", acquisitions=1, wait=histogram(0.1)), pool("b", destroyed={"expired": 1})
    scrapes = [
        (first, second),
        (first, second),
        (pool("a", acquisitions=2, wait=histogram(0.1, 0.2)), second),
        (second, first),
        (second,),
        (),
        (pool("a", wait=HistogramSnapshot((1.0,), (0, 0), 0.0)),),
        (pool("a", wait=HistogramSnapshot((2.0,), (0, 0), 0.0)),),
        (pool("a", destroyed={"broken": 1, "expired": 2}, target=3), pool("c%d%s")),
        (pool("a", exhausted=1, wait_timeout=histogram(3.0)), second),
        (
            pool("a", exhausted=1, wait_timeout=histogram(3.0)),
            second._replace(refused={"ok": 1, "unhealthy": 2}),
        ),
        (first._replace(is_gone=True), second),
        (pool("a", in_use=1)._replace(is_gone=True), second._replace(is_gone=True)),
        (pool("a", in_use=1, state="draining"), second),
        (pool("a", in_use=1)._replace(fullest=0.5, pools_draining=2), second),
        (first, second),
    ]
    for pools in scrapes:
        for openmetrics in (False, True):
            readings = Readings(pools=pools)
            mine, new = (of.render(readings, openmetrics=openmetrics) for of in (kept, TextRenderer()))
            assert by_pool(mine) == by_pool(new)
            parsed(mine, openmetrics=openmetrics)


def test_pools_that_come_and_go_move_no_other() -> None:
    """Three hundred, of which half go and others come: each is written, once, and the rest stay where they were."""
    kept, rng = TextRenderer(), random.Random(5)
    print("seed 5")
    there = {f"db-{n}": pool(f"db-{n}", acquisitions=n) for n in range(300)}
    kept.render(Readings(pools=tuple(there.values())))
    for step in range(5):
        for name in rng.sample(sorted(there), 150):
            del there[name]
        staying = list(there)
        there |= {f"new-{step}-{n}": pool(f"new-{step}-{n}") for n in range(rng.randrange(140, 160))}
        text = kept.render(Readings(pools=tuple(there.values())))
        assert by_pool(text) == by_pool(render(Readings(pools=tuple(there.values()))))
        assert len(kept._pools._text._chunks) <= 300 // SLICE + 2
        order = re.findall(r'^nebula_resource_pool_leaks_total\{pool="([^"]*)"', text, re.MULTILINE)
        assert sorted(order) == sorted(there)
        mine = [name for name in order if name in staying]
        assert step or mine == sorted(mine, key=lambda name: int(name[3:])), "they kept their places"


def test_a_chunk_whose_values_stand_is_not_looked_at() -> None:
    """One pool of a thousand was used: the others' chunks are the very texts of before."""
    kept = TextRenderer()
    pools = [pool(f"db-{n}") for n in range(4 * SLICE)]
    kept.render(Readings(pools=tuple(pools)))
    before = [chunk.texts for chunk in kept._pools._text._chunks]
    leaks = [texts[_LEAKS] for texts in before]
    acquires = [texts[_ACQUIRES] for texts in before]
    pools[0] = pool("db-0", acquisitions=1)
    kept.render(Readings(pools=tuple(pools)))
    now = [chunk.texts for chunk in kept._pools._text._chunks]
    assert [new[_LEAKS] is old for new, old in zip(now, leaks, strict=True)] == [True] * 4
    assert [new[_ACQUIRES] is old for new, old in zip(now, acquires, strict=True)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_pools_readout_is_read_at_scrape_time() -> None:
    """Its labels are fixed, its numbers those of the moment."""
    count = iter((1, 2))
    readout = PoolReadout(
        resource_id="db",
        stats=lambda: stats(acquisitions=next(count)),
        refused=lambda: {"unhealthy": 1},
        target=lambda: 5,
    )
    assert [readout.read().stats.acquisitions for _ in range(2)] == [1, 2]
    plain = PoolReadout(resource_id="db", stats=stats).read()
    assert (plain.refused, plain.target) == ({}, None)


@pytest.mark.alone
def test_a_scrape_stays_linear_and_quick() -> None:
    """A thousand busy pools are written in far less than ten times the target of 20 ms, whatever else the machine does."""
    renderer = TextRenderer()
    took = []
    for scrape in range(4):
        pools = tuple(
            pool(f"db-{n}", acquisitions=scrape, wait=histogram(0.001 * scrape), use=histogram(0.1))
            for n in range(1000)
        )
        started = time.perf_counter()
        renderer.render(Readings(pools=pools))
        took.append(time.perf_counter() - started)
    assert min(took[1:]) < 0.2
