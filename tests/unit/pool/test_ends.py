"""Ends that nobody asked the pool about: exits of the process, loops that are gone."""

import asyncio
import gc
from typing import Any

import pytest

from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.clock import VirtualTimeLoop
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, Stubborn, turns


@pytest.mark.parametrize("step", ["is_valid", "recycle", "lease_exit", "cleanup"])
def test_an_exit_of_the_process_passes_through_every_step(step: str) -> None:
    """SystemExit in a step of the pool ends the program, and the books are right."""
    scripts: dict[str, Any] = {step: Outcome.OK}
    resource = MockResource(**scripts)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=1, validation_interval=0))

    async def main() -> None:
        await pool.open()
        resource.script(step, SystemExit(3))
        if step == "cleanup":
            pool.recycle_all()
        await _use(pool)
        await asyncio.sleep(1)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    pool.check()
    assert pool.stats().in_use == pool.stats().checking == 0


def test_an_exit_of_the_process_passes_after_a_close() -> None:
    """A lease that ignored the close and ends the process: its instance was taken before."""
    resource = MockResource(lease_exit=Outcome.OK)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=0))

    async def main() -> None:
        await pool.open()
        stubborn = Stubborn(SystemExit(3))
        resource.script("lease_exit", stubborn)
        working = asyncio.ensure_future(_use(pool))
        await turns()
        assert (await pool.close(0.0)).left == 1
        stubborn.let_go.set()
        await working

    with pytest.raises(SystemExit):
        asyncio.run(main())
    pool.check()
    assert pool.stats().destroyed == {"shutdown": 1}


@pytest.mark.parametrize("step", ["create", "is_valid", "recycle", "lease_exit", "cleanup", "in_place"])
def test_steps_of_a_loop_that_is_gone_end_in_silence(step: str, caplog: pytest.LogCaptureFixture) -> None:
    """A loop that was closed without cancelling anything: its tasks are swept up, and none of ours resists."""
    scripts: dict[str, Any] = {"is_valid" if step == "in_place" else step: Outcome.OK}
    shared = step == "in_place"
    settings: dict[str, Any] = {
        "sharing": "shared" if shared else "exclusive",
        "validation_interval": 10.0 if shared else 0,
        "maintenance_interval": 10.0,
        "validate_timeout": None,
    }

    def run() -> None:
        resource = MockResource(**scripts)
        pool: MockPool = Pool(resource, None, PoolConfig(min_size=1, **settings))
        loop = VirtualTimeLoop()

        async def main() -> None:
            await pool.open()
            resource.script("is_valid" if shared else step, Outcome.NEVER)
            if step in {"cleanup", "create"}:
                pool.recycle_all()
            elif shared:
                handles.append(await pool.acquire())
                await asyncio.sleep(11)
            else:
                tasks.append(asyncio.ensure_future(_use(pool)))
            await turns(8)
            assert pool.tasks or pool.cleanups

        handles: list[Any] = []
        tasks: list[Any] = []
        loop.run_until_complete(main())
        loop.close()

    with caplog.at_level(
        "CRITICAL", "asyncio"
    ):  # "Task was destroyed but it is pending!" is what we asked for
        run()
        gc.collect()


async def _use(pool: MockPool, **limits: Any) -> None:
    async with pool.acquire(limits.get("context"), timeout=limits.get("timeout")):
        pass
