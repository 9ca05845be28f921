"""Benchmark of the pool and the manager: a hit, a line, leak stacks, the peers, memory, the end."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.floors import FloorA, FloorB
from benchmarks.measure import REPETITIONS, Case, Table, interleaved, per_second, seconds_per
from benchmarks.peers import open_peers
from nebula_resource import Manager, Pool, PoolConfig, Resource, ResourceContext, Scope
from nebula_resource.events import Acquired
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook

__all__ = ["run"]

Acquire = Callable[[], AbstractAsyncContextManager[Any]]

HITS = 20_000
USES = 10_000
CALLERS, INSTANCES = 100, 10


class Trivial(Resource[None, object]):
    """As little as a resource can do."""

    def __init__(self, id: str = "trivial") -> None:
        self.id = id

    async def create(self, config: None, context: ResourceContext) -> object:
        return object()


class SyncRecycled(Trivial):
    """With a plain recycle."""

    def recycle(self, instance: object) -> None:
        return None


class AsyncRecycled(Trivial):
    """With a recycle that is a coroutine."""

    async def recycle(self, instance: object) -> None:
        return None


class Leased(Trivial):
    """With a lease."""

    @asynccontextmanager
    async def _lease(self, instance: object) -> AsyncGenerator[object]:
        yield instance

    def lease(self, instance: object, context: ResourceContext) -> AbstractAsyncContextManager[object]:
        return self._lease(instance)


class NothingHook(ResourceHook):
    """Beside every acquire and release."""

    name = "nothing"
    events = (HookEvent.ACQUIRE, HookEvent.RELEASE)

    def before(self, event: HookPayload) -> object:
        return None


async def open_pool(resource: Resource[None, object] | None = None, **settings: Any) -> Pool[None, object]:
    pool = Pool(resource or Trivial(), None, PoolConfig.of({"max_size": INSTANCES, **settings}))
    await pool.open()
    return pool


def hits(acquire: Acquire) -> Case:
    """Enter and leave, again and again, nobody else about."""

    async def case(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            async with acquire():
                pass
        return time.perf_counter() - started

    return case


def tenth(case: Case) -> Case:
    """A case that costs ten times the others: a tenth of the operations, counted tenfold."""

    async def fewer(count: int) -> float:
        return 10 * await case(max(1, count // 10))

    return fewer


def deep(acquire: Acquire, depth: int) -> Case:
    """The same, asked for from ``depth`` calls down, as a real handler is."""

    async def case(count: int) -> float:
        async def descend(left: int) -> float:
            return await descend(left - 1) if left else await hits(acquire)(count)

        return await descend(depth)

    return case


@dataclass(slots=True)
class Contention:
    """One contended run."""

    seconds: float
    p99_s: float
    fairness: float


async def contended(acquire: Acquire, total: int) -> Contention:
    """``CALLERS`` tasks share ``INSTANCES``; each yields to the loop once while it holds one."""
    counts = [0] * CALLERS
    waits: list[float] = []
    left = total
    clock = time.perf_counter

    async def caller(number: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            asked = clock()
            async with acquire():
                waits.append(clock() - asked)
                await asyncio.sleep(0)
            counts[number] += 1

    gc.collect()
    gc.disable()
    try:
        started = clock()
        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        seconds = clock() - started
    finally:
        gc.enable()
    waits.sort()
    return Contention(seconds, waits[int(0.99 * len(waits))], max(counts) / max(1, min(counts)))


async def hit_table(loop: str) -> Table:
    """What a hit costs."""
    table = Table("A hit: `async with pool.acquire()`, uncontended", "ns", loop)
    floor = FloorA(INSTANCES)
    plain = await open_pool(min_size=INSTANCES)
    always = await open_pool(min_size=INSTANCES, use_timing="always")
    traced = await open_pool(min_size=INSTANCES, leak_threshold=60.0)
    sync, awaited = await open_pool(SyncRecycled(), min_size=1), await open_pool(AsyncRecycled(), min_size=1)
    leased = await open_pool(Leased(), min_size=1)
    cases = {
        "floor a": hits(floor.acquire),
        "floor a, 8 calls deep": deep(floor.acquire, 8),
        "Pool": hits(plain.acquire),
        "Pool, use_timing=ALWAYS": hits(always.acquire),
        "Pool, leak stacks of 6 frames, 8 calls deep": deep(traced.acquire, 8),
        "Pool, sync recycle": hits(sync.acquire),
        "Pool, async recycle": tenth(hits(awaited.acquire)),
        "Pool, lease": tenth(hits(leased.acquire)),
    }
    bars = {
        "Pool": 1.15,
        "Pool, use_timing=ALWAYS": 1.6,
        "Pool, leak stacks of 6 frames, 8 calls deep": 3.2,
    }
    found = await interleaved(cases, HITS)
    base = seconds_per(found["floor a"], HITS)
    for name, values in found.items():
        table.add(name, seconds_per(values, HITS), floor=base, at_most=bars.get(name))
    for pool in (plain, always, traced, sync, awaited, leased):
        await pool.close()
    return table


async def manager_table(loop: str) -> Table:
    """What the manager's road costs."""
    table = Table("A hit through the manager", "ns", loop)
    floor = FloorA(INSTANCES)
    few, many, hooked, heard = Manager(), Manager(), Manager(), Manager()
    for manager, registrations in ((few, 10), (many, 10_000), (hooked, 1), (heard, 1)):
        await manager.register(Trivial("db"), pool={"min_size": 1}, health=_off(), quarantine=_off())
        for number in range(registrations - 1):
            await manager.register(
                Trivial("db"),
                scope=Scope.tenant(f"t{number}"),
                pool={"min_size": 0, "maintenance_interval": None},
                health=_off(),
                quarantine=_off(),
            )
    hooked.hooks.add(NothingHook())
    subscription = heard.subscribe((Acquired,), buffer=16)
    scope = many.scope(tenant="t7")
    caller = ResourceContext(Scope.tenant("t7"))
    cases = {
        "floor a": hits(floor.acquire),
        "Manager, among 10": hits(lambda: few.acquire("db")),
        "Manager, among 10, a tenant's own": hits(lambda: few.acquire("db", caller)),
        "Manager, among 10,000": hits(lambda: many.acquire("db")),
        "Manager, among 10,000, a tenant's own": hits(lambda: many.acquire("db", caller)),
        "Manager, one hook": tenth(hits(lambda: hooked.acquire("db"))),
        "Manager, one subscriber": tenth(hits(lambda: heard.acquire("db"))),
    }
    found = await interleaved(cases, HITS // 2)
    base = seconds_per(found["floor a"], HITS // 2)
    for name, values in found.items():
        bar = 1.7 if name == "Manager, among 10" else None
        table.add(name, seconds_per(values, HITS // 2), floor=base, at_most=bar)
    table.add(
        "Manager, among 10,000 : among 10",
        seconds_per(found["Manager, among 10,000"], HITS // 2),
        floor=seconds_per(found["Manager, among 10"], HITS // 2),
        at_most=1.1,
    )
    table.add(
        "the same for a tenant's own",
        seconds_per(found["Manager, among 10,000, a tenant's own"], HITS // 2),
        floor=seconds_per(found["Manager, among 10, a tenant's own"], HITS // 2),
        at_most=1.1,
    )
    del scope
    subscription.close()
    for manager in (few, many, hooked, heard):
        await manager.shutdown()
    return table


def _off() -> Any:
    from nebula_resource import OFF

    return OFF


async def contended_tables(loop: str, repetitions: int = REPETITIONS) -> list[Table]:
    """100 callers over 10 instances."""
    throughput = Table(f"{CALLERS} callers over {INSTANCES} instances: throughput", "uses/s", loop)
    latency = Table(f"{CALLERS} callers over {INSTANCES} instances: p99 of the wait", "µs", loop)
    fairness = Table(f"{CALLERS} callers over {INSTANCES} instances: fairness", "max/min uses per task", loop)
    pool = await open_pool(min_size=INSTANCES)
    manager = Manager()
    await manager.register(
        Trivial(), pool={"max_size": INSTANCES, "min_size": INSTANCES}, health=_off(), quarantine=_off()
    )
    competitors: dict[str, Acquire] = {
        "floor b": FloorB(INSTANCES).acquire,
        "Pool": pool.acquire,
        "Manager": lambda: manager.acquire("trivial"),
    }
    runs: dict[str, list[Contention]] = {name: [] for name in competitors}
    for acquire in competitors.values():
        await contended(acquire, USES // 10)
    for _ in range(repetitions):
        for name, acquire in competitors.items():
            runs[name].append(await contended(acquire, USES))
    base = runs["floor b"]
    for name, found in runs.items():
        ours = name == "Pool"
        throughput.add(
            name,
            per_second([run.seconds for run in found], USES),
            floor=per_second([run.seconds for run in base], USES),
            at_least=0.9 if ours else None,
        )
        latency.add(
            name,
            [run.p99_s * 1e6 for run in found],
            floor=[run.p99_s * 1e6 for run in base],
            at_most=1.3 if ours else None,
        )
        fairness.add(name, [run.fairness for run in found], floor=[1.0], at_most=1.05 if ours else None)
    await pool.close()
    await manager.shutdown()
    return [throughput, latency, fairness]


async def peer_table(loop: str) -> Table:
    """The same hit through the pools that people use today."""
    table = Table("A hit beside the peers", "ns", loop)
    pool = await open_pool(min_size=INSTANCES)
    async with open_peers() as peers:
        count = 4_000
        cases = {"Pool": hits(pool.acquire), **{name: hits(peer.acquire) for name, peer in peers.items()}}
        found = await interleaved(cases, count)
        base = seconds_per(found["Pool"], count)
        for name, values in found.items():
            bar = None if name == "Pool" else peers[name].bar
            table.add(name, seconds_per(values, count), floor=base, at_least=bar)
        table.notes += [f"{name}: {peer.note}" for name, peer in peers.items()]
    await pool.close()
    return table


async def memory_table(loop: str) -> Table:
    """What an idle pool holds."""
    table = Table("Memory of an idle pool of trivial instances", "KiB", loop)

    async def size_of(instances: int) -> float:
        await (
            await open_pool(min_size=instances, max_size=instances)
        ).close()  # whatever is made once is made now
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        pool = await open_pool(min_size=instances, max_size=instances)
        await asyncio.sleep(0.01)  # idle it is when its creations have ended to the last callback
        await asyncio.sleep(
            0
        )  # the timer of this very sleep is not the pool's: uvloop lets go of it a turn later
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        await pool.close()
        return (after - before) / 1024

    ten, twenty = await size_of(10), await size_of(20)
    table.limit("10 instances", ten, at_most=12)
    table.limit("one more", (twenty - ten) / 10, at_most=0.5)
    return table


async def end_table(loop: str) -> Table:
    """How long the end takes."""
    table = Table("Shutdown of 100 idle pooled resources", "s", loop)
    manager = Manager()
    for number in range(100):
        await manager.register(Trivial(f"r{number}"), pool={"min_size": 2})
    started = time.perf_counter()
    await manager.shutdown()
    table.limit("shutdown", time.perf_counter() - started, at_most=0.5)
    return table


async def run(loop: str) -> list[Table]:
    """All tables of this file, on the running loop."""
    return [
        await hit_table(loop),
        *await contended_tables(loop),
        await manager_table(loop),
        await peer_table(loop),
        await memory_table(loop),
        await end_table(loop),
    ]
