"""Isolation: many requests of three tenants at once, none of which ever sees anything of another's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from nebula_resource import (
    OFF,
    Manager,
    PoolConfig,
    Resource,
    ResourceContext,
    ResourceKey,
    Scope,
    current_scope,
)
from nebula_resource.fastapi import install, resource
from tests.app.fastapi_world import TENANTS, bearer, serving, tokens

REQUESTS = 200


class Rows:
    """What one tenant has, and a canary in it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.notes = [f"canary-of-{owner}"]
        self.holder: str | None = None


STORE = ResourceKey("store", Rows)


class Store(Resource[None, Rows, Rows]):
    """A tenant's store; ``owner`` is where it is registered."""

    id = "store"

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.open = 0

    async def create(self, config: None, context: ResourceContext) -> Rows:
        await asyncio.sleep(0)
        return Rows(self.owner)

    @asynccontextmanager
    async def lease(self, instance: Rows, context: ResourceContext) -> AsyncGenerator[Rows]:
        assert instance.holder is None, "one instance was lent twice"
        assert context.tenant_id == instance.owner, "lent across a border"
        instance.holder = context.scope.execution_id
        self.open += 1
        await asyncio.sleep(0)
        try:
            yield instance
        finally:
            await asyncio.sleep(0)
            self.open -= 1
            instance.holder = None


@pytest.fixture
async def stores() -> AsyncGenerator[tuple[FastAPI, list[Store], Manager]]:
    """An application with a store for each tenant."""
    manager = Manager(health=OFF, quarantine=OFF)
    stores = [Store(tenant) for tenant in TENANTS]
    for store in stores:
        await manager.register(store, pool=PoolConfig(max_size=4), scope=Scope.tenant(store.owner))
    app = FastAPI()
    install(app, manager, resolver=tokens, require_tenant=True, shutdown=False)

    @app.get("/notes")
    async def notes(fate: str = "well", rows: Rows = Depends(resource(STORE))) -> list[str]:
        scope = current_scope()
        assert scope is not None
        mine = scope.scope.execution_id
        for _ in range(3):
            await asyncio.sleep(random.random() / 1000)
            assert rows.holder == mine, "somebody else has it too"
            assert current_scope() is scope
        if fate == "refused":
            raise HTTPException(409, rows.notes[0])
        return rows.notes

    @app.get("/stream")
    async def stream(rows: Rows = Depends(resource(STORE, until="response"))) -> StreamingResponse:
        async def pieces() -> AsyncGenerator[str]:
            for _ in range(3):
                await asyncio.sleep(0)
                assert rows.holder is not None
                yield rows.notes[0]

        return StreamingResponse(pieces())

    yield app, stores, manager
    await manager.shutdown(5, 1, 1)


async def one(client: httpx.AsyncClient, number: int) -> None:
    """One request of some tenant, with one of several fates; asserts what comes back."""
    tenant = TENANTS[number % 3]
    kind = number % 7
    others = [f"canary-of-{other}" for other in TENANTS if other != tenant]
    if kind == 3:
        answer = await client.get("/stream", headers=bearer(tenant))
        assert answer.text == f"canary-of-{tenant}" * 3
    elif kind == 5:
        answer = await client.get("/notes", params={"fate": "refused"}, headers=bearer(tenant))
        assert (answer.status_code, answer.json()["detail"]) == (409, f"canary-of-{tenant}")
    elif kind == 6:
        answer = await client.get("/notes", headers={**bearer(tenant), "x-tenant": TENANTS[(number + 1) % 3]})
        assert answer.json() == [f"canary-of-{tenant}"]
    else:
        answer = await client.get("/notes", headers=bearer(tenant))
        assert answer.json() == [f"canary-of-{tenant}"]
    assert not any(other in answer.text for other in others)


def assert_at_rest(stores: list[Store], manager: Manager) -> None:
    """Nothing is out, nobody waits, no scope is open."""
    assert [store.open for store in stores] == [0, 0, 0]
    for stats in manager.stats().values():
        assert (stats.in_use, stats.waiting) == (0, 0)
    assert not +manager.open_scopes


async def test_200_requests_of_three_tenants_do_not_cross(
    stores: tuple[FastAPI, list[Store], Manager],
) -> None:
    """All at once, in this process: each sees its own canary alone, and every lease ends."""
    app, each_store, manager = stores
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        await asyncio.gather(*(one(client, number) for number in range(REQUESTS)))
    assert_at_rest(each_store, manager)


async def test_200_requests_over_a_socket_do_not_cross(
    stores: tuple[FastAPI, list[Store], Manager],
) -> None:
    """The same behind a real server, some of whose clients hang up in the middle."""
    app, each_store, manager = stores

    async def impatient(client: httpx.AsyncClient, number: int) -> None:
        request = asyncio.create_task(client.get("/notes", headers=bearer(TENANTS[number % 3])))
        await asyncio.sleep(random.random() / 50)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

    limits = httpx.Limits(max_connections=40)
    async with serving(app) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60, limits=limits) as client:
            work: list[Any] = [one(client, number) for number in range(REQUESTS)]
            work += [impatient(client, number) for number in range(30)]
            await asyncio.gather(*work)
    assert_at_rest(each_store, manager)


async def test_a_tenant_without_a_store_is_told_nothing(
    stores: tuple[FastAPI, list[Store], Manager], caplog: pytest.LogCaptureFixture
) -> None:
    """Foreign and unknown are one 404; so is a resource that nobody has, but of that the log tells, once."""
    app, _, manager = stores
    await manager.deregister("store", scope=Scope.tenant("initech"))

    @app.get("/typo")
    async def typo(rows: Any = Depends(resource("nowhere"))) -> None: ...

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        foreign = await client.get("/notes", headers=bearer("initech"))
        assert not caplog.records
        unknown = await client.get("/typo", headers=bearer("initech"))
        await client.get("/typo", headers=bearer("initech"))
    told = [
        (each.levelname, vars(each)["resource.id"]) for each in caplog.records if "nowhere" in str(vars(each))
    ]
    assert told == [("WARNING", "nowhere")]
    assert (foreign.status_code, foreign.text) == (404, unknown.text)
