"""Report: a pool's numbers, copied into a frozen value, and a stamp that says whether they have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.model.histogram import EMPTY, Histogram, HistogramSnapshot
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.stats import PoolStats

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts

__all__ = ["report", "stamp"]

IDLE, READY, IN_USE, MAINTENANCE = (
    Lifecycle.IDLE, Lifecycle.READY, Lifecycle.IN_USE, Lifecycle.MAINTENANCE,
)  # fmt: skip  # one list of names


def report(pool: PoolParts) -> PoolStats:
    """Every number of the pool, now; the entries are gone through once, since a scrape asks thousands of pools."""
    ledger = pool.ledger
    now = pool.loop.time() if pool.was_opened else 0.0
    idle = in_use = checking = retiring = held = 0
    acquisitions = ledger.uses_past
    oldest = now
    is_held = False
    for entry in ledger.entries:
        acquisitions += entry.uses
        state = entry.state
        if state is IDLE or state is READY:
            idle += 1
        elif state is IN_USE:
            in_use += 1
            held += entry.holders or 1
            if not entry.holders:
                # Exact for timed uses; for the others since the first tick that saw them.
                is_held = True
                oldest = min(oldest, entry.held_since(now))
        elif state is MAINTENANCE:
            checking += 1
        else:  # CLEANUP: what is past it is in the books no more
            retiring += 1
    for use in ledger.shared_uses:
        is_held = True
        oldest = min(oldest, now if use.started is None else use.started)
    if ledger.lent is not None:
        acquisitions, held = ledger.lent, _leased(pool)
    waits = ledger.wait_times
    return PoolStats(
        state=pool.state.value,
        size=len(ledger.entries) + ledger.creating,
        idle=idle,
        in_use=in_use,
        checking=checking,
        creating=ledger.creating,
        retiring=retiring,
        waiting=len(pool.line),
        min=ledger.min_size,
        max=ledger.max_size,
        acquisitions=acquisitions,
        releases=acquisitions - held,
        created=ledger.created,
        destroyed={reason.value: count for reason, count in ledger.destroyed.items()}
        if ledger.destroyed
        else {},
        timeouts=ledger.timeouts,
        exhausted=ledger.exhausted,
        cancelled=ledger.cancelled,
        create_failures=ledger.create_failures,
        leaks=ledger.leaks,
        # A hit waits for nothing and is not added one by one: it is every acquisition that did not wait.
        wait=waits.snapshot(instant=max(0, acquisitions - sum(waits.counts))),
        use=ledger.use_times.snapshot(),
        create=ledger.create_times.snapshot(),
        oldest_wait_s=_oldest_wait(pool, now),
        oldest_hold_s=max(0.0, now - oldest) if is_held else None,
        generation=ledger.generation,
        wait_timeout=_snapshot(ledger.wait_timeout),
        wait_refused=_snapshot(ledger.wait_refused),
        cleanup=_snapshot(ledger.cleanup_times),
    )


def stamp(pool: PoolParts) -> tuple[object, ...]:
    """A value that is another one whenever `report` would differ in more than the two ages.

    Everything is read, nothing is counted for its sake: the hot path knows nothing of it. What is left out follows
    from what is in: instances that are gone from ``created`` and the entries, each time measured from its sum or,
    where it took no time at all, from the uses and creations that go with it.
    """
    ledger = pool.ledger
    found: list[object] = [
        pool.state, ledger.created, ledger.creating, ledger.uses_past, ledger.min_size, ledger.max_size,
        ledger.timeouts, ledger.exhausted, ledger.cancelled, ledger.create_failures, ledger.leaks, ledger.generation,
        ledger.wait_times.total_s, ledger.use_times.total_s, ledger.create_times.total_s, len(pool.line),
        ledger.wait_refused and ledger.wait_refused.total_s, ledger.lent,
    ]  # fmt: skip  # one list of names
    for entry in ledger.entries:
        found += (entry.uses, entry.state, entry.holders)
    return tuple(found)


def _leased(pool: PoolParts) -> int:
    """Handles whose lease was entered and is not given back; the instance is in use before that, and for a while after."""
    uses = [(entry, entry.use) for entry in pool.ledger.entries if entry.use is not None]
    uses += [(entry, use) for use, entry in pool.ledger.shared_uses.items()]
    return sum(use.is_counted and entry.state is IN_USE for entry, use in uses)


def _snapshot(held: Histogram | None) -> HistogramSnapshot:
    """Of a histogram that is made for its first value."""
    return EMPTY if held is None else held.snapshot()


def _oldest_wait(pool: PoolParts, now: float) -> float | None:
    since = pool.line.oldest_since() if pool.line.waiters else None
    return None if since is None else max(0.0, now - since)
