"""Admin: what the admin API costs: events told to many readers, a long list, and callers beside both.

The service is served by uvicorn on a loopback port; its clients are a process of their own, so that their work is not
counted as the service's. Bars are issue 6's. Run it with ``python -m benchmarks admin``.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import uvicorn

from benchmarks.measure import Table
from benchmarks.scrape import Nothing
from nebula_resource import OFF, Manager
from nebula_resource.admin import create_admin
from nebula_resource.events import PoolResized

__all__ = ["run"]

CLIENTS = 50
FROZEN = 20
EVENTS = 8_000
WARM_UP = 2
"""Times the events (2 MB of text) are told before they are told against the clock."""
BURST = 500
AHEAD = 4000
"""How far the publisher may be ahead of the slowest reader: half of what is kept for replay."""
ROUNDS = 7
DELIVERIES_BAR = 200_000
"""Deliveries a second (issue 6)."""
FROZEN_BAR = 1.1
"""How much more of the service's processor time a delivery may take when others do not read: noise is about a twentieth."""
POOLS = 1000
LIST_BAR = 15.0  # milliseconds
PAIRS = 15
WINDOW = 0.5  # seconds of acquires, with and without an audience in turn
DROP_BAR = 0.97  # of the throughput without an audience
TIMEOUT = 60.0  # seconds for anything


# ── the service ───────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serving(manager: Manager) -> AsyncGenerator[str]:
    """The manager's admin API on a loopback port; gives its address."""
    app = create_admin(manager)
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2)
    )
    # With its protocol named: asyncio switches Nagle off for no other, and each answer would take 40 ms.
    with closing(socket.socket(proto=socket.IPPROTO_TCP)) as place:
        place.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[place]))
        async with asyncio.timeout(TIMEOUT):
            while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            app.state.close_streams()
            server.should_exit = True
            await task


