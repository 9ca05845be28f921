"""A storm: ten thousand tasks over a pool of three, cancelled and failing at random; afterwards all capacity is there."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from nebula_resource.errors import ResourceError
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome

TASKS = 10_000
SIZE = 3
STEPS = ("create", "is_valid", "recycle", "cleanup")


@pytest.mark.parametrize("leased", [False, True])
async def test_a_storm_loses_nothing(leased: bool) -> None:
    """Whatever is cancelled and whatever fails: no cancellation is swallowed, nothing is lent twice or lost."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    steps = (*STEPS, "lease_entry", "lease_exit") if leased else STEPS
    resource = MockResource(**dict.fromkeys(steps, Outcome.OK))  # type: ignore[arg-type]  # names of steps
    pool: Pool[Any, MockInstance, Any] = Pool(resource, None, _config(dice))
    await pool.open()
    for step in steps:
        resource.script(step, _moody(dice))

    tasks = [asyncio.create_task(_use(pool, dice)) for _ in range(TASKS)]
    left = set(tasks)
    for task in tasks:
        task.add_done_callback(left.discard)
    asked: set[asyncio.Task[str]] = set()
    while left:
        for task in dice.sample(tasks, 5):
            if task.cancel():
                asked.add(task)
        if dice.random() < 0.1:
            _meddle(pool, dice)
        assert_sound(pool)
        await asyncio.sleep(0 if dice.random() < 0.8 else 0.01)
    ended = Counter("cancelled" if task.cancelled() else task.result() for task in tasks)
    print(dict(ended), pool.stats())
    assert {task for task in tasks if task.cancelled()} == asked
    assert ended["served"] > 100

    await _everything_is_there(pool, resource, steps)
    await pool.close()
    assert_sound(pool)
    assert not resource.alive


async def _everything_is_there(
    pool: Pool[Any, MockInstance, Any], resource: MockResource, steps: tuple[str, ...]
) -> None:
    for step in steps:
        resource.script(step, Outcome.OK)
    if pool.stats().state == "suspended":
        pool.resume()
    pool.resize(max_size=SIZE)
    await asyncio.sleep(60.05)  # between two sweeps of upkeep
    assert_no_leaks(pool)
    handles = await asyncio.gather(*(_take(pool) for _ in range(SIZE)))
    assert len({handle.instance for handle in handles}) == SIZE
    for handle in handles:
        await handle.release()


def _config(dice: random.Random) -> PoolConfig:
    return PoolConfig(
        min_size=dice.randrange(SIZE),
        max_size=SIZE,
        acquire_timeout=5.0,
        validation_interval=0.05,
        idle_timeout=1.0,
        maintenance_interval=0.2,
        max_lifetime=2.0,
        create_timeout=0.3,
        validate_timeout=0.3,
        recycle_timeout=0.3,
        cleanup_timeout=0.3,
        lease_timeout=0.3,
        circuit_open_for=0.2,
    )


def _moody(dice: random.Random) -> Any:
    """A step that mostly goes well, sometimes after a turn or a while, sometimes not at all."""

    async def step() -> None:
        mood = dice.random()
        if mood < 0.5:
            return
        await asyncio.sleep(dice.choice((0.0, 0.0, 0.001, 0.01)))
        if mood > 0.97:
            await asyncio.sleep(1.0)  # longer than its limit
        if mood > 0.9:
            raise MockError("moody")

    return step


def _meddle(pool: Pool[Any, MockInstance, Any], dice: random.Random) -> None:
    """An operator turns knobs."""
    what = dice.randrange(5)
    if pool.stats().state == "suspended":
        pool.resume()
    elif what == 0:
        pool.resize(max_size=dice.randint(max(1, pool.ledger.min_size), SIZE))
    elif what == 1:
        pool.recycle_all()
    elif what == 2:
        pool.scale_down(1)
    elif what == 3:
        pool.suspend()


async def _take(pool: Pool[Any, MockInstance, Any]) -> Any:
    return await pool.acquire()


async def _use(pool: Pool[Any, MockInstance, Any], dice: random.Random) -> str:
    try:
        async with pool.acquire(timeout=dice.choice((None, None, 1.0))) as value:
            instance: MockInstance = getattr(value, "instance", value)
            with instance.used():
                await asyncio.sleep(dice.choice((0.0, 0.0, 0.001)))
                if dice.random() < 0.05:
                    raise MockError("body")
        return "served"
    except ResourceError as error:
        return error.code
    except MockError:
        return "failed"
