"""Properties of the metrics text: whatever ids and numbers there are, Prometheus reads back exactly those."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nebula_resource.metrics import Family, PoolReading, Readings, TextRenderer, render
from nebula_resource.model.histogram import Histogram
from tests.unit.metrics.builders import by_pool, pool

# Any text but lone surrogates, which have no UTF-8 and are replaced.
hostile = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        ['"', "\\", "\n", '\\"', "\\n", "%", "%d", "%(x)s", "{", "}", ",", '",x="', "\r\n", "\u2028", "", " "]
    ),
)
counts = st.integers(0, 2**48)  # sums of them are exact as floats
durations = st.lists(st.floats(0, 100), max_size=5)


@st.composite
def pools(draw: st.DrawFn) -> PoolReading:
    """A pool with any name and any numbers."""
    histogram = Histogram()
    for seconds in draw(durations):
        histogram.add(seconds)
    return pool(
        draw(hostile),
        acquisitions=draw(counts),
        waiting=draw(counts),
        destroyed={draw(hostile): draw(counts)},
        wait=histogram.snapshot(),
        refused={draw(hostile): draw(counts)},
    )


@settings(max_examples=1000)
@given(readings=st.lists(pools(), min_size=1, max_size=4), openmetrics=st.booleans())
def test_hostile_ids_and_numbers_come_back(readings: list[PoolReading], openmetrics: bool) -> None:
    """Sums by id, as the parser reads them, are the sums of what was given."""
    text = render(Readings(pools=tuple(readings)), openmetrics=openmetrics)
    parse = parse_openmetrics if openmetrics else parse_text
    found: dict[tuple[str, str], float] = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name.removeprefix("nebula_resource_"), sample.labels["pool"])
            if sample.labels.get("le", "+Inf") == "+Inf":
                found[key] = found.get(key, 0) + sample.value
    for name in {reading.resource_id for reading in readings}:
        mine = [reading for reading in readings if reading.resource_id == name]
        total = sum(one.stats.acquisitions + sum(one.refused.values()) for one in mine)
        assert found["pool_acquires_total", name] == float(total)
        assert found["pool_pending_acquires", name] == float(sum(one.stats.waiting for one in mine))
        gone = sum(sum(one.stats.destroyed.values()) for one in mine)
        assert found["pool_instances_destroyed_total", name] == float(gone)
        waits = sum(one.stats.wait.count for one in mine)
        assert found.get(("pool_acquire_duration_seconds_count", name), 0) == waits
        assert found.get(("pool_acquire_duration_seconds_bucket", name), 0) == waits


@settings(max_examples=1000)
@given(labels=st.lists(st.tuples(hostile, hostile), max_size=5, unique=True), openmetrics=st.booleans())
def test_hostile_labels_of_other_families_come_back(labels: list[tuple[str, str]], openmetrics: bool) -> None:
    """Each set of labels is one sample with exactly these labels."""
    readings = Readings(families=(Family.of("quarantines", dict.fromkeys(labels, 1)),))
    parse = parse_openmetrics if openmetrics else parse_text
    found = [
        (sample.labels["resource"], sample.labels["reason"])
        for family in parse(render(readings, openmetrics=openmetrics))
        for sample in family.samples
    ]
    assert sorted(found) == sorted(labels)


@settings(max_examples=1000)
@given(scrapes=st.lists(st.lists(pools(), max_size=3), min_size=1, max_size=5))
def test_what_is_remembered_is_never_stale(scrapes: list[list[PoolReading]]) -> None:
    """A renderer that has seen other scrapes writes what a new one writes."""
    kept = TextRenderer()
    for scrape in scrapes:
        readings = Readings(pools=tuple(scrape))
        assert by_pool(kept.render(readings)) == by_pool(render(readings))


@settings(max_examples=1000)
@given(name=st.text(max_size=10))
def test_any_text_can_be_sent(name: str) -> None:
    """Lone surrogates too: the text always has a UTF-8 form."""
    assert render(Readings(pools=(pool(name),))).encode()
