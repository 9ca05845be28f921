"""PoolText: the families of pools as text, fast, since there may be thousands of pools.

Everything of a line but its number stays the same from scrape to scrape. It is kept, one list for each family, as
long as the same pools come in the same order; a scrape puts numbers behind it, a whole family at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add, attrgetter

from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.exposition import (
    escaped,
    head,
    histogram_prefixes,
    histogram_values,
    labelled,
    prefix,
)
from nebula_resource.metrics.readout import PoolReading
from nebula_resource.metrics.totals import PoolLabels, PoolTotals, totals_by_labels
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.stats import PoolStats

__all__ = ["POOL_FAMILIES", "PoolText"]

Column = Callable[[Sequence[PoolTotals]], str]
"""Writes one family of all pools."""

_LABELS = ("pool", "driver", "scope_level")


class PoolText:
    """Writes the pools of one scrape."""

    def __init__(self) -> None:
        self._order: tuple[PoolLabels, ...] = ()
        self._columns: dict[str, Column] = {}

    def write(self, pools: Iterable[PoolReading], *, openmetrics: bool) -> list[str]:
        """Return the text, in pieces."""
        totals = totals_by_labels(pools)
        order = tuple(totals)
        if order != self._order:
            self._order = order
            self._columns = _columns([labelled(_LABELS, labels) for labels in order])
        held = tuple(totals.values())
        out: list[str] = []
        for name, column in self._columns.items():
            text = column(held)
            if text:
                out += (head(CATALOGUE[name], openmetrics=openmetrics), text)
        return out


def _columns(labels: Sequence[str]) -> dict[str, Column]:
    """Return what writes each family for pools with these labels, in the order in which they are written."""
    return {
        "pool_instances": _numbers(
            "pool_instances",
            _each(labels, "state", ("idle", "used", "checking", "creating", "retiring")),
            _states,
        ),
        "pool_instances_max": _numbers("pool_instances_max", labels, _one("max")),
        "pool_instances_min": _numbers("pool_instances_min", labels, _one("min")),
        "pool_pending_acquires": _numbers("pool_pending_acquires", labels, _one("waiting")),
        "pool_saturation_ratio": _numbers("pool_saturation_ratio", labels, _saturations),
        "pool_acquires": _counts("pool_acquires", labels, "outcome", attrgetter("acquires")),
        "pool_acquire_duration_seconds": _histograms(
            "pool_acquire_duration_seconds", _each(labels, "outcome", ("ok",)), attrgetter("wait")
        ),
        "pool_use_duration_seconds": _histograms("pool_use_duration_seconds", labels, attrgetter("use")),
        "pool_releases": _numbers("pool_releases", labels, _one("releases")),
        "pool_instances_created": _numbers(
            "pool_instances_created", _each(labels, "outcome", ("ok", "failed")), _created
        ),
        "pool_instance_create_duration_seconds": _histograms(
            "pool_instance_create_duration_seconds", _each(labels, "outcome", ("ok",)), attrgetter("create")
        ),
        "pool_instances_destroyed": _counts(
            "pool_instances_destroyed", labels, "reason", attrgetter("stats.destroyed")
        ),
        "pool_leaks": _numbers("pool_leaks", labels, _one("leaks")),
        "pool_draining": _numbers("pool_draining", labels, _draining),
        "autoscale_target_instances": _counts_or_none("autoscale_target_instances", labels),
    }


# ── kinds of columns ──────────────────────────────────────────────────────────────────────────────────────────────


def _numbers(
    name: str, labels: Sequence[str], read: Callable[[Sequence[PoolTotals]], Iterable[int | float]]
) -> Column:
    """A fixed number of plain numbers for each pool."""
    series = CATALOGUE[name].series_name
    prefixes = [prefix(series, one) for one in labels]
    return lambda totals: _lines(prefixes, read(totals))


def _counts(
    name: str, labels: Sequence[str], label: str, read: Callable[[PoolTotals], Mapping[str, int]]
) -> Column:
    """Counts by the values of one more label, which turn up as they happen."""
    series = CATALOGUE[name].series_name
    known: list[dict[str, str]] = [{} for _ in labels]

    def write(totals: Sequence[PoolTotals]) -> str:
        prefixes: list[str] = []
        values: list[int] = []
        for index, total in enumerate(totals):
            mine = known[index]
            for value, count in read(total).items():
                line = mine.get(value)
                if line is None:
                    line = mine[value] = prefix(series, f'{labels[index]},{label}="{escaped(value)}"')
                prefixes.append(line)
                values.append(count)
        return _lines(prefixes, values)

    return write


def _counts_or_none(name: str, labels: Sequence[str]) -> Column:
    """The target of those pools that have a scaler."""
    series = CATALOGUE[name].series_name
    prefixes = [prefix(series, one) for one in labels]

    def write(totals: Sequence[PoolTotals]) -> str:
        with_target = [
            (line, total.target)
            for line, total in zip(prefixes, totals, strict=True)
            if total.target is not None
        ]
        return _lines([line for line, _ in with_target], [target for _, target in with_target])

    return write


def _histograms(name: str, labels: Sequence[str], read: Callable[[PoolStats], HistogramSnapshot]) -> Column:
    """A histogram for each pool; the text of one that has not changed since the last scrape is kept."""
    series = CATALOGUE[name].series_name
    last: list[HistogramSnapshot | None] = [None] * len(labels)
    texts: list[str] = [""] * len(labels)
    pieces: list[list[str]] = [
        [] for _ in labels
    ]  # of each pool: before the first number, a number, before the next

    def write(totals: Sequence[PoolTotals]) -> str:
        for index, total in enumerate(totals):
            snapshot = read(total.stats)
            before = last[index]
            if before == snapshot:
                continue
            if before is None or before.bounds != snapshot.bounds:
                pieces[index] = _with_places(histogram_prefixes(series, labels[index], snapshot.bounds))
            last[index] = snapshot
            mine = pieces[index]
            mine[1::2] = map(str, histogram_values(snapshot))
            texts[index] = "".join(mine)
        return "".join(texts)

    return write


def _with_places(prefixes: Sequence[str]) -> list[str]:
    """The lines with a place behind each for its number: joined, they are the text."""
    pieces = [prefixes[0]]
    for line in prefixes[1:]:
        pieces += ("", f"\n{line}")
    return [*pieces, "", "\n"]


def _lines(prefixes: Sequence[str], values: Iterable[int | float]) -> str:
    text = "\n".join(map(add, prefixes, map(str, values)))
    return f"{text}\n" if text else ""


def _each(labels: Sequence[str], name: str, values: Sequence[str]) -> list[str]:
    """Every set of labels with each value of one more."""
    return [f'{one},{name}="{value}"' for one in labels for value in values]


# ── what is read of each pool ─────────────────────────────────────────────────────────────────────────────────────


def _one(attribute: str) -> Callable[[Sequence[PoolTotals]], Iterable[int]]:
    read = attrgetter(f"stats.{attribute}")
    return lambda totals: map(read, totals)


def _states(totals: Sequence[PoolTotals]) -> Iterable[int]:
    values: list[int] = []
    for total in totals:
        stats = total.stats
        values += (stats.idle, stats.in_use, stats.checking, stats.creating, stats.retiring)
    return values


def _created(totals: Sequence[PoolTotals]) -> Iterable[int]:
    values: list[int] = []
    for total in totals:
        values += (total.stats.created, total.stats.create_failures)
    return values


def _saturations(totals: Sequence[PoolTotals]) -> Iterable[float]:
    return map(attrgetter("saturation"), totals)


def _draining(totals: Sequence[PoolTotals]) -> Iterable[int]:
    return map(attrgetter("draining"), totals)


POOL_FAMILIES = frozenset(_columns(()))
"""Names of the families that are written here."""
