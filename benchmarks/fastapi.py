"""Benchmark of the FastAPI integration: what a lease adds to a request, beside one plain `yield` dependency.

Every application is driven in process by the same ASGI messages. The baseline is the same handler without a dependency;
"added" is what a row takes beyond it in the same round, in processor time, since other processes are not its doing.
Bars are SPEC §17's and issue 4's. Run it with ``python -m benchmarks fastapi``.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import Response

from benchmarks.measure import Case, Table, interleaved
from nebula_resource import OFF, Manager, Resource
from nebula_resource.fastapi import Claims, NebulaMiddleware
from nebula_resource.fastapi.dependency import ResourceDependency

__all__ = ["run"]

ROUNDS = 101
REQUESTS = 40
"""Many short rounds: on a machine that others use, most of them are undisturbed, and the median is one of those."""
Serve = Callable[[], Awaitable[None]]

ADAPTER_BAR = 0.5  # x one plain yield dependency
FALLBACK_BAR = 1.5
MIDDLEWARE_BAR = 5.0  # microseconds


class Thing(Resource[None, object, object]):
    """An in-memory resource: the numbers are of the integration, not of a server."""

    id = "thing"

    async def create(self, config: None, context: object) -> object:
        return object()


class PlainPool:
    """What the plain dependency takes from: a list."""

    def __init__(self) -> None:
        self.idle: list[object] = [object()]

    async def take(self) -> object:
        return self.idle.pop()

    async def give(self, thing: object) -> None:
        self.idle.append(thing)


def served(dependency: Callable[..., Any] | None, manager: Manager | None = None) -> FastAPI:
    """An application with one handler, which asks for one thing or for nothing."""
    app = FastAPI(openapi_url=None)
    if manager is not None:
        app.state.nebula_manager = manager
    if dependency is None:

        @app.get("/")
        async def nothing() -> Response:
            return Response(b"ok")

    else:

        @app.get("/")
        async def one(thing: object = Depends(dependency)) -> Response:
            return Response(b"ok")

    return app


def client(app: Any) -> Serve:
    """A request to an application, as cheap as can be."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200

    async def request() -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/", "raw_path": b"/", "root_path": "", "query_string": b"",
            "headers": [(b"host", b"bench")], "server": ("bench", 80), "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip  # one request, as a server would describe it
        await app(scope, receive, send)

    return request


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """The cheapest application, to see the middleware alone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


def case(serve: Serve) -> Case:
    """Requests one after the other; seconds of this process."""

    async def many(count: int) -> float:
        started = time.process_time()
        for _ in range(count):
            await serve()
        return time.process_time() - started

    return many


def added(values: list[float], base: list[float], count: int) -> list[float]:
    """Microseconds a request beyond the baseline of the same round."""
    return [(value - other) / count * 1e6 for value, other in zip(values, base, strict=True)]


async def lease_table(loop: str, manager: Manager) -> Table:
    """A lease beside one plain generator, through the adapter and the fallback, with the middleware and without."""
    pool = PlainPool()

    async def plain() -> AsyncGenerator[object]:
        thing = await pool.take()
        try:
            yield thing
        finally:
            await pool.give(thing)

    async def nothing() -> None:
        return None

    adapter = ResourceDependency[object]("thing", until="endpoint", private=True)
    fallback = ResourceDependency[object]("thing", until="endpoint", private=False)
    cases = {
        "no dependency": served(None),
        "one plain yield dependency": served(plain),
        "one plain coroutine that gives nothing": served(nothing),
        "no dependency, inside": border(manager, served(None)),
        "resource, adapter": border(manager, served(adapter)),
        "resource, fallback": border(manager, served(fallback)),
        "resource, adapter, no middleware": served(adapter, manager),
        "resource, fallback, no middleware": served(fallback, manager),
    }
    found = await interleaved({name: case(client(app)) for name, app in cases.items()}, REQUESTS, ROUNDS)
    base, inside = found["no dependency"], found["no dependency, inside"]
    floor = added(found["one plain yield dependency"], base, REQUESTS)
    table = Table("What a dependency adds to a request", "µs", loop)
    for name in cases:
        if not name.startswith("no dependency"):
            around = inside if name in ("resource, adapter", "resource, fallback") else base
            bar = ADAPTER_BAR if "adapter" in name else FALLBACK_BAR if "fallback" in name else None
            table.add(name, added(found[name], around, REQUESTS), floor=floor, at_most=bar)
    table.notes.append(
        f"A request without a dependency takes {min(base) / REQUESTS * 1e6:.0f} µs. What a coroutine that gives nothing "
        "adds is FastAPI's own: nothing that is a dependency can be cheaper."
    )
    return table


async def border_table(loop: str, manager: Manager) -> Table:
    """The middleware alone, around the cheapest application."""
    cases = {
        "bare": answer,
        "tenant and execution": border(manager, answer),
        "tenant, user, workflow and execution": border(
            manager, answer, Claims(tenant="acme", user="u1", workflow="w1")
        ),
    }
    count = REQUESTS * 5
    found = await interleaved({name: case(client(app)) for name, app in cases.items()}, count, ROUNDS)
    table = Table("What the middleware adds to a request", "µs", loop)
    for name in list(cases)[1:]:
        values = added(found[name], found["bare"], count)
        table.limit(name, sorted(values)[len(values) // 2], at_most=MIDDLEWARE_BAR)
    return table


def border(manager: Manager, app: Any, claims: Claims = Claims(tenant="acme")) -> NebulaMiddleware:  # noqa: B008  # a frozen value
    """An application inside open scopes."""
    return NebulaMiddleware(app, manager=manager, resolver=lambda conn: claims)


async def run(loop: str = "asyncio") -> list[Table]:
    """Both tables."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing())
        gc.freeze()  # what is loaded is not looked through again before every round
        try:
            return [await lease_table(loop, manager), await border_table(loop, manager)]
        finally:
            gc.unfreeze()
