"""Five hundred readers of a server in a process of its own: cut off at random, a restart, and what is left afterwards."""

import asyncio
import os
import random
import re
from dataclasses import dataclass, field

import pytest

from tests.app.admin_process import AdminProcess, admin_process

READERS = int(os.environ.get("NEBULA_TEST_READERS", "500"))
FIRST, CUT, LAST = 60, 80, 110
"""Events before the kill, events at the time of the kill, and events altogether."""
MEMORY = 48 * 2**20
"""Bytes that so many readers, who all come and go, may leave or take."""
NUMBER = re.compile(rb'"execution":"(\d+)"')


@dataclass
class Reader:
    """One that reads lines, is cut off, and comes back with the last id, until it has seen the last number."""

    chance: random.Random
    last_id: bytes = b""
    number: int = -1
    cuts: int = 0
    gaps: list[bytes] = field(default_factory=list)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    _gap_told: bool = False

    async def follow(self, server: AdminProcess) -> None:
        """Read to the end."""
        while self.number < LAST - 1:
            try:
                await self._read(server.port, self.chance.randint(12, 70))
            except OSError:
                await asyncio.sleep(0.05)  # the server is away; a browser waits longer

    async def _read(self, port: int, events: int) -> None:
        """Read from one connection, up to so many events; then cut it off in the middle of whatever is on its way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            # HTTP/1.0: the body is the lines and nothing between them.
            resume = b"Last-Event-ID: %s\r\n" % self.last_id if self.last_id else b""
            writer.write(
                b"GET /events HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s\r\n" % resume
            )
            status = await reader.readline()
            if not status:
                return  # the server was killed between accepting and answering
            assert b" 200 " in status
            while await reader.readline() != b"\r\n":
                pass
            id_, name, data = b"", b"", b""
            while events and self.number < LAST - 1:
                line = await reader.readline()
                if not line.endswith(b"\n"):
                    return  # the connection ended, perhaps within a line: that event never was
                key, _, value = line.rstrip(b"\n").partition(b": ")
                if key == b"id":
                    id_ = value
                elif key == b"event":
                    name = value
                elif key == b"data":
                    data = value
                elif not key:
                    if id_:
                        self.last_id = id_
                    self._take(name, data)
                    events -= name == b"workflow.progress"
                    id_, name, data = b"", b"", b""
            self.cuts += 1
        finally:
            writer.transport.abort()

    def _take(self, name: bytes, data: bytes) -> None:
        if name == b"gap":
            self.gaps.append(data)
            self._gap_told = True
        if name != b"workflow.progress":
            return
        match = NUMBER.search(data)
        assert match is not None
        number = int(match[1])
        assert number > self.number, f"{number} came again after {self.number}"
        assert number == self.number + 1 or self._gap_told, f"{self.number} … {number} lost without a word"
        self.number, self._gap_told = number, False
        self.progress.set()

    async def reach(self, number: int) -> None:
        """Wait until it has seen this number."""
        while self.number < number:
            self.progress.clear()
            await self.progress.wait()


async def streams_are(server: AdminProcess, count: int) -> None:
    """Wait until so many readers have a place."""
    while server.streams != count:  # noqa: ASYNC110  # they come and go by their connections, which tell nobody
        await asyncio.sleep(0.05)


@pytest.mark.alone
async def test_five_hundred_readers_lose_nothing_unsaid() -> None:
    """Each number once and in order, cuts or not; after a restart a gap is told; memory and descriptors come back."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    readers = [Reader(random.Random(chance.random())) for _ in range(READERS)]
    async with asyncio.timeout(120), asyncio.TaskGroup() as following:
        with admin_process(max_streams=READERS) as server:
            base = server.descriptors
            tasks = [following.create_task(each.follow(server)) for each in readers]
            await streams_are(server, READERS)
            memory = server.memory
            for start in range(0, FIRST, 10):
                server.publish(start, start + 10)
                await asyncio.sleep(0)
            for each in readers:
                await each.reach(FIRST - 1)
            assert [each for each in readers if each.gaps] == []
            assert sum(each.cuts for each in readers) > READERS / 4, "nobody was cut off"
            assert server.peak - memory < MEMORY
            await streams_are(server, READERS)
            server.publish(FIRST, CUT)
            server.kill()
        with admin_process(server.port, max_streams=READERS) as server:
            await streams_are(server, READERS)
            memory = server.memory
            server.publish(CUT, LAST)
            await asyncio.gather(*tasks)
            # Whoever the kill cut off was told of it, whether it had missed anything or not.
            assert {len(each.gaps) for each in readers} == {1}
            assert all(b'"reason":"restart"' in each.gaps[0] for each in readers)
            await streams_are(server, 0)
            while server.connections:  # noqa: ASYNC110  # uvicorn tells nobody
                await asyncio.sleep(0.01)
            assert server.descriptors <= base
            assert server.peak - memory < MEMORY
