"""Histogram: counts in fixed buckets, copies exactly, and tells quantiles as well as buckets can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nebula_resource.model.histogram import BOUNDS, EMPTY, Histogram, HistogramSnapshot


def test_a_value_lies_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    """On a bound is below it; beyond the last is the last bucket."""
    histogram = Histogram([1.0, 2.0])
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 100.0):
        histogram.add(value)
    snapshot = histogram.snapshot()
    assert snapshot.counts == (2, 2, 2)
    assert snapshot.count == 6
    assert snapshot.total_s == pytest.approx(106.6)
    assert snapshot.bounds == (1.0, 2.0)


def test_a_snapshot_is_a_copy_and_takes_in_what_was_instant() -> None:
    """Later values do not change it; those that were not added lie in the first bucket and add no time."""
    histogram = Histogram()
    histogram.add(0.3)
    before = histogram.snapshot(of=10)
    histogram.add(0.3)
    assert before.count == 10
    assert before.counts[0] == 9
    assert before.total_s == 0.3
    assert len(before.counts) == len(BOUNDS) + 1


def test_an_empty_one_knows_no_quantile() -> None:
    """None, not 0: nothing was measured."""
    empty = Histogram().snapshot()
    assert (empty.p50, empty.p95, empty.p99, empty.quantile(0.0)) == (None, None, None, None)


def test_quantiles_are_interpolated_inside_a_bucket() -> None:
    """A hundred values in (1, 2]: the median lies in the middle; what lies beyond all bounds is the last bound."""
    even = HistogramSnapshot(bounds=(1.0, 2.0), counts=(0, 100, 0), total_s=150.0)
    assert even.p50 == 1.5
    assert even.quantile(1.0) == 2.0
    assert even.quantile(0.0) == 1.0
    beyond = HistogramSnapshot(bounds=(1.0, 2.0), counts=(1, 0, 99), total_s=500.0)
    assert beyond.p99 == 2.0
    mixed = HistogramSnapshot(bounds=(1.0, 2.0), counts=(90, 10, 0), total_s=100.0)
    assert mixed.p50 is not None
    assert mixed.p95 is not None
    assert mixed.p50 < 1.0 < mixed.p95 <= 2.0


@given(st.lists(st.floats(0, 40), min_size=1, max_size=200), st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_is_never_off_by_more_than_its_bucket(values: list[float], q: float, more: float) -> None:
    """Up to its bucket's upper bound lies at least that share of all values, below it at most; it grows with q."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    snapshot = histogram.snapshot()
    told = snapshot.quantile(q)
    assert told is not None
    rank = q * len(values)
    upper = min(bound for bound in BOUNDS if bound >= told)
    if upper != BOUNDS[-1]:
        assert sum(value <= upper for value in values) >= rank - 1e-9
    below = [bound for bound in BOUNDS if bound < told]
    if below:
        assert sum(value <= below[-1] for value in values) <= rank + 1e-9
    later = snapshot.quantile(q + more * (1 - q))
    assert later is not None
    assert later >= told


def test_several_quantiles_are_those_asked_for_one_by_one() -> None:
    """In one walk: of nothing, of one bucket, of several, and beyond the last bound."""
    shares = (0.0, 0.1, 0.5, 0.5, 0.95, 0.99, 1.0)
    for values in ([], [0.003], [0.0001, 0.003, 0.003, 0.4, 7.0], [1e9], [0.001, 1e9, 1e9]):
        histogram = Histogram()
        for value in values:
            histogram.add(value)
        snapshot = histogram.snapshot()
        assert snapshot.quantiles(*shares) == [snapshot.quantile(share) for share in shares]
        assert (snapshot.quantiles(0.5)[0] is None) is (not values)


def test_a_snapshot_is_the_same_until_it_would_say_something_else() -> None:
    """Who compares is done at once; equal counts with another sum, or other bounds, are another one."""
    held = Histogram()
    held.add(1.5)
    before = held.snapshot()
    assert held.snapshot() is before
    held.take_back(1.5)
    held.add(2.0)
    after = held.snapshot()
    assert (after.counts, after.total_s) == (before.counts, 2.0)
    assert held.snapshot(of=2).counts == (1, *before.counts[1:])
    assert held.snapshot(of=2) is held.snapshot(of=2)
    assert held.snapshot(of=0) == after
    assert held.snapshot() == after
    others = tuple(2 * bound for bound in BOUNDS)
    assert Histogram(others).snapshot() == HistogramSnapshot(others, EMPTY.counts, 0.0)
