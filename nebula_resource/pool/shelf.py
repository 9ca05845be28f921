"""Shelf: where idle entries wait, oldest or newest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from nebula_resource.pool.config import PoolStrategy
from nebula_resource.pool.entry import Entry

__all__ = ["Shelf"]


class Shelf:
    """Idle entries: ``hot``, the next to be lent first, and ``cold``, the oldest first.

    The hot path takes from the left of ``hot`` without looking at anything, so ``hot`` holds only entries that may be
    lent as they are; the strategy decides at which end they come back. Whatever has to be looked at first lies in
    ``cold``; with FIFO that is everything as soon as the oldest has to be, so that the order holds.
    """

    __slots__ = ("_fifo", "cold", "hot", "put_hot", "sealed")

    def __init__(self, strategy: PoolStrategy) -> None:
        self._fifo = strategy is PoolStrategy.FIFO
        self.hot: deque[Entry] = deque()
        self.cold: list[Entry] = []  # a short one, mostly empty
        self.sealed = False
        """Nothing may be lent without a look (suspended, draining, closed, or every use validated)."""
        self.put_hot: Callable[[Entry], None] = self.hot.append if self._fifo else self.hot.appendleft
        """Lay back an entry that may be lent again as it is."""

    def __len__(self) -> int:
        return len(self.hot) + len(self.cold)

    def __iter__(self) -> Iterator[Entry]:
        yield from tuple(self.cold)
        yield from self._hot_by_age()

    def __contains__(self, entry: Entry) -> bool:
        return entry in self.cold or entry in self.hot

    def put(self, entry: Entry) -> None:
        """Lay back an entry that was just used, checked or made."""
        if self.sealed or (self._fifo and self.cold):
            self.cold.append(entry)
        else:
            self.put_hot(entry)

    def take(self) -> Entry | None:
        """The next entry in order, looked at or not; None when there is none."""
        if self._fifo:
            return self.cold.pop(0) if self.cold else self.hot.popleft() if self.hot else None
        return self.hot.popleft() if self.hot else self.cold.pop() if self.cold else None

    def in_order(self) -> Iterator[Entry]:
        """All of them, the next to be lent first; a copy."""
        entries = list(self)
        return iter(entries if self._fifo else reversed(entries))

    def remove(self, entry: Entry) -> bool:
        """Take out this very entry; False when it is not here."""
        sides: tuple[list[Entry] | deque[Entry], ...] = (self.cold, self.hot)
        for side in sides:
            if entry in side:
                side.remove(entry)
                return True
        return False

    def sort(self, needs_a_look: Callable[[Entry], bool]) -> None:
        """Part what may be lent as it is from what must be looked at first."""
        entries = list(self)
        self.cold.clear()
        self.hot.clear()
        if self.sealed or (self._fifo and any(map(needs_a_look, entries))):
            self.cold.extend(entries)
            return
        for entry in entries:
            if needs_a_look(entry):
                self.cold.append(entry)
            else:
                self.put_hot(entry)

    def seal(self) -> None:
        """From now on nothing is lent without a look."""
        self.sealed = True
        self.cold.extend(self._hot_by_age())
        self.hot.clear()

    def _hot_by_age(self) -> tuple[Entry, ...]:
        """What may be lent as it is, the oldest first."""
        return tuple(self.hot if self._fifo else reversed(self.hot))
