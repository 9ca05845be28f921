"""A shutdown counts the handles it forced, also of a pool whose end did not come in time."""

import asyncio

import pytest

from nebula_resource import Manager
from tests.unit.manager.things import Instance, Thing


class Deaf(Thing):
    """A cleanup that heeds no cancellation until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def cleanup(self, instance: Instance) -> None:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue


@pytest.mark.parametrize("handles", [0, 1, 3])
async def test_handles_of_a_pool_whose_close_never_ended_are_forced_all_the_same(handles: int) -> None:
    """They were taken from their callers like any other; what did not end is left beside."""
    manager = Manager()
    thing = Deaf()
    await manager.register(thing, pool={"min_size": 1, "max_size": 4})
    held = [await manager.acquire("thing") for _ in range(handles)]
    report = await manager.shutdown(drain=0.1, cleanup=0.1, terminate=0.1)
    thing.let_go.set()
    await asyncio.sleep(1)
    assert report.forced == handles
    assert report.left >= 1
    for handle in held:
        await handle.release()
