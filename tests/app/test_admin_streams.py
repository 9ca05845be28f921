"""Streams over a real server: hello, replay, gap, numbers, filters, places, frozen readers, the end."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from nebula_resource.admin import KeySource, create_admin
from nebula_resource.admin.sse.ring import SIZE
from nebula_resource.events import Acquired, WorkflowProgress
from nebula_resource.manager import Manager
from nebula_resource.model.scope import Scope
from tests.app.admin_world import CANARY, QUIET, Thing, ThingConfig, keys_of

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Heard:
    """One event as a line parser sees it."""

    id: str | None
    name: str
    data: Any


@dataclass
class Reader:
    """Reads a stream line by line, as EventSource does."""

    response: httpx.Response
    last_id: str = ""
    comments: list[str] = field(default_factory=list)
    retry: int = 0

    def __post_init__(self) -> None:
        self._events = self._parse()

    def events(self) -> AsyncIterator[Heard]:
        """What comes next, wherever reading stopped before."""
        return self._events

    async def _parse(self) -> AsyncIterator[Heard]:
        id_: str | None = None
        name, data = "message", list[str]()
        async for line in self.response.aiter_lines():
            if line == "":
                if data:
                    yield Heard(id_, name, json.loads("\n".join(data)))
                id_, name, data = None, "message", []
                continue
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match key:
                case "":
                    self.comments.append(value)
                case "id":
                    id_ = self.last_id = value
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "retry":
                    self.retry = int(value)
                case _:
                    raise AssertionError(f"a field that is none: {key!r}")

    async def until(self, name: str) -> list[Heard]:
        """What comes up to the next event of this name, that one last."""
        found: list[Heard] = []
        async with asyncio.timeout(10):
            async for each in self.events():
                found.append(each)
                if each.name == name:
                    return found
        raise AssertionError(f"the stream ended before {name}")


@dataclass
class Served:
    """A manager whose admin application is served on a real port."""

    manager: Manager
    app: FastAPI
    http: httpx.AsyncClient
    port: int

    @asynccontextmanager
    async def stream(self, query: str = "", **headers: str) -> AsyncGenerator[Reader]:
        async with self.http.stream("GET", f"/events{query}", headers=STREAM | headers) as response:
            assert response.status_code == 200, await response.aread()
            yield Reader(response)

    def publish(self, number: int, *, tenant: str = "acme") -> None:
        """An event with a number of its own."""
        self.manager.events.publish(
            WorkflowProgress,
            None,
            Scope.tenant(tenant),
            workflow="w",
            execution=str(number),
            status="running",
        )


@asynccontextmanager
async def served(auth: KeySource | None = None) -> AsyncGenerator[Served]:
    """An application on a port of the kernel's choice; nothing of it is left."""
    async with Manager(health=QUIET) as manager:
        await manager.register(Thing("db"), ThingConfig(), pool={"min_size": 0})
        app = create_admin(manager, auth)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            async with asyncio.timeout(10):
                while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
                    await asyncio.sleep(0.01)
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30
            ) as http:
                yield Served(manager, app, http, port)
            app.state.close_streams()
            server.should_exit = True
            async with asyncio.timeout(10):
                await serving
        assert len(app.state.admin.hub) == 0


@pytest.fixture
async def server() -> AsyncGenerator[Served]:
    """One pool, no keys."""
    async with served() as made:
        yield made


async def test_a_stream_begins_with_hello_and_snapshot(server: Served) -> None:
    """retry, hello with its id, how things stand; then what happens."""
    async with server.stream() as reader:
        hello, snapshot = await reader.until("snapshot")
        assert hello.name == "hello"
        assert 2000 <= reader.retry <= 5000
        boot = hello.data["boot_id"]
        assert hello.id == f"{boot}-{hello.data['seq']}"
        assert [pool["id"] for pool in snapshot.data["pools"]] == ["db"]
        assert snapshot.data["quarantine"] == []
        server.manager.quarantine("db", "disk")
        entered = (await reader.until("quarantine.entered"))[-1]
        assert entered.id == f"{boot}-{entered.data['seq']}"
        assert entered.data["severity"] == "warning"
        assert entered.data["pool"] == "db"
        assert entered.data["data"]["detail"] == "manual: disk"


async def test_who_comes_back_misses_nothing(server: Served) -> None:
    """With Last-Event-ID, or last_event_id in the query, exactly what was missed is told, in order, once."""
    async with server.stream() as reader:
        await reader.until("snapshot")
        last = reader.last_id
    for number in range(50):
        server.publish(number)
    for reading in (server.stream(**{"Last-Event-ID": last}), server.stream(f"?last_event_id={last}")):
        async with reading as reader:
            await reader.until("snapshot")
            found: list[str] = []
            while len(found) < 50:
                found += [each.data["data"]["execution"] for each in await reader.until("workflow.progress")]
            assert found == [str(number) for number in range(50)]


