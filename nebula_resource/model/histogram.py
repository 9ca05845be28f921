"""Histogram: durations counted in fixed buckets, cheap to add to and exact to merge."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BOUNDS", "EMPTY", "Histogram", "HistogramSnapshot"]

BOUNDS: tuple[float, ...] = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip  # one row reads better than fifteen
"""Upper bounds in seconds: from the metric catalogue (half a millisecond to half a minute, 15 steps)."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A frozen copy: ``counts[i]`` values lay in ``(bounds[i-1], bounds[i]]`` seconds, the last beyond them all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """The value (seconds) below which a share ``q`` of all lie, interpolated inside its bucket; None if empty.

        A value beyond the last bound is reported as that bound: the histogram knows no more.
        """
        return self.quantiles(q)[0]

    def quantiles(self, *shares: float) -> list[float | None]:
        """`quantile` of each share, which must ascend, in one walk."""
        total = self.count
        if total == 0:
            return [None] * len(shares)
        ranks = [share * total for share in shares]
        found: list[float | None] = []
        seen, lower = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            while count and len(found) < len(ranks) and seen + count >= ranks[len(found)]:
                found.append(lower + (bound - lower) * max(0.0, ranks[len(found)] - seen) / count)
            seen += count
            lower = bound
        return found + [self.bounds[-1]] * (len(ranks) - len(found))

    @property
    def p50(self) -> float | None:
        """Median, seconds."""
        return self.quantile(0.50)

    @property
    def p95(self) -> float | None:
        """95th percentile, seconds."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float | None:
        """99th percentile, seconds."""
        return self.quantile(0.99)


_set_bounds, _set_counts, _set_total = (
    HistogramSnapshot.__dict__[name].__set__ for name in HistogramSnapshot.__slots__
)

EMPTY = HistogramSnapshot(bounds=BOUNDS, counts=(0,) * (len(BOUNDS) + 1), total_s=0.0)
"""Of a histogram to which nothing was ever added."""


class Histogram:
    """Counts durations; one owner adds, anybody may take a snapshot."""

    __slots__ = ("_high", "_last", "_low", "_of", "bounds", "counts", "shown", "total_s")

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total_s = 0.0
        self._last = 0
        self._low = self._high = 0.0  # no value lies between them: the first one is looked for
        self._of: int | None = None
        self.shown: HistogramSnapshot | None = EMPTY if self.bounds is BOUNDS else None
        """The last snapshot; None once something was counted since, be it by who counts without `add`."""

    def add(self, seconds: float) -> None:
        """Count one duration."""
        # Most last about as long as the one before, so the bucket is mostly known.
        if not self._low < seconds <= self._high:
            self._last = bucket = bisect_left(self.bounds, seconds)
            self._low, self._high = self.edges(bucket)
        self.counts[self._last] += 1
        self.total_s += seconds
        self.shown = None

    def take_back(self, seconds: float) -> None:
        """A duration that was counted counts no longer."""
        self.counts[bisect_left(self.bounds, seconds)] -= 1
        self.total_s -= seconds
        self.shown = None

    def edges(self, bucket: int) -> tuple[float, float]:
        """What lies in a bucket: values above the first of the two, up to the second (seconds)."""
        bounds = self.bounds
        return (
            bounds[bucket - 1] if bucket else -math.inf,
            bounds[bucket] if bucket < len(bounds) else math.inf,
        )

    def snapshot(self, *, of: int | None = None) -> HistogramSnapshot:
        """A frozen copy. ``of`` so many values, those that were never added one by one took no time at all.

        It is the very one of the last call until it would say something else, so who compares is done at once.
        """
        shown = self.shown
        if shown is None or of != self._of:
            counts = self.counts
            instant = 0 if of is None else of - sum(counts)
            if instant > 0:
                counts = counts.copy()
                counts[0] += instant
            self.shown = shown = object.__new__(HistogramSnapshot)
            # What its own constructor does, at a third of the price: a scrape makes one for each pool that was used.
            _set_bounds(shown, self.bounds)
            _set_counts(shown, tuple(counts))
            _set_total(shown, self.total_s)
            self._of = of
        return shown
