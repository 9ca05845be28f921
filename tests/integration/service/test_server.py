"""Server: an application that ends without losing a request, on real sockets."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nebula_resource import Manager, PoolConfig, Resource, ResourceContext
from nebula_resource.errors import Unavailable
from nebula_resource.manager import ShutdownReport
from nebula_resource.model.factory import resource_factory
from nebula_resource.service import Server, ShutdownOverdue, claim, serve

pytestmark = pytest.mark.alone


class Running:
    """A service under test: where it is, and how it ended."""

    def __init__(self, server: Server, ended: asyncio.Task[ShutdownReport]) -> None:
        self.server = server
        self.url = server.listener.url
        self.port = server.listener.port
        self.ended = ended


@asynccontextmanager
async def running(app: Any, manager: Manager | None = None, **options: Any) -> AsyncGenerator[Running]:
    """Serve an application on a free port for the time of a block."""
    listener = claim("127.0.0.1", 0)
    started: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    ended = asyncio.create_task(
        serve(app, manager=manager or Manager(), listener=listener, on_started=started.set_result, **options)
    )
    await asyncio.wait((started, ended), return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        ended.result()
    service = Running(started.result(), ended)
    try:
        yield service
    finally:
        service.server.stop()
        await ended


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what uvicorn tells nobody of; the test's own time limit bounds it."""
    while not happened():  # noqa: ASYNC110  # there is no event to wait for
        await asyncio.sleep(0.002)


async def sleepy(request: Request) -> Response:
    """Answer after ``?seconds=``."""
    await asyncio.sleep(float(request.query_params.get("seconds", "0")))
    return JSONResponse({"state": getattr(request.state, "word", None)})


def application(**options: Any) -> Starlette:
    """An application with one path."""
    return Starlette(routes=[Route("/", sleepy)], **options)


