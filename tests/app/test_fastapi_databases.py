"""Databases: thousands of requests of three tenants against real databases, kept apart in three ways; none crosses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from nebula_resource.drivers.sqlalchemy import PooledConnection, SqlAlchemyResource
from nebula_resource.fastapi import HeaderResolver, PathResolver, install
from tests.app.database_world import WAYS, Databases, Waiting, Way, application, router_of
from tests.app.fastapi_world import TENANTS, Answer, bearer, call, serving, tokens
from tests.servers.postgres import PostgresServer

REQUESTS = 10_000
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
        written = asyncio.create_task(arrived.wait())
        try:
            await asyncio.wait((request, written), return_when=asyncio.FIRST_COMPLETED)
            assert not request.done(), request.result()  # it waits for ever, unless something went wrong
        finally:
            for task in (request, written):
                task.cancel()
            await asyncio.wait((request, written))
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


@pytest.mark.timeout(900)  # ten thousand transactions: minutes on a machine that others use too
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


@pytest.mark.parametrize(("driver", "crosses"), [(Forgetful, True), (SqlAlchemyResource, False)])
async def test_the_test_above_can_fail(
    databases: Databases, driver: type[SqlAlchemyResource], crosses: bool
) -> None:
    """One connection, used by a careless handler, then by another tenant: uncleaned, it shows the first one's notes."""
    databases.resource_type = driver
    app = application()
    manager = await databases.manager(connections=1)
    install(app, manager, resolver=tokens, require_tenant=True, shutdown=False)
    try:
        assert (await call(app, "/schemas/careless", method="POST", headers=bearer("acme"))).status == 200
        answer = await call(app, "/schemas/notes", headers=bearer("globex"))
    finally:
        await manager.shutdown(5, 5, 1)
    assert (b"canary-of-acme" in answer.body) is crosses
    assert (b"canary-of-globex" in answer.body) is not crosses


# ── who pretends to be somebody else, over a real socket ──

OTHERS = ("globex", "initech")


async def raw(address: str, target: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """One request, byte for byte as given, which no client would tidy up; the status and the body."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {target} HTTP/1.1", "host: it", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


SPOOFED = [
    {"authorization": "Bearer demo-umbrella"},
    {"authorization": "Bearer demo-acme, Bearer demo-globex"},
    {"authorization": "Bearer demo-acme", "Authorization": "Bearer demo-globex"},
    {"authorization": "Basic demo-acme"},
    {"authorization": "Bearer demo-acme\x00"},
    {"authorization": "Bearer demo-аcme"},  # a Cyrillic а
    {"authorization": "Bearer demo-Acme"},
    {"x-tenant": "acme"},
    {"x-nebula-claims": '{"tenant": "acme"}'},
    {"cookie": "tenant=acme; authorization=Bearer demo-acme"},
]
LOOK_ALIKES = [
    "аcme", "ACME", "acme.", "acme/", "acme/globex", "../globex", "acme%00", "acme\u200b", "tenant:acme", "acme,globex",
    "*", "%", "acme'--", 'acme", "tenant_globex', "x" * 129, "cafe\u0301",
]  # fmt: skip  # one list of names
TRICKS = [
    "/t/globex/{way}/notes", "/t/acme/../globex/{way}/notes", "/t/acme/%2e%2e/globex/{way}/notes", "/t/acme%2f..%2fglobex/{way}/notes",
    "/t/%67lobex/{way}/notes", "/t/acme;globex/{way}/notes", "/t//globex/{way}/notes", "//t/globex/{way}/notes", "/T/globex/{way}/notes",
    "/t/acme%00/{way}/notes", "/t/acme%20/{way}/notes", "/t/ACME/{way}/notes", "/t/%D0%B0cme/{way}/notes", "/t/acme\\..\\globex/{way}/notes",
    "/t/./globex/{way}/notes", "/t/globex%23/{way}/notes", "/t/globex%3f/{way}/notes",
]  # fmt: skip  # one list of paths


@pytest.mark.parametrize("way", WAYS)
async def test_who_pretends_to_be_another_is_401_or_404(databases: Databases, way: Way) -> None:
    """Spoofed headers, ids that look alike, paths with tricks in them: nobody gets a note by any of them."""
    manager = await databases.manager()
    by_token = FastAPI(openapi_url=None)
    by_header = FastAPI(openapi_url=None)
    by_path = FastAPI(openapi_url=None)
    install(by_token, manager, resolver=tokens, require_tenant=True, shutdown=False)
    install(
        by_header,
        manager,
        resolver=HeaderResolver("x-tenant", verify=lambda tenant, conn: tenant in TENANTS),
        require_tenant=True,
        shutdown=False,
    )
    owns = PathResolver(
        "/t/{tenant}",
        verify=lambda tenant, conn: conn.headers.get("authorization") == f"Bearer demo-{tenant}",
    )
    install(by_path, manager, resolver=owns, require_tenant=True, shutdown=False)
    by_token.include_router(router_of(way))
    by_header.include_router(router_of(way))
    by_path.include_router(router_of(way), prefix="/t/{tenant}")
    try:
        async with serving(by_token) as address:
            assert (await raw(address, f"/{way}/notes", bearer("acme")))[0] == 200
            for headers in SPOOFED:
                refused(*await raw(address, f"/{way}/notes", headers), of=headers)
        async with serving(by_header) as address:
            assert (await raw(address, f"/{way}/notes", {"x-tenant": "acme"}))[0] == 200
            for look_alike in LOOK_ALIKES:
                refused(*await raw(address, f"/{way}/notes", {"x-tenant": look_alike}), of=look_alike)
        async with serving(by_path) as address:
            assert (await raw(address, f"/t/acme/{way}/notes", bearer("acme")))[0] == 200
            for trick in TRICKS:
                refused(*await raw(address, trick.format(way=way), bearer("acme")), of=trick)
    finally:
        await manager.shutdown(5, 5, 1)


def refused(status: int, body: str, *, of: object) -> None:
    """An answer that lets nobody in and shows nothing."""
    assert status in (400, 401, 404), (of, status, body)
    assert "canary" not in body, of
    assert not any(other in body for other in OTHERS), of
