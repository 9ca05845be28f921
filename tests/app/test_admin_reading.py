"""Reading: lists, single things, filters, pages, dependencies, metrics, history, the page."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import cast

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from nebula_resource.health import HealthState
from tests.app.admin_world import World, admin_world


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    """db, orders (needs db) of two tenants, spare."""
    async with admin_world() as made:
        await made.add("db", required=True, pool={"max_size": 4})
        await made.add("orders", "db", tenant="acme")
        await made.add("orders", "db", tenant="globex")
        await made.add("spare")
        yield made


async def test_pools_show_every_number(world: World) -> None:
    """A pool tells what it is, its size, its line, its counters, its health and its configuration, masked."""
    async with world.manager.acquire("db"):
        pool = await world.get("/pools/db")
    assert pool["size"] == {
        "min": 1, "max": 4, "total": 1, "idle": 0, "used": 1, "checking": 0, "creating": 0, "retiring": 0,
    }  # fmt: skip
    assert pool["utilization"] == 0.25
    assert pool["state"] == "running"
    assert pool["required"] is True
    assert pool["counters"]["acquires"]["ok"] == 1
    assert pool["config"] == {"host": "db.internal", "password": "**********"}
    assert pool["health"]["effective"] in {"unknown", "healthy"}
    assert pool["quarantine"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 4),
        ("?q=ORD", 2),
        ("?state=running", 4),
        ("?state=draining", 0),
        ("?health=unhealthy", 0),
        ("?driver=custom", 4),
        ("?driver=redis", 0),
        ("?scope_level=tenant", 2),
        ("?min_utilization=0.5", 0),
        ("?quarantined=true", 0),
        ("?quarantined=false", 4),
        ("?limit=3", 3),
    ],
)
async def test_pools_are_filtered(world: World, query: str, expected: int) -> None:
    """Each filter narrows the list."""
    assert len((await world.get(f"/pools{query}"))["items"]) == expected


async def test_a_scope_is_filtered_by_its_opaque_id(world: World) -> None:
    """A scope's id is the same wherever it stands, and names one tenant's registrations."""
    everything = (await world.get("/pools"))["items"]
    acme = next(each["scope"] for each in everything if each["scope"]["label"] == "acme")
    found = (await world.get(f"/pools?scope={acme['id']}"))["items"]
    assert [each["scope"]["label"] for each in found] == ["acme"]


@pytest.mark.parametrize("sort", ["id", "-id", "utilization", "-waiting"])
async def test_pages_show_each_pool_once(world: World, sort: str) -> None:
    """Going from page to page shows everything once, in every order."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = await world.get(f"/pools?limit=1&sort={sort}{cursor}")
        seen += [each["id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 4
    if sort.endswith("id"):
        assert seen == sorted(seen, reverse=sort.startswith("-"))


@pytest.mark.parametrize("cursor", ["x", "AAAA", "e30", "%00", "a" * 2000])
async def test_a_cursor_that_is_not_ours_is_refused(world: World, cursor: str) -> None:
    """A made-up cursor is a bad request."""
    problem = await world.get(f"/pools?cursor={cursor}", status=400)
    assert problem["code"] in {"bad_cursor", "bad_request"}


async def test_a_cursor_of_another_list_is_refused(world: World) -> None:
    """A cursor that fits another order is a bad request, not an error of ours."""
    page = await world.get("/pools?limit=1&sort=-utilization")
    await world.get(f"/pools?cursor={page['next_cursor']}", status=400)


@pytest.mark.parametrize(
    "query", ["nope=1", "limit=0", "limit=501", "limit=x", "health=ill", "min_utilization=2"]
)
async def test_a_query_that_does_not_fit_is_refused(world: World, query: str) -> None:
    """Unknown parameters and values out of bounds are bad requests."""
    problem = await world.get(f"/pools?{query}", status=400)
    assert problem["errors"]


async def test_instances_show_ages_and_uses(world: World) -> None:
    """An instance in use is held, one on the shelf is idle."""
    async with world.manager.acquire("db"), world.manager.acquire("db"):
        pass
    async with world.manager.acquire("db"):
        items = (await world.get("/pools/db/instances"))["items"]
    assert sorted(each["state"] for each in items) == ["idle", "in_use"]
    used = next(each for each in items if each["state"] == "in_use")
    assert used["holders"] == 1
    assert used["held_s"] >= 0
    assert used["idle_s"] is None
    first = await world.get("/pools/db/instances?limit=1")
    rest = await world.get(f"/pools/db/instances?limit=1&cursor={first['next_cursor']}")
    assert [each["number"] for each in (*first["items"], *rest["items"])] == [
        each["number"] for each in items
    ]
    assert rest["next_cursor"] is None
    pools = await world.get("/pools?limit=1")
    await world.get(f"/pools/db/instances?cursor={pools['next_cursor']}", status=400)


async def test_resources_show_their_neighbours(world: World) -> None:
    """A registration names what it needs and who needs it."""
    db = await world.get("/resources/db")
    assert len(db["dependents"]) == 2
    assert db["config"]["password"] == "**********"
    orders = await world.get(f"/resources/{db['dependents'][0]}")
    assert orders["dependencies"] == ["db"]
    everything = await world.get("/resources?q=orders")
    assert len(everything["items"]) == 2


async def test_the_graph_comes_in_three_notations(world: World) -> None:
    """JSON, Mermaid and DOT tell the same edges."""
    graph = await world.get("/dependencies")
    assert {(edge["from"].partition("~")[0], edge["to"]) for edge in graph["edges"]} == {("orders", "db")}
    assert graph["init_order"][0] == "db"
    assert (await world.get("/dependencies?format=mermaid")).count("-->") == 2
    assert (await world.get("/dependencies?format=dot")).count("->") == 2
    part = await world.get("/dependencies?root=spare")
    assert [node["id"] for node in part["nodes"]] == ["spare"]
    near = await world.get("/dependencies?root=db&depth=1")
    assert len(near["nodes"]) == 3


async def test_a_cascade_stands_in_the_graph_and_in_the_reasons(world: World) -> None:
    """The root, who fails with it, and since when; a member's reason names the root, a person's are their own words."""
    for key in ("near", "far"):
        await world.add(key, "db")
    watch = world.manager.watch
    world.things["db"].broken = True  # it does not come back while we look
    for key in ("near", "far"):
        watch.board.observe(key, HealthState.unhealthy("refused"))
    graph = await world.get("/dependencies")
    assert graph["incidents"] == []
    for each in [each for each in world.manager.pools() if each.key == "orders"]:
        watch.board.observe(each.public_id, HealthState.unhealthy("refused"))
    [incident] = (await world.get("/dependencies"))["incidents"]
    assert (incident["id"], incident["root"]) == ("cascade-1", "db")
    assert {"near", "far"} <= set(incident["affected"])
    assert incident["since"].endswith("Z")
    assert (await world.get("/dependencies?root=spare"))["incidents"] == []
    world.manager.quarantine("far", "being moved")
    checks = {each["id"]: each["reason"] for each in (await world.get("/health", status=503))["checks"]}
    assert checks["near"] == "failed with 'db'"
    assert checks["far"] == "manual: being moved"
    assert checks["db"] == "quarantined"
    assert (await world.get("/quarantine/db"))["detail"] == "most of what needs it fails"


async def test_a_dependency_that_is_not_registered_is_shown_as_missing(world: World) -> None:
    """What is needed and not there stands in the graph, and says so."""
    await world.add("late", "absent")
    graph = await world.get("/dependencies?root=late")
    assert {node["id"]: node["missing"] for node in graph["nodes"]} == {"late": False, "absent": True}


async def test_an_id_that_two_registrations_have_is_ambiguous(world: World) -> None:
    """The answer lists the public ids to choose from."""
    problem = await world.get("/pools/orders", status=409)
    assert len(problem["candidates"]) == 2
    for candidate in problem["candidates"]:
        assert (await world.get(f"/pools/{candidate}"))["resource_id"] == "orders"


async def test_metrics_come_in_both_formats(world: World) -> None:
    """Prometheus' own parsers read both, and the Accept header decides."""
    plain = await world.send("GET", "/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in parse_prometheus(plain.text)}
    assert "nebula_resource_pool_instances" in families
    openly = await world.send(
        "GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    assert openly.headers["content-type"].startswith("application/openmetrics-text")
    read_openly = cast(
        "Callable[[str], Iterable[Metric]]", parse_openmetrics
    )  # prometheus-client types half of it
    assert {family.name for family in read_openly(openly.text)} >= families - {"nebula_resource_build_info"}
    assert "acme" not in plain.text


async def test_a_scrape_is_kept_for_a_second(world: World) -> None:
    """Two scrapes in a second are one reading; a later one is fresh."""
    first = await world.send("GET", "/metrics")
    async with world.manager.acquire("db"):
        pass
    assert (await world.send("GET", "/metrics")).text == first.text
    await asyncio.sleep(1.05)  # the real clock: this is what is kept
    assert (await world.send("GET", "/metrics")).text != first.text


async def test_history_is_told_and_paged(world: World) -> None:
    """Without an Accept for streams /events is the past: the latest, older ones by cursor, newer ones by id."""
    first = await world.get("/events?limit=2")
    assert len(first["items"]) == 2
    older = await world.get(f"/events?limit=2&cursor={first['next_cursor']}")
    assert older["items"][-1]["seq"] < first["items"][0]["seq"]
    world.manager.quarantine("spare", "look")
    newer = await world.get(f"/events?last_event_id={first['last_id']}")
    assert "quarantine.entered" in [each["type"] for each in newer["items"]]
    assert newer["lost"] is False
    for least, found in (("warning", ["quarantine.entered"]), ("critical", [])):  # somebody meant it
        told = await world.get(f"/events?types=quarantine.*&min_severity={least}")
        assert [each["type"] for each in told["items"]] == found
    only = await world.get("/events?types=pool.registered&pool=db")
    assert [each["type"] for each in only["items"]] == ["pool.registered"]


@pytest.mark.parametrize("last_id", ["garbage", "0-0", "ffffffffffff-1", "x" * 5000, "%00-1"])
async def test_history_after_an_id_that_is_unknown_says_so(world: World, last_id: str) -> None:
    """A tampered id gives the latest and says that something may be lost."""
    past = await world.get(f"/events?last_event_id={last_id}")
    assert past["lost"] is True
    assert past["items"]


async def test_events_are_refused_in_other_formats(world: World) -> None:
    """What is neither JSON nor a stream is not acceptable."""
    await world.get("/events", status=406, headers={"Accept": "image/png"})
    await world.get("/events?types=A;B", status=400)


async def test_the_page_is_served_with_its_parts(world: World) -> None:
    """The page names its parts by relative addresses, and all of them are there; nothing else is."""
    page = await world.send("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for part in ("main.js", "theme.css", "page.css", "icon.svg", "live.js", "sse.js"):
        assert (await world.send("GET", f"/ui/{part}")).status_code == 200
    for absent in ("__init__.py", "index.htm", "..%2Fapp.py", "%2e%2e%2fapp.py"):
        assert (await world.send("GET", f"/ui/{absent}")).status_code == 404
    assert "http" not in page.text.replace("http-equiv", "")  # nothing from elsewhere
    assert "style=" not in page.text
    assert "<script>" not in page.text


async def test_head_gives_the_headers_alone(world: World) -> None:
    """HEAD is GET without its body, also where GET would be a stream without an end."""
    whole = await world.http.get("/pools/db")
    head = await world.http.head("/pools/db")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == whole.headers["etag"]
    stream = await world.http.head("/events", headers={"Accept": "text/event-stream"})
    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_names_that_json_cannot_hold_are_escaped(world: World) -> None:
    """A reason of lone surrogates and line ends is stored and told, in ASCII."""
    raw = json.dumps({"resource_id": "spare", "reason": "a\r\n\u2028b"})
    response = await world.http.post("/quarantine", content=raw, headers={"Content-Type": "application/json"})
    assert response.status_code == 201
    assert response.text.isascii()
    assert response.json()["detail"] == "a\r\n\u2028b"
