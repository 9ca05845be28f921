"""Leased: a lease of the open scope as a dependency-injector provider."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from dependency_injector import containers, providers
from dependency_injector.wiring import Closing, Provide, inject

from nebula_resource import ConfigurationError, NoOpenScope, ScopeLevel, ValidationFailed
from nebula_resource.di import Leased
from tests.unit.di.world import DB, App, Repo, World, world
from tests.unit.manager.things import Instance


@pytest.fixture
async def app() -> AsyncGenerator[World]:
    """A world that is wired to this module."""
    async with world(__name__) as here:
        yield here


async def test_it_gives_the_current_scopes_lease(app: World) -> None:
    """One lease per scope; called twice it is the same."""
    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        first = await app.container.db.async_()
        assert await app.container.db.async_() is first is await scope.get("db")
        async with app.manager.scope(action="a"):
            assert await app.container.db.async_() is not first
            assert await app.container.tx.async_() is first
    assert app.log == ["commit", "commit"]


async def test_outside_a_scope_it_says_which_call_to_wrap(app: World) -> None:
    """Asked without an open scope, directly or inside a graph."""
    for provider in (app.container.db, app.container.tx, app.container.repo, app.container.unit):
        with pytest.raises(NoOpenScope, match="wrap the call"):
            provider()


async def test_where_it_is_leased_can_be_asked(app: World) -> None:
    """The scope and the slot: its own, or the holder's."""
    async with (
        app.manager.scope(tenant="acme", execution="e1") as outer,
        app.manager.scope(action="a") as inner,
    ):
        assert app.container.db.slot_in(inner) == (inner, "db")
        assert app.container.tx.slot_in(inner) == (outer, "db")


async def test_which_scope_is_decided_when_it_is_asked(app: World) -> None:
    """What is awaited later, elsewhere, is the lease of the scope it was asked in."""
    async with app.manager.scope(tenant="acme", execution="e1") as outer:
        asked = app.container.db.async_()
        async with app.manager.scope(action="a") as inner:
            assert await asked is await outer.get("db")
            assert not inner.holds("db")


async def test_native_inject_works_inside_an_open_scope(app: World) -> None:
    """Plain ``@inject`` needs no ``Closing``; the lease is the surrounding scope's."""

    @app.live
    @inject
    async def helper(db: Any = Provide["db"], repo: Any = Provide["repo"]) -> Any:
        assert repo.db is db
        return db

    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        assert await helper() is await scope.get("db")
        assert app.log == []
    assert app.log == ["commit"]


async def test_closing_does_no_harm(app: World) -> None:
    """``Closing[...]`` neither ends a lease too early nor shuts the manager down; the trap of closing what is shared."""

    @app.live
    @inject
    async def helper(
        repo: Repo = Closing[Provide["repo"]], manager: Any = Closing[Provide["manager"]]
    ) -> Any:
        return repo

    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        first = await helper()
        second = await helper()
        assert first.db is second.db is await scope.get("db")
        assert app.container.manager() is scope.manager
    assert app.log == ["commit"]


async def test_native_closing_closes_what_is_shared() -> None:
    """The trap itself: dependency-injector's own Resource is closed under the next caller."""
    closed: list[str] = []

    async def shared() -> AsyncGenerator[str]:
        yield "engine"
        closed.append("engine")

    class Naive(containers.DeclarativeContainer):
        engine = providers.Resource(shared)
        session = providers.Factory(list[Any], engine)

    naive = Naive()

    @inject
    async def use(session: Any = Closing[Provide[Naive.session]]) -> None: ...

    naive.wire(modules=[__name__])
    await use()
    naive.unwire()
    assert closed == ["engine"]


async def test_a_factory_awaits_it_every_time(app: World) -> None:
    """The trap of async mode decided by the first call: a ready value first, a wait later, and the object at last."""
    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        await scope.get("db")
        ready = await app.container.repo.async_()
        assert isinstance(ready.db, Instance)
    async with app.manager.scope(tenant="acme", execution="e2"):
        busy = [await app.manager.acquire("db") for _ in range(5)]
        waiting = asyncio.ensure_future(app.container.repo.async_())
        await asyncio.sleep(1)
        assert not waiting.done()
        for handle in busy:
            await handle.release()
        assert isinstance((await waiting).db, Instance)
    assert app.container.db.is_async_mode_enabled()


async def test_overriding_and_traversing(app: World) -> None:
    """It is a provider like any other."""
    container = app.container
    async with app.manager.scope(tenant="acme", execution="e1"):
        with container.db.override("fake"):
            fake: object = await container.db.async_()
            assert fake == "fake"
            assert vars(await container.repo.async_()) == {"db": "fake"}
        with container.override_providers(db=providers.Object("other")):
            assert vars(await container.repo.async_()) == {"db": "other"}
        assert isinstance((await container.repo.async_()).db, Instance)
    found = {each.key for each in container.traverse(types=[Leased])}
    assert found == {"db", "cache", "missing"}
    assert {each.key for each in container.repo.traverse(types=[Leased])} == {"db"}


def test_deep_copies() -> None:
    """Every container instance has its own; overrides are copied with it; one copy per memo."""
    one, two = App(things=None), App(things=None)
    assert one.db is not two.db is not App.db
    assert (one.tx.key, one.tx.hold) == ("db", ScopeLevel.EXECUTION)
    original = Leased(DB)
    original.override("fake")
    memo: dict[int, Any] = {}
    copied = copy.deepcopy(original, memo)
    assert copied.last_overriding is not None
    assert copied.last_overriding is not original.last_overriding
    assert copy.deepcopy(original, memo) is copied
    assert original.__deepcopy__(None).key == "db"
    assert original.__deepcopy__(memo) is copied
    assert copied.is_async_mode_enabled()


def test_what_it_is_given_is_checked() -> None:
    """A bad key or level is refused when it is declared; the repr says what it is."""
    with pytest.raises(ValidationFailed):
        Leased("no good")
    with pytest.raises(ConfigurationError, match="levels are"):
        Leased("db", hold="request")
    assert repr(Leased("db", hold="execution")) == "Leased('db', hold=EXECUTION)"
    assert str(Leased(DB)) == "Leased('db')"


async def test_hold_of_a_level_that_is_not_open(app: World) -> None:
    """The error names the level and how to open it."""
    provider = Leased(DB, hold=ScopeLevel.WORKFLOW)
    async with app.manager.scope(tenant="acme", execution="e1"):
        with pytest.raises(NoOpenScope, match=r"manager\.scope\(workflow=\.\.\.\)"):
            provider()


async def test_scopes_leave_nothing_on_the_providers(app: World) -> None:
    """Overrides do not grow with the scopes: the trap of a container per scope."""
    for index in range(100):
        async with app.manager.scope(tenant="acme", execution=f"e{index}"):
            await app.container.repo.async_()
    assert not app.container.db.overrides
    assert not app.container.repo.overrides
