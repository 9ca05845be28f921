"""ScopedSingleton: one object per open scope of a level, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide, inject

from nebula_resource import NoOpenScope, ScopeLevel, current_scope
from nebula_resource.di import Leased, ScopedSingleton, action
from nebula_resource.manager import OpenScope
from tests.unit.di.world import Repo, Unit, World, world


@pytest.fixture
async def app() -> AsyncGenerator[World]:
    """A world that is wired to this module."""
    async with world(__name__) as here:
        yield here


async def test_one_object_per_open_scope_of_its_level(app: World) -> None:
    """All actions of an execution share it; another execution has another."""
    unit = ScopedSingleton("execution", Unit)
    async with app.manager.scope(execution="e1"):
        first = unit()
        async with app.manager.scope(action="a"):
            assert unit() is first
    async with app.manager.scope(execution="e1"):
        assert unit() is not first
    assert first.log == ["unit made", "unit closed"]


async def test_it_is_made_from_the_leases_of_its_own_scope(app: World) -> None:
    """Asked inside an action, an object of the execution is given the execution's lease, not the action's."""
    async with app.manager.scope(tenant="acme", execution="e1") as execution:
        async with app.manager.scope(action="a") as action:
            unit = await app.container.unit.async_()
            assert unit.repo is not None
            assert unit.repo.db is await execution.get("db")
            assert not action.holds("db")
        assert unit.log == ["unit made"]
        unit.log = app.db.log
    assert app.log == ["unit closed", "commit"]


async def _awaited() -> Any:
    return await _scope().get("db")


def _entered() -> Generator[Any]:
    yield _scope()


async def _entered_and_awaited() -> AsyncGenerator[Any]:
    yield await _scope().get("db")


def _called() -> Any:
    return _scope()


def _scope() -> OpenScope:
    scope = current_scope()
    assert scope is not None
    return scope


@pytest.mark.parametrize("maker", [_awaited, _entered, _entered_and_awaited, _called])
async def test_its_maker_is_in_its_own_scope(app: World, maker: Callable[..., Any]) -> None:
    """What the body asks the current scope for lives as long as the object, whoever asked for that, whatever it waits for."""
    async with app.manager.scope(tenant="acme", execution="e1") as execution:
        async with app.manager.scope(action="a") as deeper:
            made: Any = ScopedSingleton("execution", maker)()
            made = await made if asyncio.iscoroutine(made) else made
            assert current_scope() is deeper
        assert made in (execution, await execution.get("db"))
        assert app.log == []


async def test_concurrent_asks_share_one_making(app: World) -> None:
    """Ten at once get one object, and the maker runs once."""
    made = []

    async def make() -> str:
        await asyncio.sleep(1)
        made.append("made")
        return "object"

    provider = ScopedSingleton("execution", make)
    async with app.manager.scope(execution="e1"):
        assert set(await asyncio.gather(*(provider.async_() for _ in range(10)))) == {"object"}
        assert await provider.async_() == "object"
    assert made == ["made"]


async def test_a_failure_is_not_remembered(app: World) -> None:
    """A maker that fails is asked again."""
    tries = []

    async def make() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("down")
        return "object"

    provider = ScopedSingleton("execution", make)
    async with app.manager.scope(execution="e1"):
        with pytest.raises(OSError, match="down"):
            await provider.async_()
        assert await provider.async_() == "object"


LOG: list[str] = []


async def test_who_injects_it_is_told_why_it_could_not_be_made(app: World) -> None:
    """The maker's own error, whoever waits for it and however late: dependency-injector does so in tasks of its own."""

    async def make() -> Repo:
        raise LookupError("the maker's own")

    failing = ScopedSingleton("execution", make)

    @app.live
    @inject
    async def directly(unit: Any = Provide["unit"]) -> None: ...

    @app.live
    @inject
    async def deeper(repo: Any = Provide["repo"]) -> None: ...

    @app.live
    @action
    async def acts(repo: Any = Provide["repo"]) -> None: ...

    with app.container.unit.override(failing), app.container.repo.override(providers.Factory(Repo, failing)):
        for call in (directly, deeper, acts):
            async with app.manager.scope(execution="e1"):
                with pytest.raises(LookupError, match="the maker's own"):
                    await call()


async def test_nothing_is_an_object_too(app: World) -> None:
    """What gives None is made once and ended once, as a generator that only sets up and takes down does."""
    log: list[str] = []

    def plain() -> Generator[None]:
        log.append("up")
        yield
        log.append("down")

    async def awaited() -> None:
        log.append("made")

    units: list[ScopedSingleton[Any]] = [
        ScopedSingleton("execution", plain),
        ScopedSingleton("execution", awaited),
    ]
    async with app.manager.scope(execution="e1"):
        for _ in range(2):
            assert units[0]() is None
            assert await units[1].async_() is None
    assert log == ["up", "made", "down"]


async def test_nothing_is_made_in_a_scope_that_is_over(app: World) -> None:
    """In a task that outlives it: nobody would end it."""
    made: list[str] = []
    late = ScopedSingleton("execution", made.append, "made")

    async def background() -> None:
        await asyncio.sleep(1)
        with pytest.raises(NoOpenScope, match=r"scope\.detach\(\)"):
            late()

    async with app.manager.scope(execution="e1"):
        task = asyncio.create_task(background())
    await task
    assert made == []


