"""A pool's numbers as a scrape reads them and as a person is told."""

import asyncio
import random
from dataclasses import asdict
from typing import Any

import pytest

from nebula_resource.errors import ResourceError, Unavailable
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool, Sharing
from tests.unit.pool.support import opened

TIMES = ("wait", "use", "create", "wait_timeout", "wait_refused", "cleanup")


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
async def test_the_numbers_are_the_stats_but_for_the_ages(seed: int, sharing: Sharing) -> None:
    """Whatever is done to a pool; read twice they are equal, and their histograms the very same."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    held: list[Any] = []
    differing = 0
    async with opened(max_size=3, sharing=sharing) as pool:
        before = pool.numbers()
        for _ in range(60):
            await step(pool, rng, held)
            numbers, stats = pool.numbers(), asdict(pool.stats())
            again = pool.numbers()
            assert again == numbers
            assert all(getattr(again, name) is getattr(numbers, name) for name in TIMES)
            assert stats.keys() - numbers._asdict().keys() == {"oldest_wait_s", "oldest_hold_s"}
            assert all(getattr(pool.stats(), name) == held for name, held in numbers._asdict().items())
            assert pool.stats().utilisation == numbers.utilisation
            differing += numbers != before
            before = numbers
        for each in held:
            await each.release()
    assert differing > 10


async def test_a_second_refusal_after_a_wait_is_another_number() -> None:
    """Each of them is in a number of its own."""
    async with opened(max_size=1) as pool:
        async with pool.acquire():
            stamps = []
            for _ in range(2):
                waiting = asyncio.ensure_future(pool.acquire().__aenter__())
                await asyncio.sleep(1)
                pool.fail_line(lambda: Unavailable("quarantined"))
                with pytest.raises(Unavailable):
                    await waiting
                stamps.append(pool.numbers())
        assert stamps[0] != stamps[1]
