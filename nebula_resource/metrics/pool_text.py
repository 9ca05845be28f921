"""PoolText: the families of pools as text; what is written of pools that have not changed is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from nebula_resource.metrics.grouped import Grouped
from nebula_resource.metrics.parts import Column, counts, histograms, numbers
from nebula_resource.metrics.readout import PoolReading, by_outcome
from nebula_resource.metrics.rows import RowText
from nebula_resource.metrics.totals import total
from nebula_resource.model.numbers import PoolNumbers

__all__ = ["POOL_FAMILIES", "PoolText"]

_LABELS = ("pool", "driver", "scope_level")
_labels = attrgetter("resource_id", "driver", "scope_level")


class PoolText:
    """Writes the pools of one scrape: those of one resource in many tenants are one."""

    def __init__(self) -> None:
        self._text: RowText[PoolReading] = RowText(_LABELS, _PARTS, _COLUMNS, _split, gone="is_gone")
        self._grouped: Grouped[PoolReading, PoolReading] = Grouped(_labels, _labels, total)

    def write(self, pools: Sequence[PoolReading], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the text in pieces, and an empty piece after each slice of work."""
        found: Mapping[tuple[str, ...], PoolReading] = dict(zip(map(_labels, pools), pools, strict=True))
        if len(found) < len(pools):
            yield from self._grouped.update(pools)
            found = self._grouped.totals
        yield from self._text.write(found, openmetrics=openmetrics)


_COLUMNS = (*PoolNumbers._fields, *PoolReading._fields)
_STATS = PoolReading._fields.index("stats")


def _split(pools: Sequence[PoolReading]) -> Sequence[Column]:
    """Readings as `_COLUMNS`: two turns of tuples, whose price is that of copying."""
    columns = [*zip(*pools, strict=True)]
    return [*zip(*columns[_STATS], strict=True), *columns]


def _saturations(in_use: Column, max_size: Column, fullest: Column) -> Column:
    """As `PoolReading.saturation`."""
    looked = zip(in_use, max_size, fullest, strict=True)
    return [
        (used / bound if bound else 0.0) if highest is None else highest for used, bound, highest in looked
    ]


def _draining(states: Column, counted: Column) -> Column:
    """As `PoolReading.draining`."""
    looked = zip(states, counted, strict=True)
    return [state == "draining" if count is None else count for state, count in looked]


def _acquires(
    acquisitions: Column, timeouts: Column, exhausted: Column, cancelled: Column, refused: Column
) -> Sequence[Mapping[str, int]]:
    """As `PoolReading.acquires`."""
    if not (any(exhausted) or any(cancelled) or any(refused)):  # nearly always
        return [{"ok": ok, "timeout": late} for ok, late in zip(acquisitions, timeouts, strict=True)]
    return [*map(by_outcome, acquisitions, timeouts, exhausted, cancelled, refused)]


_PARTS = (
    numbers(
        "pool_instances",
        "idle",
        "in_use",
        "checking",
        "creating",
        "retiring",
        label="state",
        values=("idle", "used", "checking", "creating", "retiring"),
    ),
    numbers("pool_instances_max", "max"),
    numbers("pool_instances_min", "min"),
    numbers("pool_pending_acquires", "waiting"),
    numbers("pool_saturation_ratio", "in_use", "max", "fullest", of=_saturations, place="%a"),
    counts(
        "pool_acquires",
        "outcome",
        "acquisitions",
        "timeouts",
        "exhausted",
        "cancelled",
        "refused",
        of=_acquires,
    ),
    histograms(
        "pool_acquire_duration_seconds",
        "outcome",
        "wait",
        "wait_timeout",
        "wait_refused",
        values=("ok", "timeout", "refused"),
    ),
    histograms("pool_use_duration_seconds", "", "use", values=("",)),
    numbers("pool_releases", "releases"),
    numbers(
        "pool_instances_created",
        "created",
        "create_failures",
        label="outcome",
        values=("ok", "failed"),
    ),
    histograms("pool_instance_create_duration_seconds", "outcome", "create", values=("ok",)),
    counts("pool_instances_destroyed", "reason", "destroyed"),
    histograms("pool_instance_cleanup_duration_seconds", "", "cleanup", values=("",)),
    numbers("pool_leaks", "leaks"),
    numbers("pool_draining", "state", "pools_draining", of=_draining),
    numbers("autoscale_target_instances", "target"),
)

POOL_FAMILIES = frozenset(part.name for part in _PARTS)
"""Names of the families that are written here."""
