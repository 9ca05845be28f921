"""What operators do: quarantine and release, check, resize, drain, reload; and what happens by itself."""

import asyncio
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    AlreadyQuarantined,
    CreateFailed,
    HealthPolicy,
    HealthState,
    Manager,
    NotQuarantined,
    NotRegistered,
    ProbeFailed,
    ResourceContext,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import (
    ConfigReloaded,
    ConfigReloadRejected,
    Event,
    HealthChanged,
    Quarantined,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.manager import ReloadResult
from nebula_resource.model.health import HealthCheckable, HealthStatus
from tests.unit.manager.things import Instance, Needy, Thing, ThingConfig, assert_manager_sound


async def test_a_quarantine_by_hand_stays_until_it_is_released() -> None:
    """Recovery never releases it; a second one is refused; a release of what is not in is refused."""
    async with Manager() as manager:
        await manager.register(Thing())
        entry = manager.quarantine("thing", "suspicious")
        assert entry.by == "operator"
        with pytest.raises(AlreadyQuarantined):
            manager.quarantine("thing", "again")
        await asyncio.sleep(3600)
        with pytest.raises(Unavailable):
            await manager.acquire("thing")
        await manager.release("thing")
        async with manager.acquire("thing"):
            pass
        with pytest.raises(NotQuarantined):
            await manager.release("thing")
        with pytest.raises(NotRegistered):
            manager.quarantine("thang", "typo")
        assert_manager_sound(manager)


async def test_a_person_takes_over_a_quarantine_on_evidence() -> None:
    """Told as one more quarantine, by name; recovery leaves it alone, callers hear of no next attempt."""
    async with Manager(health=HealthPolicy(interval=10, jitter=0)) as manager:
        thing = Thing()
        thing.fails = ConnectionRefusedError("down")
        await manager.register(thing, pool={"min_size": 1})
        told: list[Any] = []
        manager.events.add_listener(told.append, (Quarantined,))
        manager.quarantine("thing", "disk is being replaced", by="anna")
        assert [(event.reason, event.by) for event in told] == [("manual", "anna")]
        thing.fails = None
        await asyncio.sleep(3600)
        assert thing.made == []
        with pytest.raises(Unavailable) as refused:
            await manager.acquire("thing")
        assert (refused.value.why, refused.value.retry_after) == ("quarantined", None)
        await manager.release("thing", by="anna")
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


class Checked(Thing, HealthCheckable):
    """Is what ``found`` says, or hangs."""

    found: HealthStatus | None = HealthStatus.healthy()

    async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
        self.log.append("checked")
        if self.found is None:
            await asyncio.sleep(10_000)
        return self.found or HealthStatus.healthy()


async def test_with_health_off_a_release_by_probe_asks_the_resource_all_the_same() -> None:
    """Its own check, within the time it has for that."""
    async with Manager(health=OFF) as manager:
        thing = Checked()
        await manager.register(thing, pool={"min_size": 1})
        manager.quarantine("thing", "by hand")
        began = asyncio.get_running_loop().time()
        thing.found = None
        with pytest.raises(ProbeFailed) as caught:
            await manager.release("thing")
        health = caught.value.health
        assert isinstance(health, HealthStatus)
        assert health.state.because == "the check took longer than 5 s"
        assert asyncio.get_running_loop().time() - began == 5.0
        thing.found = HealthStatus.unhealthy("worn out")
        with pytest.raises(ProbeFailed):
            await manager.release("thing")
        thing.found = HealthStatus.healthy()
        await manager.release("thing")
        assert thing.log.count("checked") == 3
        assert_manager_sound(manager)


async def test_a_quarantine_by_hand_may_expire() -> None:
    """``expires_in`` ends it by itself, and the refusal says when."""
    async with Manager() as manager:
        await manager.register(Thing())
        manager.quarantine("thing", "maintenance", expires_in=60)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        assert caught.value.retry_after == pytest.approx(60, abs=0.1)
        await asyncio.sleep(61)
        async with manager.acquire("thing"):
            pass


async def test_release_by_probe_needs_a_passing_probe_and_force_does_not() -> None:
    """A resource that is still broken answers ProbeFailed; force lets it out all the same."""
    async with Manager() as manager:
        thing = Thing()
        await manager.register(thing)
        manager.quarantine("thing", "ill")
        thing.valid = False
        made = len(thing.made)
        with pytest.raises(ProbeFailed):
            await manager.release("thing")
        assert len(thing.made) - made <= 2, "at most success_threshold connects"
        await manager.release("thing", "force")
        assert "thing" not in manager.watch.quarantine


@pytest.mark.parametrize("was_open", [True, False], ids=["fell ill", "never opened"])
async def test_while_it_is_quarantined_only_attempts_connect(was_open: bool) -> None:
    """No refill knocks at a server that is down beside them; let out, the pool is filled at once."""

    class Counting(Thing):
        asked = 0

        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            self.asked += 1
            return await super().create(config, context)

    hourly = HealthPolicy(interval=3600, failure_threshold=1, jitter=0)
    async with Manager(health=hourly) as manager:
        thing = Counting()
        thing.fails = None if was_open else ConnectionRefusedError("down")
        await manager.register(thing, pool={"min_size": 3, "max_size": 4})
        attempts: list[Event] = []
        manager.events.add_listener(attempts.append, (RecoveryAttempted,))
        thing.valid, thing.fails = False, ConnectionRefusedError("down")
        await asyncio.sleep(100)
        assert "thing" in manager.watch.quarantine
        before = thing.asked
        attempts.clear()
        await asyncio.sleep(1000)
        assert thing.asked - before == len(attempts) > 3
        thing.valid, thing.fails = True, None
        await asyncio.sleep(400)
        assert "thing" not in manager.watch.quarantine, "parked, it was tried every five minutes"
        assert manager.stats()["thing"].size >= 3
        assert_manager_sound(manager)


async def test_failing_checks_lead_into_quarantine_and_out_again() -> None:
    """Three failed checks in a row quarantine; recovery releases by itself when the server is back; events tell it."""
    async with Manager(health=HealthPolicy(interval=10, jitter=0)) as manager:
        thing = Thing()
        await manager.register(thing)
        names: list[str] = []
        manager.events.add_listener(
            lambda event: names.append(event.name), (HealthChanged, Quarantined, QuarantineReleased)
        )
        thing.valid = False
        thing.fails = ConnectionResetError("gone")
        await asyncio.sleep(45)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        assert caught.value.why == "quarantined"
        thing.valid, thing.fails = True, None
        await asyncio.sleep(60)
        async with manager.acquire("thing"):
            pass
        assert names.index("quarantine.entered") < names.index("quarantine.released")
        assert_manager_sound(manager)


async def test_a_dependency_that_is_down_degrades_its_dependents() -> None:
    """Quarantined, it makes those that need it Degraded, naming it; released, exactly that is taken back."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        user = await manager.register(Thing("repo", dependencies=["db"]))
        manager.quarantine("db", "down")
        state = manager.watch.health_of(user)
        assert state.kind == "degraded"
        assert "db" in state.because
        async with manager.acquire("repo"):
            pass
        await manager.release("db")
        assert manager.watch.health_of(user).kind in {"healthy", "unknown"}


async def test_after_a_release_callers_are_let_in_step_by_step() -> None:
    """One permit first; as many successes as permits open the next step; at the end the road is plain again."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 4})
        manager.quarantine("thing", "ill")
        await manager.release("thing")
        async with manager.acquire("thing"):
            with pytest.raises(Unavailable) as caught:
                await manager.acquire("thing")
            assert caught.value.why == "quarantined"
        for _ in range(8):
            async with manager.acquire("thing"):
                pass
        assert registration.is_plain
        assert_manager_sound(manager)


async def test_a_fault_while_half_open_returns_to_quarantine() -> None:
    """An error that the resource confirms as the server's sends it back; an application's error does not."""
    async with Manager() as manager:
        await manager.register(Thing())
        manager.quarantine("thing", "ill")
        await manager.release("thing")
        with pytest.raises(ValueError, match="ours"):
            async with manager.acquire("thing"):
                raise ValueError("ours")
        assert "thing" not in manager.watch.quarantine
        with pytest.raises(ConnectionError):
            async with manager.acquire("thing"):
                raise ConnectionError("theirs")
        assert "thing" in manager.watch.quarantine


async def test_an_unrecoverable_resource_is_refused_and_its_idle_instances_go() -> None:
    """Unhealthy(not recoverable): refused without retry, idle instances retired at once."""
    from nebula_resource.model.health import Unhealthy

    async with Manager() as manager:
        thing = Thing()
        registration = await manager.register(thing)
        for _ in range(3):
            manager.watch.board.observe(
                registration.public_id, Unhealthy("licence expired", recoverable=False)
            )
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        assert caught.value.why in {"unhealthy", "quarantined"}
        await asyncio.sleep(0)
        assert thing.made[0] in thing.gone


async def test_what_cannot_come_back_is_not_made_anew_until_it_is_well() -> None:
    """Retired for good, nothing is refilled but what a check needs; well against its word, the pool is filled."""
    health = HealthPolicy(interval=10, success_threshold=1, jitter=0)
    async with Manager(health=health, quarantine=OFF) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 3, "max_size": 4})
        await asyncio.sleep(5)
        manager.watch.board.observe("thing", HealthState.unhealthy("licence expired", recoverable=False))
        await asyncio.sleep(4)
        assert (len(thing.made), manager.stats()["thing"].size) == (3, 0)
        await asyncio.sleep(10)
        assert manager.watch.board.own("thing").kind == "healthy"
        assert (len(thing.made), manager.stats()["thing"].size) == (6, 3)
        assert_manager_sound(manager)


