"""The guard of the pool's speed: it holds, and it sees a pool that has become slow."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import guard

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent.parent


def test_the_pool_is_about_as_fast_as_promised() -> None:
    """A hit and a contended use stay within a generous multiple of their floors (apart, so that no tracer slows it)."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("× its floor") == 2


async def test_a_slow_pool_is_seen() -> None:
    """The best round of one that takes twice the time is above the bar, however many rounds it is given."""

    async def floor(count: int) -> float:
        return count * 1e-6

    async def slow(count: int) -> float:
        await asyncio.sleep(0)
        return count * 2e-6

    found = await guard.best({"hit": (slow, floor), "contended": (floor, floor)}, guard.BARS)
    assert found["hit"] > guard.BARS["hit"]
    assert found["contended"] <= guard.BARS["contended"]
