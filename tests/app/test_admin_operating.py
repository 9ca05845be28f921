"""Operating: quarantine and release, checks, resize, drain, resume, recycle, suspend, operations, audit, health."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from nebula_resource.admin import create_admin
from nebula_resource.errors import Unavailable
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.policy import OFF
from nebula_resource.quarantine import QuarantinePolicy, RecoveryBackoff
from tests.app.admin_world import Thing, ThingConfig, World, admin_world
from tests.app.served_admin import serving

WHY = {"reason": "a test"}


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    """db (required), and cache."""
    async with admin_world() as made:
        await made.add("db", required=True, pool={"min_size": 1, "max_size": 4})
        await made.add("cache")
        yield made


# ── quarantine ──


async def test_a_person_isolates_and_releases(world: World) -> None:
    """201 with a Location, listed, callers refused; a probe lets it out, half open at first."""
    response = await world.send("POST", "/quarantine", json={"resource_id": "db", "reason": "disk"})
    assert response.status_code == 201
    assert response.headers["location"] == "/quarantine/db"
    entry = response.json()
    assert (entry["reason"], entry["detail"], entry["by"], entry["manual"]) == (
        "manual",
        "disk",
        "local",
        True,
    )
    assert (await world.get(response.headers["location"]))["detail"] == "disk"
    assert [each["id"] for each in (await world.get("/quarantine"))["items"]] == ["db"]
    with pytest.raises(Unavailable):
        await world.manager.acquire("db")
    done = await world.post("/quarantine/db/release", {"mode": "probe", "reason": "fixed"})
    assert done["released"] is True
    assert done["admission"] == "half_open"
    assert done["quarantine"]["detail"] == "disk"
    async with world.manager.acquire("db"):
        pass
    assert (await world.get("/quarantine"))["items"] == []


async def test_a_release_that_probes_what_is_ill_is_refused(world: World) -> None:
    """409 with what the probe found; force lets it out all the same."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
    world.things["db"].broken = True
    problem = await world.post("/quarantine/db/release", {"mode": "probe"}, status=409)
    assert problem["code"] == "probe_failed"
    assert problem["health"]["result"] == "unhealthy"
    assert (await world.post("/quarantine/db/release", {"mode": "force"}))["mode"] == "force"


@pytest.mark.parametrize(("fails_from", "tries"), [(1, 1), (2, 2), (3, 3)], ids=str)
async def test_a_release_tries_what_is_still_broken_so_often_at_most(fails_from: int, tries: int) -> None:
    """Over a real port: 409 with at most `success_threshold` connects, and it stays where it was."""

    class Flaky(Thing):
        """Its first connects succeed."""

        asked = 0

        async def create(self, config: ThingConfig, context: ResourceContext) -> object:
            self.asked += 1
            if self.asked >= fails_from:
                raise ConnectionError("refused")
            return await super().create(config, context)

    async with Manager() as manager:
        app = create_admin(manager)
        flaky = Flaky()
        health = HealthPolicy(interval=3600.0, success_threshold=3)
        await manager.register(flaky, ThingConfig(), pool={"min_size": 0}, health=health)
        manager.quarantine("db", "disk")
        async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/quarantine/db/release", json={"mode": "probe"})
            listed = (await client.get("/quarantine")).json()["items"]
        assert (answer.status_code, answer.json()["code"]) == (409, "probe_failed")
        assert flaky.asked == tries
        assert [entry["id"] for entry in listed] == ["db"]
        with pytest.raises(Unavailable):
            await manager.acquire("db")