async def test_what_is_lost_is_told(server: Served) -> None:
    """More than the ring holds: a gap that names what is missing, then everything that is still there."""
    async with server.stream() as reader:
        await reader.until("snapshot")
        last = reader.last_id
    first_missed = int(last.partition("-")[2]) + 1
    for number in range(SIZE + 10):
        server.publish(number)
    async with server.stream(**{"Last-Event-ID": last}) as reader:
        gap = (await reader.until("gap"))[-1]
        assert gap.data == {"reason": "overrun", "from": first_missed, "to": first_missed + 9}
        assert (await reader.until("workflow.progress"))[-1].data["data"]["execution"] == "10"


@pytest.mark.parametrize(
    "last_id",
    ["garbage", "x" * 5000, "0-0-0", "-1", "deadbeef0000-7", "%00", "1e9", "\u00ff-1", "' OR 1=1 --"],
)
async def test_an_id_that_was_tampered_with_gives_a_gap(server: Served, last_id: str) -> None:
    """Never an error and never silence; and the id is not told back."""
    sent = [(b"Accept", b"text/event-stream"), (b"Last-Event-ID", last_id.encode("latin-1"))]
    async with server.http.stream("GET", "/events", headers=sent) as response:
        assert response.status_code == 200
        reader = Reader(response)
        heard = await reader.until("snapshot")
        assert [each.name for each in heard] == ["hello", "gap", "snapshot"]
        # Cut off between the two, it comes back with the id it had, and is told again.
        assert (heard[0].id is None, heard[1].id is None) == (True, False)
        assert heard[1].data["reason"] in {"unknown_id", "restart"}
        assert "garbage" not in str(heard)


async def test_an_id_from_the_future_gives_a_gap(server: Served) -> None:
    """A number that was not given out yet is no number of ours."""
    boot = server.app.state.admin.hub.main.boot
    async with server.stream(**{"Last-Event-ID": f"{boot}-999999"}) as reader:
        assert [each.name for each in await reader.until("snapshot")] == ["hello", "gap", "snapshot"]


async def test_numbers_of_changed_pools_come_once_a_second(server: Served) -> None:
    """A pool that was used is told; one that was not is not. Single uses are not told."""
    async with server.stream() as reader:
        await reader.until("snapshot")
        await reader.until("pool.stats")  # the first beat tells every pool
        for _ in range(20):
            async with server.manager.acquire("db"):
                pass
        heard = await reader.until("pool.stats")
        assert heard[-1].id is None
        assert heard[-1].data["data"]["counters"]["acquires"]["ok"] == 20
        assert not [each for each in heard if each.name.startswith("resource.")]


async def test_single_uses_are_told_on_request(server: Served) -> None:
    """raw=true brings acquired and released; nobody listens before and after."""
    assert not server.manager.events.wants(Acquired)
    async with server.stream("?raw=true") as reader:
        await reader.until("snapshot")
        assert server.manager.events.wants(Acquired)
        async with server.manager.acquire("db"):
            pass
        names = [each.name for each in await reader.until("resource.released")]
        assert "resource.acquired" in names
    await until_there_are(server, 0)
    assert not server.manager.events.wants(Acquired)


async def until_there_are(server: Served, count: int) -> None:
    """Wait until so many streams have a place."""
    hub = server.app.state.admin.hub
    async with asyncio.timeout(10):
        while len(hub) != count:  # noqa: ASYNC110  # readers come and go by their connections, which tell nobody
            await asyncio.sleep(0.01)


async def test_filters_are_the_servers(server: Served) -> None:
    """types, min_severity and pool: the rest is not sent; its absence is no gap later."""
    async with server.stream("?types=quarantine.*,hello&min_severity=warning&pool=db") as reader:
        await reader.until("snapshot")
        server.publish(1)
        server.manager.quarantine("db", "x")
        names = [each.name for each in await reader.until("quarantine.entered")]
        assert names == ["quarantine.entered"]
    refused = await server.http.get("/events?types=Q;", headers=STREAM)
    assert refused.status_code == 400


async def test_a_filter_that_matches_nothing_wakes_on_time(server: Served) -> None:
    """A burst that is filtered out entirely is skipped in one go."""
    async with server.stream("?types=quarantine.entered") as reader:
        await reader.until("snapshot")
        for number in range(2000):
            server.publish(number)
        server.manager.quarantine("db", "x")
        assert [each.name for each in await reader.until("quarantine.entered")] == ["quarantine.entered"]


async def test_places_are_limited(server: Served) -> None:
    """64 are served, the next is told to wait, and a place that is left is taken again."""
    async with asyncio.TaskGroup() as group:
        leave = asyncio.Event()
        entered = asyncio.Semaphore(0)

        async def hold() -> None:
            async with server.stream() as reader:
                await reader.until("hello")
                entered.release()
                await leave.wait()

        for _ in range(64):
            group.create_task(hold())
        for _ in range(64):
            await entered.acquire()
        async with server.http.stream("GET", "/events", headers=STREAM) as refused:
            assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await server.http.get("/health/live")).status_code == 200
        leave.set()
    await until_there_are(server, 0)
    async with server.stream() as reader:
        await reader.until("hello")


