"""What the watch introduces to each other: limits while degraded, doubt, stages that know the pool, bad strategies."""

import asyncio
import logging
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    CircuitOpen,
    CreateFailed,
    HealthPolicy,
    Manager,
    PoolExhausted,
    ProbeFailed,
    QuarantinePolicy,
    Unavailable,
)
from nebula_resource.events import (
    AdmissionStepped,
    CheckerSuspected,
    ErrorOccurred,
    HealthChanged,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.health import DependencyStage, HealthState, UtilizationStage
from nebula_resource.manager.degraded import limit_for
from nebula_resource.metrics.logging import EventLog
from nebula_resource.model.health import Degraded, HealthStatus
from nebula_resource.quarantine import ConsecutiveFailures, RecoveryBackoff, RecoveryStrategy
from tests.unit.manager.things import Needy, Thing, assert_manager_sound

QUIET = HealthPolicy(interval=3600, jitter=0)
LIMITED = HealthPolicy(interval=3600, jitter=0, limit_degraded=True)


@pytest.mark.parametrize(
    ("impact", "size", "limit"),
    [(0.5, 10, 5), (0.5, 5, 3), (0.7, 10, 3), (0.9, 10, 1), (1.0, 10, 1), (0.0, 4, 4), (0.1, 10, 9)],
)
def test_the_limit_is_the_share_that_is_left_rounded_up(impact: float, size: int, limit: int) -> None:
    """max(1, ⌈(1 − impact) × max⌉), whatever floating point makes of it."""
    assert limit_for(impact, size) == limit


async def test_a_degraded_resource_lets_fewer_out_until_it_is_well() -> None:
    """Half as good, half as many; the limit follows impact and size, counts those out before, and goes away."""
    async with Manager(health=LIMITED) as manager:
        registration = await manager.register(Thing(), pool={"max_size": 4})
        before = [await manager.acquire("thing") for _ in range(2)]
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.5))
        with pytest.raises(PoolExhausted) as caught:
            await manager.acquire("thing")
        assert caught.value.max_size == 2
        async with manager.scope(execution="e1") as scope:
            for ask in (scope.get("thing"), manager.acquire("thing").__aenter__()):  # nor by any shorter road
                with pytest.raises(PoolExhausted):
                    await ask
        await before.pop().release()
        async with manager.acquire("thing"):
            with pytest.raises(PoolExhausted):
                await manager.acquire("thing")
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.2))
        handles = [await manager.acquire("thing") for _ in range(3)]
        for handle in (*handles, *before):
            await handle.release()
        manager.resize("thing", max_size=10)
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.7))
        handles = [await manager.acquire("thing") for _ in range(3)]
        with pytest.raises(PoolExhausted):
            await manager.acquire("thing")
        for handle in handles:
            await handle.release()
        manager.watch.board.observe("thing", HealthState.healthy())
        assert registration.gates == ()
        assert registration.is_plain
        assert_manager_sound(manager)


async def test_what_others_impose_limits_nobody() -> None:
    """Only the resource's own degradation counts for the limit."""
    async with Manager(health=LIMITED) as manager:
        await manager.register(Thing("db"))
        await manager.register(Thing("repo", dependencies=["db"]), pool={"max_size": 2})
        manager.quarantine("db", "down")
        handles = [await manager.acquire("repo") for _ in range(2)]
        for handle in handles:
            await handle.release()