class Audience:
    """Readers of ``/events`` in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def of(cls, url: str, *, reading: int, frozen: int = 0, scrapes: bool = False) -> Audience:
        """Start them; they have all read their snapshot when this returns."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.admin", url, str(reading), str(frozen), str(int(scrapes)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
        )  # fmt: skip  # one command
        made = cls(process)
        await made._hear()
        return made

    async def expect(self, events: int) -> dict[str, int]:
        """Wait until every reader has had so many events; what was seen."""
        seen: dict[str, int] = await self._hear(events)
        return seen

    async def leave(self) -> None:
        """End them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(TIMEOUT):
            await self._process.wait()

    async def _hear(self, events: int | None = None) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if events is not None:
            self._process.stdin.write(f"{events}\n".encode())
        async with asyncio.timeout(TIMEOUT):
            return json.loads(await self._process.stdout.readline())


# ── what is measured ──────────────────────────────────────────────────────────────────────────────────────────────


async def deliveries(manager: Manager, url: str, *, reading: int, frozen: int) -> tuple[float, float]:
    """Deliveries a second to those who read, until the last of them has all, and what each took of the service's
    processor time (ns); raises when one is lost.
    """
    audience = await Audience.of(url, reading=reading, frozen=frozen)
    try:
        # Before the clock starts the kernel must have taken all it takes for the frozen ones: three megabytes each.
        for number in range(WARM_UP):
            await told_to_all(manager, audience, already=number * EVENTS)
        started, worked = time.perf_counter(), time.process_time()
        told = await told_to_all(manager, audience, already=WARM_UP * EVENTS)
        took, worked = time.perf_counter() - started, time.process_time() - worked
    finally:
        await audience.leave()
    if told["gaps"] or told["events"] != (WARM_UP + 1) * EVENTS * reading:
        raise RuntimeError(f"{reading} readers were to have {(WARM_UP + 1) * EVENTS} events each: {told}")
    return EVENTS * reading / took, worked / (EVENTS * reading) * 1e9


async def told_to_all(manager: Manager, audience: Audience, *, already: int) -> dict[str, int]:
    """Publish, and wait until every reader has all of it."""
    told: dict[str, int] = {}
    for number in range(1, EVENTS + 1):
        manager.events.publish(PoolResized, "db", public_id="db", min_size=0, max_size=number)
        if number % BURST == 0:
            await asyncio.sleep(0)
        if number % AHEAD == 0:
            told = await audience.expect(already + number)
    return told


async def delivery_tables(loop: str) -> list[Table]:
    """Events to fifty readers; and what they cost for those who read, when others do not."""
    cases = {
        f"{CLIENTS} readers": (CLIENTS, 0),
        f"{CLIENTS - FROZEN} readers": (CLIENTS - FROZEN, 0),
        f"{CLIENTS - FROZEN} readers beside {FROZEN} frozen ones": (CLIENTS - FROZEN, FROZEN),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        async with Manager() as manager, serving(manager) as url:
            for name, (reading, frozen) in cases.items():
                found[name].append(await deliveries(manager, url, reading=reading, frozen=frozen))
    all_read, few, beside = found
    table = Table("Events told live: deliveries a second", "deliveries/s", loop)
    table.least(all_read, [rate for rate, _ in found[all_read]], at_least=DELIVERIES_BAR)
    table.notes.append(
        f"{EVENTS:,} events in bursts of {BURST}, at most {AHEAD:,} ahead of the slowest; from the first publish until the last reader, a process of its own, "
        "has the last; none is lost."
    )
    costs = Table("Events told live: what a delivery takes of the service", "ns", loop)
    alone = [cost for _, cost in found[few]]
    costs.add(few, alone)
    costs.add(beside, [cost for _, cost in found[beside]], floor=alone, at_most=FROZEN_BAR)
    costs.notes.append(
        "The service's own processor time for each event that somebody has read, publishing included; in turn within each "
        "round. A frozen one never reads: what is spent on it is the others' loss. By the clock on the wall the readers' "
        "process, which shares the machine, decides."
    )
    return [table, costs]


async def list_table(loop: str) -> Table:
    """`GET /pools` of a thousand pools, in the processor time of the service."""
    table = Table(f"`GET /pools` of {POOLS:,} pools", "ms", loop)
    async with Manager(health=OFF, quarantine=OFF) as manager:
        for number in range(POOLS):
            await manager.register(Nothing(f"resource-{number}"), pool={"min_size": 1, "max_size": 2})
        transport = httpx.ASGITransport(app=create_admin(manager), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first = [await listed(client, None) for _ in range(ROUNDS * 4)]
            table.limit("the first page, of 100", median(first), at_most=LIST_BAR)
            table.add("all of them, in two pages", [await listed(client, 500) for _ in range(ROUNDS)])
    table.notes.append("Process time, in process: the client's own work is in it, the network is not.")
    return table


async def listed(client: httpx.AsyncClient, limit: int | None) -> float:
    """Milliseconds for the list; without a limit its first page, else every page."""
    started = time.process_time()
    query: dict[str, Any] = {} if limit is None else {"limit": limit}
    seen = 0
    while True:
        body = (await client.get("/pools", params=query)).raise_for_status().json()
        seen += len(body["items"])
        if limit is None or not body["next_cursor"]:
            break
        query["cursor"] = body["next_cursor"]
    took = time.process_time() - started
    if limit is not None and seen != POOLS:
        raise RuntimeError(f"{seen} pools of {POOLS} were listed")
    return took * 1e3


async def beside_table(loop: str) -> Table:
    """Acquires a second, with fifty streams and a scrape every second, and without."""
    table = Table(f"Acquires beside {CLIENTS} streams and a scrape a second", "acquires/s", loop)
    alone: list[float] = []
    watched: list[float] = []
    async with Manager(health=OFF, quarantine=OFF) as manager, serving(manager) as url:
        for number in range(10):
            await manager.register(Nothing(f"resource-{number}"), pool={"min_size": 1, "max_size": 2})
        await acquires(manager)
        audience = await Audience.of(url, reading=CLIENTS, scrapes=True)
        for _ in range(PAIRS):
            watched.append(await acquires(manager))
            await audience.leave()
            alone.append(await acquires(manager))
            audience = await Audience.of(url, reading=CLIENTS, scrapes=True)
        await audience.leave()
    table.add("alone", alone)
    table.add("with an audience", watched, floor=alone, at_least=DROP_BAR)
    table.notes.append(
        f"Windows of {WINDOW:g} s in turn, by processor time of the service: all that streams and scrapes take is the "
        "acquires' loss. Ten pools, each used."
    )
    return table


async def acquires(manager: Manager) -> float:
    """Acquires for each second of processor time, over one window."""
    done = 0
    started, ends = time.process_time(), time.perf_counter() + WINDOW
    while time.perf_counter() < ends:
        for _ in range(100):
            async with manager.acquire(f"resource-{done % 10}"):
                done += 1
        await asyncio.sleep(0)
    return done / (time.process_time() - started)


async def run(loop: str) -> list[Table]:
    """All three."""
    return [*await delivery_tables(loop), await list_table(loop), await beside_table(loop)]


# ── the audience's own process ────────────────────────────────────────────────────────────────────────────────────

EVENT, GAP, GREETING = b"\nevent: pool.resized\n", b"\nevent: gap\n", b"\nevent: snapshot\n"


class Reader:
    """One connection: what came, counted by whole lines, which no text inside of an event can be."""

    def __init__(self, address: tuple[str, int], *, room: int | None = None) -> None:
        """``room``: bytes that the kernel may hold for it unread; None: as many as it likes, and that is megabytes."""
        self.socket = socket.socket()
        if room is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.connect(address)
        self.socket.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        self.events = self.gaps = 0
        self.greeted = False
        self._came = self._rest = b""
        self._in_body = False

    def read(self) -> None:
        """Take what there is; raises where the service has closed the connection."""
        came = self.socket.recv(1 << 18)
        if not came:
            raise ConnectionError("the service ended a stream")
        self._came += came
        if not self._in_body:
            head, end, body = self._came.partition(b"\r\n\r\n")
            self._in_body = bool(end)
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(head.decode("latin-1"))
            self._came = body
        text = self._rest + b"".join(self._chunks())
        cut = text.rfind(b"\n") + 1
        whole, self._rest = text[:cut], text[max(0, cut - 1) :]  # a line's own end begins the next
        self.events += whole.count(EVENT)
        self.gaps += whole.count(GAP)
        self.greeted = self.greeted or GREETING in whole

    def _chunks(self) -> Iterator[bytes]:
        """The whole chunks of HTTP that have come."""
        at, came = 0, self._came
        while (line := came.find(b"\r\n", at)) >= 0:
            end = line + 2 + int(came[at:line], 16)
            if end + 2 > len(came):
                break
            yield came[line + 2 : end]
            at = end + 2
        self._came = came[at:]


def attend(url: str, reading: int, frozen: int, *, scrapes: bool) -> None:
    """Be the audience until standard input ends: report when all are greeted, and when all have what was expected."""
    host, _, port = url.removeprefix("http://").partition(":")
    address = (host, int(port))
    sleepers = [Reader(address, room=4096) for _ in range(frozen)]
    readers = [Reader(address) for _ in range(reading)]
    watching = selectors.DefaultSelector()
    for reader in readers:
        watching.register(reader.socket, selectors.EVENT_READ, reader)
    watching.register(sys.stdin, selectors.EVENT_READ)
    wanted: int | None = 0
    scraped = 0.0
    with httpx.Client(base_url=url, trust_env=False) as client:
        while True:
            if scrapes and time.monotonic() - scraped >= 1.0:
                client.get("/metrics").raise_for_status()
                scraped = time.monotonic()
            for key, _ in watching.select(0.2):
                if key.data is not None:
                    key.data.read()
                    continue
                line = sys.stdin.readline()
                if not line:
                    return
                wanted = int(line)
            if wanted is not None and all(each.greeted and each.events >= wanted for each in readers):
                told = {
                    "events": sum(each.events for each in readers),
                    "gaps": sum(each.gaps for each in readers),
                    "frozen": len(sleepers),
                }
                print(json.dumps(told), flush=True)
                wanted = None


if __name__ == "__main__":
    attend(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), scrapes=sys.argv[4] == "1")
