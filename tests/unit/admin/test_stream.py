"""EventStream in virtual time: heartbeats, frozen readers, age, revoked keys, slow readers, bursts."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message

from nebula_resource.admin.auth import Principal, Role
from nebula_resource.admin.guard import HEAD
from nebula_resource.admin.sse import EventStream, Hub
from nebula_resource.admin.sse.filters import EventFilter
from nebula_resource.admin.sse.pulse import PERIOD
from nebula_resource.admin.sse.raw import PER_SECOND
from nebula_resource.admin.sse.ring import SIZE, Ring
from nebula_resource.events import Acquired, WorkflowProgress
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.policy import OFF
from nebula_resource.model.scope import Scope
from tests.app.admin_world import Thing, ThingConfig

VIEWER = Principal("someone", Role.VIEWER)
ALL = EventFilter()


class Wire:
    """The two ends of a connection: what was written, when, and a reader that may freeze or leave."""

    def __init__(self) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.ended = False
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.left = asyncio.Event()

    async def send(self, message: Message) -> None:
        await self.thawed.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.chunks.append((asyncio.get_running_loop().time(), message["body"]))
            self.ended = not message.get("more_body", False)

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def text(self) -> str:
        return b"".join(body for _, body in self.chunks).decode()

    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [line.removeprefix("event: ") for line in self.text.split("\n") if line.startswith("event: ")]

    def data(self, name: str) -> list[Any]:
        """The data of the events of one name."""
        blocks = [block.split("\n") for block in self.text.split("\n\n")]
        return [json.loads(lines[-1][6:]) for lines in blocks if f"event: {name}" in lines]


@asynccontextmanager
async def streaming(
    hub: Hub,
    *,
    who: Principal = VIEWER,
    wanted: EventFilter = ALL,
    last_id: str | None = None,
    raw: bool = False,
    recheck: Callable[[], Principal | None] = lambda: VIEWER,
    scope: dict[str, Any] | None = None,
) -> AsyncGenerator[tuple[Wire, "asyncio.Task[None]"]]:
    """A stream in a task, left at the end; its place is free then."""
    wire, others = Wire(), len(hub)
    stream = EventStream(hub, who, wanted, last_id=last_id, raw=raw, recheck=recheck)
    work: Awaitable[None] = stream({"type": "http", **(scope or {})}, wire.receive, wire.send)
    task = asyncio.create_task(_run(work))
    await asyncio.sleep(0)
    try:
        yield wire, task
    finally:
        wire.thawed.set()
        wire.left.set()
        await task
        assert len(hub) == others
        if not others:
            await hub.tasks.cancel_all()


async def _run(work: Awaitable[None]) -> None:
    await work


def publish(manager: Manager, number: int) -> None:
    """An event with a number of its own."""
    manager.events.publish(WorkflowProgress, workflow="w", execution=str(number), status="running")


async def test_silence_is_broken_every_fifteen_seconds() -> None:
    """A comment with the cursor, so that a reader knows we are there and where it is."""
    hub = Hub(Manager())
    async with streaming(hub) as (wire, _):
        await asyncio.sleep(46)
        beats = [(at, body) for at, body in wire.chunks if body.startswith(b": hb")]
        assert [at for at, _ in beats] == [15.0, 30.0, 45.0]
        assert {body for _, body in beats} == {f": hb\nid: {hub.main.boot}-0\n\n".encode()}


async def test_readers_come_back_at_different_times() -> None:
    """Two to five seconds after they were cut off, each at its own moment: a restart is no stampede."""
    hub, told = Hub(Manager()), set[int]()
    for _ in range(20):
        async with streaming(hub) as (wire, _):
            await asyncio.sleep(0.1)
            told.add(int(wire.text.split("\n", 1)[0].removeprefix("retry: ")))
    assert len(told) > 10
    assert all(2000 <= each <= 5000 for each in told)


async def test_a_burst_is_one_write() -> None:
    """What happens within 20 ms is written once."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub) as (wire, _):
        await asyncio.sleep(1)
        before = len(wire.chunks)
        for number in range(100):
            publish(manager, number)
        await asyncio.sleep(0.5)
        assert len(wire.chunks) == before + 1
        assert len(wire.data("workflow.progress")) == 100
        assert wire.chunks[-1][0] == 1.02


