"""What a registration's health policy says holds for that registration, in a manager."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from nebula_resource import OFF, HealthPolicy, Manager, QuarantinePolicy, ResourceContext, Secret, Unavailable
from nebula_resource.events import HealthChanged, Severity
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.model.health import HealthCheckable, HealthStage, HealthState, HealthStatus
from tests.unit.manager.things import Instance, Thing

QUIET = HealthPolicy(interval=3600, jitter=0)


class Checked(Thing, HealthCheckable):
    """Notes when it is checked, and with which login; it is ill while ``ill``."""

    def __init__(self, id: str = "thing") -> None:
        super().__init__(id)
        self.at: list[float] = []
        self.logins: list[str] = []
        self.ill = False

    async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
        self.at.append(asyncio.get_running_loop().time())
        self.logins.append(await login_of(context))
        return HealthStatus.unhealthy("ill") if self.ill else HealthStatus.healthy()


async def login_of(context: ResourceContext) -> str:
    """The login that a check is given."""
    if context.credentials is None:
        return ""
    return (await context.credentials.get("login")).value.get_secret_value()


class Login(HealthStage):
    """A stage that needs the login."""

    name = "login"

    def __init__(self) -> None:
        self.logins: list[str] = []

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        self.logins.append(await login_of(context))
        return HealthStatus.healthy()


@pytest.mark.parametrize(("depth", "degraded"), [(0, ""), (1, "b"), (2, "bc"), (3, "bcd")])
async def test_a_root_s_policy_says_how_deep_its_fall_is_felt(depth: int, degraded: str) -> None:
    """A chain of four above it; whether it is ill or isolated makes no difference."""
    policy = HealthPolicy(interval=3600, failure_threshold=1, success_threshold=1, propagate_depth=depth)
    async with Manager(health=QUIET) as manager:
        root = Checked("a")
        await manager.register(root, health=policy, quarantine=OFF)
        for key, needs in zip("bcde", "abcd", strict=True):
            await manager.register(Thing(key, dependencies=[needs]))

        def felt_by() -> str:
            return "".join(key for key in "bcde" if manager.watch.board.effective(key).kind == "degraded")

        root.ill = True
        await manager.check("a")
        assert felt_by() == degraded
        root.ill = False
        await manager.check("a")
        assert felt_by() == ""
        manager.quarantine("a", "by hand")
        assert felt_by() == degraded


@pytest.mark.parametrize(
    ("found", "is_retryable", "retry_after"),
    [
        (HealthState.degraded("slow", 0.8), True, 3600),
        (HealthState.unhealthy("down"), True, 3600),
        (HealthState.unhealthy("gone", recoverable=False), False, None),
    ],
    ids=["degraded", "unhealthy", "not recoverable"],
)
async def test_what_is_too_ill_to_serve_is_refused(
    found: HealthState, is_retryable: bool, retry_after: float | None
) -> None:
    """Degraded from 0.8 on like unhealthy: again after the next check; what cannot come back: never again."""
    policy = HealthPolicy(interval=3600, jitter=0, failure_threshold=1, success_threshold=1)
    async with Manager(health=policy, quarantine=OFF) as manager:
        await manager.register(Thing(), pool={"min_size": 1})
        manager.watch.board.observe("thing", found)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        refusal = caught.value
        assert (refusal.why, refusal.retryable, refusal.retry_after) == (
            "unhealthy",
            is_retryable,
            retry_after,
        )
        manager.watch.board.observe("thing", HealthState.degraded("slow", 0.79))
        async with manager.acquire("thing"):
            pass


async def test_a_refusal_says_when_the_next_check_of_this_very_resource_may_end_it() -> None:
    """Its own interval, counted from its last check and stretched by its failures; or the end of the check under way."""

    class Slow(Checked):
        health_check_interval = 7.0
        health_check_timeout = 2.0
        takes = 0.0

        async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
            await asyncio.sleep(self.takes)
            return await super().health_check(instance, context)

    policy = HealthPolicy(interval=3600, jitter=0, failure_threshold=1, success_threshold=1, backoff=2)
    async with Manager(health=policy, quarantine=OFF) as manager:
        thing = Slow()
        await manager.register(thing, pool={"min_size": 1})

        async def told_to_wait() -> float | None:
            with pytest.raises(Unavailable) as caught:
                await manager.acquire("thing")
            return caught.value.retry_after

        thing.ill = True
        await asyncio.sleep(7.5)
        assert thing.at == [7]
        assert await told_to_wait() == 13.5, "twice seven, and half a second is over"
        await asyncio.sleep(10)
        assert await told_to_wait() == 3.5
        thing.ill, thing.takes = False, 1.0
        await asyncio.sleep(4)
        assert await told_to_wait() == 1.5, "it began at 21 and is given up at 23"
        await asyncio.sleep(1)
        async with manager.acquire("thing"):
            pass


async def test_what_was_well_until_a_person_isolated_it_is_no_warning_when_it_is_released() -> None:
    """Nothing is known of it then, because that was forgotten; that nothing is known because a check hangs is one."""
    async with Manager(health=QUIET) as manager:
        await manager.register(Thing(), pool={"min_size": 1})
        told: list[Any] = []
        manager.events.add_listener(told.append, (HealthChanged,))
        await manager.check("thing")
        manager.quarantine("thing", "being moved")
        await manager.release("thing", "force")
        assert [(each.old, each.new, each.severity) for each in told[-1:]] == [
            ("healthy", "unknown", Severity.INFO)
        ]
        manager.watch.board.observe("thing", HealthState.healthy())
        manager.watch.board.observe("thing", HealthState.unknown())
        assert [(each.old, each.new, each.severity) for each in told[-1:]] == [
            ("healthy", "unknown", Severity.WARNING)
        ]


@pytest.mark.parametrize(
    ("quarantine", "waits"), [(OFF, [10.0, 15.0, 22.5, 33.75, 40.0, 40.0]), (QuarantinePolicy(), [10.0] * 6)]
)
async def test_failing_checks_come_less_and_less_often_only_without_quarantine(
    quarantine: Any, waits: list[float]
) -> None:
    """With it the interval stays: recovery has waits of its own."""
    policy = HealthPolicy(interval=10, jitter=0, backoff=1.5, max_interval=40, failure_threshold=100)
    async with Manager(health=policy, quarantine=quarantine) as manager:
        thing = Checked()
        await manager.register(thing, pool={"min_size": 1})
        await asyncio.sleep(5)
        thing.ill = True
        await asyncio.sleep(240)
        assert [later - sooner for sooner, later in pairwise([0.0, *thing.at])][1:6] == waits[1:]
        thing.ill = False
        await asyncio.sleep(200)
        assert thing.at[-1] - thing.at[-2] == 10


async def test_times_that_a_resource_sets_itself_win_over_its_policy() -> None:
    """It is looked at in its own interval, and its checks have their own time."""

    class Own(Checked):
        health_check_interval = 7.0
        health_check_timeout = 0.5

        async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
            await super().health_check(instance, context)
            await asyncio.sleep(1)
            return HealthStatus.healthy()

    async with Manager(health=HealthPolicy(interval=30, jitter=0, failure_threshold=100)) as manager:
        thing = Own()
        await manager.register(thing, pool={"min_size": 1})
        await asyncio.sleep(22)
        assert thing.at == [7.0, 14.0, 21.0]
        assert (await manager.check("thing")).state.because == "the check took longer than 0.5 s"


async def test_a_check_is_given_the_registration_s_credentials() -> None:
    """The resource's own check and a policy's stages alike, at the interval, when asked, and in a recovery."""
    login = StaticCredentials({"login": Secret("anna")})
    stage = Login()
    staged = HealthPolicy(interval=10, jitter=0, success_threshold=1, stages=(stage,))
    async with Manager(health=HealthPolicy(interval=10, jitter=0, success_threshold=1)) as manager:
        thing = Checked("own")
        await manager.register(thing, pool={"min_size": 1}, credentials=login)
        await manager.register(Thing("staged"), pool={"min_size": 1}, credentials=login, health=staged)
        await asyncio.sleep(15)
        for key in ("own", "staged"):
            await manager.check(key)
            manager.quarantine(key, "by hand")
            await manager.release(key)
    assert thing.logins == stage.logins == ["anna"] * 3
