"""The four built-in hooks beside a real manager: nobody calls them but real operations."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from nebula_resource import HealthPolicy, Manager, Resource, ResourceContext, Scope, Secret
from nebula_resource.errors import AcquireTimeout
from nebula_resource.health import HealthState
from nebula_resource.hooks import (
    AuditHook,
    CredentialRefreshHook,
    HookEvent,
    HookPayload,
    MetricsHook,
    Outcome,
    SlowAcquireHook,
)
from nebula_resource.model.credentials import AuthenticatedResource, Credential, StaticCredentials
from tests.unit.manager.things import Thing, assert_manager_sound

QUIET = HealthPolicy(interval=3600, jitter=0)

EVERY = Counter(
    {
        HookEvent.ACQUIRE: 1,
        HookEvent.CREATE: 1,
        HookEvent.RELEASE: 1,
        HookEvent.HEALTH_CHANGED: 2,  # the create made it healthy, then it was degraded
        HookEvent.CLEANUP: 1,
    }
)
"""What one use, one degradation and the end of a manager are."""


async def one_of_each(manager: Manager) -> None:
    """One operation of every kind, the cleanup at the manager's end."""
    await manager.register(Thing())
    async with manager.acquire("thing"):
        pass
    manager.watch.board.observe("thing", HealthState.degraded("slow", 0.3))
    await asyncio.sleep(0)


async def test_audit_writes_every_operation_of_a_manager(caplog: pytest.LogCaptureFixture) -> None:
    """Every kind of event, each once for each operation."""
    with caplog.at_level(logging.INFO, "nebula_resource.audit"):
        async with Manager(health=QUIET) as manager:
            manager.hooks.add(AuditHook())
            await one_of_each(manager)
    lines = [vars(record) for record in caplog.records if record.name == "nebula_resource.audit"]
    assert Counter(HookEvent(line["hook.event"]) for line in lines) == EVERY
    assert {line["outcome"] for line in lines} == {"ok"}
    assert {line["resource.id"] for line in lines} == {"thing"}


async def test_metrics_counts_every_operation_of_a_manager() -> None:
    """The same as the audit writes, as numbers; the durations are those of the operations."""
    hook = MetricsHook()
    async with Manager(health=QUIET) as manager:
        manager.hooks.add(hook)
        await one_of_each(manager)
    assert dict(hook.counts) == {(kind, Outcome.OK): count for kind, count in EVERY.items()}
    assert {kind: held.count for kind, held in hook.durations.items()} == dict(EVERY)


async def test_slow_acquires_of_one_execution_are_timed_each_by_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Three callers of one execution share one instance: who waited longer than a second is told, also in vain."""
    hook = SlowAcquireHook()
    async with Manager(health=QUIET) as manager:
        manager.hooks.add(hook)
        await manager.register(Thing(), pool={"max_size": 1, "min_size": 0})
        caller = ResourceContext(Scope.execution("e1"))

        async def use(timeout: float | None) -> None:
            async with manager.acquire("thing", caller, timeout=timeout):
                await asyncio.sleep(0.8)

        first, second, third = (asyncio.create_task(use(timeout)) for timeout in (None, None, None))
        fourth = asyncio.create_task(use(1.2))
        await asyncio.gather(first, second, third)
        with pytest.raises(AcquireTimeout):
            await fourth
        assert_manager_sound(manager)
    told = [vars(record) for record in caplog.records if record.message == "slow acquire"]
    assert [(line["outcome"], round(line["duration_s"], 3)) for line in told] == [("error", 1.2), ("ok", 1.6)]
    assert hook.seen == 2


class Safe(AuthenticatedResource, Resource[None, str]):
    """An instance is the edition of the credential it was made with."""

    id = "safe"
    credential_keys = ("token",)

    async def create(self, config: None, context: ResourceContext) -> str:
        return (await self.get_credentials(context))["token"].version


async def test_a_credential_of_the_provider_is_refreshed_before_it_ends() -> None:
    """A minute before the expiry an acquire has the provider renew it; what is created afterwards has the new one."""
    loop = asyncio.get_running_loop()
    start = datetime.now(UTC)
    lives = timedelta(seconds=600)
    provider = StaticCredentials({"token": Credential(Secret("one"), "1", start + lives)})
    asked: list[float] = []

    def now() -> datetime:
        return start + timedelta(seconds=loop.time() - began)

    async def renew(payload: HookPayload) -> None:
        asked.append(loop.time() - began)
        provider.put("token", Credential(Secret("two"), "2", now() + lives))
        expiry["safe"] = (await provider.get("token")).expires_at

    began = loop.time()
    expiry = {"safe": (await provider.get("token")).expires_at}
    hook = CredentialRefreshHook(lambda payload: expiry[payload.resource_id], renew, now=now)
    async with Manager(health=QUIET, credentials=provider) as manager:
        manager.hooks.add(hook)
        await manager.register(Safe(), pool={"max_size": 2, "min_size": 0})
        async with manager.acquire("safe") as first:
            assert first == "1"
            await asyncio.sleep(540)
            async with manager.acquire("safe"):
                await asyncio.sleep(1)
        manager.recycle("safe")
        async with manager.acquire("safe") as renewed:
            assert renewed == "2"
        assert [round(at) for at in asked] == [540]
    await hook.close()