def _sync() -> Generator[str]:
    LOG.append("made")
    try:
        yield "object"
    except BaseException as error:
        LOG.append(f"failed {type(error).__name__}")
        raise
    LOG.append("ended")


async def _async() -> AsyncGenerator[str]:
    LOG.append("made")
    try:
        yield "object"
    except BaseException as error:
        LOG.append(f"failed {type(error).__name__}")
        raise
    LOG.append("ended")


@pytest.mark.parametrize(
    "maker",
    [_sync, _async, contextlib.contextmanager(_sync), contextlib.asynccontextmanager(_async)],
    ids=["generator", "async generator", "contextmanager", "asynccontextmanager"],
)
@pytest.mark.parametrize("error", [None, ValueError("body")])
async def test_generator_functions_are_told_the_outcome(
    app: World, maker: Callable[..., Any], error: Exception | None
) -> None:
    """What is behind the yield runs when the scope closes; an error of the block is raised at the yield."""
    LOG.clear()
    provider: ScopedSingleton[Any] = ScopedSingleton("execution", maker)

    async def block() -> None:
        async with app.manager.scope(execution="e1"):
            value = provider()
            assert (await value if asyncio.iscoroutine(value) else value) == "object"
            if error is not None:
                raise error

    if error is None:
        await block()
    else:
        with pytest.raises(ValueError, match="body") as caught:
            await block()
        assert not hasattr(caught.value, "__notes__")
    assert ["made", "ended" if error is None else "failed ValueError"] == LOG


async def test_a_lock_is_not_entered(app: World) -> None:
    """An object is used as it is although it could be entered; one without an end just goes."""
    provider = ScopedSingleton("execution", asyncio.Semaphore, 2)
    async with app.manager.scope(execution="e1"):
        assert not provider().locked()
        assert isinstance(provider(), asyncio.Semaphore)


async def test_close_is_called_where_there_is_no_aclose(app: World) -> None:
    """Plain or async; what it raises is a close error."""
    closed = []

    class Plain:
        def close(self) -> None:
            closed.append("plain")

    class Failing:
        async def aclose(self) -> None:
            raise RuntimeError("no")

    plain, failing = ScopedSingleton("execution", Plain), ScopedSingleton("execution", Failing)

    async def block() -> None:
        async with app.manager.scope(execution="e1"):
            plain()
            failing()

    with pytest.raises(RuntimeError, match="no"):
        await block()
    assert closed == ["plain"]


async def test_outside_its_level(app: World) -> None:
    """No scope at all, or none of its level."""
    provider = ScopedSingleton(ScopeLevel.WORKFLOW, Unit)
    with pytest.raises(NoOpenScope, match="wrap the call"):
        provider()
    async with app.manager.scope(execution="e1"):
        with pytest.raises(NoOpenScope, match="WORKFLOW"):
            provider()


async def test_another_error_of_its_end_is_told(app: World) -> None:
    """What a generator raises instead of the block's error is a note on that."""

    async def clumsy() -> AsyncGenerator[str]:
        try:
            yield "object"
        finally:
            raise RuntimeError("no")  # the point

    provider = ScopedSingleton("execution", clumsy)

    async def block() -> None:
        async with app.manager.scope(execution="e1"):
            await provider.async_()
            raise ValueError("body")

    with pytest.raises(ValueError, match="body") as caught:
        await block()
    assert caught.value.__notes__ == ["closing the scope also raised RuntimeError"]


async def test_in_a_graph_overridden_and_copied(app: World) -> None:
    """Usable in a Factory, overridable, deep-copied with what it is given, traversable."""
    service = providers.Factory(Repo, app.container.unit)
    async with app.manager.scope(tenant="acme", execution="e1"):
        assert (await service.async_()).db is (await service.async_()).db
        with app.container.unit.override("fake"):
            assert vars(await service.async_()) == {"db": "fake"}
    copied = copy.deepcopy(app.container.unit)
    assert copied.level is ScopeLevel.EXECUTION
    assert copied.cls is Unit
    found = list(copied.traverse(types=[Leased]))
    assert [each.key for each in found] == ["db"]
    assert found[0] is not app.container.db
    memo: dict[int, Any] = {}
    assert copied.__deepcopy__(memo) is copied.__deepcopy__(memo)
    assert repr(copied) == "ScopedSingleton(EXECUTION, Unit)"
    assert repr(copied.__deepcopy__(None)) == str(copied)
    with app.container.unit.override(providers.Object("fake")):
        async with app.manager.scope(execution="e2"):
            fake: object = copy.deepcopy(app.container.unit)()
            assert fake == "fake"


async def test_two_providers_are_two_objects(app: World) -> None:
    """Each provider has its own, of whatever class."""
    one, two = ScopedSingleton("execution", Unit), ScopedSingleton("execution", Unit)
    async with app.manager.scope(execution="e1"):
        assert one() is not two()
