"""Sizing: moves the bounds of a pool and chooses which instances go, under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool

__all__ = ["Sizing"]


class Sizing:
    """Idle instances go now, busy ones when they come back; nobody who holds one notices."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def resize(self, min_size: int | None, max_size: int | None) -> None:
        """Move the bounds."""
        pool = self._pool
        ledger = pool.ledger
        new_min = ledger.min_size if min_size is None else min_size
        new_max = ledger.max_size if max_size is None else max_size
        found = []
        if new_max < 1:
            found.append(FieldViolation("max_size", "must be at least 1", str(new_max)))
        if new_min < 0:
            found.append(FieldViolation("min_size", "must be at least 0", str(new_min)))
        if new_min > new_max >= 1:
            found.append(FieldViolation("min_size", f"must not be above max_size ({new_max})", str(new_min)))
        if found:
            raise ValidationFailed(found, resource_id=pool.resource.id)
        if new_max < ledger.max_size:
            ledger.shrunk_from = max(ledger.size, ledger.shrunk_from)
        ledger.min_size, ledger.max_size = new_min, new_max
        self._retire_idle(ledger.size - ledger.count(Lifecycle.CLEANUP) - new_max)
        pool.refresh()
        pool.observer.resized(new_min, new_max)
        pool.upkeep.refill()
        pool.desk.serve()

    async def scale_up(self, count: int) -> int:
        """Make up to ``count`` instances ahead of need, within ``max_size``; returns how many were made."""
        before = self._pool.ledger.created
        await self.fill(self._pool.ledger.size + count)
        return self._pool.ledger.created - before

    async def fill(self, size: int) -> None:
        """Make instances until there are ``size``, and wait for them; the first failure ends it.

        Cancelled, it stops waiting; what is being made is finished by the pool.
        """
        pool = self._pool
        failures = pool.ledger.create_failures
        running: set[asyncio.Task[None]] = set()
        while pool.ledger.create_failures == failures:
            while pool.ledger.size < size and len(running) < pool.config.warm_concurrency:
                task = pool.maker.start(None)
                if task is None:
                    break
                running.add(task)
            if not running:
                break
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if running:
            await asyncio.wait(running)

    def scale_down(self, count: int) -> int:
        """Retire up to ``count`` idle instances, never below ``min_size``; returns how many go."""
        ledger = self._pool.ledger
        living = ledger.size - ledger.count(Lifecycle.CLEANUP)
        return self._retire_idle(min(count, living - ledger.min_size))

    def _retire_idle(self, count: int) -> int:
        """Retire so many of the idle, those that lie there longest first."""
        pool = self._pool
        gone = 0
        for entry in pool.shelf:
            if gone >= count:
                break
            pool.take_off(entry)
            pool.retirer.retire(entry, CleanupReason.EVICTED)
            gone += 1
        return gone

    def retain(self, predicate: Callable[[Any], bool]) -> int:
        """Retire every idle instance for which ``predicate(instance)`` is False; returns how many go."""
        return self._retire_those(
            lambda entry: not predicate(entry.instance), CleanupReason.EVICTED, busy=False
        )

    def retire_where(self, predicate: Callable[[Any], bool], reason: CleanupReason) -> int:
        """Retire every instance for which ``predicate(instance)`` is True: idle now, busy when it comes back."""
        return self._retire_those(lambda entry: predicate(entry.instance), reason, busy=True)

    def recycle_all(self) -> int:
        """Replace every instance: idle now, busy when it comes back; returns how many."""
        self._pool.ledger.generation += 1
        return self._retire_those(lambda entry: True, CleanupReason.EVICTED, busy=True)

    def _retire_those(self, chosen: Callable[[Entry], bool], reason: CleanupReason, *, busy: bool) -> int:
        pool = self._pool
        count = 0
        for entry in list(pool.ledger.entries):
            idle = entry in pool.shelf
            if entry.state is Lifecycle.CLEANUP or not (idle or busy) or not chosen(entry):
                continue
            count += 1
            if idle:
                pool.take_off(entry)
                pool.retirer.retire(entry, reason)
            else:
                pool.ledger.doom(entry, reason)
        pool.upkeep.refill()
        return count
