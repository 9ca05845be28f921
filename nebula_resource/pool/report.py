"""Report: a pool's numbers, copied into frozen values: what a scrape reads, and what a person is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.model.histogram import EMPTY, Histogram, HistogramSnapshot
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.numbers import PoolNumbers
from nebula_resource.model.stats import PoolStats

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts

__all__ = ["numbers", "report"]

IDLE, READY, IN_USE, MAINTENANCE = (
    Lifecycle.IDLE, Lifecycle.READY, Lifecycle.IN_USE, Lifecycle.MAINTENANCE,
)  # fmt: skip  # one list of names


def report(pool: PoolParts) -> PoolStats:
    """Every number of the pool, now, and the two ages."""
    now = pool.loop.time() if pool.was_opened else 0.0
    return PoolStats(
        **numbers(pool)._asdict(),
        oldest_wait_s=_oldest_wait(pool, now),
        oldest_hold_s=_oldest_hold(pool, now),
    )


def numbers(pool: PoolParts) -> PoolNumbers:
    """Every number but the ages; the entries are gone through once, since a scrape asks thousands of pools.

    Everything is read, nothing is counted for its sake: the hot path knows nothing of it.
    """
    ledger = pool.ledger
    idle = in_use = checking = retiring = held = 0
    acquisitions = ledger.uses_past
    for entry in ledger.entries:
        acquisitions += entry.uses
        state = entry.state
        if state is IDLE or state is READY:
            idle += 1
        elif state is IN_USE:
            in_use += 1
            held += entry.holders or 1
        elif state is MAINTENANCE:
            checking += 1
        else:  # CLEANUP: what is past it is in the books no more
            retiring += 1
    if ledger.lent is not None:
        acquisitions, held = ledger.lent, _leased(pool)
    creating, waits, gone = ledger.creating, ledger.wait_times, ledger.destroyed
    # Made as the tuple it is, in the order of its fields: by its own constructor it takes a quarter longer to read a pool.
    return tuple.__new__(PoolNumbers, (
        pool.state._value_,  # what `value` returns, a tenth of the way
        len(ledger.entries) + creating, idle, in_use, checking, creating, retiring,
        len(pool.line), ledger.min_size, ledger.max_size,
        acquisitions, acquisitions - held, ledger.created,
        {reason._value_: count for reason, count in gone.items()} if gone else {},
        ledger.timeouts, ledger.exhausted, ledger.cancelled, ledger.create_failures, ledger.leaks,
        # A hit waits for nothing and is not added one by one: it is every acquisition that did not wait.
        waits.snapshot(of=acquisitions),
        ledger.use_times.snapshot(), ledger.create_times.snapshot(), ledger.generation,
        _snapshot(ledger.wait_timeout), _snapshot(ledger.wait_refused), _snapshot(ledger.cleanup_times),
    ))  # fmt: skip  # one row reads better than thirty


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


def _oldest_hold(pool: PoolParts, now: float) -> float | None:
    # Exact for timed uses; for the others since the first tick that saw them.
    since = [
        entry.held_since(now) for entry in pool.ledger.entries if entry.state is IN_USE and not entry.holders
    ]
    since += [now if use.started is None else use.started for use in pool.ledger.shared_uses]
    return max(0.0, now - min(since)) if since else None