@pytest.mark.parametrize("success_threshold", [1, 2])
@pytest.mark.parametrize("size", [0, 5], ids=lambda size: f"min_size {size}")
@pytest.mark.parametrize("was_open", [True, False], ids=["fell ill", "never opened"])
@pytest.mark.parametrize("ill", ["answers no", "refuses"])
async def test_a_release_connects_no_more_often_than_it_probes(
    ill: str, was_open: bool, size: int, success_threshold: int
) -> None:
    """Over a real port: connects that succeed to a server that is not well, or fail; nothing is made beside them."""

    class Server(Thing):
        """Connects are counted."""

        connects = 0
        ill = "" if was_open else "refuses"

        async def create(self, config: ThingConfig, context: ResourceContext) -> object:
            self.connects += 1
            if self.ill == "refuses":
                raise ConnectionError("refused")
            return object()

        async def is_valid(self, instance: object) -> bool:
            return self.ill != "answers no"

    server = Server()
    slow = QuarantinePolicy(backoff=RecoveryBackoff(base=3600.0, max=3600.0))
    health = HealthPolicy(interval=3600.0, success_threshold=success_threshold)
    async with Manager(quarantine=slow, health=health) as manager:
        app = create_admin(manager)
        await manager.register(server, ThingConfig(), pool={"min_size": size, "max_size": 6})
        if "db" not in manager.watch.quarantine:
            manager.quarantine("db", "disk")
        server.ill, before = ill, server.connects
        async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/quarantine/db/release", json={"mode": "probe"})
            assert (answer.status_code, answer.json()["code"]) == (409, "probe_failed")
            assert server.connects - before == 1, "the first that fails is the last"
            server.ill = ""
            assert (await client.post("/quarantine/db/release", json={"mode": "probe"})).status_code == 200
            async with manager.acquire("db"):
                pass
        async with asyncio.timeout(5):
            while manager.stats()["db"].idle < size:  # noqa: ASYNC110  # a pool tells nobody when it is full
                await asyncio.sleep(0.005)


async def test_a_release_without_a_body_probes(world: World) -> None:
    """No body is the default: probe."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
    assert (await world.post("/quarantine/db/release"))["mode"] == "probe"


async def test_what_is_not_quarantined_is_not_found(world: World) -> None:
    """A release of what is not isolated answers exactly like one of what does not exist."""
    bodies = []
    for path in ("/quarantine/db/release", "/quarantine/nothing/release"):
        body = await world.post(path, {}, status=404)
        body.pop("instance")
        bodies.append(body)
    assert bodies[0] == bodies[1]
    await world.get("/quarantine/db", status=404)
    await world.post("/quarantine", {"resource_id": "nothing", "reason": "x"}, status=404)


async def test_isolating_twice_conflicts(world: World) -> None:
    """409, dry run or not."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "a"}, status=201)
    await world.post("/quarantine", {"resource_id": "db", "reason": "b"}, status=409)
    await world.post("/quarantine", {"resource_id": "db", "reason": "b", "dry_run": True}, status=409)


