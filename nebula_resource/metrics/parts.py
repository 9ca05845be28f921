"""Part: how one family is read of many values and written; the kinds that there are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress, repeat
from typing import Any

from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.exposition import escaped, number
from nebula_resource.model.histogram import EMPTY, HistogramSnapshot

__all__ = ["Column", "Part", "counts", "histograms", "in_template", "numbers"]

Column = Sequence[Any]
"""One thing of each of a chunk's values."""
Numbers = tuple[int | float, ...]
Shape = tuple[tuple[str, tuple[float, ...]], ...]
"""The histograms of a key: the further label's value and the bounds of each."""


@dataclass(frozen=True, slots=True)
class Part:
    """How one family is read of many values and written."""

    name: str
    """In the catalogue."""
    looks: tuple[str, ...]
    """The columns its numbers are made of; as long as all of a chunk are equal it is not written anew."""
    read: Callable[[Sequence[Column], Column], tuple[list[Hashable], Numbers]]
    """Of those columns, and of one that says of which keys only counters still stand (empty: of none): what lines each key
    has, and the numbers that stand in them, one after the other."""
    lines: Callable[[Any], tuple[bytes, ...]]
    """Of a key that has these: their text, with places (``%d``, ``%a``) for numbers, cut where the labels stand."""
    depth: int | None = None
    """How many of the key's labels the family has, from the first on; None: all."""


def numbers(
    name: str,
    *looks: str,
    label: str = "",
    values: Sequence[str] = (),
    of: Callable[..., Column] | None = None,
    depth: int | None = None,
    place: str = "%d",
) -> Part:
    """A plain number, or one for each of the ``values`` of one more label; a None is not written.

    Args:
        name: in the catalogue.
        looks: the columns in which the numbers stand.
        label: the further label.
        values: its values. Several columns hold one number each, one column holds tuples of them.
        of: works the column of numbers out where it follows from those in ``looks``.
        depth: see `Part`.
        place: ``%d`` for integers, ``%a`` for floats, whose ``repr`` is what both formats want.
    """
    metric = CATALOGUE[name]
    each = [in_template(f',{label}="{value}"') for value in values] or [b""]
    can_go = metric.kind == "gauge"

    def read(columns: Sequence[Column], gone: Column) -> tuple[list[Hashable], Numbers]:
        found: Column = (
            of(*columns) if of else columns[0] if len(columns) == 1 else [*zip(*columns, strict=True)]
        )
        there = [one is not None for one in found]
        if can_go and gone:
            there = [is_there and not went for is_there, went in zip(there, gone, strict=True)]
        if False in there:
            found = [*compress(found, there)]
        return [*there], tuple(chain.from_iterable(found) if values else found)

    def lines(is_there: bool) -> tuple[bytes, ...]:
        return _cut([(metric.series_name, more, place) for more in each if is_there])

    return Part(name, looks, read, lines, depth)


def counts(
    name: str,
    label: str,
    *looks: str,
    of: Callable[..., Sequence[Mapping[str, int]]] | None = None,
    depth: int | None = None,
) -> Part:
    """Counts by the values of one more label, which turn up as they happen; ``of`` as in `numbers`."""
    series = CATALOGUE[name].series_name

    def read(columns: Sequence[Column], gone: Column) -> tuple[list[Hashable], Numbers]:
        found = of(*columns) if of else columns[0]
        return [*map(tuple, found)], tuple(chain.from_iterable([one.values() for one in found]))

    def lines(values: tuple[str, ...]) -> tuple[bytes, ...]:
        return _cut([(series, in_template(f',{label}="{escaped(value)}"'), "%d") for value in values])

    return Part(name, looks, read, lines, depth)


def histograms(
    name: str, label: str, *looks: str, values: Sequence[str] = (), depth: int | None = None
) -> Part:
    """Histograms by one more label, one for each of its ``values``; without those, what stands there says what they are.

    ``label`` may be empty: then there is one, without a label of its own. One that counted nothing is not written.
    """
    series = CATALOGUE[name].series_name

    def read(columns: Sequence[Column], gone: Column) -> tuple[list[Hashable], Numbers]:
        shapes: list[Hashable] = []
        numbers: list[int | float] = []
        for named in _named_snapshots(columns, values):
            shape: Shape = ()
            for value, snapshot in named:
                if snapshot is EMPTY:
                    continue
                numbers += accumulate(snapshot.counts)
                if total := numbers[-1]:
                    shape += ((value, snapshot.bounds),)
                    numbers += (snapshot.total_s, total)
                else:
                    del numbers[-len(snapshot.counts) :]
            shapes.append(shape)
        return shapes, tuple(numbers)

    def lines(shape: Shape) -> tuple[bytes, ...]:
        found = []
        for value, bounds in shape:
            mine = in_template(f',{label}="{escaped(value)}"') if label else b""
            for bound in (*bounds, float("inf")):
                found.append((f"{series}_bucket", mine + f',le="{number(bound)}"'.encode(), "%d"))
            found += [(f"{series}_sum", mine, "%a"), (f"{series}_count", mine, "%d")]
        return _cut(found)

    return Part(name, looks, read, lines, depth)


def _named_snapshots(
    columns: Sequence[Column], values: Sequence[str]
) -> Iterable[Iterable[tuple[str, HistogramSnapshot]]]:
    """Of each key its histograms, with the further label's values; columns in which nothing was counted are left out."""
    if not values:
        return [one.items() for one in columns[0]]
    filled = [
        zip(repeat(value), column)
        for value, column in zip(values, columns, strict=True)
        if column.count(EMPTY) < len(column)
    ]
    return zip(*filled, strict=True) if filled else repeat((), len(columns[0]))


def _cut(lines: Sequence[tuple[str, bytes, str]]) -> tuple[bytes, ...]:
    """Lines of (series, further labels, place), cut where the key's labels stand: those join the pieces."""
    if not lines:
        return ()
    ends = [b"%b} %b\n" % (more, place.encode()) for _, more, place in lines]
    begins = [f"{series}{{".encode() for series, *_ in lines]
    return (begins[0], *map(bytes.__add__, ends, begins[1:]), ends[-1])


def in_template(text: str) -> bytes:
    """Return text that stands in a template as it is."""
    return text.replace("%", "%%").encode()
