"""RowText: families that are written for each of thousands of keys (pools, resources), fast.

A key's row keeps, for each family, its lines as bytes and the numbers they hold. A scrape compares numbers and writes
only the lines whose numbers are others, by one template; a family none of whose rows changed is not even joined again.
What is idle costs a comparison of tuples, what is busy one ``%`` for each of its families.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.exposition import escaped, head, histogram_prefixes, labelled, prefix
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["SLICE", "Part", "RowText", "counts", "histograms", "numbers"]

SLICE = 64
"""Rows that are written without a pause; whoever iterates may let others run in between."""

Key = tuple[str, ...]
Numbers = tuple[int | float, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """How one family is read of a value and written."""

    name: str
    """In the catalogue."""
    look: Callable[[T], object]
    """What the numbers are made of; as long as it is equal nothing is written anew."""
    read: Callable[[Any], tuple[Hashable, Numbers]]
    """Of what was looked at: what decides the template, and the numbers that go into it; no numbers, no lines."""
    template: Callable[[str, Hashable], str]
    """The lines of a row with places (``%d``, ``%a``) for its numbers, by its labels and by what decides."""
    depth: int | None = None
    """How many of the key's labels the family has, from the first on; None: all."""


class _Row:
    """One key's lines."""

    __slots__ = ("labels", "looks", "seen", "shapes", "templates", "texts")

    def __init__(self, labels: Sequence[str], parts: int) -> None:
        self.labels = labels
        """The text of the labels, for each family."""
        self.seen: object = None
        self.shapes: list[Hashable] = [None] * parts
        self.templates = [b""] * parts
        self.texts = [b""] * parts
        self.looks: list[object] = [None] * parts


class RowText(Generic[T]):
    """Writes some families for every key there is.

    Args:
        names: of the key's labels.
        parts: the families, in the order in which they are written.
    """

    def __init__(self, names: tuple[str, ...], parts: Sequence[Part[T]]) -> None:
        self._names = names
        self._parts = tuple(parts)
        self._rows: dict[Key, _Row] = {}
        self._joined: list[bytes | None] = [None] * len(self._parts)
        self._heads = {
            is_open: [head(CATALOGUE[part.name], openmetrics=is_open).encode() for part in self._parts]
            for is_open in (False, True)
        }

    def write(self, values: Mapping[Key, T], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the text in pieces, and an empty piece after each slice of work."""
        yield from self._update(values)
        rows = self._rows.values()
        for index, before in enumerate(self._heads[openmetrics]):
            joined = self._joined[index]
            if joined is None:
                joined = self._joined[index] = b"".join([row.texts[index] for row in rows])
            if joined:
                yield before
                yield joined

    def _update(self, values: Mapping[Key, T]) -> Iterator[bytes]:
        """Bring the rows up to date; left half-way, the next scrape does the rest."""
        known = self._rows
        if list(known) != list(values):  # others, or in another order
            self._joined = [None] * len(self._parts)
            self._rows = {key: known.get(key) or self._new_row(key) for key in values}
        for done, (key, value) in enumerate(values.items(), 1):
            row = self._rows[key]
            if row.seen is not value:
                self._write_row(row, value)
                row.seen = value
            if not done % SLICE:
                yield b""

    def _write_row(self, row: _Row, value: T) -> None:
        for index, part in enumerate(self._parts):
            looked = part.look(value)
            if looked == row.looks[index]:
                continue
            row.looks[index] = looked
            shape, found = part.read(looked)
            if shape != row.shapes[index]:
                row.shapes[index] = shape
                row.templates[index] = part.template(row.labels[index], shape).encode()
            row.texts[index] = row.templates[index] % found if found else b""
            self._joined[index] = None

    def _new_row(self, key: Key) -> _Row:
        labels: dict[int | None, str] = {}
        for part in self._parts:
            if part.depth not in labels:
                text = labelled(self._names[: part.depth], key[: part.depth])
                labels[part.depth] = text.replace("%", "%%")
        return _Row([labels[part.depth] for part in self._parts], len(self._parts))


# ── kinds of families ─────────────────────────────────────────────────────────────────────────────────────────────


def numbers(
    name: str,
    read: Callable[[T], Numbers],
    *,
    label: str = "",
    values: Sequence[str] = (),
    depth: int | None = None,
    place: str = "%d",
) -> Part[T]:
    """A fixed number of plain numbers: one, or one for each of the ``values`` of one more label.

    ``place`` is ``%d`` for integers and ``%a`` for floats, whose ``repr`` is what both formats want.
    """
    series = CATALOGUE[name].series_name

    def template(labels: str, _: Hashable) -> str:
        each = [f'{labels},{label}="{value}"' for value in values] or [labels]
        return "".join(f"{prefix(series, one)}{place}\n" for one in each)

    return Part(name, read, lambda found: (0, found), template, depth)


def counts(
    name: str, label: str, read: Callable[[T], Mapping[str, int]], *, depth: int | None = None
) -> Part[T]:
    """Counts by the values of one more label, which turn up as they happen."""
    series = CATALOGUE[name].series_name

    def template(labels: str, shape: Hashable) -> str:
        assert isinstance(shape, tuple)
        each = [f'{labels},{label}="{escaped(value).replace("%", "%%")}"' for value in shape]
        return "".join(f"{prefix(series, one)}%d\n" for one in each)

    def both(found: Mapping[str, int]) -> tuple[Hashable, Numbers]:
        return tuple(found), tuple(found.values())

    return Part(name, read, both, template, depth)


def histograms(
    name: str,
    label: str,
    read: Callable[[T], Mapping[str, HistogramSnapshot]],
    *,
    depth: int | None = None,
) -> Part[T]:
    """Histograms by the values of one more label (none: ``label`` is empty); one without a value is not written."""
    series = CATALOGUE[name].series_name

    def template(labels: str, shape: Hashable) -> str:
        assert isinstance(shape, tuple)
        out: list[str] = []
        for value, bounds in shape:
            mine = f'{labels},{label}="{escaped(value).replace("%", "%%")}"' if label else labels
            places = ["%d"] * (len(bounds) + 1) + ["%a", "%d"]
            lines = zip(histogram_prefixes(series, mine, bounds), places, strict=True)
            out += [f"{before}{place}\n" for before, place in lines]
        return "".join(out)

    def both(snapshots: Mapping[str, HistogramSnapshot]) -> tuple[Hashable, Numbers]:
        shape: list[tuple[str, tuple[float, ...]]] = []
        found: list[int | float] = []
        for name, snapshot in snapshots.items():
            buckets = [*accumulate(snapshot.counts)]
            if buckets[-1]:
                shape.append((name, snapshot.bounds))
                found += buckets
                found += (snapshot.total_s, buckets[-1])
        return tuple(shape), tuple(found)

    return Part(name, read, both, template, depth)
