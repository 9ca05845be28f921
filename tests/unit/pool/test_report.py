"""A pool's numbers, and the stamp that says whether they are others."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from nebula_resource.errors import ResourceError
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.stats import PoolStats
from nebula_resource.pool import Pool, Sharing
from tests.unit.pool.support import opened


def without_ages(stats: PoolStats) -> PoolStats:
    """The numbers that do not change by themselves."""
    return replace(stats, oldest_wait_s=None, oldest_hold_s=None)


async def step(pool: Pool[Any, Any, Any], rng: random.Random, held: list[Any]) -> None:
    """Do something to the pool."""
    kind = rng.randrange(8)
    if kind <= 2:
        try:
            held.append(await pool.acquire(timeout=0.01))
        except ResourceError:
            return
    elif kind <= 4 and held:
        await held.pop(rng.randrange(len(held))).release()
    elif kind == 5:
        pool.resize(max_size=rng.randint(2, 5))
    elif kind == 6:
        pool.retire_where(lambda _: rng.random() < 0.5, CleanupReason.EVICTED)
    else:
        await asyncio.sleep(rng.choice((0, 0, 0.001, 1)))


@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("seed", range(15))
async def test_numbers_that_differ_have_stamps_that_differ(seed: int, sharing: Sharing) -> None:
    """Whatever is done to a pool: where a number has changed, the stamp has too; where nothing is done, it stands."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    held: list[Any] = []
    differing = 0
    async with opened(max_size=3, sharing=sharing) as pool:
        before, stamp = without_ages(pool.stats()), pool.stamp()
        for _ in range(60):
            await step(pool, rng, held)
            after, new_stamp = without_ages(pool.stats()), pool.stamp()
            if after != before:
                differing += 1
                assert new_stamp != stamp, (before, after)
            assert pool.stamp() == new_stamp
            before, stamp = after, new_stamp
        for each in held:
            await each.release()
    assert differing > 10
