"""RowText: families that are written for each of thousands of keys (pools, resources), fast.

Keys stand in chunks of `SLICE`. A scrape turns a chunk's values into columns, one for each thing that may change. Of each
family a chunk keeps its text and one template for all its keys; where one of the family's columns is another, the template
is filled anew with one ``%``: to write 64 keys again costs less than to find out in Python which of them has changed. A
chunk whose values are the very objects of the scrape before is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import is_
from typing import Any, Generic, TypeVar

from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.exposition import escaped, head, labelled, number
from nebula_resource.model.histogram import EMPTY, HistogramSnapshot

__all__ = ["SLICE", "Part", "RowText", "counts", "histograms", "numbers"]

SLICE = 64
"""Keys that are written without a pause; whoever iterates may let others run in between."""

Key = tuple[str, ...]
Numbers = tuple[int | float, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """How one family is read of many values and written."""

    name: str
    """In the catalogue."""
    looks: tuple[str, ...]
    """The columns its numbers are made of; as long as all of a chunk are equal it is not written anew."""
    read: Callable[[Sequence[Any]], tuple[list[Hashable], Numbers]]
    """Of the column (of tuples, if there are several): what lines each key has, and the numbers that stand in them, one
    after the other."""
    lines: Callable[[Any], tuple[bytes, ...]]
    """Of a key that has these: their text, with places (``%d``, ``%a``) for numbers, cut where the labels stand."""
    depth: int | None = None
    """How many of the key's labels the family has, from the first on; None: all."""


class RowText(Generic[T]):
    """Writes some families for every key there is. A key keeps its place for as long as it is there.

    Args:
        names: of the key's labels.
        parts: the families, in the order in which they are written.
        columns: names of what a value is made of.
        row: a value as that.
        gone: says of a value that only its counters still stand; None: each is there.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        parts: Sequence[Part],
        columns: Sequence[str],
        row: Callable[[T], tuple[Any, ...]],
        *,
        gone: Callable[[T], bool] | None = None,
    ) -> None:
        self._names = names
        self._row = row
        self._gone = gone
        self._parts = tuple(parts)
        self._where = [tuple(map(columns.index, part.looks)) for part in self._parts]
        self._places: dict[Key, _Chunk] = {}
        self._chunks: list[_Chunk] = []
        self._heads = {
            is_open: [head(CATALOGUE[part.name], openmetrics=is_open).encode() for part in self._parts]
            for is_open in (False, True)
        }

    def write(self, values: Mapping[Key, T], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the text in pieces, and an empty piece after each slice of work."""
        if values.keys() != self._places.keys():
            self._place(values.keys())
        for chunk in self._chunks:  # left half-way, the next scrape does the rest
            chunk.update([values[key] for key in chunk.keys], self._row, self._gone)
            yield b""
        for index, before in enumerate(self._heads[openmetrics]):
            texts = [chunk.texts[index] for chunk in self._chunks]
            if any(texts):
                yield before
                yield from texts

    def _place(self, keys: Iterable[Key]) -> None:
        """Take out those that are gone and put new ones where there is room: no other chunk is written anew."""
        places = self._places
        for key in places.keys() - keys:
            places.pop(key).remove(key)
        self._chunks = [chunk for chunk in self._chunks if chunk.keys]
        with_room = [chunk for chunk in self._chunks if len(chunk.keys) < SLICE]
        for key in keys:
            if key in places:
                continue
            if not with_room:
                with_room.append(_Chunk(self._names, self._parts, self._where))
                self._chunks += with_room
            places[key] = chunk = with_room[-1]
            chunk.add(key)
            if len(chunk.keys) == SLICE:
                with_room.pop()


class _Chunk:
    """The lines of a few keys."""

    __slots__ = (
        "_columns", "_gone", "_labels", "_names", "_parts", "_shapes", "_templates", "_values", "_where", "keys", "texts",
    )  # fmt: skip  # one list of names

    def __init__(
        self, names: tuple[str, ...], parts: tuple[Part, ...], where: Sequence[tuple[int, ...]]
    ) -> None:
        self._names = names
        self._parts = parts
        self._where = where
        self.keys: list[Key] = []
        self._forget()

    def add(self, key: Key) -> None:
        """One more; all are written anew."""
        self.keys.append(key)
        self._forget()

    def remove(self, key: Key) -> None:
        """One less; all are written anew."""
        self.keys.remove(key)
        self._forget()

    def _forget(self) -> None:
        none: list[Any] = [None] * len(self._parts)
        self._values: Sequence[object] = ()
        self._columns: list[tuple[Any, ...]] = []
        self._gone: list[bool] = []
        self._labels: dict[int | None, list[bytes]] = {}
        self._shapes: list[list[Hashable]] = none
        self._templates = [b""] * len(self._parts)
        self.texts = [b""] * len(self._parts)

    def update(
        self,
        values: Sequence[Any],
        row: Callable[[Any], tuple[Any, ...]],
        is_gone: Callable[[Any], bool] | None,
    ) -> None:
        """Bring the texts up to date."""
        if len(self._values) == len(values) and all(map(is_, values, self._values)):
            return
        columns = [*zip(*map(row, values), strict=True)]
        gone = [] if is_gone is None else [*map(is_gone, values)]
        before = self._columns if gone == self._gone else []
        for index, (part, where) in enumerate(zip(self._parts, self._where, strict=True)):
            if before and [columns[at] for at in where] == [before[at] for at in where]:
                continue
            mine = [columns[at] for at in where]
            looked: Sequence[Any] = mine[0] if len(mine) == 1 else [*zip(*mine, strict=True)]
            if True in gone and CATALOGUE[part.name].kind == "gauge":
                looked = [None if went else one for went, one in zip(gone, looked, strict=True)]
            shapes, found = part.read(looked)
            if shapes != self._shapes[index]:
                self._templates[index] = self._template(part, shapes)
                self._shapes[index] = shapes
            self.texts[index] = self._templates[index] % found
        self._values, self._columns, self._gone = values, columns, gone

    def _template(self, part: Part, shapes: Sequence[Hashable]) -> bytes:
        lines = {shape: part.lines(shape) for shape in set(shapes)}
        labels = self._labels_of(part.depth)
        return b"".join([mine.join(lines[shape]) for mine, shape in zip(labels, shapes, strict=True)])

    def _labels_of(self, depth: int | None) -> list[bytes]:
        if depth not in self._labels:
            names = self._names[:depth]
            self._labels[depth] = [_in_template(labelled(names, key[:depth])) for key in self.keys]
        return self._labels[depth]