async def test_a_frozen_reader_is_left_after_ten_seconds() -> None:
    """Its write did not end in time: its place is free, and nothing waits for it."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub) as (wire, task):
        await asyncio.sleep(1)
        wire.thawed.clear()
        publish(manager, 1)
        await asyncio.sleep(10.1)
        assert task.done()
        assert len(hub) == 0


async def test_a_stream_ends_by_age() -> None:
    """After half an hour, give or take a fifth, it says bye; the reader comes back by itself."""
    hub = Hub(Manager())
    loop = asyncio.get_running_loop()
    async with streaming(hub) as (wire, task):
        await task
        assert 1440 <= loop.time() <= 2160
        assert wire.data("bye") == [{"reason": "age"}]
        assert wire.ended


async def test_a_revoked_key_loses_its_stream() -> None:
    """Within thirty seconds, and a heartbeat's patience."""
    hub = Hub(Manager())
    revoked = False
    loop = asyncio.get_running_loop()
    async with streaming(hub, recheck=lambda: None if revoked else VIEWER) as (wire, task):
        await asyncio.sleep(100)
        assert not task.done()
        revoked = True
        await task
        assert loop.time() <= 130
        assert wire.data("bye") == [{"reason": "credential"}]


async def test_a_key_whose_role_changed_loses_its_stream() -> None:
    """Another role, another stream."""
    hub = Hub(Manager())
    now = VIEWER
    async with streaming(hub, recheck=lambda: now) as (wire, task):
        await asyncio.sleep(10)
        now = Principal("someone", Role.METRICS)
        await task
        assert wire.data("bye") == [{"reason": "credential"}]


async def test_a_busy_stream_is_rechecked_too() -> None:
    """Events that keep coming do not keep a revoked key alive."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub, recheck=lambda: None) as (_, task):
        for number in range(1000):
            publish(manager, number)
            await asyncio.sleep(0.05)
            if task.done():
                break
        assert task.done()


async def test_a_reader_that_falls_behind_the_ring_is_told() -> None:
    """It gets a gap with the numbers that are gone, how things stand, and goes on."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub) as (wire, _):
        await asyncio.sleep(1)
        wire.thawed.clear()
        publish(manager, 0)
        await asyncio.sleep(1)
        for number in range(SIZE + 100):
            publish(manager, number)
        wire.thawed.set()
        await asyncio.sleep(1)
        gap = wire.data("gap")[0]
        assert gap["reason"] == "overrun"
        seqs = [each["seq"] for each in wire.data("workflow.progress")]
        assert seqs == [1, *range(gap["to"] + 1, SIZE + 102)]
        assert wire.names().index("snapshot", wire.names().index("gap")) > 0


