"""Sweep: connections that stand still are ended, those that are at work are not, on real sockets."""

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nebula_resource import Manager
from nebula_resource.admin import create_admin
from nebula_resource.admin.sse import stream
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.service import Server, claim, serve, sweep
from tests.app.admin_world import QUIET

ASK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LONG = 10.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is four sweeps, not a hundred."""
    monkeypatch.setattr(sweep, "PATIENCE", 4)


async def _waits(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params.get("seconds", "0")))
    return Response("x" * int(request.query_params.get("size", "1")))


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """A server over one path that takes as long as it is asked to."""
    started: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    app = Starlette(routes=[Route("/", _waits)])
    ended = asyncio.create_task(
        serve(
            app,
            manager=Manager(),
            listener=claim("127.0.0.1", 0),
            drain=0.0,
            on_started=started.set_result,
        )
    )
    yield (server := await started)
    server.stop()
    await ended


async def connect(server: Server) -> Connection:
    """A connection that has said nothing yet."""
    return await asyncio.open_connection("127.0.0.1", server.listener.port)


async def is_ended(reader: asyncio.StreamReader) -> None:
    """Read to the end, which comes."""
    try:
        async with asyncio.timeout(LONG):
            while await reader.read(65536):
                pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        pytest.fail(f"the connection stands still, and nobody has ended it in {LONG:g} s")


async def all_ended(server: Server) -> None:
    """Wait until the server keeps no connection any more."""
    try:
        async with asyncio.timeout(LONG):
            while server.server_state.connections:  # noqa: ASYNC110  # uvicorn keeps sets, and tells nobody of their end
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"{len(server.server_state.connections)} connections are kept after {LONG:g} s")


@pytest.mark.parametrize(
    "said", [b"", b"G", ASK, ASK + b"\r\n" + ASK], ids=["nothing", "a", "half", "second"]
)
async def test_who_does_not_ask_to_the_end_is_left(server: Server, said: bytes) -> None:
    """Silent, or a byte of headers for each sweep, from the first request on or from the second: the connection ends."""
    reader, writer = await connect(server)
    writer.write(said)
    ending = asyncio.create_task(is_ended(reader))
    for byte in b"X-Slow: " + b"x" * 100:
        if ending.done() or writer.is_closing():
            break
        if said:
            writer.write(bytes([byte]))
        await asyncio.wait((ending,), timeout=0.05)
    await ending
    writer.transport.abort()
    await all_ended(server)


async def test_a_body_that_nobody_reads_any_more_is_not_waited_for(server: Server) -> None:
    """Answered before its body was there: what still drips in keeps no connection."""
    reader, writer = await connect(server)
    writer.write(ASK + b"Content-Length: 1000\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    ending = asyncio.create_task(is_ended(reader))
    while not ending.done():
        writer.write(b"x")
        await asyncio.wait((ending,), timeout=0.05)
    await ending
    writer.transport.abort()


async def test_who_is_answered_or_rests_is_let_be(server: Server) -> None:
    """A request that takes longer than patience is answered; so is the next on its connection, after a longer rest."""
    reader, writer = await connect(server)
    for question in (b"?seconds=1", b""):
        writer.write(ASK.replace(b"/ ", b"/%s " % question, 1) + b"\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(1) == b"x"
        await asyncio.sleep(0.7)  # seven sweeps
    writer.transport.abort()


async def test_an_answer_that_is_not_taken_is_given_up(server: Server) -> None:
    """Closing, and the client reads nothing: the connection ends. One that reads slowly gets everything."""
    size = 8 * 2**20
    ask = ASK.replace(b"/ ", b"/?size=%d " % size, 1) + b"Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.listener.port)) as frozen:
        frozen.sendall(ask)
        reader, writer = await connect(server)
        writer.write(ask)
        await reader.readuntil(b"\r\n\r\n")
        taken = 0
        while taken < size:
            taken += len(await reader.read(size // 32))
            await asyncio.sleep(0.03)  # a second or more altogether
        writer.transport.abort()
        await all_ended(server)


async def test_a_client_that_resets_its_connection_leaves_nothing(server: Server) -> None:
    """Answered, and resting until the next request: what was read of it goes with it, not when its time is over."""
    reader, writer = await connect(server)
    writer.write(ASK + b"\r\n")
    await reader.readuntil(b"\r\n\r\nx")
    (connection,) = map(weakref.ref, server.server_state.connections)
    # No time to linger: a reset instead of a goodbye.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await all_ended(server)
    gc.collect()
    assert connection() is None


async def test_a_crowd_is_hurried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many that stand still, each gets less time."""
    monkeypatch.setattr(sweep, "PATIENCE", 10_000)
    monkeypatch.setattr(sweep, "HURRIED", 2)
    monkeypatch.setattr(sweep, "CROWD", 20)
    crowd = [await connect(server) for _ in range(21)]
    for reader, writer in crowd:
        await is_ended(reader)
        writer.transport.abort()


async def test_a_frozen_reader_of_events_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is free after the write deadline, and its connection a little later."""
    monkeypatch.setattr(stream, "WRITE_DEADLINE", 0.2)
    started: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager)
        ended = asyncio.create_task(
            serve(
                app,
                manager=manager,
                listener=claim("127.0.0.1", 0),
                drain=0.0,
                on_started=started.set_result,
            )
        )
        server = await started
        hub = app.state.admin.hub
        with socket.socket() as frozen:
            frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            frozen.connect(("127.0.0.1", server.listener.port))
            frozen.sendall(
                b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nLast-Event-ID: 0\r\n\r\n"
            )
            async with asyncio.timeout(LONG):
                while not len(hub):  # noqa: ASYNC110  # it comes and goes by its connection
                    await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(LONG):
                    while len(hub):
                        hub.tell(Notice("audit", datetime.now(UTC), {"reason": "x" * 1000}))
                        await asyncio.sleep(0)
            except TimeoutError:
                pytest.fail(f"the frozen reader has its place after {LONG:g} s")
            await all_ended(server)
        server.stop()
        await ended