def _in_template(text: str) -> bytes:
    return text.replace("%", "%%").encode()


# ── kinds of families ─────────────────────────────────────────────────────────────────────────────────────────────


def numbers(
    name: str,
    *looks: str,
    label: str = "",
    values: Sequence[str] = (),
    depth: int | None = None,
    place: str = "%d",
) -> Part:
    """A plain number, or one for each of the ``values`` of one more label; a None is not written.

    Args:
        name: in the catalogue.
        looks: the columns in which the numbers stand.
        label: the further label.
        values: its values, one for each number.
        depth: see `Part`.
        place: ``%d`` for integers, ``%a`` for floats, whose ``repr`` is what both formats want.
    """
    series = CATALOGUE[name].series_name
    each = [_in_template(f',{label}="{value}"') for value in values] or [b""]

    def read(found: Sequence[Any]) -> tuple[list[Hashable], Numbers]:
        there = [one is not None for one in found]
        held = found if all(there) else [one for one in found if one is not None]
        return [*there], tuple(chain.from_iterable(held) if values else held)

    def lines(is_there: bool) -> tuple[bytes, ...]:
        return _cut([(series, more, place) for more in each if is_there])

    return Part(name, looks, read, lines, depth)


def counts(name: str, label: str, look: str, *, depth: int | None = None) -> Part:
    """Counts by the values of one more label, which turn up as they happen."""
    series = CATALOGUE[name].series_name

    def read(found: Sequence[Mapping[str, int]]) -> tuple[list[Hashable], Numbers]:
        return [*map(tuple, found)], tuple(chain.from_iterable([one.values() for one in found]))

    def lines(values: tuple[str, ...]) -> tuple[bytes, ...]:
        return _cut([(series, _in_template(f',{label}="{escaped(value)}"'), "%d") for value in values])

    return Part(name, (look,), read, lines, depth)


def histograms(
    name: str, label: str, *looks: str, values: Sequence[str] = (), depth: int | None = None
) -> Part:
    """Histograms by one more label, one for each of its ``values``; without those, what stands there says what they are.

    ``label`` may be empty: then there is one, without a label of its own. One that counted nothing is not written.
    """
    series = CATALOGUE[name].series_name

    def read(found: Sequence[Any]) -> tuple[list[Hashable], Numbers]:
        shapes: list[Hashable] = []
        numbers: list[int | float] = []
        for snapshots in found:
            shape = []
            for value, snapshot in pairs(snapshots):
                if snapshot is EMPTY:
                    continue
                buckets = [*accumulate(snapshot.counts)]
                if buckets[-1]:
                    shape.append((value, snapshot.bounds))
                    numbers += buckets
                    numbers += (snapshot.total_s, buckets[-1])
            shapes.append(tuple(shape))
        return shapes, tuple(numbers)

    def lines(shape: tuple[tuple[str, tuple[float, ...]], ...]) -> tuple[bytes, ...]:
        found = []
        for value, bounds in shape:
            mine = _in_template(f',{label}="{escaped(value)}"') if label else b""
            for bound in (*bounds, float("inf")):
                found.append((f"{series}_bucket", mine + f',le="{number(bound)}"'.encode(), "%d"))
            found += [(f"{series}_sum", mine, "%a"), (f"{series}_count", mine, "%d")]
        return _cut(found)

    def pairs(looked: Any) -> Iterable[tuple[str, HistogramSnapshot]]:
        if not values:
            return looked.items()  # type: ignore[no-any-return]  # a mapping
        return zip(values, looked if len(looks) > 1 else (looked,), strict=True)

    return Part(name, looks, read, lines, depth)


def _cut(lines: Sequence[tuple[str, bytes, str]]) -> tuple[bytes, ...]:
    """Lines of (series, further labels, place), cut where the key's labels stand: those join the pieces."""
    if not lines:
        return ()
    ends = [b"%b} %b\n" % (more, place.encode()) for _, more, place in lines]
    begins = [f"{series}{{".encode() for series, *_ in lines]
    return (begins[0], *map(bytes.__add__, ends, begins[1:]), ends[-1])
