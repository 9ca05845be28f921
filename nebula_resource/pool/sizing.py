"""Sizing: moves the bounds of a pool and chooses which instances go, under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Sharing

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.parts import PoolParts

__all__ = ["Sizing"]


class Sizing:
    """Idle instances go now, busy ones when they come back; nobody who holds one notices."""

    __slots__ = ("_pool",)

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool

    def resize(self, min_size: int | None, max_size: int | None) -> None:
        """Move the bounds; the rules are those of `PoolConfig`."""
        pool = self._pool
        ledger = pool.ledger
        bounds = replace(
            pool.config,
            min_size=ledger.min_size if min_size is None else min_size,
            max_size=ledger.max_size if max_size is None else max_size,
        )
        if bounds.max_size < ledger.max_size:
            ledger.shrunk_from = max(ledger.size, ledger.shrunk_from)
        old_min_size, old_max_size = ledger.min_size, ledger.max_size
        ledger.min_size, ledger.max_size = bounds.min_size, bounds.max_size
        self._retire_idle(ledger.living - ledger.max_size)
        pool.refresh()
        pool.observer.resized(
            bounds.min_size, bounds.max_size, old_min_size=old_min_size, old_max_size=old_max_size
        )
        pool.upkeep.refill()
        pool.desk.serve()

    async def scale_up(self, count: int) -> int:
        """Make up to ``count`` instances ahead of need, within ``max_size``; returns how many were made."""
        if self._pool.config.sharing is Sharing.SHARED:
            count = min(count, 1 - self._pool.ledger.living)
        return await self.make(count)

    async def make(self, count: int) -> int:
        """Make so many instances, and wait for them; the first failure, or a lack of room, ends it.

        Returns how many were made. Cancelled, it stops waiting; what is being made is finished by the pool.
        """
        pool = self._pool
        running: set[asyncio.Task[bool]] = set()
        made = started = 0
        failed = False
        while True:
            while not failed and started < count and len(running) < pool.config.warm_concurrency:
                task = pool.maker.start()
                if task is None:
                    break
                started += 1
                running.add(task)
            if not running:
                return made
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            succeeded = sum(not task.cancelled() and task.result() for task in done)
            made += succeeded
            failed = failed or succeeded < len(done)

    def scale_down(self, count: int) -> int:
        """Retire up to ``count`` idle instances, never below ``min_size``; returns how many go."""
        ledger = self._pool.ledger
        return self._retire_idle(min(count, ledger.living - ledger.min_size))

    def _retire_idle(self, count: int) -> int:
        """Retire so many of the idle, those that lie there longest first."""
        pool = self._pool
        chosen = list(pool.shelf)[: max(count, 0)]
        for entry in chosen:
            self.dismiss(entry, CleanupReason.EVICTED)
        return len(chosen)

    # ── chosen ones ──

    def retain(self, predicate: Callable[[Any], bool]) -> int:
        """Retire every idle instance for which ``predicate(instance)`` is False; returns how many go."""
        chosen = [entry for entry in self._pool.shelf if not predicate(entry.instance)]
        return self._dismiss(chosen, CleanupReason.EVICTED)

    def retire_where(self, predicate: Callable[[Any], bool], reason: CleanupReason) -> int:
        """Retire every instance for which ``predicate(instance)`` is True: idle now, busy when it comes back.

        One that is being made is asked about when it is there, and is not in the number returned.
        """
        pool = self._pool
        chosen = [
            entry
            for entry in pool.ledger.entries
            if entry.state is not Lifecycle.CLEANUP and predicate(entry.instance)
        ]
        pool.maker.judge(lambda entry: predicate(entry.instance), reason)
        return self._dismiss(chosen, reason)

    def recycle_all(self) -> int:
        """Replace every instance: idle now, busy when it comes back; returns how many."""
        self._pool.ledger.generation += 1
        return self.retire_where(lambda _: True, CleanupReason.EVICTED)

    def _dismiss(self, chosen: list[Entry], reason: CleanupReason) -> int:
        for entry in chosen:
            self.dismiss(entry, reason)
        self._pool.upkeep.refill()
        self._pool.desk.serve()
        return len(chosen)

    def dismiss(self, entry: Entry, reason: CleanupReason) -> None:
        """Retire it now if it is idle, else when it comes back."""
        pool = self._pool
        pool.ledger.doom(entry, reason)
        if pool.shelf.remove(entry):
            pool.retirer.retire(entry, entry.doom or reason)
