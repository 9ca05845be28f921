"""Readings as text: every family, both formats, parsed back by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nebula_resource.errors import ConfigurationError
from nebula_resource.metrics import (
    CATALOGUE,
    Family,
    HealthReading,
    QuarantineReading,
    Readings,
    render,
)
from nebula_resource.metrics.pool_text import POOL_FAMILIES
from tests.unit.metrics.builders import L, histogram, parsed, pool, value


def everything() -> Readings:
    """Readings that fill every family that has a source."""
    return Readings(
        pools=(
            pool(
                state="draining",
                size=10,
                idle=1,
                in_use=4,
                checking=2,
                creating=1,
                retiring=2,
                waiting=3,
                min=2,
                max=16,
                acquisitions=100,
                releases=96,
                created=12,
                create_failures=5,
                timeouts=7,
                exhausted=6,
                cancelled=4,
                leaks=1,
                destroyed={"expired": 2, "stolen": 1},
                wait=histogram(0.0004, 0.02, 40.0),
                use=histogram(1.5),
                create=histogram(0.1, 0.3),
                refused={"quarantined": 8, "create_failed": 5},
                target=20,
            ),
        ),
        health=(
            HealthReading(
                resource_id="db",
                driver="postgres",
                state="degraded",
                score=0.25,
                last_check_at=1700000000.5,
                checks={"healthy": 3, "degraded": 1},
                durations={"connectivity": histogram(0.01)},
            ),
        ),
        quarantine=(
            QuarantineReading(resource_id="db", reason="cascade", attempts=2, next_attempt_at=1700000060.0),
        ),
        scopes={"tenant": 3, "execution": 40},
        events_emitted={"pool.resized": 2},
        events_dropped={"sse": 9},
        events_subscribers=4,
        hooks={("audit", "after", "ok"): histogram(0.002)},
        families=(Family.of("cascades", {("db",): 1}),),
        version="0.1.0",
    )


EXPECTED: list[tuple[str, dict[str, str], float]] = [
    ("pool_instances", L | {"state": "idle"}, 1),
    ("pool_instances", L | {"state": "used"}, 4),
    ("pool_instances", L | {"state": "checking"}, 2),
    ("pool_instances", L | {"state": "creating"}, 1),
    ("pool_instances", L | {"state": "retiring"}, 2),
    ("pool_instances_max", L, 16),
    ("pool_instances_min", L, 2),
    ("pool_pending_acquires", L, 3),
    ("pool_saturation_ratio", L, 0.25),
    ("pool_acquires_total", L | {"outcome": "ok"}, 100),
    ("pool_acquires_total", L | {"outcome": "timeout"}, 7),
    ("pool_acquires_total", L | {"outcome": "exhausted"}, 6),
    ("pool_acquires_total", L | {"outcome": "cancelled"}, 4),
    ("pool_acquires_total", L | {"outcome": "create_failed"}, 5),
    ("pool_acquires_total", L | {"outcome": "quarantined"}, 8),
    ("pool_acquire_duration_seconds_bucket", L | {"outcome": "ok", "le": "0.0005"}, 1),
    ("pool_acquire_duration_seconds_bucket", L | {"outcome": "ok", "le": "0.01"}, 1),
    ("pool_acquire_duration_seconds_bucket", L | {"outcome": "ok", "le": "0.025"}, 2),
    ("pool_acquire_duration_seconds_bucket", L | {"outcome": "ok", "le": "30.0"}, 2),
    ("pool_acquire_duration_seconds_bucket", L | {"outcome": "ok", "le": "+Inf"}, 3),
    ("pool_acquire_duration_seconds_count", L | {"outcome": "ok"}, 3),
    ("pool_acquire_duration_seconds_sum", L | {"outcome": "ok"}, 40.0204),
    ("pool_use_duration_seconds_count", L, 1),
    ("pool_use_duration_seconds_sum", L, 1.5),
    ("pool_releases_total", L, 96),
    ("pool_instances_created_total", L | {"outcome": "ok"}, 12),
    ("pool_instances_created_total", L | {"outcome": "failed"}, 5),
    ("pool_instance_create_duration_seconds_count", L | {"outcome": "ok"}, 2),
    ("pool_instances_destroyed_total", L | {"reason": "expired"}, 2),
    ("pool_instances_destroyed_total", L | {"reason": "stolen"}, 1),
    ("pool_leaks_total", L, 1),
    ("pool_draining", L, 1),
    ("autoscale_target_instances", L, 20),
    ("health_state", {"resource": "db", "state": "degraded"}, 1),
    ("health_state", {"resource": "db", "state": "healthy"}, 0),
    ("health_score_ratio", {"resource": "db"}, 0.25),
    ("health_last_check_timestamp_seconds", {"resource": "db"}, 1700000000.5),
    ("health_checks_total", {"resource": "db", "driver": "postgres", "result": "healthy"}, 3),
    (
        "health_check_duration_seconds_count",
        {"resource": "db", "driver": "postgres", "stage": "connectivity"},
        1,
    ),
    ("quarantine_active", {"resource": "db", "reason": "cascade"}, 1),
    ("quarantine_next_attempt_timestamp_seconds", {"resource": "db"}, 1700000060.0),
    ("scopes", {"level": "execution"}, 40),
    ("events_emitted_total", {"type": "pool.resized"}, 2),
    ("events_dropped_total", {"subscriber": "sse"}, 9),
    ("events_subscribers", {}, 4),
    ("hook_duration_seconds_count", {"hook": "audit", "phase": "after", "outcome": "ok"}, 1),
    ("cascades_total", {"root": "db"}, 1),
    ("build_info", {"version": "0.1.0"}, 1),
]


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_every_number_arrives(openmetrics: bool) -> None:
    """What the readings hold is what Prometheus' parser reads, under the names of the catalogue."""
    samples = parsed(render(everything(), openmetrics=openmetrics), openmetrics=openmetrics)
    for name, labels, number in EXPECTED:
        assert value(samples, name, **labels) == pytest.approx(number), (name, labels)


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_every_family_is_in_the_catalogue_with_its_type_and_labels(openmetrics: bool) -> None:
    """No name is invented on the way out, and no label is added or forgotten."""
    by_name = {metric.series_name.removesuffix("_total"): metric for metric in CATALOGUE.values()}
    parse: Any = parse_openmetrics if openmetrics else parse_text
    for family in parse(render(everything(), openmetrics=openmetrics)):
        metric = by_name[family.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name


def test_the_formats_differ_only_in_heads_and_end() -> None:
    """Counters are named with _total in the older format, by their family in OpenMetrics, which ends with EOF."""
    old, new = render(everything()).splitlines(), render(everything(), openmetrics=True).splitlines()
    assert [line for line in old if line[0] != "#"] == [line for line in new if line[0] != "#"]
    assert "# TYPE nebula_resource_pool_leaks_total counter" in old
    assert "# TYPE nebula_resource_pool_leaks counter" in new
    assert (new[-1], "# EOF" in old) == ("# EOF", False)


def test_nothing_to_tell_is_an_empty_text() -> None:
    """No head without samples; OpenMetrics still ends properly."""
    assert render(Readings()) == ""
    assert render(Readings(), openmetrics=True) == "# EOF\n"


def test_outcomes_that_alerts_need_stand_at_zero_from_the_start() -> None:
    """An untouched pool has ok and timeout at 0 and none of the others."""
    samples = parsed(render(Readings(pools=(pool(),))))
    outcomes = {dict(labels)["outcome"] for name, labels in samples if name.endswith("pool_acquires_total")}
    assert outcomes == {"ok", "timeout"}
    assert value(samples, "pool_acquires_total", **L, outcome="timeout") == 0


def test_families_of_one_name_are_written_as_one() -> None:
    """Two sources may add to one metric; a label set both have is the later one's."""
    readings = Readings(
        families=(
            Family.of("metrics_series_overflow", {("a",): 1, ("b",): 1}),
            Family.of("scopes_created", {("tenant",): 2}),
            Family.of("metrics_series_overflow", {("b",): 5}),
        )
    )
    samples = parsed(render(readings))
    assert value(samples, "metrics_series_overflow_total", metric="a") == 1
    assert value(samples, "metrics_series_overflow_total", metric="b") == 5


def test_a_family_is_of_the_catalogue() -> None:
    """A name that is not in it, a wrong number of labels, and a family of the pools are refused."""
    with pytest.raises(ConfigurationError, match="no metric named 'pool_size'"):
        Family.of("pool_size", {})
    with pytest.raises(ConfigurationError, match="labels of 'cascades' are root"):
        Family.of("cascades", {("a", "b"): 1})
    with pytest.raises(ConfigurationError, match="none"):
        Family.of("events_subscribers", {("a",): 1})
    with pytest.raises(ConfigurationError, match="'pool_leaks'"):
        render(Readings(families=(Family.of("pool_leaks", {("db", "x", "global"): 1}),)))
    assert set(CATALOGUE) >= POOL_FAMILIES


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0"), (-3, "-3"), (True, "1"), (0.1, "0.1"), (1e300, "1e+300"), (float("inf"), "+Inf"),
     (float("-inf"), "-Inf"), (float("nan"), "NaN")],
)  # fmt: skip  # a table
def test_numbers_are_spelt_as_the_formats_want(number: float, written: str) -> None:
    """Also those that Python spells otherwise."""
    assert render(Readings(families=(Family.of("events_subscribers", {(): number}),))).splitlines()[-1] == (
        f"nebula_resource_events_subscribers {written}"
    )
