"""RowText: families that are written for each of thousands of keys (pools, resources), fast.

Keys stand in chunks of `SLICE`. A scrape turns a chunk's values into columns, one for each thing that may change. Of each
family a chunk keeps its text and one template for all its keys; where one of the family's columns is another, the template
is filled anew with one ``%``: to write 64 keys again costs less than to find out in Python which of them has changed. A
chunk whose values are the very objects of the scrape before is not looked at. What follows from several columns is worked
out by its family, when one of them is another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import is_, ne
from typing import Any, Generic, TypeVar

from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.exposition import head, labelled
from nebula_resource.metrics.parts import Column, Part, in_template

__all__ = ["SLICE", "RowText"]

SLICE = 64
"""Keys that are written without a pause; whoever iterates may let others run in between."""

Key = tuple[str, ...]
T = TypeVar("T")


class RowText(Generic[T]):
    """Writes some families for every key there is. A key keeps its place for as long as it is there.

    Args:
        names: of the key's labels.
        parts: the families, in the order in which they are written.
        columns: names of what a value is made of.
        split: turns values into those columns.
        gone: the name of the column that says that only a value's counters still stand; None: each is there.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        parts: Sequence[Part],
        columns: Sequence[str],
        split: Callable[[Sequence[T]], Sequence[Column]],
        *,
        gone: str | None = None,
    ) -> None:
        self._names = names
        self._split = split
        self._gone = None if gone is None else columns.index(gone)
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
            chunk.update([values[key] for key in chunk.keys], self._split, self._gone)
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
        "_columns", "_labels", "_names", "_parts", "_shapes", "_templates", "_values", "_where", "keys", "texts",
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
        self._columns: Sequence[Column] = ()
        self._labels: dict[int | None, list[bytes]] = {}
        self._shapes: list[list[Hashable]] = none
        self._templates = [b""] * len(self._parts)
        self.texts = [b""] * len(self._parts)

    def update(
        self,
        values: Sequence[Any],
        split: Callable[[Sequence[Any]], Sequence[Column]],
        gone_at: int | None,
    ) -> None:
        """Bring the texts up to date."""
        if len(self._values) == len(values) and all(map(is_, values, self._values)):
            return
        columns, before = split(values), self._columns
        differs = [*map(ne, columns, before)] if before else [True] * len(columns)
        gone: Column = () if gone_at is None else columns[gone_at]
        all_anew = gone_at is not None and differs[gone_at]
        if True not in gone:
            gone = ()
        for index, (part, where) in enumerate(zip(self._parts, self._where, strict=True)):
            if not all_anew and not any(differs[at] for at in where):
                continue
            shapes, found = part.read([columns[at] for at in where], gone)
            if shapes != self._shapes[index]:
                self._templates[index] = self._template(part, shapes)
                self._shapes[index] = shapes
            self.texts[index] = self._templates[index] % found
        self._values, self._columns = values, columns

    def _template(self, part: Part, shapes: Sequence[Hashable]) -> bytes:
        lines = {shape: part.lines(shape) for shape in set(shapes)}
        labels = self._labels_of(part.depth)
        return b"".join([mine.join(lines[shape]) for mine, shape in zip(labels, shapes, strict=True)])

    def _labels_of(self, depth: int | None) -> list[bytes]:
        if depth not in self._labels:
            names = self._names[:depth]
            self._labels[depth] = [in_template(labelled(names, key[:depth])) for key in self.keys]
        return self._labels[depth]
