"""Benchmark of the event bus: publishes per second, beside the cheapest conceivable thing that does the job.

The floor of a delivery is a prebuilt object appended to a deque and a waiting reader woken: no event is built, no
filter asked, nothing counted. Run it with ``python -m benchmarks.events``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from statistics import median

from nebula_resource.events import Acquired, EventBus, PoolResized, Subscription

ROUNDS = 5


class Floor:
    """A deque and a future: what any in-process delivery needs at least."""

    def __init__(self) -> None:
        self.queue: deque[object] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def put(self, item: object) -> None:
        self.queue.append(item)
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            waiter.set_result(None)

    def __aiter__(self) -> Floor:
        return self

    async def __anext__(self) -> object:
        while not self.queue:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.queue.popleft()


async def silent(count: int) -> float:
    """Publish to nobody."""
    bus = EventBus()
    publish = bus.publish
    started = time.perf_counter()
    for _ in range(count):
        publish(Acquired, "db", waited_s=0.001)
    return count / (time.perf_counter() - started)


async def silent_but_one(count: int) -> float:
    """Publish a type that nobody wants while somebody wants another."""
    bus = EventBus()
    bus.subscribe(PoolResized)
    publish = bus.publish
    started = time.perf_counter()
    for _ in range(count):
        publish(Acquired, "db", waited_s=0.001)
    return count / (time.perf_counter() - started)


async def asked_first(count: int) -> float:
    """What a manager does: it knows from the last change of interest that nobody listens."""
    wanted = EventBus().wants(Acquired)
    started = time.perf_counter()
    for _ in range(count):
        if wanted:
            raise AssertionError
    return count / (time.perf_counter() - started)


async def delivered(count: int, readers: int, burst: int) -> float:
    """Publish in bursts to readers that get every event."""
    bus = EventBus()
    subscriptions = [bus.subscribe() for _ in range(readers)]
    got = await _timed(
        count,
        burst,
        subscriptions,
        lambda: bus.publish(Acquired, "db", waited_s=0.001),
        _close(subscriptions),
    )
    lost = sum(subscription.dropped for subscription in subscriptions)
    if lost:
        raise AssertionError(f"{lost} events were lost")
    return got


async def floor(count: int, readers: int, burst: int) -> float:
    """The same with a bare deque and future, and one object that was built before."""
    floors = [Floor() for _ in range(readers)]
    item = object()

    def put() -> None:
        for one in floors:
            one.put(item)

    return await _timed(count, burst, floors, put, lambda: None)


def _close(subscriptions: list[Subscription]) -> Callable[[], None]:
    def close() -> None:
        for subscription in subscriptions:
            subscription.close()

    return close


async def _timed(
    count: int,
    burst: int,
    sources: list[Subscription] | list[Floor],
    publish: Callable[[], None],
    close: Callable[[], None],
) -> float:
    """Events per second from the first publish until every reader has read the last."""

    async def read(source: Subscription | Floor) -> None:
        left = count
        async for _ in source:
            left -= 1
            if not left:
                return

    tasks = [asyncio.create_task(read(source)) for source in sources]
    await asyncio.sleep(0)
    started = time.perf_counter()
    for _ in range(count // burst):
        for _ in range(burst):
            publish()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - started
    close()
    return count / took


Row = tuple[
    str, float | None, Callable[[int], Awaitable[float]], Callable[[int], Awaitable[float]] | None, int
]

ROWS: list[Row] = [
    ("nobody listens", 1_000_000, silent, None, 200_000),
    ("nobody listens to this type", 1_000_000, silent_but_one, None, 200_000),
    ("nobody listens, asked before", None, asked_first, None, 1_000_000),
    ("one, bursts of 16", 500_000, lambda n: delivered(n, 1, 16), lambda n: floor(n, 1, 16), 96_000),
    ("one, one at a time", 150_000, lambda n: delivered(n, 1, 1), lambda n: floor(n, 1, 1), 30_000),
    ("ten, bursts of 16", 150_000, lambda n: delivered(n, 10, 16), lambda n: floor(n, 10, 16), 16_000),
    ("ten, one at a time", None, lambda n: delivered(n, 10, 1), lambda n: floor(n, 10, 1), 5_000),
]


def main() -> int:
    """Print the table; the exit code is 1 when a target of SPEC §9 is missed."""
    print(f"events per second, median of {ROUNDS} interleaved rounds, Python {sys.version.split()[0]}")
    print(f"{'':32}{'bus':>12}{'floor':>12}{'x floor':>9}{'target':>12}")
    ours: dict[str, list[float]] = {row[0]: [] for row in ROWS}
    floors: dict[str, list[float]] = {row[0]: [] for row in ROWS}
    for _ in range(ROUNDS):
        for label, _, run, run_floor, count in ROWS:
            ours[label].append(asyncio.run(_call(run, count)))
            if run_floor is not None:
                floors[label].append(asyncio.run(_call(run_floor, count)))
    missed = 0
    for label, target, _, _, _ in ROWS:
        rate = median(ours[label])
        base = median(floors[label]) if floors[label] else None
        verdict = "" if target is None else f"{target:>12,.0f} {'ok' if rate >= target else 'MISSED'}"
        missed += target is not None and rate < target
        print(
            f"{label:32}{rate:>12,.0f}"
            + (f"{base:>12,.0f}{base / rate:>9.2f}" if base else f"{'':>21}")
            + verdict
        )
    return 1 if missed else 0


async def _call(run: Callable[[int], Awaitable[float]], count: int) -> float:
    return await run(count)


if __name__ == "__main__":
    raise SystemExit(main())