async def test_no_request_is_lost_when_it_stops_under_load() -> None:
    """Clients with kept and with fresh connections see answers or, later, a closed port, and nothing else."""
    answers: Counter[int] = Counter()
    chance = random.Random(7)

    async def keeps_its_connection(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            for _ in range(1000):
                try:
                    got = await http.get("/", params={"seconds": chance.choice((0.0, 0.0, 0.05, 0.3, 0.8))})
                except httpx.ConnectError:
                    return
                answers[got.status_code] += 1
                await asyncio.sleep(chance.random() * 0.05)

    async def comes_and_goes(port: int) -> None:
        for _ in range(5000):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            await asyncio.sleep(chance.random() * 0.02)
            writer.write(b"GET / HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
            answers[int((await reader.read()).split(b" ", 2)[1])] += 1
            writer.close()

    # Plenty of time: on a busy machine this is about what is lost, not about how long it takes.
    async with running(application(), drain=30.0) as service, asyncio.TaskGroup() as clients:
        for _ in range(15):
            clients.create_task(keeps_its_connection(service.url))
            clients.create_task(comes_and_goes(service.port))
        await until(lambda: answers.total() >= 60)
        service.server.stop()
    assert set(answers) == {200}
    assert service.server.cancelled == 0


async def test_a_connection_let_in_at_the_end_still_gets_to_ask() -> None:
    """Who was connected when the port closed, and asks a moment later, is answered."""
    async with running(application()) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        service.server.stop()
        await until(lambda: service.server.listener.socket.fileno() == -1)
        writer.write(b"GET / HTTP/1.1\r\nHost: it\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", service.port)


async def test_answers_after_the_stop_end_their_connection() -> None:
    """Once it stops, an answer says so, and the request before had kept its connection."""
    async with running(application()) as service, httpx.AsyncClient(base_url=service.url) as http:
        assert "connection" not in (await http.get("/")).headers
        service.server.stop()
        assert (await http.get("/")).headers["connection"] == "close"


async def test_an_answer_under_way_at_the_stop_ends_its_connection() -> None:
    """Who asked before the stop is told in the answer after it: nobody asks again into a connection that closes."""
    async with running(application()) as service, httpx.AsyncClient(base_url=service.url) as http:
        asking = asyncio.create_task(http.get("/", params={"seconds": 0.05}))
        await until(lambda: bool(service.server.server_state.tasks))
        service.server.stop()
        assert (await asking).headers["connection"] == "close"


async def test_an_answer_that_had_begun_leaves_time_to_ask_again() -> None:
    """Its head had gone out before the stop and could not say so: the next question still gets an answer."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def in_parts() -> AsyncGenerator[bytes]:
        yield b"one "
        begun.set()
        await go_on.wait()
        yield b"two"

    app = Starlette(
        routes=[Route("/", sleepy), Route("/parts", lambda request: StreamingResponse(in_parts()))]
    )
    async with running(app) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /parts HTTP/1.1\r\nHost: it\r\n\r\n")
        assert b"connection: close" not in await reader.readuntil(b"one ")
        await begun.wait()
        service.server.stop()
        # Not before idle connections are closed: one that never asked is the sign of it.
        idle, other = await asyncio.open_connection("127.0.0.1", service.port)
        assert await idle.read() == b""
        other.close()
        go_on.set()
        await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(0.05)  # a client thinks
        writer.write(b"GET / HTTP/1.1\r\nHost: it\r\n\r\n")
        last = await reader.read()
        assert last.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in last
        writer.close()
    assert service.server.cancelled == 0


async def test_half_a_question_and_a_quiet_connection_do_not_hold_up_the_end() -> None:
    """One that was answered long ago, and one that never ends its next question, are closed and cost no drain."""
    loop = asyncio.get_running_loop()
    async with running(application(), drain=30.0) as service:
        clients = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(2)]
        for (reader, writer), more in zip(clients, (b"", b"GET / HT"), strict=True):
            writer.write(b"GET / HTTP/1.1\r\nHost: it\r\n\r\n" + more)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        service.server.stop()
        stopped = loop.time()
        await service.ended
        assert loop.time() - stopped < 10.0
        for _, writer in clients:
            writer.close()


async def test_what_comes_first_comes_first() -> None:
    """`on_stopping` is called once, while requests are still answered."""
    called: list[str] = []
    async with (
        running(application(), on_stopping=lambda: called.append("stopping")) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        service.server.stop()
        service.server.stop()
        assert called == ["stopping"]
        assert (await http.get("/")).status_code == 200


async def test_a_request_that_takes_too_long_is_cancelled() -> None:
    """After ``drain`` seconds a request that still runs is cancelled, and the end goes on."""
    loop = asyncio.get_running_loop()
    async with running(application(), drain=0.6) as service, httpx.AsyncClient(base_url=service.url) as http:
        asking = asyncio.create_task(http.get("/", params={"seconds": 60}))
        await until(lambda: bool(service.server.server_state.tasks))
        service.server.stop()
        stopped = loop.time()
        await service.ended
        assert 0.55 < loop.time() - stopped < 2.0
        assert (await asking).status_code == 500
    assert service.server.cancelled == 1


async def test_the_lifespan_ends_while_there_are_resources() -> None:
    """Requests end, then the application's own end runs, then resources are cleaned up; the report says how it went."""
    story: list[str] = []

    @resource_factory(id="thing")
    async def thing(config: object, context: object) -> AsyncGenerator[str]:
        yield "thing"
        story.append("cleaned up")

    manager = Manager()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, str]]:
        await manager.register(thing, None, required=True)
        yield {"word": "from the lifespan"}
        story.append("lifespan ended")

    async with (
        running(application(lifespan=lifespan), manager) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        assert (await http.get("/")).json() == {"state": "from the lifespan"}
    assert story == ["lifespan ended", "cleaned up"]
    report = service.ended.result()
    assert (report.drained, report.forced, report.failed, report.left) == (1, 0, 0, 0)


async def test_an_error_of_the_start_comes_out() -> None:
    """An application that cannot start: its own error, the manager shut down, the port free again."""
    manager = Manager()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        raise Unavailable("not_open")
        yield

    listener = claim("127.0.0.1", 0)
    with pytest.raises(Unavailable):
        await serve(application(lifespan=lifespan), manager=manager, listener=listener)
    with pytest.raises(Unavailable):
        await manager.register(nothing_at_all, None)
    claim("127.0.0.1", listener.port).close()


@resource_factory(id="nothing")
async def nothing_at_all(config: object, context: object) -> AsyncGenerator[None]:
    """A resource that is never opened."""
    yield None


async def test_an_error_of_the_end_comes_out() -> None:
    """An application whose own end fails: its error, and the manager is shut down all the same."""
    manager = Manager()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        yield
        raise LookupError("the end failed")

    with pytest.raises(LookupError):
        async with running(application(lifespan=lifespan), manager) as service:
            service.server.stop()
    with pytest.raises(Unavailable):
        await manager.register(nothing_at_all, None)


class Clinging(Resource[None, str, str]):
    """Holds on to its instance, whatever is asked of it, until ``let_go`` is set."""

    def __init__(self, id: str, let_go: asyncio.Event, *needs: str) -> None:
        self.id = id
        self.dependencies = needs
        self._let_go = let_go

    async def create(self, config: None, context: ResourceContext) -> str:
        """Make one."""
        return "instance"

    async def cleanup(self, instance: str) -> None:
        """Wait, and do not mind being cancelled."""
        while not self._let_go.is_set():
            with suppress(asyncio.CancelledError):
                await self._let_go.wait()


async def test_cleaning_up_that_never_ends_is_in_the_report() -> None:
    """A cleanup that does not even end when cancelled is left behind, and the report says so."""
    manager, let_go = Manager(), asyncio.Event()
    await manager.register(Clinging("clinging", let_go), None, pool=PoolConfig(cleanup_timeout=None))
    try:
        async with running(application(), manager, drain=0.1, cleanup=0.3) as service:
            service.server.stop()
    finally:
        let_go.set()
    assert service.ended.result().left == 1


async def test_cleaning_up_that_takes_too_long_is_said() -> None:
    """Resources that need each other, each with an endless cleanup: the service says so instead of waiting for all."""
    manager, let_go = Manager(), asyncio.Event()
    needs: tuple[str, ...] = ()
    for name in ("first", "second", "third", "fourth"):
        await manager.register(Clinging(name, let_go, *needs), None, pool=PoolConfig(cleanup_timeout=None))
        needs = (name,)
    try:
        with pytest.raises(ShutdownOverdue):
            async with running(application(), manager, drain=0.1, cleanup=0.3) as service:
                service.server.stop()
    finally:
        let_go.set()
    assert (await manager.shutdown()).left >= 1


async def test_an_end_that_hangs_is_cut_off() -> None:
    """A lifespan that does not end gets ``cleanup`` seconds."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        yield
        await asyncio.sleep(3600)

    loop = asyncio.get_running_loop()
    async with running(application(lifespan=lifespan), drain=0.1, cleanup=0.2) as service:
        service.server.stop()
        stopped = loop.time()
        await service.ended
        assert loop.time() - stopped < 2.0
