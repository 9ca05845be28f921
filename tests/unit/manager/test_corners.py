"""Corners of the manager: what is told of registrations that are gone, and roads that few walk."""

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    HealthCheckable,
    HealthPolicy,
    HealthStatus,
    Manager,
    PoolExhausted,
    ProbeFailed,
    QuarantinePolicy,
    Scope,
    Unavailable,
)
from nebula_resource.errors import CreateFailed
from nebula_resource.events import CascadeResolved, Event
from nebula_resource.health import HealthState
from nebula_resource.health.cascade import Incident
from nebula_resource.health.stage import HealthStage
from nebula_resource.hooks import HookEvent, HookPayload, OnHealthChange, ResourceHook
from nebula_resource.manager.blame import refused_dependency
from nebula_resource.manager.isolation import Isolation
from nebula_resource.manager.registration import Registration
from nebula_resource.model.health import Postponed, Unknown
from nebula_resource.quarantine.entry import CascadeFailure
from tests.unit.manager.test_cascade import POLICY, Server, build
from tests.unit.manager.things import Thing, assert_manager_sound

QUIET = HealthPolicy(interval=3600, jitter=0)


def test_a_refusal_is_seen_inside_a_group_of_one() -> None:
    """A task group around a dependency's acquire wraps its refusal; it is one all the same."""
    refusal = Unavailable("quarantined", resource_id="db")
    wrapped = CreateFailed(ExceptionGroup("tasks", [ExceptionGroup("more", [refusal])]), resource_id="repo")
    assert refused_dependency(wrapped, ["db"]) is refusal
    assert refused_dependency(wrapped, ["cache"]) is None
    two = CreateFailed(ExceptionGroup("tasks", [refusal, OSError()]), resource_id="repo")
    assert refused_dependency(two, ["db"]) is None


async def test_hooks_learn_of_health() -> None:
    """HEALTH_CHANGED: old and new state and why, in a task of the manager."""
    seen: list[OnHealthChange] = []

    class Notes(ResourceHook):
        name = "notes"
        events = (HookEvent.HEALTH_CHANGED,)

        def before(self, event: HookPayload) -> object:
            assert isinstance(event, OnHealthChange)
            seen.append(event)
            return None

    async with Manager(health=QUIET, quarantine=OFF) as manager:
        await manager.register(Thing())
        manager.hooks.add(Notes())
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.5))
        await asyncio.sleep(0.1)
        assert [(event.resource_id, event.new, event.because) for event in seen] == [
            ("thing", "degraded", ("check", "slow"))
        ]


class Stage(HealthStage):
    """A stage of a user's own."""

    name = "own"
    timeout = None

    async def check(self, instance: Any, context: Any) -> HealthStatus:
        return HealthStatus.healthy() if instance.open else HealthStatus.unhealthy("closed")


async def test_a_stage_of_a_user_s_own_is_asked_as_it_is() -> None:
    """Nothing is introduced to it but the instance and the context."""
    async with Manager(health=HealthPolicy(interval=3600, jitter=0, stages=(Stage(),))) as manager:
        await manager.register(Thing())
        assert (await manager.check("thing")).is_usable()


class Checked(Thing, HealthCheckable):
    """Its check does what ``how`` says."""

    health_check_timeout = 2.0
    how = "hang"

    async def health_check(self, instance: Any, context: Any) -> HealthStatus:
        if self.how == "hang":
            await asyncio.get_running_loop().create_future()
        raise TimeoutError("of its own")


@pytest.mark.parametrize(
    ("how", "why"), [("hang", "the check took longer than 2 s"), ("raise", "TimeoutError")]
)
async def test_a_check_that_hangs_is_a_failed_check(how: str, why: str) -> None:
    """After the resource's own limit; a time-out that the check itself raises is an error like any other."""
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        resource = Checked()
        resource.how = how
        await manager.register(resource)
        started = asyncio.get_running_loop().time()
        status = await manager.check("thing")
        assert not status.is_usable()
        assert why in str(status.state)
        assert asyncio.get_running_loop().time() - started == (2.0 if how == "hang" else 0.0)
        assert_manager_sound(manager)


class Answering(Thing, HealthCheckable):
    """Its check answers at once, with what it is given."""

    answer: Any = None

    async def health_check(self, instance: Any, context: Any) -> HealthStatus:
        return self.answer  # type: ignore[no-any-return]  # one of the answers is wrong on purpose


class Watching:
    """Stands around operations; wants to know nothing, or notes what it is told."""

    def __init__(self, *, notes: bool) -> None:
        self.noted: list[tuple[str, str | float]] = []
        self._notes = notes

    def around(self, operation: str, resource_id: str, public_id: str, scope: Scope) -> Any:
        return nullcontext((lambda name, value: self.noted.append((name, value))) if self._notes else None)


class Standing(Watching):
    """Writes down what it stands around."""

    def __init__(self) -> None:
        super().__init__(notes=False)
        self.seen: list[str] = []

    def around(self, operation: str, resource_id: str, public_id: str, scope: Scope) -> Any:
        self.seen.append(f"{operation} of {public_id} for {scope}")
        return super().around(operation, resource_id, public_id, scope)


