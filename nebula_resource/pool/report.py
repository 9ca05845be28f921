"""Report: a pool's numbers, copied into a frozen value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.stats import PoolStats

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts

__all__ = ["report"]


def report(pool: PoolParts) -> PoolStats:
    """Every number of the pool, now."""
    ledger = pool.ledger
    now = pool.loop.time() if pool.was_opened else 0.0
    waits = ledger.wait_times.snapshot()
    acquisitions = ledger.acquisitions
    in_use = ledger.in_use
    return PoolStats(
        state=pool.state.value,
        size=ledger.size,
        idle=ledger.count(Lifecycle.IDLE, Lifecycle.READY),
        in_use=in_use,
        checking=ledger.count(Lifecycle.MAINTENANCE),
        creating=ledger.creating,
        retiring=ledger.count(Lifecycle.CLEANUP),
        waiting=len(pool.line),
        min=ledger.min_size,
        max=ledger.max_size,
        acquisitions=acquisitions,
        releases=acquisitions - _held(pool),
        created=ledger.created,
        destroyed={reason.value: count for reason, count in ledger.destroyed.items()},
        timeouts=ledger.timeouts,
        exhausted=ledger.exhausted,
        cancelled=ledger.cancelled,
        create_failures=ledger.create_failures,
        leaks=ledger.leaks,
        # A hit waits for nothing and is not added one by one: it is every acquisition that did not wait.
        wait=ledger.wait_times.snapshot(instant=max(0, acquisitions - waits.count)),
        use=ledger.use_times.snapshot(),
        create=ledger.create_times.snapshot(),
        oldest_wait_s=_oldest_wait(pool, now),
        oldest_hold_s=_oldest_hold(pool, now),
        generation=ledger.generation,
    )


def _held(pool: PoolParts) -> int:
    return sum(entry.holders or 1 for entry in pool.ledger.entries if entry.state is Lifecycle.IN_USE)


def _oldest_wait(pool: PoolParts, now: float) -> float | None:
    since = pool.line.oldest_since()
    return None if since is None else max(0.0, now - since)


def _oldest_hold(pool: PoolParts, now: float) -> float | None:
    """Exact for timed uses; for the others since the first tick that saw them."""
    since = [
        entry.held_since(now)
        for entry in pool.ledger.entries
        if entry.state is Lifecycle.IN_USE and not entry.holders
    ]
    since += [now if use.started is None else use.started for use in pool.ledger.shared_uses]
    return max(0.0, now - min(since)) if since else None