async def test_degraded_is_served_counted_and_warned_of_once_per_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A drifting impact is no change; the uses since are counted; refused from 0.8 on."""
    async with Manager(health=QUIET) as manager:
        registration = await manager.register(Thing())
        board = manager.watch.board
        with caplog.at_level(logging.INFO, "nebula_resource.manager"):
            for impact in (0.3, 0.31, 0.4):
                board.observe("thing", HealthState.degraded("slow", impact))
            for _ in range(5):
                async with manager.acquire("thing"):
                    pass
            warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
            assert len(warnings) == 1
            assert manager.watch.degradations.served(registration) == 5
            board.observe("thing", HealthState.degraded("very slow", 0.9))
            with pytest.raises(Unavailable) as caught:
                await manager.acquire("thing")
            assert caught.value.retryable
            board.observe("thing", HealthState.healthy())
            async with manager.acquire("thing"):
                pass
        assert manager.watch.degradations.served(registration) == 0
        assert any(vars(each).get("served") == 5 for each in caplog.records)


async def test_when_all_fails_at_once_the_checker_doubts_itself() -> None:
    """Five unrelated resources fail: quarantine is frozen; half well, the rest enters."""
    policy = HealthPolicy(interval=10, jitter=0, failure_threshold=2)
    async with Manager(health=policy) as manager:
        things = [Thing(f"t{number}") for number in range(6)]
        for thing in things:
            await manager.register(thing, pool={"min_size": 1})
        told: list[Any] = []
        manager.events.add_listener(told.append, (CheckerSuspected, Quarantined))
        for thing in things:
            thing.valid = False
        await asyncio.sleep(45)
        assert [type(event) for event in told] == [CheckerSuspected]
        assert manager.watch.quarantine.is_frozen
        assert len(manager.watch.quarantine) == 0
        for thing in things[:3]:
            thing.valid = True
        await asyncio.sleep(30)
        assert not manager.watch.quarantine.is_frozen
        assert sorted(manager.watch.quarantine.entries()) == ["t3", "t4", "t5"]


async def test_a_check_that_found_nothing_out_does_not_end_the_doubt() -> None:
    """Checks that hang until they are Unknown are no sign that all is well again; that nobody looks any more is its end."""
    policy = HealthPolicy(interval=10, jitter=0, failure_threshold=2)
    async with Manager(health=policy) as manager:
        things = [Thing(f"t{number}") for number in range(5)]
        for thing in things:
            await manager.register(thing, pool={"min_size": 1})
            thing.valid = False
        await asyncio.sleep(25)
        assert manager.watch.quarantine.is_frozen
        for thing in things:
            manager.watch.checked(thing.id, HealthStatus.unknown())
        assert manager.watch.quarantine.is_frozen
        for thing in things:
            await manager.register(thing, pool={"min_size": 1}, health=OFF, replace=True)
        assert not manager.watch.quarantine.is_frozen, "nothing is left that fails"


async def test_one_whose_idle_instances_hold_all_of_a_dependency_recovers() -> None:
    """An attempt wants a fresh instance, for which nothing is left below: an idle one is looked at instead."""
    policy = HealthPolicy(interval=10, jitter=0, failure_threshold=1)
    async with Manager(health=policy) as manager:
        app = Needy("app", dependencies=["db"])
        await manager.register(Thing("db"), pool={"max_size": 2, "acquire_timeout": 0.5})
        await manager.register(app, pool={"min_size": 2, "max_size": 4})
        isolated = asyncio.Event()
        manager.events.add_listener(lambda _: isolated.set(), (Quarantined,))
        app.valid = False
        await isolated.wait()
        app.valid = True
        await asyncio.sleep(60)
        assert manager.registry.resolve("db", None).pool.stats().in_use == 2
        assert "app" not in manager.watch.quarantine
        async with manager.acquire("app"):
            pass
        assert_manager_sound(manager, out=2)


async def test_an_instance_that_cannot_be_made_ahead_of_need_leads_a_half_open_one_back() -> None:
    """No caller is there, and none is needed: what fills up to ``min_size`` after the release fails."""
    async with Manager(health=QUIET) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 1})
        manager.quarantine("thing", "by hand")
        manager.registry.resolve("thing", None).pool.recycle_all()
        thing.fails = ConnectionRefusedError("down")
        await manager.release("thing", "force")
        assert manager.watch.quarantine.admission("thing") is not None
        await asyncio.sleep(0.5)
        entry = manager.watch.quarantine.get("thing")
        assert entry is not None
        assert entry.reason == ConsecutiveFailures(1)
        thing.fails = None
        await asyncio.sleep(60)
        assert_manager_sound(manager)


async def test_who_needs_an_isolated_one_stays_degraded_whatever_its_checks_say() -> None:
    """Its own evidence may say well or less well meanwhile: callers of it are refused, and that is what counts."""
    async with Manager(health=QUIET) as manager:
        await manager.register(Thing("db"), pool={"min_size": 1})
        await manager.register(Thing("orders", dependencies=["db"]), pool={"min_size": 1})
        manager.quarantine("db", "by hand")
        for found in (HealthState.degraded("slow", 0.2), HealthState.healthy()):
            manager.watch.board.observe("db", found)
            assert manager.watch.board.effective("orders").because == "dependency 'db' is down"
        await manager.release("db", "force")
        assert manager.watch.board.effective("orders").because == ""


async def test_an_attempt_tells_what_it_met_and_when_the_next_is() -> None:
    """A failed one names the error of the create and the wait; after one that recovers there is no next."""
    policy = QuarantinePolicy(backoff=RecoveryBackoff(jitter=0))
    async with Manager(health=QUIET, quarantine=policy) as manager:
        told: list[Any] = []
        manager.events.add_listener(told.append, (RecoveryAttempted,))
        thing = Thing()
        thing.fails = ConnectionRefusedError("down")
        await manager.register(thing, pool={"min_size": 1})
        with pytest.raises(ProbeFailed) as caught:
            await manager.release("thing")
        health = caught.value.health
        assert isinstance(health, HealthStatus)
        assert health.state.because == "the attempt failed: ConnectionRefusedError"
        await asyncio.sleep(2.5)
        thing.fails = None
        await asyncio.sleep(1)
        assert [(event.outcome, event.attempt, event.next_in_s) for event in told] == [
            ("failed", 1, 2.0),
            ("recovered", 2, None),
        ]


async def test_the_stages_of_a_policy_know_the_pool_and_the_dependencies() -> None:
    """UtilizationStage sees the share of the pool in use, DependencyStage what the registration declared to need."""
    policy = HealthPolicy(
        interval=3600, stages=(UtilizationStage(dict, warn=0.5), DependencyStage()), failure_threshold=1
    )
    async with Manager(health=policy) as manager:
        await manager.register(Thing("db"), health=QUIET)
        await manager.register(Thing("repo", dependencies=["db"]), pool={"max_size": 4, "min_size": 2})
        assert (await manager.check("repo")).state.kind == "healthy"
        handles = [await manager.acquire("repo") for _ in range(3)]
        status = await manager.check("repo")
        assert status.state.because == "utilization: connections is nearly used up"
        for handle in handles:
            await handle.release()
        manager.watch.board.observe("db", HealthState.unhealthy("gone", recoverable=False))
        status = await manager.check("repo")
        assert status.state.because == "dependency 'db' is down"


async def test_a_resized_pool_moves_the_steps_of_admission() -> None:
    """The quarter of a half-open admission is one of the pool as it is now."""
    async with Manager(health=QUIET) as manager:
        await manager.register(Thing(), pool={"max_size": 4})
        manager.quarantine("thing", "ill")
        await manager.release("thing")
        manager.resize("thing", max_size=40)
        steps: list[Any] = []
        manager.events.add_listener(steps.append, (AdmissionStepped,))
        async with manager.acquire("thing"):
            pass
        assert [event.permits for event in steps] == [10]


class Liar(RecoveryStrategy):
    """Says whatever it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def attempt_recovery(self, registration: Any, context: Any) -> HealthStatus:
        """Answer, or raise."""
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: HealthStatus = self.answer
        return answer

    def backoff(self, attempt: int, last_error: BaseException | None) -> float:
        """One second."""
        return 1.0


