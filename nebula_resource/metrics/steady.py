"""Steady: what a pool's counters said once is never taken back."""

from __future__ import annotations

from itertools import accumulate, pairwise

from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers

__all__ = ["steadied"]


def steadied(before: PoolNumbers, now: PoolNumbers) -> PoolNumbers:
    """The numbers of now, no counter of them less than before; nearly always they are as they were read.

    An instance is handed over a turn of the loop before its caller runs. Who reads the pool in that turn sees an
    acquisition whose wait is not known yet, and which may end refused or called off: a moment later there is one less,
    or it lies in another bucket. Prometheus would take either for a restart and count everything twice. So the number
    stands until the truth has caught up with it.
    """
    if now.acquisitions >= before.acquisitions and now.wait.counts[0] >= before.wait.counts[0]:
        return now
    wait = now.wait
    buckets = map(max, accumulate(before.wait.counts), accumulate(wait.counts))
    counts = tuple(high - low for low, high in pairwise((0, *buckets)))
    return now._replace(
        acquisitions=max(before.acquisitions, now.acquisitions),
        wait=HistogramSnapshot(wait.bounds, counts, wait.total_s),
    )
