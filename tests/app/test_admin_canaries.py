"""Two tenants: whatever a key bound to one may read, no byte of it is the other's (T1 of the threats)."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from nebula_resource.admin import create_admin
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.scope import Scope
from tests.app.admin_world import QUIET, keys_of
from tests.app.served_admin import ServedAdmin, serving

OTHER = "othercanary"
"""Tenant, resource, reason and more of the other one: every word of his has this in it."""


async def things_happen(served: ServedAdmin) -> tuple[str, str, list[str]]:
    """Both tenants have a pool, a failure, a quarantine and events; returns the public ids, and what must never show."""
    for tenant, name in (("acme", "orders"), (OTHER, f"{OTHER}-db")):
        await served.add(name, tenant=tenant)
        await served.add("shared", tenant=tenant)
        context = ResourceContext(Scope.tenant(tenant))
        async with served.manager.acquire(name, context):
            pass
        served.manager.quarantine(name, f"{tenant} is ill", scope=Scope.tenant(tenant))
    mine = served.manager.registry.named("orders")[0].public_id
    theirs = served.manager.registry.named(f"{OTHER}-db")[0].public_id
    twin = next(each for each in served.manager.registry.named("shared") if each.scope.tenant_id == OTHER)
    return (
        mine,
        theirs,
        [OTHER, theirs, theirs.partition("~")[2], twin.public_id, twin.public_id.partition("~")[2]],
    )


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_no_byte_of_another_tenant(role: str) -> None:
    """Every GET of the description with every id there is, every filter that could name him, errors, tags and headers."""
    keys, headers = keys_of(me=(role, "acme"), root=("admin", None))
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager, keys, {"groups": {"core": [f"{OTHER}-db", "orders"]}})
        async with serving(app) as port:
            served = ServedAdmin(manager, app, port)
            mine, theirs, never = await things_happen(served)
            asked = 0
            async with httpx.AsyncClient(base_url=served.url, headers=headers["me"]) as http:
                description = (await http.get("/openapi.json")).json()
                for path, item in description["paths"].items():
                    if "get" not in item:
                        continue
                    for name in (mine, theirs, "orders", f"{OTHER}-db", "shared", "nope"):
                        url = path.replace("{id}", name).replace("{op}", name).replace("{name}", "core")
                        for query in ("", f"?q={OTHER[:-1]}", "?limit=1", f"?pool={theirs}"):
                            response = await http.get(url + query)
                            asked += 1
                            told = response.text + str(response.headers)
                            # What was asked may stand in nothing either: errors echo no input.
                            assert [word for word in never if word in told] == [], (
                                url,
                                query,
                                response.status_code,
                            )
                            if theirs in url and not query:
                                assert response.status_code in {403, 404}, url
                        if "{" not in path:
                            break
                unknown, foreign = await http.get("/pools/nope"), await http.get(f"/pools/{theirs}")
                assert _but_for_its_number(unknown) == _but_for_its_number(foreign)
            assert asked > 100
            # The words do exist, for who may see both.
            async with httpx.AsyncClient(base_url=served.url, headers=headers["root"]) as http:
                everything = (await http.get("/pools")).text
                assert OTHER in everything
                assert theirs in everything


def _but_for_its_number(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    return {name: value for name, value in body.items() if name != "instance"}


async def test_a_stream_tells_and_numbers_a_tenants_own_events_alone() -> None:
    """Replayed from the beginning and live: nothing of him, and no gap in the numbers from which to count him."""
    keys, headers = keys_of(me=("viewer", "acme"))
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager, keys)
        async with serving(app) as port:
            served = ServedAdmin(manager, app, port)
            mine, theirs, never = await things_happen(served)
            async with httpx.AsyncClient(base_url=served.url, headers=headers["me"], timeout=20) as http:
                oldest = (await http.get("/events")).json()["last_id"].rsplit("-", 1)[0] + "-0"
                heard: list[str] = []
                async with (
                    asyncio.timeout(20),
                    http.stream(
                        "GET", "/events", headers={"Accept": "text/event-stream", "Last-Event-ID": oldest}
                    ) as stream,
                ):
                    ended = False
                    async for line in stream.aiter_lines():
                        heard.append(line)
                        if line.startswith("event: quarantine.entered"):
                            # Live from here on: first his, then mine.
                            await manager.release(theirs, "force")
                            await manager.release(mine, "force")
                        ended = ended or line.startswith("event: quarantine.released")
                        if ended and not line:
                            break
    told = "\n".join(heard)
    assert [word for word in never if word in told] == []
    numbers = [json.loads(line[6:])["seq"] for line in heard if line.startswith('data: {"v"')]
    assert len(numbers) >= 3
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
