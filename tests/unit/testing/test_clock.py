"""VirtualTimeLoop: time that jumps, exactly, and never while there is something to do."""

import asyncio
import threading

import pytest

from nebula_resource.testing.clock import Stalled, run_virtual


def test_time_jumps_to_the_next_timer() -> None:
    """An hour takes no time, and is an hour."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        await asyncio.sleep(3600.0)
        seen.append(loop.time())
        async with asyncio.timeout(5.0):
            await asyncio.sleep(4.5)
        seen.append(loop.time())
        return seen

    assert run_virtual(main()) == [0.0, 3600.0, 3604.5]


def test_work_that_is_ready_comes_before_time() -> None:
    """Tasks that need no timer run to their end before the clock moves."""

    async def main() -> float:
        task = asyncio.ensure_future(asyncio.sleep(10.0))
        for _ in range(1000):
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        task.cancel()
        return now

    assert run_virtual(main()) == 0.0


def test_a_wait_that_cannot_end_is_an_error() -> None:
    """Nothing is ready and no timer is set: the test is told instead of hanging."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled):
        run_virtual(main())


def test_a_call_from_another_thread_is_heard() -> None:
    """The loop's own pipe is polled, though no other I/O is."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, "heard"))
        thread.start()
        thread.join()
        return await future

    assert run_virtual(main()) == "heard"