async def test_a_dry_run_changes_nothing(world: World) -> None:
    """It answers as if, and nothing is isolated, released, resized or drained."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "a", "dry_run": True})
    assert (await world.get("/quarantine"))["items"] == []
    await world.post("/quarantine", {"resource_id": "db", "reason": "a"}, status=201)
    assert (await world.post("/quarantine/db/release", {"dry_run": True}))["released"] is False
    assert len((await world.get("/quarantine"))["items"]) == 1
    for verb in ("drain", "suspend"):
        await world.post(f"/pools/db/{verb}", {**WHY, "dry_run": True})
    await world.post("/pools/db/recycle", {**WHY, "dry_run": True}, status=202)
    resized = await world.post(
        "/pools/db/resize", {**WHY, "max": 9, "dry_run": True}, headers={"If-Match": "*"}
    )
    assert resized["after"]["max"] == 9
    pool = await world.get("/pools/db")
    assert (pool["state"], pool["size"]["max"]) == ("running", 4)
    await world.post(
        "/resources/db/check", {"reason": "x", "dry_run": True}, status=422
    )  # it changes nothing anyway
    assert [each["action"] for each in (await world.get("/audit"))["items"]] == ["quarantine.enter"]
    await world.post("/pools/db/suspend", WHY)
    await world.post("/pools/db/resume", {**WHY, "dry_run": True})
    assert (await world.get("/pools/db"))["state"] == "suspended"
    assert (await world.get("/audit"))["items"][0]["action"] == "pool.suspend"


async def test_a_quarantine_may_end_by_itself(world: World) -> None:
    """expires_in gives an end, which the answer shows."""
    entry = await world.post(
        "/quarantine", {"resource_id": "db", "reason": "a", "expires_in": 0.05}, status=201
    )
    assert entry["expires_at"] is not None
    await world.until("/quarantine", lambda body: not body["items"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"resource_id": "db"},
        {"reason": "x"},
        {"resource_id": "db", "reason": ""},
        {"resource_id": "db", "reason": "x" * 501},
        {"resource_id": 7, "reason": "x"},
        {"resource_id": "db", "reason": "x", "expires_in": -1},
        {"resource_id": "db", "reason": "x", "expires_in": "soon"},
        {"resource_id": "db", "reason": "x", "more": 1},
        [],
        "db",
        None,
    ],
)
async def test_a_body_that_does_not_fit_is_refused(world: World, body: object) -> None:
    """422, and nothing is isolated."""
    problem = await world.post("/quarantine", body, status=422)
    assert problem["errors"]
    assert (await world.get("/quarantine"))["items"] == []


# ── pools ──


async def test_a_resize_needs_the_tag_of_what_it_changes(world: World) -> None:
    """428 without If-Match, 412 with an old tag, 200 with the one of now."""
    shown = await world.send("GET", "/pools/db")
    body = {**WHY, "min": 2, "max": 20}
    await world.post("/pools/db/resize", body, status=428)
    await world.post("/pools/db/resize", body, status=412, headers={"If-Match": '"old"'})
    done = await world.send(
        "POST", "/pools/db/resize", json=body, headers={"If-Match": shown.headers["etag"]}
    )
    assert done.json()["before"] == {"min": 1, "max": 4}
    assert done.json()["after"] == {"min": 2, "max": 20}
    assert done.headers["etag"] != shown.headers["etag"]
    await world.post("/pools/db/resize", body, status=412, headers={"If-Match": shown.headers["etag"]})
    assert (await world.get("/pools/db"))["size"]["max"] == 20


@pytest.mark.parametrize(
    "body", [{}, {"min": 5, "max": 2}, {"min": 9}, {"max": 0}, {"min": -1}, {"max": "9"}, {"max": 1.5}]
)
async def test_bounds_that_cannot_be_are_refused(world: World, body: dict[str, object]) -> None:
    """422, and the bounds stay."""
    await world.post("/pools/db/resize", {**WHY, **body}, status=422, headers={"If-Match": "*"})
    assert (await world.get("/pools/db"))["size"]["max"] == 4


async def test_a_drain_is_an_operation(world: World) -> None:
    """202 with where to ask; done when the last use is back; resume serves again."""
    handle = await world.manager.acquire("db")
    response = await world.send("POST", "/pools/db/drain", json=WHY)
    assert response.status_code == 202
    where = response.headers["location"]
    assert (await world.get(where))["state"] == "running"
    await world.post("/pools/db/drain", WHY, status=409)
    with pytest.raises(Unavailable):
        await world.manager.acquire("db")
    await handle.release()
    done = await world.until(where, lambda operation: operation["state"] != "running")
    assert done["result"] == {"drained": True, "in_use": 0}
    await world.ask("DELETE", where, status=409)
    assert (await world.post("/pools/db/resume", WHY))["state"] == "running"
    async with world.manager.acquire("db"):
        pass


class Above(Thing):
    """Holds what it needs as long as an instance lives."""

    async def create(self, config: ThingConfig, context: ResourceContext) -> object:
        for key in self.dependencies:
            await context.dependency(key)
        return await super().create(config, context)


async def test_a_drain_makes_idle_instances_above_let_go(world: World) -> None:
    """What an idle instance of a dependent holds keeps no drain from its end, and comes back by itself."""
    await world.manager.register(Above("repo", ("db",)), ThingConfig(), pool={"min_size": 1}, health=OFF)
    assert world.manager.stats()["db"].in_use == 1
    where = (await world.send("POST", "/pools/db/drain", json=WHY)).headers["location"]
    done = await world.until(where, lambda operation: operation["state"] != "running")
    assert done["result"]["drained"] is True
    async with asyncio.timeout(5):
        while world.manager.stats()["db"].in_use:  # noqa: ASYNC110  # nobody tells when it is back
            await asyncio.sleep(0.005)


async def test_an_operation_may_be_cancelled(world: World) -> None:
    """The drain is no longer watched; the pool drains on until it is resumed."""
    handle = await world.manager.acquire("db")
    where = (await world.send("POST", "/pools/db/drain", json=WHY)).headers["location"]
    await world.ask("DELETE", where, status=202)
    done = await world.until(where, lambda operation: operation["state"] != "running")
    assert done["state"] == "cancelled"
    assert (await world.get("/pools/db"))["state"] == "draining"
    last = (await world.get("/audit"))["items"][0]
    assert (last["action"], last["pool"], last["outcome"]) == ("pool.drain.cancel", "db", "ok")
    await world.post("/pools/db/resume", WHY)
    await handle.release()
    await world.get("/operations/op_nothing", status=404)
    await world.ask("DELETE", "/operations/op_nothing", status=404)


async def test_a_suspended_pool_holds_callers_back(world: World) -> None:
    """They wait, and are served after resume; a second suspend conflicts, as does resuming what runs."""
    await world.post("/pools/db/resume", WHY, status=409)
    await world.post("/pools/db/suspend", WHY)
    await world.post("/pools/db/suspend", WHY, status=409)

    async def use() -> None:
        async with world.manager.acquire("db"):
            pass

    caller = asyncio.create_task(use())
    pool = await world.until("/pools/db", lambda pool: pool["waiters"]["count"])
    assert pool["state"] == "suspended"
    await world.post("/pools/db/resume", WHY)
    await caller


async def test_a_recycle_replaces_what_is_there(world: World) -> None:
    """The next use gets a new instance."""
    async with world.manager.acquire("db") as before:
        pass
    assert (await world.post("/pools/db/recycle", WHY, status=202))["instances"] == 1
    async with world.manager.acquire("db") as after:
        assert after is not before


async def test_verbs_need_a_reason(world: World) -> None:
    """422 without."""
    for verb in ("drain", "resume", "recycle", "suspend", "resize"):
        await world.post(f"/pools/db/{verb}", {}, status=422, headers={"If-Match": "*"})


@pytest.mark.parametrize("verb", ["drain", "resume", "recycle", "suspend", "resize"])
async def test_verbs_on_what_is_not_there(world: World, verb: str) -> None:
    """404."""
    await world.post(f"/pools/nothing/{verb}", WHY, status=404, headers={"If-Match": "*"})


@pytest.mark.parametrize("verb", ["drain", "resume", "recycle", "suspend", "resize"])
async def test_verbs_on_a_closed_pool(world: World, verb: str) -> None:
    """409: it is closed for good."""
    await world.manager.shutdown(drain=0, cleanup=1, terminate=1)
    body = {**WHY, "max": 3} if verb == "resize" else WHY
    await world.post(f"/pools/cache/{verb}", body, status=409, headers={"If-Match": "*"})


# ── checks ──


async def test_a_check_tells_what_it_found(world: World) -> None:
    """200 with the finding; the same resource again within a second: 429 with Retry-After."""
    found = await world.post("/resources/db/check")
    assert found["probe"]["result"] == "healthy"
    assert found["health"]["effective"] == "healthy"
    again = await world.send("POST", "/resources/db/check", json={})
    assert again.status_code == 429
    assert again.headers["retry-after"] == "1"
    await world.post("/resources/nothing/check", status=404)


async def test_why_one_checks_stands_in_the_audit(world: World) -> None:
    """A check takes a reason as every verb does, and needs none."""
    await world.post("/resources/db/check", {"reason": "the disk was changed"})
    (deed,) = (await world.get("/audit"))["items"]
    assert (deed["action"], deed["reason"]) == ("resource.check", "the disk was changed")
    for bad in ({"reason": ""}, {"reason": "x" * 501}, {"why": "x"}):
        await world.post("/resources/db/check", bad, status=422)


async def test_a_check_without_health_checks(world: World) -> None:
    """409 where they are off."""
    await world.manager.register(Thing("blind"), ThingConfig(), health=OFF)
    await world.post("/resources/blind/check", status=409)
    assert (await world.get("/pools/blind"))["health"]["reason"] == "health checks are off"


# ── health ──


async def test_ready_follows_what_is_required(world: World) -> None:
    """Quarantining an optional resource leaves ready alone; a required one, drained or isolated, turns it."""
    assert (await world.get("/health/ready")) == {"status": "up"}
    await world.post("/quarantine", {"resource_id": "cache", "reason": "x"}, status=201)
    await world.get("/health/ready")
    await world.get("/health", status=503)
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201)
    assert (await world.get("/health/ready", status=503)) == {"status": "down"}
    await world.post("/quarantine/db/release", {"mode": "force"})
    await world.get("/health/ready")
    await world.post("/pools/db/suspend", WHY)
    await world.get("/health/ready", status=503)
    await world.get("/health/live")


async def test_ready_waits_for_the_start_and_ends_with_the_stop() -> None:
    """503 before start-up is done, 200 then, 503 from the moment the server is told to stop; alive throughout."""
    async with admin_world(started=False) as world:
        await world.get("/health/startup", status=503)
        await world.get("/health/ready", status=503)
        world.app.state.admin.mark_started()
        await world.get("/health/startup")
        await world.get("/health/ready")
        world.app.state.stop()
        await world.get("/health/ready", status=503)
        await world.get("/health/live")
        await world.get("/events", status=503, headers={"Accept": "text/event-stream"})


async def test_ready_ends_with_the_managers_own_shutdown(world: World) -> None:
    """Whoever shuts the manager down, ready is 503 from then on."""
    ending = asyncio.create_task(world.manager.shutdown())
    await asyncio.sleep(0)
    await world.get("/health/ready", status=503)
    await ending


async def test_a_required_resource_that_waits_for_another_keeps_ready_down(world: World) -> None:
    """It is registered and not open: 503 until it is."""
    await world.add("late", "absent", required=True)
    await world.get("/health/ready", status=503)
    await world.add("absent")
    await world.get("/health/ready")


async def test_a_group_tells_of_its_members() -> None:
    """By resource id or public id; an unknown group is not found."""
    async with admin_world(groups={"core": ["db"], "all": ["db", "cache"]}) as world:
        await world.add("db")
        await world.add("cache")
        await world.post("/quarantine", {"resource_id": "cache", "reason": "moving it"}, status=201)
        assert [each["id"] for each in (await world.get("/health/groups/core"))["checks"]] == ["db"]
        everything = await world.get("/health/groups/all", status=503)
        assert everything["resources"]["quarantined"] == 1
        # What a person said is why, where no check has found anything.
        assert everything["checks"][1]["reason"] == "manual: moving it"
        await world.get("/health/groups/none", status=404)


# ── sent again ──


async def test_a_change_that_is_sent_again_is_done_once(world: World) -> None:
    """Under the same key the first answer comes again, with a sign; the deed stands once in the audit."""
    body = {"resource_id": "db", "reason": "x"}
    key = {"Idempotency-Key": "k1"}
    first = await world.send("POST", "/quarantine", json=body, headers=key)
    again = await world.send("POST", "/quarantine", json=body, headers=key)
    assert (again.status_code, again.text) == (201, first.text)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len((await world.get("/audit"))["items"]) == 1


async def test_a_key_stands_for_one_body_on_one_path(world: World) -> None:
    """Another body: 422. Another path: another change. A strange key: 400."""
    key = {"Idempotency-Key": "k1"}
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201, headers=key)
    mismatch = await world.post("/quarantine", {"resource_id": "db", "reason": "y"}, status=422, headers=key)
    assert mismatch["code"] == "idempotency_mismatch"
    await world.post("/quarantine/db/release", {"mode": "force"}, headers=key)
    for strange in ("", "a b", "x" * 129):
        await world.post("/quarantine", {}, status=400, headers={"Idempotency-Key": strange})


async def test_what_failed_may_be_tried_again(world: World) -> None:
    """An error is no answer that is kept."""
    key = {"Idempotency-Key": "k1"}
    await world.post("/quarantine/db/release", {}, status=404, headers=key)
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201)
    await world.post("/quarantine/db/release", {}, headers=key)


async def test_a_change_under_way_is_not_begun_twice(world: World) -> None:
    """409 while the first is not answered."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201)
    key = {"Idempotency-Key": "k1"}
    both = await asyncio.gather(
        *(world.send("POST", "/quarantine/db/release", json={}, headers=key) for _ in range(2))
    )
    assert sorted(each.status_code for each in both) == [200, 409]


async def test_health_never_probes(world: World) -> None:
    """Two hundred GETs make no instance and check nothing."""
    created = world.things["db"].created
    checked = (await world.get("/pools/db"))["health"]["last_check"]
    for _ in range(100):
        await world.get("/health")
        await world.get("/health/ready")
    assert world.things["db"].created == created
    assert (await world.get("/pools/db"))["health"]["last_check"] == checked


# ── audit ──


async def test_every_deed_stands_in_the_audit(world: World) -> None:
    """Who, what, why and how it went, also of what failed; and each is an event."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
    world.things["db"].broken = True
    await world.post("/quarantine/db/release", {"mode": "probe", "reason": "try"}, status=409)
    items = (await world.get("/audit"))["items"]
    assert [(each["action"], each["reason"], each["outcome"]) for each in items] == [
        ("quarantine.release.probe", "try", "probe_failed"),
        ("quarantine.enter", "disk", "ok"),
    ]
    events = (await world.get("/events?types=audit"))["items"]
    assert [each["data"]["action"] for each in events] == ["quarantine.enter", "quarantine.release.probe"]
    page = await world.get("/audit?limit=1")
    assert (await world.get(f"/audit?limit=1&cursor={page['next_cursor']}"))["items"] == items[1:]
