"""Exact: tags, addresses below a mount, ends of pages, zeros that are no nulls, and names in foreign notations."""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI

from nebula_resource.admin.auth.principal import LOCAL
from nebula_resource.admin.schemas.dependencies import DependenciesView, as_dot, as_mermaid
from nebula_resource.admin.schemas.health import health_block
from nebula_resource.admin.schemas.pools import stats_view
from nebula_resource.admin.sight import Sight
from nebula_resource.health import HealthState, HealthView
from tests.app.admin_world import LOCAL as HERE
from tests.app.admin_world import ThingConfig, World, admin_world

WHY = {"reason": "a test"}


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    """db, and three more."""
    async with admin_world() as made:
        await made.add("db", pool={"min_size": 1, "max_size": 4})
        for name in ("a", "b", "c"):
            await made.add(name)
        yield made


# ── tags ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def registered_anew(world: World) -> None:
    """The same id, bounds and generation; another pool."""
    await world.manager.deregister("db")
    await world.add("db", pool={"min_size": 1, "max_size": 4})


CHANGES: dict[str, Callable[[World], Awaitable[object]]] = {
    "min": lambda world: world.post("/pools/db/resize", {**WHY, "min": 0}, headers={"If-Match": "*"}),
    "max": lambda world: world.post("/pools/db/resize", {**WHY, "max": 5}, headers={"If-Match": "*"}),
    "recycle": lambda world: world.post("/pools/db/recycle", WHY, status=202),
    "reload": lambda world: world.manager.reload("db", ThingConfig(host="other")),
    "registered anew": registered_anew,
}
NONE: dict[str, Callable[[World], Awaitable[object]]] = {
    "suspend": lambda world: world.post("/pools/db/suspend", WHY),
    "quarantine": lambda world: world.post("/quarantine", {**WHY, "resource_id": "db"}, status=201),
    "check": lambda world: world.post("/resources/db/check", {}),
    "the same bounds": lambda world: world.post(
        "/pools/db/resize", {**WHY, "min": 1, "max": 4}, headers={"If-Match": "*"}
    ),
    "dry run": lambda world: world.post(
        "/pools/db/resize", {**WHY, "max": 9, "dry_run": True}, headers={"If-Match": "*"}
    ),
    "another's": lambda world: world.post("/pools/a/recycle", WHY, status=202),
}


@pytest.mark.parametrize(
    ("change", "is_told"), [*((each, True) for each in CHANGES), *((each, False) for each in NONE)]
)
async def test_a_tag_is_of_what_an_operator_changes(world: World, change: str, is_told: bool) -> None:
    """One thing at a time: it is another, or none of it; and a use changes none."""
    before = (await world.send("GET", "/pools/db")).headers["etag"]
    assert before.startswith('"')
    async with world.manager.acquire("db"):
        assert (await world.send("GET", "/pools/db")).headers["etag"] == before
    await (CHANGES | NONE)[change](world)
    after = (await world.send("GET", "/pools/db")).headers["etag"]
    assert (after != before) is is_told


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ("{tag}", 200),
        ('"old", {tag}', 200),
        ('{tag},"old"', 200),
        ("*", 200),
        ('"old", "older"', 412),
        ("W/{tag}", 412),  # a weak one matches nothing (RFC 9110 §13.1.1)
        ('"*"', 412),
        ("", 412),
    ],
)
async def test_any_tag_of_a_list_may_be_the_one_of_now(world: World, if_match: str, status: int) -> None:
    """What was resized, or was not, is told by the bounds."""
    tag = (await world.send("GET", "/pools/db")).headers["etag"]
    headers = {"If-Match": if_match.format(tag=tag)}
    await world.post("/pools/db/resize", {**WHY, "max": 9}, status=status, headers=headers)
    assert (await world.get("/pools/db"))["size"]["max"] == (9 if status == 200 else 4)


# ── below a mount ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("below", ["", "/ops", "/ops/db"])
async def test_addresses_are_those_of_who_asks(world: World, below: str) -> None:
    """`Location` leads back through the mount, and `Allow` knows the routes behind it."""
    outer = FastAPI(openapi_url=None)
    outer.mount(below, world.app)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(outer, client=HERE), base_url="http://localhost"
    ) as http:
        isolated = await http.post(f"{below}/quarantine", json={**WHY, "resource_id": "db"})
        drained = await http.post(f"{below}/pools/db/drain", json=WHY)
        for answer, status, kind in ((isolated, 201, "/quarantine/db"), (drained, 202, "/operations/op_")):
            assert answer.status_code == status
            assert answer.headers["location"].startswith(f"{below}{kind}")
            assert (await http.get(answer.headers["location"])).status_code == 200
        for path, methods in (
            ("/pools/db", "GET, HEAD"),
            ("/quarantine", "GET, HEAD, POST"),
            ("/operations/x", "DELETE, GET, HEAD"),
        ):
            refused = await http.put(f"{below}{path}", json={})
            assert (refused.status_code, refused.headers["allow"]) == (405, methods)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_header_of_a_browser_wins_over_the_address_it_began_with(world: World) -> None:
    """A stream that was opened with an id in its query comes back to the same address, with a newer id in the header."""
    past = await world.get("/events")
    boot, _, newest = past["last_id"].partition("-")
    query = f"/events?last_event_id={boot}-1"
    assert len((await world.get(query))["items"]) == int(newest) - 1
    assert (await world.get(query, headers={"Last-Event-ID": past["last_id"]}))["items"] == []
    assert (await world.get(query, headers={"Last-Event-ID": f"{boot}-{int(newest) - 1}"}))["items"] == past[
        "items"
    ][-1:]


