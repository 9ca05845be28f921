"""ResourceContainer and ManagerProvider: the manager's start and end in a container."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from dependency_injector import containers, providers

from nebula_resource import ConfigurationError, Manager, Strategy
from nebula_resource.di import ManagerProvider, ResourceContainer, running
from tests.unit.manager.things import Thing

LOG: list[str] = []


async def _engine() -> AsyncGenerator[str]:
    LOG.append("engine up")
    yield "engine"
    LOG.append("engine down")


class _Noting(Thing):
    async def cleanup(self, instance: Any) -> None:
        LOG.append("instance gone")


async def _register(manager: Manager, engine: Any) -> None:
    LOG.append(f"register with {await engine if not isinstance(engine, str) else engine}")
    await manager.register(_Noting("a"), {})


class App(ResourceContainer):
    """A manager whose setup needs a dependency-injector resource."""

    engine = providers.Resource(_engine)
    manager = ManagerProvider(providers.Callable(_register, engine=engine), strategy=Strategy.STRICT)
    number = providers.Object(1)


async def test_resources_start_before_the_manager_and_end_after_it() -> None:
    """Both calls are always awaited; the manager is shut down while what it was made from still lives."""
    LOG.clear()
    container = App()
    async with running(container):
        manager = container.manager()
        assert container.manager() is manager
        assert "a" in manager.stats()
    assert LOG == ["engine up", "register with engine", "instance gone", "engine down"]
    assert container.manager() is not manager


async def test_every_manager_ends_whatever_becomes_of_another() -> None:
    """A shutdown that is cancelled takes neither the other managers nor dependency-injector's resources with it."""

    class Two(App):
        slow = ManagerProvider()

    LOG.clear()
    container = Two()
    await container.init_resources()
    slow = container.slow()
    await slow.register(Thing("busy"), {})
    async with slow.acquire("busy"):
        ending = asyncio.create_task(_ended(container))
        await asyncio.sleep(1)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert LOG[2:] == ["instance gone", "engine down"]
    await slow.shutdown()


async def _ended(container: ResourceContainer) -> None:
    await container.shutdown_resources()


async def test_starting_and_ending_twice_is_harmless() -> None:
    """The trap of 3.11: dependency-injector's second shutdown raises TypeError out of a good program."""
    LOG.clear()
    container = App()
    await container.init_resources()
    await container.init_resources()
    assert LOG == ["engine up", "register with engine"]
    await container.shutdown_resources()
    await container.shutdown_resources()
    assert LOG.count("instance gone") == 1
    await container.init_resources()
    assert LOG.count("register with engine") == 2
    await container.shutdown_resources()


async def test_a_setup_that_fails_leaves_no_manager_behind() -> None:
    """What it registered before is cleaned up; the error comes out, and the next start begins anew."""
    LOG.clear()
    fails = [True]

    async def register(manager: Manager) -> None:
        await manager.register(_Noting("a"), {})
        if fails.pop():
            raise RuntimeError("no settings")

    provider = ManagerProvider(register)
    first = provider()
    with pytest.raises(RuntimeError, match="no settings"):
        await provider.init()
    assert LOG == ["instance gone"]
    fails.append(False)
    second = await provider.init()
    assert second is not first
    report = await provider.shutdown(drain=1.0)
    assert report is not None
    assert report.left == 0 if isinstance(report.left, int) else not report.left
    assert await provider.shutdown() is None


async def test_setup_comes_in_every_shape() -> None:
    """None, a plain function, an async one, a provider that calls one, a provider of one."""
    seen: list[Manager] = []

    async def later(manager: Manager) -> None:
        seen.append(manager)

    for setup in (
        None,
        seen.append,
        later,
        providers.Callable(later),
        providers.Object(later),
        providers.Object(seen.append),
    ):
        provider = ManagerProvider(setup)
        manager = await provider.init()
        assert seen[-1:] == ([] if setup is None else [manager])
        await provider.shutdown()


def test_a_setup_that_cannot_be_called_is_refused() -> None:
    """Where it is declared: called would be what it gave."""
    wrong: Any = Manager()
    with pytest.raises(ConfigurationError, match="a function that is called with the manager"):
        ManagerProvider(wrong)


async def test_an_overridden_manager_is_left_to_whoever_gave_it() -> None:
    """A test's own manager is neither set up nor shut down; another provider's is."""
    container = App()
    async with Manager() as mine:
        with container.manager.override(mine):
            assert await container.manager.init() is mine
            assert await container.manager.shutdown() is None
            assert container.manager() is mine
        other = ManagerProvider(lambda manager: LOG.append("other"))
        LOG.clear()
        with container.manager.override(other):
            assert await container.manager.init() is other()
            assert await container.manager.shutdown() is not None
        assert LOG == ["other"]


async def test_closing_cannot_shut_it_down() -> None:
    """It is no BaseResource, so neither ``Closing`` nor a foreign ``shutdown_resources`` finds it."""
    assert not isinstance(App.manager, providers.BaseResource)
    assert list(App.manager.traverse(types=[providers.BaseResource])) == [App.engine]


async def test_a_plain_container_may_hold_one() -> None:
    """``init`` and ``shutdown`` are called by hand there."""

    class Plain(containers.DeclarativeContainer):
        manager = ManagerProvider()

    container = Plain()
    manager = await container.manager.init()
    assert isinstance(manager, Manager)
    await container.manager.shutdown()


def test_copies_and_reprs() -> None:
    """Each container has a manager of its own; options are given to it."""
    one, two = App(), App()
    assert one.manager() is not two.manager()
    assert repr(ManagerProvider()) == "ManagerProvider()"
    provider = ManagerProvider()
    assert repr(provider()) in repr(provider)
    memo: dict[int, Any] = {}
    assert copy.deepcopy(provider, memo) is provider.__deepcopy__(memo)
    assert provider.__deepcopy__(None)() is not provider()
    assert [each.cls for each in App.manager.traverse(types=[providers.Factory])] == []


async def test_options_must_be_ready_values() -> None:
    """A manager is made synchronously: an option that has to be awaited is refused."""

    async def later() -> None: ...

    provider = ManagerProvider(credentials=providers.Coroutine(later))
    with pytest.raises(ConfigurationError, match="ready values"):
        provider()
