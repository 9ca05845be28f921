"""Asserts: what must be true of a pool at any moment, and what must be true when a test has ended."""

from __future__ import annotations

from typing import Any

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.stats import PoolStats
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.pool import Pool
from nebula_resource.pool.state import PoolState
from nebula_resource.testing.mock import MockResource

__all__ = ["assert_no_leaks", "assert_sound"]

AnyPool = Pool[Any, Any, Any]


def assert_sound(pool: AnyPool) -> None:
    """Raise unless every invariant of the pool holds: its books, its shelf, its line, and what its server sees.

    It may be called at any moment between two turns of the loop. Raises `AssertionError` and `InternalError`.
    """
    pool.check()
    stats = pool.stats()
    _assert_numbers(stats)
    _assert_shelf(pool)
    _assert_flags(pool)
    if isinstance(pool.resource, MockResource):
        _assert_server(pool, pool.resource, stats.destroyed.get("detached", 0))
    if pool.state is PoolState.CLOSED:
        _assert_closed(pool)


def assert_no_leaks(*pools: AnyPool) -> None:
    """Raise unless nothing is out, nobody waits, and no handle was lost or held too long.

    Instances that are being made or cleaned up are the pool's own business, not a leak.

    Raises `AssertionError`, which names every pool that has something left.
    """
    left: list[str] = []
    for pool in pools:
        assert_sound(pool)
        stats = pool.stats()
        found = {
            "in use": stats.in_use,
            "being checked": stats.checking,
            "waiting": sum(not waiter.done() for waiter, _ in pool.line),
            "leaked": stats.leaks,
        }
        left += [f"{pool!r}: {count} {what}" for what, count in found.items() if count]
    assert not left, "; ".join(left)


def _assert_numbers(stats: PoolStats) -> None:
    parts = stats.idle + stats.in_use + stats.checking + stats.creating + stats.retiring
    assert parts == stats.size, f"the parts add up to {parts}, the size is {stats.size}: {stats}"
    there = stats.idle + stats.in_use + stats.checking + stats.retiring
    assert stats.created - stats.destroyed_total == there, (
        f"created and destroyed do not explain {there}: {stats}"
    )
    assert stats.releases <= stats.acquisitions, f"more releases than acquisitions: {stats}"


def _assert_shelf(pool: AnyPool) -> None:
    lying = list(pool.shelf)
    assert len(lying) == len(set(lying)), f"an entry lies on the shelf twice: {lying}"
    idle = _in_state(pool, Lifecycle.IDLE)
    assert set(lying) == set(idle), f"the shelf holds {lying}, idle are {idle}"
    assert not (pool.shelf.sealed and pool.shelf.hot), "a sealed shelf offers entries unseen"
    assert all(entry.doom is None for entry in pool.shelf.hot), f"a doomed entry may be lent: {lying}"
    sealed_for = pool.state is not PoolState.OPEN
    assert not sealed_for or pool.shelf.sealed, f"{pool.state} lends without a look"


def _assert_flags(pool: AnyPool) -> None:
    """The one flag that sends a return the long way must be up wherever there is a reason for it."""
    for entry in pool.ledger.entries:
        needed = pool.ledger.careful or entry.doom is not None or entry.use is not None
        assert entry.attention or not needed, f"{entry!r} would come back unseen"
    if pool.state is PoolState.OPEN:
        careful = pool.shelf.sealed or pool.releaser.looks or pool.ledger.is_over or bool(pool.shelf.cold)
        assert pool.ledger.careful or not careful, f"returns of {pool!r} are not looked at"


def _assert_server(pool: AnyPool, resource: MockResource, detached: int) -> None:
    """What its server sees and what the pool's books say must be the same instances, but for those given away."""
    booked = {entry.instance for entry in pool.ledger.entries}
    kept = {
        entry.instance
        for entry in pool.ledger.entries
        if entry.state not in {Lifecycle.CLEANUP, Lifecycle.TERMINATED}
    }
    assert kept <= resource.alive, f"the pool keeps instances that are closed: {kept - resource.alive}"
    lost = resource.alive - booked
    assert len(lost) <= detached, f"the server has instances that the pool forgot: {lost}"


def _assert_closed(pool: AnyPool) -> None:
    assert not pool.ledger.entries, f"a closed pool has {list(pool.ledger.entries)}"
    assert not pool.line.waiters, f"somebody waits for a closed pool: {pool!r}"


def _in_state(pool: AnyPool, state: Lifecycle) -> list[Entry]:
    return [entry for entry in pool.ledger.entries if entry.state is state]
