"""Scopes over HTTP: where registrations live, what is within what, and who sees which."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from nebula_resource.model.scope import Scope
from tests.app.admin_world import QUIET, Thing, ThingConfig, World, admin_world, keys_of

SCOPES = (
    Scope.GLOBAL,
    Scope.tenant("acme"),
    Scope.tenant("globex"),
    Scope.workflow("w1", tenant="acme"),
    Scope.custom("region", "eu", parent=Scope.tenant("globex")),
)
NAMES = ("global", "acme", "globex", "workflow", "custom")


async def fill(world: World) -> None:
    """A pool in each scope, two in acme's."""
    for scope in (*SCOPES, Scope.tenant("acme")):
        thing = Thing("db" if world.things.get(str(scope)) is None else "cache")
        world.things[str(scope)] = thing
        await world.manager.register(thing, ThingConfig(), pool={"min_size": 0}, scope=scope, health=QUIET)


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    """Without keys."""
    async with admin_world() as made:
        await fill(made)
        yield made


async def named(world: World, **options: Any) -> dict[str, Any]:
    """Them by a name that a test can read."""
    items = (await world.get("/scopes", **options))["items"]
    return {
        each["level"] if each["level"] in {"global", "workflow", "custom"} else each["label"]: each
        for each in items
    }


async def test_scopes_are_those_of_registrations_with_their_sums(world: World) -> None:
    """The widest first; each with the nearest around it that has some, and what its pools hold together."""
    scopes = await named(world)
    assert tuple(scopes) == NAMES
    ids = {name: each["id"] for name, each in scopes.items()}
    assert {name: each["parent"] for name, each in scopes.items()} == {
        "global": None,
        "acme": ids["global"],
        "globex": ids["global"],
        "workflow": ids["acme"],
        "custom": ids["globex"],
    }
    pools = {each["id"]: each for each in (await world.get("/pools"))["items"]}
    assert ids["acme"] in {each["scope"]["id"] for each in pools.values()}
    assert scopes["acme"]["pools"] == 2
    async with world.manager.scope(Scope.tenant("acme")) as scope:
        await scope.get("cache")
        listed = await world.get("/scopes")
        assert listed["open"] | {"tenant": 1} == listed["open"]
        held = (await named(world))["acme"]
    assert (held["instances"], held["in_use"], held["waiting"]) == (1, 1, 0)
    isolated = next(name for name, pool in pools.items() if pool["scope"]["id"] == ids["workflow"])
    world.manager.quarantine(isolated, "a look at it")
    after = await named(world)
    assert [name for name, each in after.items() if each["quarantined"]] == ["workflow"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"level": "tenant"}, ["acme", "globex"]),
        ({"tenant": "acme"}, ["acme", "workflow"]),
        ({"tenant": "nobody"}, []),
        ({"parent": "global"}, ["acme", "globex"]),
        ({"parent": "acme", "level": "workflow"}, ["workflow"]),
    ],
)
async def test_scopes_are_filtered(world: World, query: dict[str, str], found: list[str]) -> None:
    """Each filter narrows; a parent is named by its id."""
    if "parent" in query:
        query = query | {"parent": (await named(world))[query["parent"]]["id"]}
    assert list(await named(world, params=query)) == found


async def test_pages_show_each_scope_once(world: World) -> None:
    """From cursor to cursor."""
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        body = await world.get("/scopes", params=query)
        seen += [each["id"] for each in body["items"]]
        if body["next_cursor"] is None:
            break
        query["cursor"] = body["next_cursor"]
    assert seen == [each["id"] for each in (await named(world)).values()]


async def test_one_scope_tells_its_pools_and_what_is_within(world: World) -> None:
    """Children are the nearest ones; an id that is none is not found."""
    scopes = await named(world)
    acme = await world.get(f"/scopes/{scopes['acme']['id']}")
    assert acme["children"] == [scopes["workflow"]["id"]]
    assert [each.partition("~")[0] for each in acme["pool_ids"]] == ["cache", "db"]
    top = await world.get(f"/scopes/{scopes['global']['id']}")
    assert top["children"] == sorted((scopes["acme"]["id"], scopes["globex"]["id"]))
    for none in ("scp_aaaaaaaaaa", "db", scopes["acme"]["id"].upper()):
        assert (await world.get(f"/scopes/{none}", status=404))["code"] == "not_found"


async def test_a_bound_key_sees_its_tenants_scopes_alone() -> None:
    """Not even that there is something around them, nor how many blocks all tenants have open."""
    keys, headers = keys_of(root=("viewer", None), acme=("viewer", "acme"))
    async with admin_world(auth=keys) as world:
        await fill(world)
        everything = await named(world, headers=headers["root"])
        body = await world.get("/scopes", headers=headers["acme"])
        assert [each["id"] for each in body["items"]] == [
            everything[name]["id"] for name in ("acme", "workflow")
        ]
        assert (body["items"][0]["parent"], body["open"]) == (None, None)
        foreign = await world.get(
            f"/scopes/{everything['globex']['id']}", headers=headers["acme"], status=404
        )
        unknown = await world.get("/scopes/scp_aaaaaaaaaa", headers=headers["acme"], status=404)
        assert {**foreign, "instance": ""} == {**unknown, "instance": ""}
        assert (await named(world, headers=headers["acme"], params={"tenant": "globex"})) == {}
        around = {"parent": everything["global"]["id"]}
        assert (await named(world, headers=headers["acme"], params=around)) == {}