@pytest.mark.parametrize("answer", [None, "fine", ValueError("no"), HealthStatus.unhealthy("no")])
async def test_a_strategy_that_lies_or_raises_parks_and_never_releases(answer: Any) -> None:
    """Nonsense is a failed attempt and is told; the tenth parks it."""
    policy = QuarantinePolicy(
        strategy=Liar(answer), max_attempts=3, backoff=RecoveryBackoff(base=1, jitter=0)
    )
    async with Manager(
        health=HealthPolicy(interval=10, jitter=0, failure_threshold=1), quarantine=policy
    ) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 1})
        told: list[Any] = []
        manager.events.add_listener(told.append, (QuarantineExhausted, ErrorOccurred))
        thing.valid = False
        await asyncio.sleep(60)
        entry = manager.watch.quarantine.get("thing")
        assert entry is not None
        assert entry.phase == "parked"
        assert [event.then for event in told if isinstance(event, QuarantineExhausted)] == ["park"]
        if not isinstance(answer, HealthStatus):
            assert any(getattr(event, "code", "") == "recovery_strategy" for event in told)


async def test_a_resource_whose_server_is_down_at_start_recovers_by_itself() -> None:
    """Registered while it cannot be made, served when it can, without a person."""
    async with Manager(health=QUIET) as manager:
        thing = Thing()
        thing.fails = ConnectionRefusedError("down")
        await manager.register(thing, pool={"min_size": 1})
        with pytest.raises(Unavailable):
            await manager.acquire("thing")
        await asyncio.sleep(20)
        thing.fails = None
        await asyncio.sleep(60)
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