async def test_a_key_has_four_streams_of_its_tenants_events() -> None:
    """The fifth is refused; each numbers its tenant's events alone, and nothing of another is in its bytes."""
    keys, headers = keys_of(acme=("viewer", "acme"), globex=("viewer", "globex"))
    async with served(auth=keys) as server:
        await server.manager.register(Thing("shop"), ThingConfig(), scope=Scope.tenant("acme"))
        await server.manager.register(Thing("shop"), ThingConfig(), scope=Scope.tenant("globex"))
        acme = headers["acme"]
        for number in range(20):
            server.publish(number, tenant="globex" if number % 2 else "acme")
        async with (
            server.stream(**acme) as reader,
            server.stream(**acme),
            server.stream(**acme),
            server.stream(**acme),
        ):
            async with server.http.stream("GET", "/events", headers=STREAM | acme) as fifth:
                assert fifth.status_code == 429
            async with server.stream(**headers["globex"]):
                pass
            hello, snapshot = await reader.until("snapshot")
            assert [pool["scope"]["label"] for pool in snapshot.data["pools"]] == ["acme"]
            assert "globex" not in str(snapshot.data)
            before = hello.data["seq"]
            server.publish(100, tenant="globex")
            server.publish(101, tenant="acme")
            heard = await reader.until("workflow.progress")
            assert heard[-1].data["data"]["execution"] == "101"
            assert heard[-1].data["seq"] == before + 1
        unknown = await server.http.get("/events", headers=STREAM)
        assert unknown.status_code == 401


@pytest.mark.alone
async def test_the_end_says_goodbye_at_once(server: Served) -> None:
    """The manager's shutdown ends every stream with bye, within a second; new ones are refused."""
    loop = asyncio.get_running_loop()
    async with server.stream() as first, server.stream() as second:
        await first.until("snapshot")
        await second.until("snapshot")
        started = loop.time()
        await server.manager.shutdown()
        for reader in (first, second):
            heard = await reader.until("bye")
            assert "shutdown.started" in [each.name for each in heard]
            assert [each async for each in reader.events()] == []
        assert loop.time() - started < 1.0
    refused = await server.http.get("/events", headers=STREAM)
    assert refused.status_code == 503


async def test_a_reader_that_leaves_is_noticed(server: Served) -> None:
    """Its place is free as soon as its connection is closed."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    await writer.drain()
    await until_there_are(server, 1)
    writer.transport.abort()
    await until_there_are(server, 0)


async def test_a_frozen_reader_slows_nobody(server: Served) -> None:
    """One that never reads holds nobody up: all others get everything at once."""
    frozen = socket.create_connection(("127.0.0.1", server.port))
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    try:
        async with server.stream() as reader:
            await reader.until("snapshot")
            for number in range(6000):
                server.publish(number)
            found = 0
            async with asyncio.timeout(5):
                async for each in reader.events():
                    found += each.name == "workflow.progress"
                    if found == 6000:
                        break
    finally:
        frozen.close()


async def test_hostile_texts_are_one_event_each(server: Served) -> None:
    """Reasons with line ends, markup and secrets' look come as one event of one line."""
    reasons = [
        "a\r\n\r\nevent: bye\r\ndata: {}",
        "\u2028\u2029\x85",
        "<script>alert(1)</script>",
        "\x00\x1b[2J",
        "\U0001f4a9",
    ]
    async with server.stream() as reader:
        await reader.until("snapshot")
        for reason in reasons:
            server.manager.quarantine("db", reason)
            await server.manager.release("db", "force")
        for reason in reasons:
            entered = (await reader.until("quarantine.entered"))[-1]
            assert entered.data["data"]["detail"] == f"manual: {reason}"
            assert CANARY not in str(entered)


async def test_many_readers_that_come_and_go_lose_nothing(server: Served) -> None:
    """Thirty readers are cut off at random and come back with their last id: every number once, in order."""
    total = 600
    rng = random.Random(7)
    done = asyncio.Event()

    async def publish() -> None:
        for number in range(total):
            server.publish(number)
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        done.set()

    async def follow() -> list[int]:
        found: list[int] = []
        last: str | None = None
        while len(found) < total:
            headers = {} if last is None else {"Last-Event-ID": last}
            async with server.stream("?types=workflow.*", **headers) as reader:
                patience = rng.randint(20, 200)
                async for each in reader.events():
                    assert each.name != "gap"
                    last = reader.last_id
                    if each.name == "workflow.progress":
                        found.append(int(each.data["data"]["execution"]))
                        patience -= 1
                    if patience == 0 or len(found) == total:
                        break
        return found

    async with asyncio.timeout(60):
        readers = [asyncio.create_task(follow()) for _ in range(30)]
        await until_there_are(server, 30)
        await publish()
        for found in await asyncio.gather(*readers):
            assert found == list(range(total))
    await until_there_are(server, 0)
