"""Benchmark of the event bus: publishes per second, beside the cheapest conceivable thing that does the job.

The floor of a delivery is a prebuilt object appended to a deque and a waiting reader woken: no event is built, no
filter asked, nothing counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from benchmarks.measure import Case, Table, interleaved, per_second
from nebula_resource.events import Acquired, EventBus, PoolResized, Subscription

ROUNDS = 7


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
    started = time.process_time()
    for _ in range(count):
        publish(Acquired, "db", waited_s=0.001)
    return time.process_time() - started


async def silent_but_one(count: int) -> float:
    """Publish a type that nobody wants while somebody wants another."""
    bus = EventBus()
    bus.subscribe(PoolResized)
    publish = bus.publish
    started = time.process_time()
    for _ in range(count):
        publish(Acquired, "db", waited_s=0.001)
    return time.process_time() - started


async def asked_first(count: int) -> float:
    """What a manager does: it knows from the last change of interest that nobody listens."""
    wanted = EventBus().wants(Acquired)
    started = time.process_time()
    for _ in range(count):
        if wanted:
            raise AssertionError
    return time.process_time() - started


async def delivered(count: int, readers: int, burst: int, turns: int) -> float:
    """Publish in bursts to readers that get every event."""
    bus = EventBus()
    subscriptions = [bus.subscribe() for _ in range(readers)]
    took = await _timed(
        count,
        burst,
        turns,
        subscriptions,
        lambda: bus.publish(Acquired, "db", waited_s=0.001),
        _close(subscriptions),
    )
    lost = sum(subscription.dropped for subscription in subscriptions)
    if lost:
        raise AssertionError(f"{lost} events were lost")
    return took


async def floor(count: int, readers: int, burst: int, turns: int) -> float:
    """The same with a bare deque and future, and one object that was built before."""
    floors = [Floor() for _ in range(readers)]
    item = object()

    def put() -> None:
        for one in floors:
            one.put(item)

    return await _timed(count, burst, turns, floors, put, lambda: None)


def _close(subscriptions: list[Subscription]) -> Callable[[], None]:
    def close() -> None:
        for subscription in subscriptions:
            subscription.close()

    return close


async def _timed(
    count: int,
    burst: int,
    turns: int,
    sources: list[Subscription] | list[Floor],
    publish: Callable[[], None],
    close: Callable[[], None],
) -> float:
    """Seconds from the first publish until every reader has read the last."""

    async def read(source: Subscription | Floor) -> None:
        left = count
        async for _ in source:
            left -= 1
            if not left:
                return

    tasks = [asyncio.create_task(read(source)) for source in sources]
    await asyncio.sleep(0)
    started = time.process_time()
    for _ in range(count // burst):
        for _ in range(burst):
            publish()
        for _ in range(turns):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    took = time.process_time() - started
    close()
    return took


SILENT: dict[str, tuple[Case, float | None]] = {
    "nobody listens": (silent, 1_000_000),
    "nobody listens to this type": (silent_but_one, 1_000_000),
    "nobody listens, asked before": (asked_first, None),
}
"""What costs nothing, with the bar in publishes a second (SPEC §9)."""

HEARD: dict[str, tuple[int, int, int, int, float | None]] = {
    "one, bursts of 16": (1, 16, 1, 96_000, 500_000),
    "one, one at a time": (1, 1, 1, 30_000, 150_000),
    "one, each waited for": (1, 1, 4, 15_000, None),
    "ten, bursts of 16": (10, 16, 1, 16_000, 150_000),
    "ten, one at a time": (10, 1, 1, 5_000, None),
}
"""Readers, burst, turns of the loop between bursts, events in a round, and the bar."""
SILENT_COUNT = 200_000


async def run(loop: str) -> list[Table]:
    """Publishes a second, to nobody and to readers that lose none."""
    silence = Table("Events that nobody wants", "publishes/s", loop)
    found = await interleaved({name: case for name, (case, _) in SILENT.items()}, SILENT_COUNT, ROUNDS)
    for name, (_, bar) in SILENT.items():
        _add(silence, name, per_second(found[name], SILENT_COUNT), bar)
    heard = Table("Events delivered, none lost", "events/s", loop)
    for name, (readers, burst, turns, count, bar) in HEARD.items():
        cases: dict[str, Case] = {
            "floor": partial(floor, readers=readers, burst=burst, turns=turns),
            "bus": partial(delivered, readers=readers, burst=burst, turns=turns),
        }
        took = await interleaved(cases, count, ROUNDS)
        heard.add(f"{name}: a deque and a future", per_second(took["floor"], count))
        _add(heard, name, per_second(took["bus"], count), bar)
    heard.notes += [
        "Process time, so that others' work is left out; all of it is on one thread that never waits.",
        (
            "Publisher and readers share the thread and the loop: a figure holds the publishing, the waking, the reading, and "
            "for each event (or burst) a turn of the loop, as the floor does. *One at a time*: an event a turn, so that "
            "the reader, who looks again one turn after it found nothing, needs no future. *One, each waited for*: four "
            "turns apart, so that it waits before each."
        ),
    ]
    return [silence, heard]


def _add(table: Table, name: str, rates: list[float], bar: float | None) -> None:
    if bar is None:
        table.add(name, rates)
    else:
        table.least(name, rates, at_least=bar)
