"""Guard: two ratios of the pool with generous margins, in a second or two: `python -m benchmarks.guard`.

Each competitor's best of many short rounds, in turn: a busy machine slows some rounds, hardly all of one competitor's.
It stops as soon as both bars hold, so only a pool that has become slow takes all rounds.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from benchmarks.floors import FloorA, FloorB
from benchmarks.measure import Case
from benchmarks.pool import INSTANCES, contended, hits, open_pool

__all__ = ["BARS", "best", "ratios"]

BARS: Mapping[str, float] = {"hit": 1.8, "contended": 1.8}
"""Time at most, as a multiple of the floor's; the promises are 1.15 and 1.11."""
HITS, USES = 2_000, 1_000
ROUNDS = 60


async def best(cases: Mapping[str, tuple[Case, Case]], bars: Mapping[str, float]) -> dict[str, float]:
    """The ratio of the best rounds of each pair (ours, floor), from as many rounds as it takes to reach the bars."""
    times = {name: (float("inf"), float("inf")) for name in cases}
    found: dict[str, float] = {}
    for number in range(ROUNDS):
        for name, (ours, floor) in cases.items():
            count = HITS if name == "hit" else USES
            times[name] = min(times[name][0], await ours(count)), min(times[name][1], await floor(count))
        found = {name: ours_s / floor_s for name, (ours_s, floor_s) in times.items()}
        if number >= 4 and all(found[name] <= bar for name, bar in bars.items()):
            break
    return found


async def ratios() -> dict[str, float]:
    """Time of a hit and of a contended use, as multiples of their floors'."""
    pool = await open_pool(min_size=INSTANCES)

    async def ours(count: int) -> float:
        return (await contended(pool.acquire, count)).seconds

    floor_b = FloorB(INSTANCES)

    async def floor(count: int) -> float:
        return (await contended(floor_b.acquire, count)).seconds

    cases: dict[str, tuple[Case, Case]] = {
        "hit": (hits(pool.acquire), hits(FloorA(INSTANCES).acquire)),
        "contended": (ours, floor),
    }
    found = await best(cases, BARS)
    await pool.close()
    return found


def main() -> int:
    """Exit code 1 when a bar does not hold."""
    found = asyncio.run(ratios())
    for name, ratio in found.items():
        print(f"{name}: {ratio:.2f} × its floor, at most {BARS[name]:g}")
    return int(any(found[name] > bar for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
