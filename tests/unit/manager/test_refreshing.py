"""Credentials are asked for again before they end, and what was made with an older edition goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from nebula_resource import HealthPolicy, Manager, Resource, ResourceContext, Secret
from nebula_resource.hooks import OnAcquire
from nebula_resource.manager import credential_refresh
from nebula_resource.model.credentials import AuthenticatedResource, Credential, StaticCredentials
from tests.unit.manager.things import Thing, assert_manager_sound

QUIET = HealthPolicy(interval=36000, jitter=0)
LIFE = timedelta(seconds=600)
POOL = {"min_size": 0, "max_size": 2}
LOG = "a credential could not be refreshed"


class Safe(AuthenticatedResource, Resource[None, str]):
    """An instance is the edition of the credential it was made with."""

    credential_keys = ("token", "user")

    def __init__(self, id: str = "safe") -> None:
        self.id = id

    async def create(self, config: None, context: ResourceContext) -> str:
        self._made = getattr(self, "_made", 0) + 1
        return f"{(await self.get_credentials(context))['token'].version} of {self._made}"


class Vault(StaticCredentials):
    """Has two secrets, one of which ends; counts how often it is asked."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__({"user": Secret("anna")})
        self._now = now
        self.asked: list[float] = []
        self.issue("1")

    def issue(self, version: str) -> None:
        """A new edition of the one that ends."""
        self.put("token", Credential(Secret(f"secret {version}"), version, self._now() + LIFE))

    async def get(self, key: str, /) -> Credential:
        if key == "token":
            self.asked.append(asyncio.get_running_loop().time())
        return await super().get(key)


@pytest.fixture
def now() -> Callable[[], datetime]:
    """The wall clock, as fast as the loop's."""
    start = datetime.now(UTC)
    return lambda: start + timedelta(seconds=asyncio.get_running_loop().time())


async def version(manager: Manager, key: str = "safe") -> str:
    """Which edition a caller gets now."""
    async with manager.acquire(key) as instance:
        return str(instance).partition(" ")[0]


async def test_what_was_made_with_an_older_edition_is_replaced(now: Callable[[], datetime]) -> None:
    """A minute before the end the provider is asked, by one acquire that does not wait; busy ones go on return."""
    vault = Vault(now)
    async with Manager(health=QUIET, credentials=vault) as manager:
        manager.hooks.add(credential_refresh(manager, now=now))
        await manager.register(Safe(), pool=POOL)
        assert await version(manager) == "1"
        await asyncio.sleep(500)
        vault.issue("2")
        vault.asked.clear()
        assert await version(manager) == "1", "its end is not near"
        assert vault.asked == []
        await asyncio.sleep(45)
        busy = await manager.acquire("safe")
        assert busy.value.startswith("1"), "until the end nobody waits for it"
        await asyncio.sleep(1)
        assert len(vault.asked) == 1
        assert await version(manager) == "2"
        await busy.release()
        assert {await version(manager) for _ in range(3)} == {"2"}
        assert_manager_sound(manager)


async def test_after_the_end_a_caller_waits_for_the_new_edition(now: Callable[[], datetime]) -> None:
    """Nobody called for a long time: the next caller gets what was made with the new one."""
    vault = Vault(now)
    async with Manager(health=QUIET, credentials=vault) as manager:
        manager.hooks.add(credential_refresh(manager, now=now))
        await manager.register(Safe(), pool=POOL)
        assert await version(manager) == "1"
        await asyncio.sleep(610)
        vault.issue("2")
        assert await version(manager) == "2"


async def test_a_provider_without_anything_newer_is_asked_again(
    now: Callable[[], datetime], caplog: pytest.LogCaptureFixture
) -> None:
    """Every few seconds, and the log says so, until it has; callers are served meanwhile."""
    vault = Vault(now)
    async with Manager(health=QUIET, credentials=vault) as manager:
        manager.hooks.add(credential_refresh(manager, now=now))
        await manager.register(Safe(), pool=POOL)
        assert await version(manager) == "1"
        await asyncio.sleep(545)
        vault.asked.clear()
        for _ in range(20):
            assert await version(manager) == "1"
            await asyncio.sleep(1)
        assert len(vault.asked) == 4
        assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [LOG] * 4
        vault.issue("2")
        await asyncio.sleep(5)
        await version(manager)
        await asyncio.sleep(0)
        assert await version(manager) == "2"
        vault.asked.clear()
        await version(manager)
        assert vault.asked == []


async def test_each_registration_has_its_own_provider_and_one_without_keys_none(
    now: Callable[[], datetime],
) -> None:
    """A resource that names no credential is not asked about; one with a provider of its own is not the manager's."""
    common, own = Vault(now), Vault(now)
    async with Manager(health=QUIET, credentials=common) as manager:
        manager.hooks.add(credential_refresh(manager, now=now))
        await manager.register(Safe("one"), pool=POOL)
        await manager.register(Safe("other"), pool=POOL, credentials=own)
        await manager.register(Thing("plain"), pool=POOL)
        async with manager.acquire("plain"):
            pass
        assert common.asked == own.asked == []
        for key in ("one", "other"):
            assert await version(manager, key) == "1"
        await asyncio.sleep(545)
        common.issue("2")
        for key in ("one", "other"):
            await version(manager, key)
        await asyncio.sleep(1)
        assert [await version(manager, key) for key in ("one", "other")] == ["2", "1"]


async def test_without_a_provider_or_a_registration_nothing_is_asked(
    now: Callable[[], datetime], caplog: pytest.LogCaptureFixture
) -> None:
    """The create says what is missing, and so does the log; one that is gone meanwhile is left alone."""
    async with Manager(health=QUIET) as manager:
        manager.hooks.add(hook := credential_refresh(manager, now=now))
        await manager.register(Thing(), pool=POOL)
        keyed = Thing("keyed")
        keyed.credential_keys = ("token",)  # type: ignore[attr-defined]  # as the drivers do it
        await manager.register(keyed, pool=POOL)
        async with manager.acquire("keyed"):
            await asyncio.sleep(0)
        assert LOG in caplog.messages
        gone = OnAcquire(resource_id="gone", public_id="gone")
        assert hook.before(gone) is None
        await hook._refresh(gone)
        assert_manager_sound(manager)


class Silent(Vault):
    """Does not answer any more from a moment on."""

    is_silent = False

    async def get(self, key: str, /) -> Credential:
        if self.is_silent:
            await asyncio.Event().wait()
        return await super().get(key)


async def test_a_refresh_that_runs_ends_with_the_manager(now: Callable[[], datetime]) -> None:
    """A provider that never answers leaves no task behind, and holds up no shutdown."""
    vault = Silent(now)
    loop = asyncio.get_running_loop()
    async with Manager(health=QUIET, credentials=vault) as manager:
        manager.hooks.add(credential_refresh(manager, now=now, timeout=None))
        await manager.register(Safe(), pool=POOL)
        await version(manager)
        await asyncio.sleep(550)
        vault.is_silent = True
        await version(manager)
        await asyncio.sleep(0.1)
        ends = loop.time()
    assert loop.time() - ends < 0.1
    assert asyncio.all_tasks() == {asyncio.current_task()}