async def test_a_quarantine_and_a_degradation_are_one_log_line_each(caplog: pytest.LogCaptureFixture) -> None:
    """The manager writes them where nobody else does; with an EventLog on its bus, that one alone does.

    How many were served while it was degraded stands in no event, so that line is always the manager's.
    """
    told = ("quarantine", "degraded")
    served = "resource degraded no more"

    async def what_is_written(manager: Manager) -> list[str]:
        caplog.clear()
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.3))
        manager.quarantine("thing", "by hand")
        await manager.release("thing", mode="force")
        lines = [each for each in caplog.records if each.name.startswith("nebula_resource")]
        return [
            each.message
            for each in lines
            if any(word in each.message for word in told) or vars(each).get("event.new") == "degraded"
        ]

    async with Manager(health=QUIET) as manager:
        await manager.register(Thing())
        with caplog.at_level(logging.INFO, "nebula_resource"):
            own = ["resource degraded", "resource quarantined", "resource released from quarantine", served]
            assert await what_is_written(manager) == own
            detach = EventLog().attach(manager.events)
            events = [HealthChanged.name, Quarantined.name, QuarantineReleased.name, served]
            assert await what_is_written(manager) == events
            detach()
            assert await what_is_written(manager) == own


async def test_what_somebody_meant_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A quarantine by hand is a warning; one that the checks brought about is an error."""
    policy = HealthPolicy(interval=10, jitter=0, failure_threshold=1)
    async with Manager(health=policy) as manager:
        things = [Thing("by-hand"), Thing("by-checks")]
        for thing in things:
            await manager.register(thing, pool={"min_size": 1})
        manager.quarantine("by-hand", "by hand")
        things[1].valid = False
        await asyncio.sleep(15)
        lines = [each for each in caplog.records if each.message == "resource quarantined"]
        levels = {vars(each)["resource.id"]: each.levelname for each in lines}
        assert levels == {"by-hand": "WARNING", "by-checks": "ERROR"}


async def test_with_health_turned_off_nothing_that_was_found_stays() -> None:
    """No limit, no refusal, no place in an incident; but one that is isolated still degrades who needs it."""
    async with Manager(health=LIMITED, quarantine=OFF) as manager:
        things = {key: Thing(key, dependencies=["db"] if key != "db" else []) for key in ("db", "a", "b")}
        for thing in things.values():
            await manager.register(thing, pool={"max_size": 4})
        registration = manager.registry.resolve("db", None)
        manager.watch.board.observe("db", HealthState.degraded("slow", 0.5))
        assert len(registration.gates) == 1
        manager.quarantine("db", "by hand")
        await manager.register(things["db"], pool={"max_size": 4}, health=OFF, replace=True)
        assert len(manager.registry.resolve("db", None).gates) == 0
        assert manager.watch.board.effective("a").because == "dependency 'db' is down"
        await manager.release("db", "force")
        assert manager.watch.board.effective("a").because == ""

        await manager.register(things["db"], pool={"max_size": 4}, replace=True)
        for key in ("a", "b"):
            manager.watch.board.observe(key, HealthState.unhealthy("lost", recoverable=False))
        assert len(manager.watch.incidents.cascades.incidents()) == 1
        for key in ("a", "b"):
            with pytest.raises(CircuitOpen):
                await manager.acquire(key)
            await manager.register(things[key], pool={"max_size": 4}, health=OFF, replace=True)
            async with manager.acquire(key):
                pass
        manager.watch.board.observe("db", HealthState.healthy())
        assert manager.watch.incidents.cascades.incidents() == ()
        assert_manager_sound(manager)


async def test_recovery_believes_no_instance_from_before() -> None:
    """An idle one that still works says nothing of a server that lets nobody in any more."""
    async with Manager(health=QUIET) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 1})
        thing.fails = ConnectionRefusedError("no more")
        manager.watch.threshold_reached("thing", 3)
        await asyncio.sleep(30)
        assert "thing" in manager.watch.quarantine
        assert manager.stats()["thing"].idle == 1
        thing.fails = None
        await asyncio.sleep(60)
        assert "thing" not in manager.watch.quarantine


async def test_an_instance_that_fails_its_check_is_retired_and_the_resource_is_not_isolated() -> None:
    """One failing is no outage: it goes, and what is made instead is well."""
    async with Manager(health=HealthPolicy(interval=10, jitter=0)) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 1})
        thing.valid = False
        await asyncio.sleep(10.5)
        thing.valid = True
        assert [instance.number for instance in thing.gone] == [1]
        assert "thing" not in manager.watch.quarantine
        await asyncio.sleep(10)
        assert manager.watch.board.own("thing").kind == "healthy"
        assert_manager_sound(manager)


async def test_doubt_looks_as_far_back_as_the_longest_interval() -> None:
    """So that everything has been looked at once; it follows who comes and goes."""
    async with Manager(health=HealthPolicy(interval=10)) as manager:
        await manager.register(Thing("often"))
        assert manager.watch.suspicion.interval == 10
        await manager.register(Thing("rarely"), health=HealthPolicy(interval=100))
        assert manager.watch.suspicion.interval == 100
        await manager.deregister("rarely")
        assert manager.watch.suspicion.interval == 10


async def test_an_incident_goes_on_while_its_root_is_in_again() -> None:
    """The members being well is not enough: the root was let out, and taken away once more."""
    async with Manager(health=QUIET) as manager:
        for key in ("db", "a", "b"):
            await manager.register(Thing(key, dependencies=["db"] if key != "db" else []))
        for key in ("a", "b"):
            manager.watch.board.observe(key, HealthState.unhealthy("lost", recoverable=False))
        await manager.release("db", "force")
        manager.quarantine("db", "once more")
        for key in ("a", "b"):
            await manager.release(key, "force")
            manager.watch.board.observe(key, HealthState.healthy())
        assert len(manager.watch.incidents.cascades.incidents()) == 1
        await manager.release("db", "force")
        assert manager.watch.incidents.cascades.incidents() == ()


async def test_what_is_deregistered_raises_no_doubt() -> None:
    """Its failures count no more."""
    policy = HealthPolicy(interval=10, jitter=0, failure_threshold=2)
    async with Manager(health=policy) as manager:
        things = [Thing(f"t{number}") for number in range(5)]
        for thing in things:
            await manager.register(thing, pool={"min_size": 1})
            thing.valid = False
        await asyncio.sleep(25)
        assert manager.watch.quarantine.is_frozen
        for thing in things:
            await manager.deregister(thing.id)
        assert not manager.watch.quarantine.is_frozen


async def test_what_fails_says_by_which_error() -> None:
    """A failed create counts by the resource's own error, not by ours around it; a useless instance by none."""
    async with Manager(health=HealthPolicy(interval=3600, failure_threshold=1), quarantine=OFF) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0})
        thing.fails = ConnectionRefusedError("nobody there")
        with pytest.raises(CreateFailed):
            await manager.acquire("thing")
        assert manager.watch.board.own("thing") == HealthState.unhealthy("ConnectionRefusedError")


