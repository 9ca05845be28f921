"""Databases: thousands of requests of three tenants against real databases, kept apart in three ways; none crosses.

``NEBULA_TEST_REQUESTS=10000`` says how many; see `REQUESTS`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from nebula_resource.drivers.sqlalchemy import PooledConnection, SqlAlchemyResource
from nebula_resource.fastapi import install
from tests.app.database_world import WAYS, Databases, Waiting, Way, application
from tests.app.fastapi_world import TENANTS, Answer, bearer, call, tokens
from tests.servers.postgres import PostgresServer

REQUESTS = int(os.environ.get("NEBULA_TEST_REQUESTS", "3000"))
"""A minute and a half of an idle machine goes into 10,000, so the suite sends fewer unless it is told to."""
AT_ONCE = 24
CONNECTIONS = 4

Notes = Counter[tuple[str, str]]


@pytest.fixture
def databases(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Databases]:
    """Three tenants, each with a canary wherever it has notes."""
    databases = Databases(postgres_server, tmp_path)
    databases.prepare()
    yield databases
    databases.drop()


class Customers:
    """Sends requests as the three tenants, each with one of many fates, and checks every answer."""

    def __init__(self, app: FastAPI, waiting: Waiting) -> None:
        self.app = app
        self.waiting = waiting
        self.written: dict[tuple[Way, str], Notes] = {
            (way, tenant): Counter({(tenant, f"canary-of-{tenant}"): 1}) for way in WAYS for tenant in TENANTS
        }
        """What was answered 200 and so must be there, and nothing else."""

    async def send(self, number: int) -> None:
        """One request."""
        tenant, way, kind = TENANTS[number % 3], WAYS[number // 3 % 3], number // 9 % 50
        body, headers = f"note-of-{tenant}.{number}", bearer(tenant)
        if kind < 8:
            await self.write(way, tenant, body, headers, other=TENANTS[(number + 1) % 3])
        elif kind < 12:
            fate, status = ("refused", 409) if kind % 2 else ("fails", 500)
            path = f"/{way}/notes?body={body}&fate={fate}"
            self.check(await call(self.app, path, method="POST", headers=headers), tenant, status)
        elif kind < 14 and way != "files":
            self.check(await call(self.app, f"/{way}/careless", method="POST", headers=headers), tenant)
        elif kind == 14:
            await self.leave(f"/{way}/notes?body={body}&fate=waits", body, headers)
        else:
            what = "stream" if kind < 22 else "notes"
            self.check(await call(self.app, f"/{way}/{what}", headers=headers), tenant)

    async def write(self, way: Way, tenant: str, body: str, headers: dict[str, str], *, other: str) -> None:
        """A note; what a client says of itself beside its token is not heard."""
        claims = dict.fromkeys(("x-tenant", "x-tenant-id", "x-forwarded-user", "cookie", "tenant"), other)
        path = f"/{way}/notes?body={body}&tenant={other}"
        self.check(await call(self.app, path, method="POST", headers=headers | claims), tenant)
        self.written[way, tenant][tenant, body] += 1

    async def leave(self, path: str, body: str, headers: dict[str, str]) -> None:
        """A request that is cancelled when it has written."""
        arrived = self.waiting.arrived[body] = asyncio.Event()
        request = asyncio.create_task(call(self.app, path, method="POST", headers=headers))
        await arrived.wait()
        request.cancel()
        await asyncio.wait((request,))
        assert request.cancelled()

    def check(self, answer: Answer, tenant: str, status: int = 200) -> None:
        """The tenant's own name stands in every answer that shows notes, another's in none."""
        shown = answer.body.decode()
        assert answer.status == status, (answer, answer.error)
        assert status == 500 or f"-of-{tenant}" in shown, f"{tenant} got {shown}"
        for other in TENANTS:
            assert other == tenant or other not in shown, f"{tenant} got {shown}"


async def serve(databases: Databases, count: int) -> Customers:
    """So many requests of the three tenants, many at a time; nothing is out when they have been answered."""
    waiting = Waiting()
    app = application(waiting)
    manager = await databases.manager()
    install(app, manager, resolver=tokens, require_tenant=True, shutdown=False)
    customers = Customers(app, waiting)
    numbers = iter(range(count))

    async def customer() -> None:
        for number in numbers:
            await customers.send(number)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(customer())
        for stats in manager.stats().values():
            assert (stats.in_use, stats.waiting, stats.leaks) == (0, 0, 0)
            assert stats.size <= CONNECTIONS
        assert not +manager.open_scopes
    finally:
        await manager.shutdown(5, 5, 1)
    return customers


@pytest.mark.timeout(
    900
)  # thousands of transactions on real servers: minutes on a machine that others use too
async def test_requests_of_three_tenants_do_not_cross(databases: Databases) -> None:
    """Reads, writes, streams, errors, cancellations and what careless handlers leave behind, interleaved.

    One pool of four connections serves all three tenants of PostgreSQL, so nearly every use follows another tenant's.
    Afterwards the databases themselves hold what was answered 200, under its tenant's name, and nothing else.
    """
    customers = await serve(databases, REQUESTS)
    for (way, tenant), expected in customers.written.items():
        assert databases.found(way, tenant) == expected, (way, tenant)


class Forgetful(SqlAlchemyResource):
    """The naive driver: a connection goes from one user to the next as it is."""

    async def recycle(self, instance: PooledConnection) -> None:
        """Nothing is cleaned."""


async def test_the_same_requests_cross_where_connections_are_not_cleaned(databases: Databases) -> None:
    """The test above can fail: without the reset between two users it does, within a few hundred requests."""
    databases.resource_type = Forgetful
    with pytest.raises(ExceptionGroup) as caught:
        await serve(databases, 500)
    assert any("got" in str(each) for each in caught.value.exceptions), caught.value.exceptions