async def test_a_reload_swaps_without_a_gap() -> None:
    """Old handles go on, new callers get the new configuration, the old instances are cleaned up afterwards."""
    async with Manager() as manager:
        thing = Thing()
        registration = await manager.register(thing, {"name": "old"})
        names: list[str] = []
        manager.events.add_listener(
            lambda event: names.append(event.name), (ConfigReloaded, ConfigReloadRejected)
        )
        handle = await manager.acquire("thing")
        outcome = await manager.reload("thing", {"name": "new"})
        assert (outcome.result, outcome.generation) == (ReloadResult.SWAPPED, 2)
        assert isinstance(handle.value, Instance)
        assert handle.value.open
        async with manager.acquire("thing") as instance:
            assert instance is not handle.value
        old = handle.value
        await handle.release()
        await asyncio.sleep(1)
        assert not old.open
        assert registration.config.name == "new"
        same = await manager.reload("thing", {"name": "new"})
        assert (same.result, same.generation) == (ReloadResult.NO_CHANGE, 2)
        with pytest.raises(ValidationFailed):
            await manager.reload("thing", {"name": 5})
        thing.fails = OSError("down")
        with pytest.raises(CreateFailed):
            await manager.reload("thing", {"name": "newer"})
        assert registration.config.name == "new"
        assert registration.generation == 2
        thing.fails = None
        async with manager.acquire("thing") as still:
            assert still is instance
        assert names == ["pool.config_reloaded", "pool.config_rejected", "pool.config_rejected"]
        assert_manager_sound(manager)