async def test_an_attempt_that_lacks_what_it_needs_is_put_off_and_counts_for_nothing() -> None:
    """It cannot be opened, for something that it needs is not there: its server was not asked, so that is no failure."""
    async with Manager(
        quarantine=QuarantinePolicy(backoff=RecoveryBackoff(jitter=0), max_attempts=5)
    ) as manager:
        await manager.register(Thing("db"))
        thing = Thing("top", dependencies=["db"])
        thing.fails = OSError("down")
        top = await manager.register(thing)
        thing.fails = None
        await manager.deregister("db")
        await asyncio.sleep(300)
        case = manager.watch.quarantine.get("top")
        assert case is not None
        assert (case.attempts, thing.made) == (0, [])
        await manager.register(Thing("db"))
        await asyncio.sleep(120)
        assert top.is_open
        assert "top" not in manager.watch.quarantine


async def test_an_ill_dependency_degrades_its_dependents_without_any_quarantine() -> None:
    """Its own evidence is enough, and its own recovery ends it."""
    policy = HealthPolicy(interval=3600, jitter=0, failure_threshold=1, success_threshold=1)
    async with Manager(health=policy, quarantine=OFF) as manager:
        await manager.register(Thing("db"))
        top = await manager.register(Thing("top", dependencies=["db"]))
        manager.watch.board.observe("db", HealthState.unhealthy("down"))
        health = manager.watch.health_of(top)
        assert isinstance(health, Degraded)
        assert (health.impact, health.because) == (0.5, "dependency 'db' is down")
        async with manager.acquire("top"):
            pass
        manager.watch.board.observe("db", HealthState.healthy())
        assert not isinstance(manager.watch.health_of(top), Degraded)
