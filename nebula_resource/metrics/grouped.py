"""Grouped: readings by their labels, and what each group adds up to, made anew only where a reading is another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from operator import is_
from typing import Generic, TypeVar

from nebula_resource.metrics.rows import SLICE

__all__ = ["Grouped"]

Key = tuple[str, ...]
R = TypeVar("R")
T = TypeVar("T")


class Grouped(Generic[R, T]):
    """A reading that is the very object of the scrape before is taken to say the same.

    Args:
        group: what readings that are added up have in common.
        labels: of a group, by its first reading.
        total: adds a group up.
    """

    def __init__(
        self,
        group: Callable[[R], Hashable],
        labels: Callable[[R], Key],
        total: Callable[[Sequence[R]], T],
    ) -> None:
        self._group = group
        self._labels = labels
        self._total = total
        self._readings: tuple[R, ...] = ()
        self._known: dict[Key, tuple[list[R], T]] = {}
        self.totals: Mapping[Key, T] = {}
        """What was found last, by labels; the same object while nothing changes."""

    def update(self, readings: Sequence[R]) -> Iterator[bytes]:
        """Take in the readings of a scrape; yields an empty piece after each slice of work."""
        if len(readings) == len(self._readings) and all(map(is_, readings, self._readings)):
            return
        groups: dict[Hashable, list[R]] = {}
        group = self._group
        for reading in readings:
            groups.setdefault(group(reading), []).append(reading)
        yield b""
        known: dict[Key, tuple[list[R], T]] = {}
        for done, members in enumerate(groups.values(), 1):
            labels = self._labels(members[0])
            before = self._known.get(labels)
            known[labels] = (
                before
                if before is not None and _same(before[0], members)
                else (members, self._total(members))
            )
            if not done % SLICE:
                yield b""
        self._readings, self._known = tuple(readings), known
        self.totals = {labels: total for labels, (_, total) in known.items()}


def _same(old: list[R], new: list[R]) -> bool:
    if len(new) == 1 == len(old):  # nearly always
        return new[0] is old[0]
    return len(old) == len(new) and all(map(is_, old, new))