async def test_with_somebody_around_every_use_is_taken_and_given_back() -> None:
    """What takes the longer road is stood around on its way in and out; what finds one idle is nobody's business."""
    acquired, released = "acquire of thing for global", "release of thing for global"
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        manager.tracing = standing = Standing()
        async with manager.acquire("thing"):
            waits = asyncio.create_task(_use(manager))
            await asyncio.sleep(1)
        await waits
        assert standing.seen == [acquired]
        with pytest.raises(ZeroDivisionError):
            async with manager.acquire("thing"):
                raise ZeroDivisionError
        assert standing.seen == [acquired, released]
        handle = await manager.acquire("thing")
        await handle.release()
        made_anew = ["cleanup of thing for global", "create of thing for global"]  # after a body that raised
        assert [each for each in standing.seen[2:] if each not in made_anew] == [acquired, released]
        assert (manager.stats()["thing"].leaks, asyncio.get_running_loop().time()) == (0, 1.0)
        assert_manager_sound(manager)


async def _use(manager: Manager) -> None:
    async with manager.acquire("thing"):
        pass


@pytest.mark.parametrize("notes", [True, False])
@pytest.mark.parametrize(
    ("answer", "usable"),
    [
        (HealthStatus.healthy(latency_s=0.25), True),
        (HealthStatus.healthy(), True),
        (HealthState.healthy(), True),
        ("fine", False),
    ],
    ids=["with its own latency", "timed by us", "a bare state", "no status"],
)
async def test_what_a_check_answers_is_taken_or_a_failure(answer: Any, usable: bool, notes: bool) -> None:
    """A latency of its own is kept; what is no status is a failed check; with somebody around it as without."""
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        manager.tracing = watching = Watching(notes=notes)
        resource = Answering()
        resource.answer = answer
        await manager.register(resource)
        status = await manager.check("thing")
        assert status.is_usable() is usable
        if isinstance(answer, HealthStatus) and answer.latency_s:
            assert status.latency_s == 0.25
        states = [value for name, value in watching.noted if name == "nebula.health.state"]
        assert states == (["healthy"] if notes and usable else [])


async def test_a_check_of_one_that_is_gone_is_noted_for_nobody() -> None:
    """It landed after the registration went."""
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        manager.watch.checked("gone", HealthStatus.healthy())
        assert isinstance(manager.watch.board.effective("gone"), Unknown)


# ── recovery ──


@pytest.mark.parametrize("valid", [True, False])
async def test_without_health_checks_a_recovery_asks_is_valid(valid: bool) -> None:
    """On an instance made for it; one pass is enough, whatever a policy would say."""
    async with Manager(health=OFF, quarantine=QuarantinePolicy()) as manager:
        resource = Thing()
        await manager.register(resource)
        resource.valid = valid
        ward = manager.watch._ward
        status = await ward.probe("thing")
        assert status.is_usable() is valid
        assert ward.success_threshold("thing") == 1
        assert_manager_sound(manager)


async def test_a_release_by_probe_that_asks_is_valid_ends_in_its_time() -> None:
    """Without health checks too: after as long as a check may take, and not when the server answers at last."""

    class Silent(Thing):
        async def is_valid(self, instance: Any) -> bool:
            await asyncio.Event().wait()
            return True

    async with Manager(health=OFF) as manager:
        await manager.register(Silent())
        manager.quarantine("thing", "by hand")
        began = asyncio.get_running_loop().time()
        with pytest.raises(ProbeFailed):
            await manager.release("thing")
        assert asyncio.get_running_loop().time() - began == HealthPolicy().timeout
        assert_manager_sound(manager)


async def test_a_plain_is_valid_is_taken_by_checks_too() -> None:
    """Where a resource has no health check of its own."""
    thing = Thing()
    thing.is_valid = lambda instance: thing.valid  # type: ignore[method-assign,assignment,return-value]  # plain, on purpose
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        await manager.register(thing)
        assert (await manager.check("thing")).is_usable()
        thing.valid = False
        assert not (await manager.check("thing")).is_usable()


async def test_a_check_that_can_make_no_instance_is_a_failed_one() -> None:
    """What the server answers to a create is an answer; it is not put off."""
    thing = Thing()
    async with Manager(health=QUIET, quarantine=OFF) as manager:
        await manager.register(thing, pool={"min_size": 0})
        thing.fails = OSError("down")
        assert not (await manager.check("thing")).is_usable()


async def test_what_is_registered_no_more_is_not_probed() -> None:
    """A recovery that comes too late is postponed; its answers are those of nothing at all."""
    async with Manager() as manager:
        ward = manager.watch._ward
        with pytest.raises(Postponed, match="registered no more"):
            await ward.probe("gone")
        assert (ward.success_threshold("gone"), ward.max_size("gone")) == (1, 1)
        assert ward.context("gone").scope is Scope.GLOBAL
        assert manager.watch.reopen is not None


# ── what is told of one that is gone ──