async def test_the_end_of_a_page_is_no_other_page(world: World) -> None:
    """As many as the limit: there is no cursor; one more: a cursor to exactly that one."""
    everything = (await world.get("/pools"))["items"]
    for path, size in (("/pools?sort=id", 4), ("/pools?sort=-id", 4), ("/resources?", 4), ("/scopes?", 1)):
        whole = await world.get(f"{path}&limit={size}")
        assert (len(whole["items"]), whole["next_cursor"]) == (size, None)
    first = await world.get("/pools?limit=3")
    last = await world.get(f"/pools?limit=3&cursor={first['next_cursor']}")
    assert [each["id"] for each in first["items"] + last["items"]] == [each["id"] for each in everything]
    assert last["next_cursor"] is None
    past = await world.get("/events")
    count = len(past["items"])
    boot, _, newest = past["last_id"].partition("-")
    assert (await world.get(f"/events?limit={count}"))["next_cursor"] is None
    # After an id the last one is where to go on, and only what was not told is left.
    one = await world.get(f"/events?limit=1&last_event_id={boot}-{int(newest) - 2}")
    assert (len(one["items"]), one["last_id"]) == (1, f"{boot}-{int(newest) - 1}")
    rest = await world.get(f"/events?limit=1&last_event_id={one['last_id']}")
    assert (len(rest["items"]), rest["last_id"]) == (1, past["last_id"])


# ── zeros ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_moment_that_is_now_is_no_missing_moment(world: World) -> None:
    """Waited for 0 s, held for 0 s, last checked when time began, tried again in 0 s: numbers, not null."""
    registration = world.manager.registry.named("db")[0]
    stats = replace(registration.pool.stats(), oldest_wait_s=0.0, oldest_hold_s=0.0)
    shown = stats_view(registration, stats)
    assert (shown["waiters"]["oldest_wait_s"], shown["oldest_checkout"]) == (0.0, {"age_s": 0.0})
    none = stats_view(registration, replace(stats, oldest_wait_s=None, oldest_hold_s=None))
    assert (none["waiters"]["oldest_wait_s"], none["oldest_checkout"]) == (None, None)
    epoch = datetime.fromtimestamp(0, UTC)
    view = HealthView(
        own=HealthState.healthy(),
        effective=HealthState.healthy(),
        causes={},
        since=epoch,
        last_checked=epoch,
        failures=0,
    )
    block = health_block(view, Sight(world.manager, LOCAL))
    assert (block["since"], block["last_check"], block["reason"]) == ("1970-01-01T00:00:00.000Z",) * 2 + ("",)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────

EVIL = 'a"];b\\n\\\n#<&>'


def graph_of(*names: str) -> DependenciesView:
    """A node for each, each needs the next."""
    return {
        "nodes": [
            {
                "id": name,
                "own": "healthy",
                "effective": "degraded",
                "quarantined": name == names[0],
                "missing": False,
                "level": 0,
            }
            for name in names
        ],
        "edges": [{"from": one, "to": other, "kind": "requires"} for one, other in itertools.pairwise(names)],
        "init_order": [],
        "incidents": [],
    }


async def test_a_chain_is_drawn_floor_by_floor(world: World) -> None:
    """Each stands one above the highest it needs; a root shows what is so many steps away from it, up and down."""
    for name, *needs in (("f1", "a"), ("f2", "f1", "a"), ("f3", "f2", "absent")):
        await world.add(name, *needs)
    world.manager.quarantine("f1", "by hand")
    whole = await world.get("/dependencies")
    floors = {each["id"]: each["level"] for each in whole["nodes"]}
    assert floors == {"a": 0, "b": 0, "c": 0, "db": 0, "f1": 1, "f2": 2, "f3": 3, "absent": 0}
    flags = ("quarantined", "missing", "effective")
    looks = {each["id"]: tuple(each[flag] for flag in flags) for each in whole["nodes"]}
    assert (looks["f1"][:2], looks["f2"], looks["absent"]) == (
        (True, False), (False, False, "degraded"), (False, True, "unknown"),
    )  # fmt: skip
    for root, depth, shown in (
        ("f3", 1, {"f3", "f2", "absent"}),
        ("f3", 2, {"f3", "f2", "f1", "a", "absent"}),
        ("f3", 3, {"f3", "f2", "f1", "a", "absent"}),
        ("a", 1, {"a", "f1", "f2"}),
        ("a", 2, {"a", "f1", "f2", "f3", "absent"}),
        ("f1", 1, {"a", "f1", "f2"}),
        ("b", 3, {"b"}),
    ):
        part = await world.get(f"/dependencies?root={root}&depth={depth}")
        assert {each["id"] for each in part["nodes"]} == shown, (root, depth)


def test_names_draw_nothing() -> None:
    """Whatever is in a name stays within its quotes, and comes out of them as it was."""
    drawn = as_mermaid(graph_of(EVIL, "plain-1.b~c_d"))
    label = "".join(each if each.isalnum() else f"#{ord(each)};" for each in EVIL)
    assert drawn.splitlines()[:4] == [
        "graph TD",
        f'  n0["{label}"]:::quarantined',
        '  n1["plain-1.b~c_d"]:::degraded',
        "  n0 --> n1",
    ]
    dot = as_dot(graph_of(EVIL, "plain-1.b~c_d")).splitlines()
    quoted = '"a\\"];b\\\\n\\\\ #<&>"'
    assert dot == [
        "digraph dependencies {",
        "  rankdir=TB;",
        f'  {quoted} [color="#7e22ce"];',
        '  "plain-1.b~c_d" [color="#b45309"];',
        f'  {quoted} -> "plain-1.b~c_d";',
        "}",
    ]
