"""PoolStats: every number of one pool at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nebula_resource.model.histogram import EMPTY, HistogramSnapshot

__all__ = ["PoolStats"]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A frozen snapshot of a pool: sizes are counts, times are seconds, counters only grow.

    ``size = idle + in_use + checking + creating + retiring``; ``in_use`` includes instances being recycled,
    ``checking`` those reserved by validation, upkeep or a probe.
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
    oldest_wait_s: float | None
    oldest_hold_s: float | None
    generation: int = 0
    wait_timeout: HistogramSnapshot = EMPTY
    """How long those stood in line who then timed out; ``wait`` holds those who were served."""
    wait_refused: HistogramSnapshot = EMPTY
    """How long those stood in line who were then refused: quarantine, a failed create, an open circuit, …"""
    cleanup: HistogramSnapshot = EMPTY
    """How long the clean-ups of instances took, failed ones too."""

    @property
    def utilisation(self) -> float:
        """Share of ``max`` that is in use, 0…1."""
        return self.in_use / self.max if self.max else 0.0

    @property
    def destroyed_total(self) -> int:
        """Instances that are gone, for whatever reason."""
        return sum(self.destroyed.values())
