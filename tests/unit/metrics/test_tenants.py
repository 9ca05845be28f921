"""Tenants that were allow-listed, and their budget of series."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nebula_resource.errors import ConfigurationError
from nebula_resource.events import CircuitOpened
from nebula_resource.metrics import (
    EventTally,
    Readings,
    TextRenderer,
)
from tests.unit.metrics.builders import parsed, pool, value


def test_allow_listed_tenants_have_their_own_families() -> None:
    """Those two tenants by name, all others as one, and the pools of no tenant not at all."""
    readings = Readings(
        pools=(
            pool(tenant="acme", acquisitions=1, timeouts=2, idle=3, in_use=4),
            pool(tenant="acme", acquisitions=1),
            pool(tenant="globex", acquisitions=10),
            pool(tenant="hidden1", acquisitions=100),
            pool(tenant="hidden2", acquisitions=200),
            pool(acquisitions=1000),
        )
    )
    text = TextRenderer(tenants=["acme", "globex"]).render(readings)
    samples = parsed(text)
    acme = {"tenant": "acme", "pool": "db"}
    assert value(samples, "tenant_acquires_total", **acme, outcome="ok") == 2
    assert value(samples, "tenant_acquires_total", **acme, outcome="timeout") == 2
    assert value(samples, "tenant_pool_instances", **acme, state="idle") == 3
    assert value(samples, "tenant_pool_instances", **acme, state="used") == 4
    assert value(samples, "tenant_acquires_total", tenant="globex", pool="db", outcome="ok") == 10
    assert value(samples, "tenant_acquires_total", tenant="_other", pool="db", outcome="ok") == 300
    assert "hidden" not in text


def test_a_tenants_pool_that_is_gone_leaves_its_counters() -> None:
    """And no gauge of nothing."""
    gone = pool(tenant="acme", acquisitions=3)._replace(is_gone=True)
    samples = parsed(TextRenderer(tenants=["acme"]).render(Readings(pools=(gone,))))
    assert value(samples, "tenant_acquires_total", tenant="acme", pool="db", outcome="ok") == 3
    assert not [name for name, _ in samples if name.endswith("pool_instances")]


def test_at_most_fifty_tenants() -> None:
    """More would be no allow-list."""
    TextRenderer(tenants=[f"t{n}" for n in range(50)])
    with pytest.raises(ConfigurationError, match="at most 50"):
        TextRenderer(tenants=[f"t{n}" for n in range(51)])


def test_tenant_series_keep_their_budget() -> None:
    """What is beyond goes to one pool _overflow for each tenant, nothing is lost from the sums, and it is counted."""
    renderer = TextRenderer(tenants=["acme"], max_series=40)
    readings = Readings(pools=tuple(pool(f"db-{n}", tenant="acme", acquisitions=1) for n in range(100)))
    samples = parsed(renderer.render(readings))
    ours = {key: number for key, number in samples.items() if key[0].startswith("nebula_resource_tenant_")}
    assert len(ours) <= 40
    assert sum(number for (_, labels), number in ours.items() if ("outcome", "ok") in labels) == 100
    assert value(samples, "metrics_series_overflow_total", metric="tenant") == 92
    assert value(parsed(renderer.render(readings)), "metrics_series_overflow_total", metric="tenant") == 92


def test_a_place_is_free_again_when_its_pool_is_gone() -> None:
    """Pools that come and go do not use the budget up."""
    renderer = TextRenderer(tenants=["acme"], max_series=12)
    for n in range(5):
        samples = parsed(renderer.render(Readings(pools=(pool(f"db-{n}", tenant="acme"),))))
        assert value(samples, "tenant_acquires_total", tenant="acme", pool=f"db-{n}", outcome="ok") == 0


def test_all_that_make_up_labels_share_one_budget() -> None:
    """What the tally of events has taken the tenants cannot have, and the other way round."""
    renderer = TextRenderer(tenants=["acme"], max_series=20)
    tally, at = EventTally(renderer.budget), datetime.now(UTC)
    for number in range(8):
        tally(CircuitOpened(seq=number, at=at, resource_id=f"c-{number}"))
    readings = Readings(pools=tuple(pool(f"db-{n}", tenant="acme") for n in range(3)))
    samples = parsed(renderer.render(readings))
    assert value(samples, "metrics_series_overflow_total", metric="tenant") == 2
    tally(CircuitOpened(seq=9, at=at, resource_id="c-9"))
    assert dict(tally.families()[-1].samples) == {("breaker_transitions",): 1}