@pytest.mark.parametrize(("more", "gaps"), [(SIZE, []), (SIZE + 1, [(2, 2)]), (SIZE + 2, [(2, 3)])])
async def test_a_gap_is_what_is_gone_and_nothing_else(more: int, gaps: list[tuple[int, int]]) -> None:
    """The ring has just as much as the reader missed: nothing is lost. One more is, two are: told by their numbers."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub) as (wire, _):
        await asyncio.sleep(1)
        wire.thawed.clear()
        publish(manager, 0)
        await asyncio.sleep(1)
        for number in range(more):
            publish(manager, number)
        wire.thawed.set()
        await asyncio.sleep(1)
        assert [(each["from"], each["to"]) for each in wire.data("gap")] == gaps
        told = [each["seq"] for each in wire.data("workflow.progress")]
        assert told == [1, *range(2 + more - SIZE, more + 2)]
        assert hub.gaps == len(gaps)


async def test_nothing_in_between_holds_a_stream_back() -> None:
    """Proxies are told that they must neither gather nor keep it, and not how long it is, which nobody knows."""
    async with streaming(Hub(Manager())) as (wire, _):
        assert wire.headers["x-accel-buffering"] == "no"
        assert wire.headers["cache-control"] == "no-store"
        assert wire.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in wire.headers


async def test_a_slow_reader_gets_each_pools_latest_numbers() -> None:
    """Beats it missed are not told one by one, and none of their changes is lost."""
    async with Manager(health=OFF) as manager:
        for name in ("a", "b", "idle"):
            await manager.register(Thing(name), ThingConfig(), pool={"min_size": 0})
        hub = Hub(manager)
        async with streaming(hub) as (wire, _):
            await asyncio.sleep(1.5 * PERIOD)
            assert sorted(each["pool"] for each in wire.data("pool.stats")) == ["a", "b", "idle"]
            wire.thawed.clear()
            for name in ("a", "a", "b"):
                async with manager.acquire(name):
                    await asyncio.sleep(PERIOD)
            wire.thawed.set()
            await asyncio.sleep(2 * PERIOD)
            uses = {each["pool"]: each["data"]["counters"]["releases"] for each in wire.data("pool.stats")}
            assert uses == {"a": 2, "b": 1, "idle": 0}
            # the write it was frozen in, and one for each that changed since
            assert len(wire.data("pool.stats")) <= 3 + 1 + 2


async def test_single_uses_are_sampled() -> None:
    """A thousand in a second: a hundred are told, without ids; they move no cursor."""
    manager = Manager()
    hub = Hub(manager)
    async with streaming(hub, raw=True) as (wire, _):
        await asyncio.sleep(2)
        for _ in range(1000):
            manager.events.publish(Acquired, "db", waited_s=0.0)
        await asyncio.sleep(0.5)
        assert len(wire.data("resource.acquired")) == PER_SECOND
        assert f"{hub.raw.ring.boot}" not in wire.text
        assert hub.main.seq == 0
    assert not manager.events.wants(Acquired)


async def test_a_bound_reader_gets_its_tenants_pools_and_uses_alone() -> None:
    """Beside one who sees all, and reads first: what is made for him is nobody else's. Single uses have no number."""
    context = {name: ResourceContext(Scope.tenant(name)) for name in ("acme", "globex")}
    async with Manager(health=OFF) as manager:
        for name in context:
            await manager.register(
                Thing(f"{name}-db"), ThingConfig(), pool={"min_size": 0}, scope=Scope.tenant(name)
            )
        hub = Hub(manager)
        bound = Principal("acme's", Role.VIEWER, "acme")
        async with (
            streaming(hub, raw=True) as (all_, _),
            streaming(hub, who=bound, recheck=lambda: bound, raw=True) as (mine, _),
        ):
            for name in ("globex", "acme", "globex"):
                await asyncio.sleep(1.5 * PERIOD)
                async with manager.acquire(f"{name}-db", context[name]):
                    pass
            await asyncio.sleep(1.5 * PERIOD)
        for wire, tenants in ((all_, {"acme-db", "globex-db"}), (mine, {"acme-db"})):
            (snapshot,) = wire.data("snapshot")
            assert {each["resource_id"] for each in snapshot["pools"]} == tenants
            for name in ("pool.stats", "resource.acquired"):
                assert {each["resource_id"] for each in wire.data(name)} == tenants, name
        assert [each for each in mine.data("resource.acquired") if "seq" in each] == []
        assert "globex" not in mine.text
        assert manager.registry.named("globex-db")[0].public_id not in mine.text


async def test_head_is_headers_alone() -> None:
    """No body, no place kept."""
    async with streaming(Hub(Manager()), scope={HEAD: True}) as (wire, task):
        await task
        assert wire.status == 200
        assert wire.text == ""


async def test_nobody_enters_after_the_end() -> None:
    """503, and whoever is in leaves within the same turn."""
    hub = Hub(Manager())
    async with streaming(hub) as (wire, task):
        await asyncio.sleep(1)
        hub.close()
        await task
        assert wire.data("bye") == [{"reason": "shutdown"}]
        async with streaming(hub) as (late, refused):
            await refused
            assert late.status == 503


async def test_numbers_are_read_only_while_somebody_listens() -> None:
    """No reader: no pulse."""
    hub = Hub(Manager())
    async with streaming(hub) as (_, _task):
        await asyncio.sleep(3)
        assert len(hub.tasks) == 2  # the pulse and the reader's watcher
    await asyncio.sleep(0)
    assert len(hub.tasks) == 0


async def test_a_busy_workflow_does_not_crowd_the_history() -> None:
    """What goes as planned is for those who ask for single uses; a retry and a failure are kept for everybody."""
    manager = Manager()
    hub = Hub(manager)

    def move(status: str) -> None:
        manager.events.publish(WorkflowProgress, workflow="w", execution="1", status=status, step="charge")

    def kept(ring: Ring) -> list[str]:
        events = [frame.event for frame in ring.frames(0, ring.seq)]
        return [event.status for event in events if isinstance(event, WorkflowProgress)]

    hub.raw.join()
    for status in (
        "started",
        "step_started",
        "step_retrying",
        "step_succeeded",
        "succeeded",
        "failed",
        "cancelled",
    ):
        move(status)
    assert kept(hub.main) == ["step_retrying", "failed", "cancelled"]
    assert kept(hub.raw.ring) == ["started", "step_started", "step_succeeded", "succeeded"]
    hub.raw.leave()
