"""Two tenants: whatever a key bound to one may read, no byte of it is the other's (T1 of the threats)."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from nebula_resource.admin import create_admin
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.admin.check_rate import CheckRate
from nebula_resource.admin.sight import Sight
from nebula_resource.health import DependencyStage
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.scope import Scope
from tests.app.admin_world import QUIET, Thing, ThingConfig, admin_world, keys_of
from tests.app.served_admin import ServedAdmin, serving

OTHER = "othercanary"
"""Tenant, resource, reason and more of the other one: every word of his has this in it."""
LEDGER = "canaryledger"
"""A resource of nobody in particular that a tenant's needs."""


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


async def test_what_a_tenants_resource_needs_has_no_name_for_its_key_where_it_is_not_the_tenants() -> None:
    """It is told that something below is down, in fields and in words; what is its own has its name as for everybody."""
    keys, headers = keys_of(me=("operator", "acme"), root=("admin", None))
    async with admin_world(auth=keys) as world:
        await world.add(LEDGER)
        mine = [await world.add(name, LEDGER, tenant="acme") for name in ("orders", "bills")]
        await world.add("archive", tenant="acme")
        staged = await world.manager.register(
            Thing("staged", (LEDGER, "archive")),
            ThingConfig(),
            scope=Scope.tenant("acme"),
            pool={"min_size": 0},
            health=HealthPolicy(interval=3600.0, failure_threshold=1, stages=(DependencyStage(),)),
        )
        for name in (LEDGER, "orders@acme", "bills@acme", "archive@acme"):
            world.things[name].broken = True
        for name in ("archive", LEDGER, *mine):
            await world.manager.check(name)
        heard: dict[str, str] = {}
        checked: list[Any] = []
        for who in headers:
            paths = [f"/{kind}/{mine[0]}" for kind in ("pools", "resources", "quarantine")]
            paths += ["/pools", "/resources", "/quarantine", "/health", "/events", "/dependencies"]
            bodies = [
                await world.get(path, status=200, headers=headers[who]) for path in paths if path != "/health"
            ]
            bodies.append(await world.get("/health", status=503, headers=headers[who]))
            world.app.state.admin.checks = CheckRate()  # or it would be checked once a second
            checked.append(await world.post(f"/resources/{staged.public_id}/check", {}, headers=headers[who]))
            principal = Principal(who, Role.VIEWER, None if who == "root" else "acme")
            bodies.append((await world.app.state.admin.hub.snapshots.of(principal)).decode())
            heard[who] = json.dumps([*bodies, checked[-1]])
        assert LEDGER not in heard["me"]
        for told in (f"dependency '{LEDGER}' is down", f"dependency {LEDGER}", f"failed with '{LEDGER}'"):
            assert told in heard["root"]
            assert (
                told.replace(f"dependency '{LEDGER}'", "a dependency")
                .replace(f"dependency {LEDGER}", "a dependency")
                .replace(f"'{LEDGER}'", "a dependency")
                in heard["me"]
            )
        seen = await world.get(f"/pools/{staged.public_id}", headers=headers["me"])
        archive = world.manager.registry.named("archive")[0].public_id
        assert {each["dependency"]: each["reason"] for each in seen["health"]["because"]} == {
            archive: f"dependency '{archive}' is down",
            None: "a dependency is down",
        }
        stages = [each["probe"]["metadata"]["stages"][0]["metadata"] for each in checked]
        assert stages == [{archive: "unhealthy"}, {LEDGER: "unhealthy", archive: "unhealthy"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("'{}', which it needs, refuses", "a dependency, which it needs, refuses"),
        (
            "resource 'orders' needs '{}', which is not open",
            "resource 'orders' needs a dependency, which is not open",
        ),
        ("no table '{}'", "no table '{}'"),  # somebody's own words, of a thing that has the same name
        ("dependency '{}~abc.d-e' is down", "a dependency is down"),
    ],
)
async def test_words_that_name_a_need(text: str, told: str) -> None:
    """In each of the library's sentences; what is registered no more has no name either."""
    async with Manager() as manager:
        sight = Sight(manager, Principal("me", Role.VIEWER, "acme"))
        assert sight.text(text.format(LEDGER)) == told.format(LEDGER)
        everything = Sight(manager, Principal("root", Role.VIEWER))
        assert everything.text(text.format(LEDGER)) == text.format(LEDGER)
