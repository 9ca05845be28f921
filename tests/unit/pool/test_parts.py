"""The small parts by themselves: what their tables, orders and checks say."""

import pytest

from nebula_resource.errors import InternalError
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import PoolStrategy
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.ledger import Ledger
from nebula_resource.pool.shelf import Shelf
from nebula_resource.pool.state import PoolState
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import opened


def entry(number: int = 1, state: Lifecycle = Lifecycle.IDLE) -> Entry:
    """An entry in some state."""
    made = Entry(f"instance {number}", now=0.0, expires_at=None, birth=number)
    made.state = state
    return made


@pytest.mark.parametrize("old", PoolState)
def test_no_state_follows_itself_and_closed_is_the_end(old: PoolState) -> None:
    """Every state but the last two may begin to close."""
    assert not old.can_become(old)
    assert old.can_become(PoolState.CLOSING) is (old not in {PoolState.CLOSING, PoolState.CLOSED})
    assert not PoolState.CLOSED.can_become(old)


@pytest.mark.parametrize("strategy", PoolStrategy)
def test_a_shelf_keeps_its_order_when_it_is_sorted(strategy: PoolStrategy) -> None:
    """FIFO parts nothing that is in order; LIFO lays the cold ones apart; taking follows the order of both."""
    shelf = Shelf(strategy)
    entries = [entry(number) for number in range(4)]
    for each in entries:
        shelf.put(each)
    assert len(shelf) == 4
    shelf.sort(lambda each: each.birth == 2)
    fifo = strategy is PoolStrategy.FIFO
    assert list(shelf.hot) == ([] if fifo else [entries[3], entries[1], entries[0]])
    taken = [shelf.take() for _ in range(4)]
    assert taken == (entries if fifo else [entries[3], entries[1], entries[0], entries[2]])
    assert shelf.take() is None


def test_a_sealed_shelf_offers_nothing_unseen() -> None:
    """What lies on it and what is put there is looked at first."""
    shelf = Shelf(PoolStrategy.LIFO)
    first, second = entry(1), entry(2)
    shelf.put(first)
    shelf.seal()
    shelf.put(second)
    assert (list(shelf.hot), list(shelf.in_order())) == ([], [second, first])
    assert first in shelf
    assert shelf.remove(first)
    assert not shelf.remove(first)
    shelf.sort(lambda each: False)
    assert not shelf.hot


def test_the_ledger_tells_every_mistake_at_once() -> None:
    """Books that do not add up name each number."""
    ledger = Ledger(0, 1)
    for number in range(2):
        ledger.enter(entry(number, Lifecycle.READY))
    ledger.created = 5
    ledger.creating = -1
    ledger.max_size = 0
    with pytest.raises(InternalError) as caught:
        ledger.check()
    for part in ("2 instances, 0 in a state", "size 1 is above 0", "created 5", "creating -1"):
        assert part in str(caught.value)


def test_the_first_reason_stands() -> None:
    """An entry that must go for two reasons goes for the first."""
    ledger = Ledger(0, 1)
    doomed = entry()
    ledger.enter(doomed)
    ledger.doom(doomed, CleanupReason.TAINTED)
    ledger.doom(doomed, CleanupReason.EXPIRED)
    assert doomed.doom is CleanupReason.TAINTED
    ledger.be_careful(False)
    assert doomed.attention


async def test_the_checks_see_what_is_wrong() -> None:
    """assert_sound and assert_no_leaks fail where they should: they are what every other test stands on."""
    async with opened(min_size=2) as pool:
        [first, second] = pool.ledger.entries
        first.state = Lifecycle.READY
        with pytest.raises(InternalError):
            assert_sound(pool)
        first.state = Lifecycle.IN_USE
        with pytest.raises(AssertionError, match="the shelf holds"):
            assert_sound(pool)
        first.state = Lifecycle.IDLE
        pool.shelf.hot.append(first)
        with pytest.raises(AssertionError, match="twice"):
            assert_sound(pool)
        pool.shelf.hot.pop()
        second.doom = CleanupReason.BROKEN
        with pytest.raises(AssertionError, match="doomed"):
            assert_sound(pool)
        second.doom = None
        first.instance.is_open = False
        with pytest.raises(AssertionError, match="are closed"):
            assert_sound(pool)
        first.instance.is_open = True
        handle = await pool.acquire()
        with pytest.raises(AssertionError, match="1 in use"):
            assert_no_leaks(pool)
        await handle.release()


async def test_somebody_who_waits_beside_something_free_is_a_mistake() -> None:
    """pool.check names the pool's numbers."""
    async with opened(min_size=1, max_size=2) as pool:
        pool.line.join(pool.loop.create_future(), 0.0)
        with pytest.raises(InternalError, match="somebody waits although something is free"):
            pool.check()
        pool.line.fail(ZeroDivisionError)


async def test_the_mock_notices_two_users() -> None:
    """An instance that is lent to two at once, or after its cleanup, is told."""
    async with opened(min_size=1) as pool, pool.acquire() as value:
        with value.used():
            with pytest.raises(AssertionError, match="two at once"), value.used():
                pass
        value.is_open = False
        with pytest.raises(AssertionError, match="after its cleanup"), value.used():
            pass
        value.is_open = True


def test_a_script_has_a_turn() -> None:
    """An empty script says nothing."""
    with pytest.raises(ValueError, match="no turn"):
        MockResource(create=[])
    assert MockResource(recycle=Outcome.OK).calls["recycle"] == 0
