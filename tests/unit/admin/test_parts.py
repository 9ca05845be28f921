"""Parts: what is shown in a repr, what is forgotten, what is done in slices, what is counted."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.responses import Response

from nebula_resource.admin.app import _check_roles
from nebula_resource.admin.auth import Key, KeyFile, KeyList, Principal, Role
from nebula_resource.admin.counts import AdminCounts
from nebula_resource.admin.idempotency import KEPT_FOR, MOST, MOST_OF_ONE, Answers
from nebula_resource.admin.operations import KEPT, Operations
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.readings import driver_of
from nebula_resource.admin.schemas.pools import config_view, state_of
from nebula_resource.admin.sse import Hub
from nebula_resource.admin.sse.ring import Ring
from nebula_resource.drivers.sqlalchemy import SqlAlchemyResource
from nebula_resource.errors import AcquireTimeout, ConfigurationError
from nebula_resource.events import WorkflowProgress
from nebula_resource.manager import Manager
from nebula_resource.metrics import TextRenderer
from nebula_resource.metrics.readout import Readings
from nebula_resource.model.policy import OFF
from nebula_resource.model.scope import Scope
from tests.app.admin_world import CANARY, Thing, ThingConfig

ADMIN = Principal("root", Role.ADMIN)


def test_roles_have_names() -> None:
    """A role is given as a member or by its name."""
    assert Role.parse("operator") is Role.parse(Role.OPERATOR) is Role.OPERATOR
    assert sorted(Role, key=lambda role: role.value) == [Role.METRICS, Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    with pytest.raises(ConfigurationError):
        Role.parse("root")


def test_reprs_answer_the_night_time_question(tmp_path: Path) -> None:
    """What it is and how much it holds; no secret."""
    _, key = Key.mint("viewer")
    path = tmp_path / "keys.toml"
    path.write_text(f'[keys.{key.id}]\ndigest = "{key.digest}"\nrole = "viewer"\n')
    shown = [repr(each) for each in (KeyList([key]), KeyFile(path), Hub(Manager()), Ring())]
    assert shown[0] == "<KeyList of 1>"
    assert shown[1].endswith("of 1>")
    assert shown[2] == "<Hub 0 streams, 0 events>"
    assert key.digest not in "".join(shown)


def test_a_route_without_a_role_is_refused() -> None:
    """Deny by default."""
    app = FastAPI(openapi_url=None)

    @app.get("/open")
    async def forgotten() -> None: ...

    with pytest.raises(ConfigurationError):
        _check_roles(app)


def test_the_end_of_a_key_has_a_zone() -> None:
    """A time that is no moment is refused."""
    with pytest.raises(ConfigurationError):
        Key.mint("viewer", expires_at=datetime(2030, 1, 1))  # noqa: DTZ001  # that is the mistake


async def test_operations_end_in_every_way() -> None:
    """Done, failed with the code of our error or the type of another, cancelled; the oldest are forgotten."""
    async with Manager(health=OFF) as manager:
        registration = await manager.register(Thing("db"), ThingConfig(), pool={"min_size": 0})
        operations = Operations()

        async def work(error: Exception | None = None) -> dict[str, object]:
            await asyncio.sleep(1)
            if error is not None:
                raise error
            return {"ok": True}

        done = operations.start("drain", registration, "anna", work())
        ours = operations.start("drain", registration, "anna", work(AcquireTimeout("x", 1.0)))
        other = operations.start("drain", registration, "anna", work(RuntimeError(CANARY)))
        stopped = operations.start("drain", registration, "anna", work())
        operations.cancel(stopped)
        await asyncio.sleep(2)
        assert [each.state for each in (done, ours, other, stopped)] == [
            "done",
            "failed",
            "failed",
            "cancelled",
        ]
        assert (done.result, ours.error, other.error) == ({"ok": True}, "acquire_timeout", "RuntimeError")
        assert "drain 'db' done" in repr(done)
        assert operations.get(done.id, ADMIN) is done
        assert operations.get(done.id, Principal("x", Role.ADMIN, "acme")) is None
        for _ in range(KEPT):
            operations.start("drain", registration, "anna", work())
        await asyncio.sleep(2)
        operations.start("drain", registration, "anna", work())
        assert operations.get(done.id, ADMIN) is None
        await asyncio.sleep(2)


async def test_answers_are_forgotten() -> None:
    """After a day, and the oldest when there are too many."""
    answers = Answers()
    slot = (ADMIN, "/quarantine", "k")
    assert answers.begin(slot, b"") is None
    with pytest.raises(AdminProblem):
        answers.begin(slot, b"")
    answers.end(slot, Response("x"))
    assert answers.begin(slot, b"") is not None
    await asyncio.sleep(KEPT_FOR)
    assert answers.begin(slot, b"other") is None
    answers.end(slot, Response("y"))
    for number in range(2 * MOST):
        each = (Principal(str(number), Role.ADMIN), "/", "k")
        answers.begin(each, b"")
        answers.end(each, Response("x"))
    assert len(answers) == MOST
    answers.end(slot, Response("late"))  # forgotten meanwhile: nothing to keep
    assert len(answers) == MOST


async def test_who_sends_many_changes_makes_no_other_forgotten() -> None:
    """One principal has so many answers, its oldest goes; what is under way stays, or it would be done twice."""
    answers = Answers()
    other = (Principal("globex", Role.OPERATOR, "globex"), "/quarantine", "k")
    answers.begin(other, b"")
    answers.end(other, Response("x"))
    under_way = (ADMIN, "/quarantine", "slow")
    answers.begin(under_way, b"")
    slots = [(ADMIN, "/", str(number)) for number in range(2 * MOST)]
    for slot in slots:
        answers.begin(slot, b"")
        answers.end(slot, Response("x"))
    assert len(answers) == MOST_OF_ONE + 2
    assert answers.begin(other, b"") is not None
    assert answers.begin(slots[-MOST_OF_ONE], b"") is not None
    with pytest.raises(AdminProblem):
        answers.begin(under_way, b"")


async def test_what_is_under_way_is_never_forgotten_for_room() -> None:
    """Not even where everything is: whoever sends one of them again is told so."""
    answers = Answers()
    slots = [(Principal(str(number), Role.ADMIN), "/", "k") for number in range(MOST + 1)]
    for slot in slots:
        answers.begin(slot, b"")
    with pytest.raises(AdminProblem):
        answers.begin(slots[0], b"")


async def test_keys_of_one_name_and_two_tenants_share_no_places() -> None:
    """A name is whatever stands in the file: what one tenant's bot holds, another's of that name is not told of."""
    hub = Hub(Manager())
    mine, theirs = (Principal("bot", Role.VIEWER, tenant) for tenant in ("acme", "globex"))
    for _ in range(4):
        hub.enter(mine)
    with pytest.raises(AdminProblem):
        hub.enter(mine)
    hub.enter(theirs)
    hub.leave(mine)
    hub.enter(mine)
    for who in (mine, mine, mine, mine, theirs):
        hub.leave(who)
    assert len(hub) == 0


async def test_many_pools_are_described_in_slices() -> None:
    """Others get their turn of the loop between them; a pool that went is told no more."""
    async with Manager(health=OFF) as manager:
        for number in range(120):
            await manager.register(Thing(f"p{number}"), ThingConfig(), pool={"min_size": 0})
        manager.quarantine("p1", "x")
        hub = Hub(manager)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        body = await hub.snapshots.of(ADMIN)
        assert turns >= 2
        assert body.count(b'"strategy"') == 120
        assert await hub.snapshots.of(ADMIN) is body
        manager.events.publish(WorkflowProgress, workflow="w", execution="1", status="running")
        assert await hub.snapshots.of(ADMIN) is not body
        turns = 0
        await hub.pulse.beat()
        assert turns >= 2
        task.cancel()
        assert hub.pulse.since(0, None).count(b"event: pool.stats") == 120
        await manager.deregister("p7")
        await hub.pulse.beat()
        assert hub.pulse.number == 1  # nothing of those that are left changed
        assert b'"p7"' not in hub.pulse.since(0, lambda *_: True)


async def test_snapshots_of_many_tenants_are_bounded() -> None:
    """Keys of many tenants do not fill the memory."""
    hub = Hub(Manager())
    for number in range(100):
        await hub.snapshots.of(Principal("x", Role.VIEWER, str(number)))
    assert len(hub.snapshots._made) <= 64


async def test_what_is_routine_is_in_no_ring() -> None:
    """Steps of a workflow that go as planned would crowd out what matters; one that fails stands there."""
    manager = Manager()
    hub = Hub(manager)
    for status in ("started", "failed", "succeeded"):
        manager.events.publish(WorkflowProgress, workflow="w", execution="1", status=status)
    assert [frame.envelope()["data"]["status"] for frame in hub.main.frames(0, hub.main.seq)] == ["failed"]


async def test_nobody_falls_asleep_behind_the_end() -> None:
    """A reader that was writing when the end came is not woken by it: it must not begin to wait."""
    hub = Hub(Manager())
    hub.close()
    await hub.news(15.0)
    assert asyncio.get_running_loop().time() == 0


async def test_a_tenants_ring_begins_with_what_is_still_there() -> None:
    """The first key of a tenant sees the past too, numbered for itself; the same ring serves the next."""
    manager = Manager()
    hub = Hub(manager)
    for tenant in ("acme", "globex", "acme"):
        manager.events.publish(
            WorkflowProgress, None, Scope.tenant(tenant), workflow="w", execution="1", status="running"
        )
    ring = hub.ring("acme")
    assert (ring.seq, hub.ring("acme") is ring, ring.boot != hub.main.boot) == (2, True, True)


async def test_requests_are_counted_by_their_route() -> None:
    """A path that is none and a method that is none are one label; streams have no duration."""
    counts = AdminCounts()
    counts.request("GET", "/pools", 200, 0.01)
    counts.request("GET", "/pools", 200, 0.02)
    counts.request("BREW", "/x" * 50, 405, 0.0)
    counts.request("GET", None, 404, 0.0)
    counts.request("GET", "/events", 200, None)
    counts.refusal("forbidden")
    text = TextRenderer().render(Readings(families=counts.families(Hub(Manager()))))
    assert 'admin_requests_total{method="GET",route="/pools",status_class="2xx"} 2' in text
    assert 'admin_request_duration_seconds_count{method="GET",route="/pools"} 2' in text
    assert 'method="_other"' in text
    assert 'route="_other",status_class="4xx"} 1' in text
    assert 'duration_seconds_count{method="GET",route="/events"}' not in text
    assert 'admin_auth_failures_total{reason="forbidden"} 1' in text


async def test_what_is_no_model_shows_its_type_alone() -> None:
    """A configuration of any other kind may hold anything."""
    async with Manager(health=OFF) as manager:
        registration = await manager.register(Thing("db"), ThingConfig(), pool={"min_size": 0})
        registration.config = {"password": CANARY}
        assert config_view(registration) == {"type": "dict"}
        registration.config = None
        assert config_view(registration) is None
        assert state_of(registration) == "running"
    assert state_of(registration) == "closed"


def test_drivers_are_known_by_their_package() -> None:
    """A resource of ours names its driver, one of a user's is custom."""
    assert driver_of(SqlAlchemyResource()) == "sqlalchemy"
    assert driver_of(Thing()) == "custom"
