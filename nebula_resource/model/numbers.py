"""PoolNumbers: what a scrape reads of a pool, as a tuple that is made and compared in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.stats import PoolStats

__all__ = ["PoolNumbers"]


class PoolNumbers(NamedTuple):
    """`PoolStats` without its two ages, which change by themselves: equal numbers say that nothing has happened.

    A scrape asks a thousand pools; a frozen dataclass of as many fields takes several times as long to make, and to compare.
    """

    state: str
    size: int
    idle: int
    in_use: int
    checking: int
    creating: int
    retiring: int
    waiting: int
    min: int
    max: int
    acquisitions: int
    releases: int
    created: int
    destroyed: Mapping[str, int]
    timeouts: int
    exhausted: int
    cancelled: int
    create_failures: int
    leaks: int
    wait: HistogramSnapshot
    use: HistogramSnapshot
    create: HistogramSnapshot
    generation: int
    wait_timeout: HistogramSnapshot
    wait_refused: HistogramSnapshot
    cleanup: HistogramSnapshot

    @classmethod
    def of(cls, stats: PoolStats) -> Self:
        """The same numbers, without the ages."""
        return cls(*[getattr(stats, name) for name in cls._fields])

    @property
    def utilisation(self) -> float:
        """Share of ``max`` that is in use, 0…1."""
        return self.in_use / self.max if self.max else 0.0
