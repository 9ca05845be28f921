"""Work beside the loop: in a thread whose end nobody has to wait for."""

import asyncio
import subprocess
import sys
import threading

import pytest

from nebula_resource._aio import beside

STANDS_STILL = """
import asyncio, threading
from nebula_resource._aio import beside, within

async def main():
    try:
        async with within(0.05):
            await beside(threading.Event().wait, name="for ever")
    except TimeoutError:
        print("left")

asyncio.run(main())
"""


async def test_what_it_returns_and_raises_is_its_callers() -> None:
    """In a thread that says what it is there for."""
    assert await beside(lambda: threading.current_thread().name, name="reader") == "reader"

    def fail() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await beside(fail, name="reader")


async def test_whoever_is_cancelled_leaves_at_once() -> None:
    """What comes later is dropped without a word."""
    goes_on, ended = threading.Event(), threading.Event()

    def work() -> int:
        goes_on.wait()
        ended.set()
        return 1

    waiting = asyncio.ensure_future(beside(work, name="reader"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    goes_on.set()
    await asyncio.to_thread(ended.wait)
    await asyncio.sleep(0.01)
    assert told == []


def test_the_process_ends_although_one_stands_still_for_ever() -> None:
    """The loop's own threads would be waited for."""
    done = subprocess.run(
        [sys.executable, "-c", STANDS_STILL], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("left\n", "")


def test_an_answer_after_the_loops_end_is_dropped() -> None:
    """There is nobody left to tell."""
    goes_on = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        goes_on.wait()

    async def main() -> None:
        waiting = asyncio.ensure_future(beside(work, name="reader"))
        while not threads:  # noqa: ASYNC110  # another thread says so
            await asyncio.sleep(0)
        waiting.cancel()

    failed: list[object] = []
    before, threading.excepthook = threading.excepthook, failed.append
    try:
        asyncio.run(main())
        goes_on.set()
        threads[0].join()
    finally:
        threading.excepthook = before
    assert failed == []