async def test_nothing_is_told_of_what_is_gone() -> None:
    """Verdicts on a registration that went meanwhile reach nobody, and harm nothing."""
    async with Manager(health=QUIET) as manager:
        await manager.register(Thing())
        entry = manager.quarantine("thing", "for its entry")
        await manager.release("thing")
        told: list[Event] = []
        watch = manager.watch
        isolation = Isolation(
            manager.registry,
            watch,
            lambda registration, event, **fields: told.append(event),
            lambda kind: True,
        )
        isolation.entered("gone", entry)
        isolation.attempted("gone", entry, "failed")
        isolation.exhausted("gone", entry)
        isolation.released("gone", entry, "somebody", 1)
        isolation.stepped("gone", 1)
        isolation.faulted("gone", OSError())
        watch.own_changed("gone", HealthState.healthy(), HealthState.unhealthy("x"))
        watch.changed("gone", HealthState.healthy(), HealthState.unhealthy("x"), "x")
        watch.checked("thing", HealthStatus(HealthState.unknown()))
        assert told == []
        async with manager.acquire("thing"):
            pass


async def test_a_member_of_an_incident_is_isolated_with_it() -> None:
    """`isolate` says whether an incident is open around it; while in doubt nobody is isolated, and what is gone is not."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await build(manager, server)
        server.up = False
        await asyncio.sleep(60)
        incidents = manager.watch.incidents
        assert not incidents.isolate("shop")
        assert incidents.isolate("orders")
        assert "orders" in manager.watch.quarantine
        manager.watch.suspected(6, 6)
        manager.watch.cleared(
            3, 6
        )  # whoever is still over the threshold enters now: with its incident, not by itself
        reasons = {type(each.reason) for each in manager.watch.quarantine.entries().values()}
        assert reasons == {CascadeFailure}
        events: list[Event] = []
        manager.events.add_listener(events.append, CascadeResolved)
        since = datetime.now(UTC)
        incidents.joined(Incident("cascade-9", "db", ("gone",), since), "gone")
        incidents.resolved(Incident("cascade-9", "gone", ("gone too",), since))
        assert events == []
        server.up = True


async def test_a_watch_without_a_manager_tells_nobody() -> None:
    """The manager's own ears are optional: the watch works before they are set."""
    async with Manager(health=QUIET) as manager:
        registration = await manager.register(Thing())
        watch = manager.watch
        watch.on_released = watch.on_road_changed = None
        manager.quarantine("thing", "for a moment")
        await manager.release("thing")
        async with manager.acquire("thing"):
            pass
        assert registration.refusal is None


async def test_a_limit_that_a_policy_asks_for_later_comes_with_the_next_resize() -> None:
    """It is degraded already, and a reload brought the policy: nothing but the bounds moves, and the gate is there."""
    async with Manager(health=QUIET) as manager:
        registration = await manager.register(Thing(), pool={"max_size": 2})
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.5))
        assert registration.is_plain
        registration.health = HealthPolicy(interval=3600, jitter=0, limit_degraded=True)
        manager.resize("thing", max_size=4)
        assert not registration.is_plain
        handles = [await manager.acquire("thing") for _ in range(2)]
        with pytest.raises(PoolExhausted):
            await manager.acquire("thing")
        for handle in handles:
            await handle.release()


async def test_what_is_deregistered_while_recovery_opens_it_is_not_probed() -> None:
    """It was there when the attempt began, and is nobody's when there is an instance to look at."""
    thing = Thing()
    thing.fails = OSError("down")
    async with Manager(health=QUIET, quarantine=QuarantinePolicy()) as manager:
        await manager.register(thing, pool={"min_size": 1})
        ward = manager.watch._ward
        reopen = ward.reopen
        assert reopen is not None

        async def reopen_too_late(registration: Registration) -> None:
            thing.fails = None
            await reopen(registration)
            await manager.deregister("thing")

        ward.reopen = reopen_too_late
        with pytest.raises(Postponed, match="registered no more"):
            await ward.probe("thing")
        assert_manager_sound(manager)


async def test_what_is_let_out_when_everything_is_stopped_has_no_gate() -> None:
    """Nobody would step it any further: callers of the last seconds are served, or told of the end."""
    async with Manager(health=QUIET) as manager:
        registration = await manager.register(Thing())
        manager.quarantine("thing", "maintenance")
        manager.watch.quarantine.stop()
        await manager.release("thing", mode="force")
        assert registration.gates == ()
        async with manager.acquire("thing"):
            pass


async def test_one_without_health_leaves_no_trace_in_health() -> None:
    """It was on no board, and is deregistered like any other."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing())
        assert "thing" not in manager.watch.board
        await manager.deregister("thing")
        assert manager.pools() == ()


async def test_a_recovery_whose_check_hangs_is_over_in_its_time() -> None:
    """After the resource's own limit, as a failed one."""
    async with Manager(health=QUIET, quarantine=QuarantinePolicy()) as manager:
        await manager.register(Checked())
        started = asyncio.get_running_loop().time()
        status = await manager.watch._ward.probe("thing")
        assert "took longer than 2 s" in str(status.state)
        assert asyncio.get_running_loop().time() - started == 2.0
        assert_manager_sound(manager)
