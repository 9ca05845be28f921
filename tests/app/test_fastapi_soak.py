"""Soak: thousands of requests and actions with every fate at once; afterwards nothing is out, every outcome arrived."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from nebula_resource import OFF, Manager, PoolConfig, ResourceContext
from nebula_resource.di import Leased, ResourceContainer, action, wired
from nebula_resource.fastapi import dependency, install, resource
from tests.app.fastapi_world import (
    DB,
    TENANTS,
    Answer,
    CommitFailed,
    Connection,
    Database,
    bearer,
    call,
    tokens,
)

REQUESTS = ACTIONS = 5000
AT_ONCE = 40


class Outcomes(Database):
    """Notes what became of each use, by the number of its request."""

    def __init__(self) -> None:
        super().__init__(is_silent=True)
        self.of: dict[int, list[str]] = {}
        self.by: dict[int, int | None] = {}
        """For each instance that is lent, the number of its request."""

    @asynccontextmanager
    async def lease(self, instance: Connection, context: ResourceContext) -> AsyncGenerator[Connection]:
        assert not instance.is_lent, "one connection was lent twice"
        assert context.tenant_id in TENANTS
        instance.is_lent, instance.tenant, instance.fails = True, context.tenant_id, None
        self.lent += 1
        outcome = "nothing"
        self.by[id(instance)] = None
        try:
            await asyncio.sleep(0)
            try:
                yield instance
            except BaseException as error:
                outcome = f"rollback {type(error).__name__}"
                await asyncio.sleep(0)
                raise
            await asyncio.sleep(0)
            if instance.fails is not None:
                outcome = "commit failed"
                raise instance.fails
            outcome = "commit"
        finally:
            number = self.by.pop(id(instance))
            if number is not None:
                self.of.setdefault(number, []).append(outcome)
            instance.is_lent, instance.tenant = False, None
            self.lent -= 1


def application(manager: Manager, database: Outcomes) -> FastAPI:
    """Handlers for every fate."""
    app = FastAPI()
    install(app, manager, resolver=tokens, require_tenant=True, shutdown=False)

    async def taken(number: int, db: Connection = Depends(resource(DB))) -> Connection:
        database.by[id(db)] = number
        return db

    async def fails(db: Connection = Depends(taken)) -> None:
        await asyncio.sleep(0)
        raise HTTPException(424)

    @app.get("/well")
    async def well(db: Connection = Depends(taken)) -> str | None:
        await asyncio.sleep(0)
        return db.tenant

    @app.get("/refused")
    async def refused(db: Connection = Depends(taken)) -> None:
        await asyncio.sleep(0)
        raise HTTPException(409)

    @app.get("/broken")
    async def broken(db: Connection = Depends(taken)) -> None:
        raise ValueError

    @app.get("/uncommitted")
    async def uncommitted(db: Connection = Depends(taken)) -> None:
        db.fails = CommitFailed()

    @app.get("/sibling")
    async def sibling(db: Connection = Depends(taken), other: None = Depends(fails)) -> None:
        raise AssertionError("a dependency failed: the handler is not called")

    @app.get("/stream")
    async def stream(
        number: int, db: Connection = Depends(resource(DB, until="response"))
    ) -> StreamingResponse:
        database.by[id(db)] = number

        async def pieces() -> AsyncGenerator[bytes]:
            for _ in range(4):
                await asyncio.sleep(0)
                assert db.is_lent
                yield b"piece "

        return StreamingResponse(pieces())

    return app


EXPECTED = {
    "/well": (200, ["commit"]),
    "/refused": (409, ["rollback HTTPException"]),
    "/broken": (500, ["rollback ValueError"]),
    "/uncommitted": (500, ["commit failed"]),
    "/sibling": (424, ["rollback HTTPException"]),
    "/stream": (200, ["commit"]),
}


class Clients:
    """Sends requests of every fate, and judges what came back and what became of their leases."""

    def __init__(self, app: FastAPI, database: Outcomes, seed: int) -> None:
        self.app = app
        self.database = database
        self.chance = random.Random(seed)
        self.told: Counter[str] = Counter()

    async def one(self, number: int) -> None:
        """One request, that may be cancelled, twice, or whose client may leave, at any turn of the loop."""
        chance = self.chance
        path, tenant = chance.choice(list(EXPECTED)), chance.choice(TENANTS)
        way_out = chance.choices(["stays", "cancelled", "twice", "leaves"], [6, 2, 2, 2])[0]
        leave = asyncio.Event()
        request: asyncio.Task[Answer] = asyncio.create_task(
            call(self.app, f"{path}?number={number}", headers=bearer(tenant), leave=leave)
        )
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if way_out == "leaves":
            leave.set()
        elif way_out != "stays":
            request.cancel()
            if way_out == "twice":
                await asyncio.sleep(0)
                request.cancel()
        try:
            answer = await request
        except asyncio.CancelledError:
            self.told["cancelled"] += 1
            return
        self.judge(number, path, way_out, answer)

    def judge(self, number: int, path: str, way_out: str, answer: Answer) -> None:
        """What the client was told is what happened."""
        outcomes = self.database.of.get(number, [])
        if path == "/stream" and way_out == "leaves":
            whole = answer.body == b"piece " * 4
            self.told["left"] += not whole
            # Gone out whole and told to leave at once may be either; cut is never committed.
            assert outcomes in (["commit"], ["rollback ClientDisconnect"])
            assert whole or outcomes != ["commit"], "a stream that was cut was committed"
            return
        assert (answer.status, outcomes) == EXPECTED[path], (path, way_out)
        self.told[path] += 1


# ── actions ──

CALL: ContextVar[tuple[Outcomes, int, str]] = ContextVar("call")
"""Of the action under way: whose leases it is given, its number and its fate."""


class Declined(Exception):
    """What bodies, and what is made beside a lease, raise."""


async def _beside(db: Connection) -> None:
    """What is made of a lease for an action, and may fail."""
    database, number, fate = CALL.get()
    database.by[id(db)] = number
    await asyncio.sleep(0)
    if fate == "sibling":
        raise Declined


class Given(ResourceContainer):
    """What actions are given."""

    db = Leased(DB)
    beside = providers.Factory(_beside, db)


@action
async def act(db: Connection = Provide["db"], beside: Any = Provide["beside"]) -> str | None:
    """Ends as its fate says."""
    fate = CALL.get()[2]
    assert fate != "sibling", "something could not be made: the body is not run"
    await asyncio.sleep(0)
    if fate == "declined":
        raise Declined
    if fate == "uncommitted":
        db.fails = CommitFailed()
    return db.tenant


FATES: dict[str, tuple[type[Exception] | None, list[str]]] = {
    "done": (None, ["commit"]),
    "declined": (Declined, ["rollback Declined"]),
    "uncommitted": (CommitFailed, ["commit failed"]),
    "sibling": (Declined, ["rollback Declined"]),
}


class Callers:
    """Call actions of every fate, and judge what came back and what became of their leases."""

    def __init__(self, manager: Manager, database: Outcomes, seed: int) -> None:
        self.manager = manager
        self.database = database
        self.chance = random.Random(seed)
        self.told: Counter[str] = Counter()

    async def one(self, number: int) -> None:
        """One call, that may be cancelled, twice, at any turn of the loop."""
        chance = self.chance
        fate, tenant = chance.choice(list(FATES)), chance.choice(TENANTS)
        times = chance.choices([0, 1, 2], [6, 2, 2])[0]
        call = asyncio.create_task(self.call(number, fate, tenant))
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        for _ in range(times):
            call.cancel()
            await asyncio.sleep(0)
        raised: type[Exception] | None = None
        try:
            assert await call == tenant
        except asyncio.CancelledError:
            self.told["cancelled"] += 1
            return
        except (Declined, CommitFailed) as error:
            raised = type(error)
        assert (raised, self.database.of.get(number)) == FATES[fate]
        self.told[fate] += 1

    async def call(self, number: int, fate: str, tenant: str) -> str | None:
        """In an execution of its own."""
        CALL.set((self.database, number, fate))
        async with self.manager.scope(tenant=tenant, execution=f"a{number}"):
            return await act()


async def many(one: Callable[[int], Coroutine[Any, Any, None]], numbers: range) -> None:
    """Keep some under way until all are done."""
    pending: set[asyncio.Task[None]] = set()
    for number in numbers:
        pending.add(asyncio.create_task(one(number)))
        if len(pending) >= AT_ONCE:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
    await asyncio.gather(*pending)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["adapter", "fallback"])
async def test_every_outcome_arrives_and_nothing_is_left(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises, cancellations, double ones, clients that leave, failing siblings and commits: all end, all as told."""
    monkeypatch.setattr(dependency, "private_names_work", lambda: way == "adapter")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    database = Outcomes()
    manager = Manager(health=OFF, quarantine=OFF)
    await manager.register(database, pool=PoolConfig(max_size=8, acquire_timeout=60))
    before = len(asyncio.all_tasks())
    clients = Clients(application(manager, database), database, seed)
    callers = Callers(manager, database, seed + 1)
    with wired(Given(), __name__):
        await asyncio.gather(
            many(clients.one, range(REQUESTS)), many(callers.one, range(REQUESTS, REQUESTS + ACTIONS))
        )

    assert set(clients.told) == {*EXPECTED, "cancelled", "left"}, "some fate never came about"
    assert set(callers.told) == {*FATES, "cancelled"}, "some fate never came about"
    assert sum(clients.told.values()) <= REQUESTS  # who left after the last piece is in no count
    assert sum(callers.told.values()) == ACTIONS
    assert {len(outcomes) for outcomes in database.of.values()} == {1}, (
        "a request or an action had two leases"
    )
    assert database.lent == 0
    (stats,) = manager.stats().values()
    assert (stats.in_use, stats.waiting) == (0, 0)
    assert not +manager.open_scopes
    assert len(asyncio.all_tasks()) == before, "a task was left behind"
    await manager.shutdown(5, 5, 1)
