"""Benchmark of the FastAPI integration: what a lease adds to a request, beside one plain `yield` dependency.

Every application is driven in process by the same ASGI messages, in turns, so that a slow moment of the machine hits
all of them; numbers are medians of the rounds, bars are ratios within the run (SPEC §17, issue 4). The baseline is the
same handler without a dependency; "added" is what a row takes beyond it. Run it with ``python -m benchmarks.fastapi``.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from statistics import median
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import Response

from nebula_resource import Manager, Resource
from nebula_resource.fastapi import Claims, NebulaMiddleware
from nebula_resource.fastapi.dependency import ResourceDependency

ROUNDS = 15
REQUESTS = 400
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


async def measure(rows: dict[str, Serve], *, rounds: int, requests: int) -> dict[str, float]:
    """Microseconds a request, by row: the median of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for serve in rows.values():
        for _ in range(50):
            await serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, serve in rows.items():
                started = time.process_time()
                for _ in range(requests):
                    await serve()
                times[name].append((time.process_time() - started) / requests * 1e6)
    finally:
        gc.enable()
    return {name: median(taken) for name, taken in times.items()}


async def run(rounds: int = ROUNDS, requests: int = REQUESTS) -> list[tuple[str, float, float, float]]:
    """The barred rows as (name, measured, bar, microseconds added)."""
    async with Manager(health=_off(), quarantine=_off()) as manager:
        await manager.register(Thing())
        pool = PlainPool()

        async def plain() -> AsyncGenerator[object]:
            thing = await pool.take()
            try:
                yield thing
            finally:
                await pool.give(thing)

        def inside(app: Any, claims: Claims) -> NebulaMiddleware:
            return NebulaMiddleware(app, manager=manager, resolver=lambda conn: claims)

        adapter = ResourceDependency("thing", until="endpoint", private=True)
        fallback = ResourceDependency("thing", until="endpoint", private=False)
        tenant = Claims(tenant="acme")
        taken = await measure(
            {
                "no dependency": client(served(None)),
                "plain yield dependency": client(served(plain)),
                "resource, adapter, no middleware": client(served(adapter, manager)),
                "resource, fallback, no middleware": client(served(fallback, manager)),
                "no dependency, inside": client(inside(served(None), tenant)),
                "resource, adapter, inside": client(inside(served(adapter), tenant)),
                "resource, fallback, inside": client(inside(served(fallback), tenant)),
            },
            rounds=rounds,
            requests=requests,
        )
        border = await measure(
            {
                "bare": client(answer),
                "tenant": client(inside(answer, tenant)),
                "full": client(inside(answer, Claims(tenant="acme", user="u", workflow="w"))),
            },
            rounds=rounds,
            requests=requests * 10,
        )
    base, inner = taken["no dependency"], taken["no dependency, inside"]
    plain_added = taken["plain yield dependency"] - base
    print(f"no dependency {base:.1f} us, one plain yield dependency +{plain_added:.1f} us\n")
    added = {
        "adapter, no middleware": (taken["resource, adapter, no middleware"] - base, ADAPTER_BAR),
        "adapter, inside the middleware": (taken["resource, adapter, inside"] - inner, ADAPTER_BAR),
        "fallback, no middleware": (taken["resource, fallback, no middleware"] - base, FALLBACK_BAR),
        "fallback, inside the middleware": (taken["resource, fallback, inside"] - inner, FALLBACK_BAR),
    }
    rows = [(name, us / plain_added, bar, us) for name, (us, bar) in added.items()]
    for name, label in (
        ("tenant", "middleware, tenant and execution"),
        ("full", "middleware, all four levels"),
    ):
        us = border[name] - border["bare"]
        rows.append((label, us, MIDDLEWARE_BAR, us))
    return rows


def _off() -> Any:
    from nebula_resource import OFF

    return OFF


def main() -> int:
    rows = asyncio.run(run())
    print(f"{'':36}{'measured':>10}{'bar':>8}{'added us':>10}")
    for name, measured, bar, us in rows:
        print(f"{name:36}{measured:10.2f}{bar:8.1f}{us:10.1f}{'' if measured <= bar else '   over the bar'}")
    return 0 if all(measured <= bar for _, measured, bar, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