async def test_register_with_replace_is_a_reload() -> None:
    """The same (id, scope) with replace=True may bring another resource; callers meet no gap."""
    async with Manager() as manager:
        first, second = Thing(), Thing()
        await manager.register(first)
        registration = await manager.register(second, replace=True)
        assert registration.generation == 2
        async with manager.acquire("thing") as instance:
            assert instance in second.made


async def test_resize_drain_resume_recycle_check() -> None:
    """The operator's verbs reach the pool that is meant."""
    async with Manager() as manager:
        thing = Thing()
        registration = await manager.register(thing)
        manager.resize("thing", max_size=3, min_size=2)
        await asyncio.sleep(0)
        assert manager.stats()["thing"].max == 3
        assert (await manager.check("thing")).state.kind == "healthy"
        assert await manager.drain("thing", timeout=1)
        with pytest.raises(Unavailable, match="draining"):
            await manager.acquire("thing")
        manager.resume("thing")
        await asyncio.sleep(1)
        assert registration.pool.stats().idle == 2
        before = set(thing.made)
        assert manager.recycle("thing") == 2
        async with manager.acquire("thing") as instance:
            assert instance not in before
        assert_manager_sound(manager)


async def test_a_dependency_is_held_as_long_as_the_instance_lives() -> None:
    """`await context.dependency(id)` holds it; when the instance goes it is given back."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        await manager.register(Needy("repo", dependencies=["db"]))
        assert manager.stats()["db"].in_use == 1
        await manager.deregister("repo")
        await asyncio.sleep(0)
        assert manager.stats()["db"].in_use == 0


@pytest.mark.parametrize("sharing", ["exclusive", "shared"])
async def test_a_drain_waits_for_callers_and_not_for_what_instances_above_keep(sharing: str) -> None:
    """What a busy instance of a dependent keeps is in use, and goes with it; no drain waits for that (SPEC §4)."""
    async with Manager(health=OFF) as manager:
        db = Thing("db")
        await manager.register(db, pool={"sharing": sharing, "min_size": 0})
        await manager.register(Needy("repo", dependencies=["db"]), pool={"min_size": 0})
        repo, mine = await manager.acquire("repo"), await manager.acquire("db")
        assert not await manager.drain("db", timeout=1.0)
        await mine.release()
        await asyncio.sleep(0)
        assert await manager.drain("db", timeout=0.0)
        assert manager.stats()["db"].state == "drained"
        assert manager.stats()["db"].in_use == 1
        assert db.gone == db.made[1:]
        await repo.release()
        await asyncio.sleep(0.1)
        assert (manager.stats()["db"].in_use, db.gone) == (0, [*db.made[1:], db.made[0]])
        assert_manager_sound(manager)


async def test_a_reload_leaves_a_busy_instance_above_what_it_keeps() -> None:
    """The old pool is drained at once and closed when the last one that keeps something of it has come back."""
    async with Manager(health=OFF) as manager:
        db = Thing("db")
        await manager.register(db)
        await manager.register(Needy("repo", dependencies=["db"]))
        repo = await manager.acquire("repo")
        await manager.reload("db", {"name": "new"})
        await asyncio.sleep(100)
        assert db.made[0].open
        await repo.release()
        await asyncio.sleep(0.1)
        assert not db.made[0].open
        assert not manager._reload._beside
        assert_manager_sound(manager, out=1)  # the next instance of repo keeps one of the new


async def test_a_shutdown_does_not_wait_for_an_old_pool_that_somebody_keeps() -> None:
    """Nor as long as a reload would: what is still kept is taken when the dependents are gone."""
    manager = Manager(health=OFF)
    db = Thing("db")
    await manager.register(db)
    await manager.register(Needy("repo", dependencies=["db"]))
    repo = await manager.acquire("repo")
    await manager.reload("db", {"name": "new"})
    began = asyncio.get_running_loop().time()
    report = await manager.shutdown(drain=1.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.6)
    assert (report.forced, report.left) == (1, 0)
    assert [instance.open for instance in db.made] == [False] * len(db.made)
    assert not manager._reload._beside
    await repo.release()
