"""Action: an async function in a scope of its own, with what its markers stand for."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Closing, Provide, inject

from nebula_resource import (
    ConfigurationError,
    CreateFailed,
    NoOpenScope,
    ResourceNotFound,
    Scope,
    ScopeLevel,
    current_scope,
)
from nebula_resource.di import action
from nebula_resource.manager.block import Block
from tests.unit.di.world import App, Repo, Unit, World, world
from tests.unit.manager.things import Instance

if TYPE_CHECKING:
    from somewhere import OnlyForCheckers  # type: ignore[import-not-found]  # a name that does not exist at run time


Db: TypeAlias = Annotated[Instance, Provide["db"]]


@pytest.fixture
async def app() -> AsyncGenerator[World]:
    """A world that is wired to this module."""
    async with world(__name__) as here:
        yield here


# ── what an action gets ──


async def test_an_action_gets_a_lease_of_its_own_scope(app: World) -> None:
    """Two calls are two scopes and two leases; each commits when its call returns."""

    @app.live
    @action
    async def charge(order: str, db: Instance = Provide["db"]) -> tuple[str, Instance, str]:
        scope = current_scope()
        assert scope is not None
        assert await scope.get("db") is db
        return order, db, str(scope.scope)

    async with app.manager.scope(tenant="acme", execution="e1"):
        first = await charge("o1")
        second = await charge("o2")
    assert (first[0], second[0]) == ("o1", "o2")
    name = charge.__qualname__
    assert second[2] != first[2]
    assert name.rpartition(".")[2] in first[2]
    assert app.log == ["commit", "commit"]


async def test_the_id_counts_the_calls_of_one_function(app: World) -> None:
    """``<qualname>#<n>``, shortened at its beginning where it would be too long."""

    @app.live
    @action
    async def which() -> str | None:
        scope = current_scope()
        return None if scope is None else scope.scope.action_id

    async with app.manager.scope(tenant="acme", execution="e1"):
        assert (await which() or "")[-8:] == ".which#1"
        assert (await which() or "")[-8:] == ".which#2"

    async def long() -> str | None:
        scope = current_scope()
        return None if scope is None else scope.scope.action_id

    long.__qualname__ = "x" * 500 + "long"
    async with app.manager.scope(execution="e1"):
        assert (await action(long)() or "")[-6:] == "long#1"


async def test_every_marker_of_a_graph_is_resolved(app: World) -> None:
    """Leases directly, all else through dependency-injector; one lease in one scope, however it is reached."""

    @app.live
    @action
    async def work(
        db: Instance = Provide["db"],
        repo: Repo = Provide["repo"],
        unit: Unit = Provide["unit"],
        answer: int = Provide["answer"],
        tx: Instance = Provide["tx"],
        cache: Instance = Provide["cache"],
    ) -> tuple[Any, ...]:
        assert repo.db is db
        assert unit.repo is not None
        assert unit.repo.db is tx
        assert answer == 42
        return unit, cache

    async with app.manager.scope(tenant="acme", execution="e1"):
        first, second = await work(), await work()
        assert first[0] is second[0]
    assert first[0].log == ["unit made", "unit closed"]
    assert app.log == ["commit"] * 3


@pytest.mark.parametrize("by", ["position", "keyword"])
async def test_an_argument_that_is_given_is_not_acquired(app: World, by: str) -> None:
    """Nothing is leased for it, whether it stands in its place or by its name, and however the others are found."""

    @app.live
    @action
    async def one(order: str, db: Any = Provide["db"]) -> Any:
        return db

    @app.live
    @action
    async def two(order: str, db: Any = Provide["db"], answer: int = Provide["answer"]) -> Any:
        assert answer == 42
        return db

    async with app.manager.scope(tenant="acme", execution="e1"):
        for fn in (one, two):
            assert await (fn("o1", "mine") if by == "position" else fn("o1", db="mine")) == "mine"
    assert app.db.log == []


async def test_a_marker_that_is_given_counts_as_not_given(app: World) -> None:
    """A framework that fills in the default itself does no harm."""

    @app.live
    @action
    async def work(db: Any = Provide["db"]) -> Any:
        return db

    async with app.manager.scope(tenant="acme", execution="e1"):
        assert isinstance(await work(db=Provide["db"]), Instance)


async def test_markers_in_annotations_work_under_postponed_evaluation(app: World) -> None:
    """``Annotated[..., Provide[...]]`` is found in this module, whose annotations are text, with names that only
    type checkers know; dependency-injector's own ``@inject`` leaves the function without its argument.
    """

    @app.live
    @action
    async def work(order: str, db: Annotated[OnlyForCheckers | None, Provide["db"]]) -> Any:
        return db

    @app.live
    @action
    async def optional(
        db: Annotated[list[OnlyForCheckers.Nested] | OnlyForCheckers[int], Provide["db"]] = 7,
        other: OnlyForCheckers - 1 = 0,  # type: ignore[valid-type]  # text that says nothing of markers may be anything
    ) -> Any:
        return db

    async with app.manager.scope(tenant="acme", execution="e1"):
        assert isinstance(await work("o1"), Instance)  # type: ignore[call-arg]  # what the marker form costs
        assert isinstance(await optional(), Instance)

    with pytest.warns(match="not required"):

        @inject
        async def naive(db: Annotated[Instance, Provide["db"]]) -> Any:
            return db

    with pytest.raises(TypeError, match="missing 1 required"):
        await app.live(naive)()  # type: ignore[call-arg]  # the trap itself


async def test_a_marker_in_an_alias_is_found(app: World) -> None:
    """``Db = Annotated[...]``, named in an annotation that is text; or a marker that only the closure knows."""
    marker = Provide["cache"]

    @app.live
    @action
    async def work(*, db: Db, cache: Annotated[Instance, marker]) -> Any:
        return db, cache, marker

    async with app.manager.scope(tenant="acme", execution="e1"):
        db, cache, _ = await work()  # type: ignore[call-arg]  # what the marker form costs
        assert (type(db), type(cache)) == (Instance, Instance)


async def test_a_name_that_is_not_there_yet_is_no_matter(app: World) -> None:
    """What a function closes over may be made after it; only the marker has to be there."""

    @app.live
    @action
    async def work(*, order: Later, db: Db) -> Any:
        return order, db, Later

    class Later:
        """Made after the action."""

    order = Later()
    async with app.manager.scope(tenant="acme", execution="e1"):
        assert (await work(order=order))[0] is order  # type: ignore[call-arg]  # what the marker form costs


async def test_methods_are_actions_too(app: World) -> None:
    """``self`` goes through; static and class methods put @action below."""

    class Service:
        """Holds an action."""

        @action
        async def work(self, order: str, db: Instance = Provide["db"]) -> Any:
            return self, order, db

        @classmethod
        @action
        async def of(cls, db: Instance = Provide["db"]) -> Any:
            return cls, db

    app.live(Service.work)
    async with app.manager.scope(tenant="acme", execution="e1"):
        service = Service()
        got = await service.work("o1")
        assert got[:2] == (service, "o1")
        assert isinstance(got[2], Instance)
        assert (await Service.of())[0] is Service


# ── overriding ──


async def test_listeners_are_told_of_the_actions_scope(app: World) -> None:
    """TTL and usage hear of it, however short the way in and out."""
    seen: list[str] = []

    class Listener:
        def opened(self, scope: Scope) -> None:
            seen.append(f"+{scope.level.name}")

        def closed(self, scope: Scope) -> None:
            seen.append(f"-{scope.level.name}")

    @app.live
    @action
    async def charge(db: Instance = Provide["db"]) -> None:
        seen.append("charged")

    @app.live
    @action
    async def note() -> None:
        seen.append("noted")

    async with app.manager.scope(tenant="acme", execution="e1"):
        app.manager.scope_listeners = (Listener(),)
        await charge()  # its lease commits: the long way out
        await note()
        app.manager.scope_listeners = ()
        assert app.manager.open_scopes[ScopeLevel.ACTION] == 0
    assert seen == ["+ACTION", "charged", "-ACTION", "+ACTION", "noted", "-ACTION"]


async def test_override_is_dependency_injectors_own(app: World) -> None:
    """With an object, a provider, an async factory; nothing is leased, and afterwards it is as before."""

    async def make() -> str:
        return "made"

    @app.live
    @action
    async def work(db: Any = Provide["db"], repo: Repo = Provide["repo"]) -> Any:
        assert repo.db is db or repo.db == db
        return db

    async with app.manager.scope(tenant="acme", execution="e1"):
        with app.container.db.override("fake"):
            assert await work() == "fake"
            with app.container.db.override(providers.Factory(make)):
                assert await work() == "made"
            assert await work() == "fake"
        assert app.db.log == []
        assert isinstance(await work(), Instance)


async def test_rewiring_is_followed(app: World) -> None:
    """The container that was wired last is asked, and none after unwire()."""

    @app.live
    @action
    async def work(answer: int = Provide["answer"]) -> Any:
        return answer

    async with app.manager.scope(execution="e1"):
        assert await work() == 42
        other = App(things=lambda manager: None)
        other.answer.override(7)
        other.wire(modules=[app.module])
        assert await work() == 7
        other.unwire()
        with pytest.raises(ConfigurationError, match="not resolved"):
            await work()


# ── outcomes ──


async def test_an_error_rolls_back(app: World) -> None:
    """The lease is told what the action raised, and the caller gets it."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"], repo: Repo = Provide["repo"]) -> None:
        raise ValueError("declined")

    async with app.manager.scope(tenant="acme", execution="e1"):
        with pytest.raises(ValueError, match="declined"):
            await work()
    assert app.log == ["rollback ValueError"]


async def test_an_action_without_markers_has_a_scope_all_the_same(app: World) -> None:
    """What it leases by hand ends with the call, told how that went."""

    @action
    async def work(fails: bool) -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get("db")
        if fails:
            raise ValueError("declined")

    async with app.manager.scope(tenant="acme", execution="e1"):
        await work(False)
        with pytest.raises(ValueError, match="declined"):
            await work(True)
    assert app.log == ["commit", "rollback ValueError"]


async def test_a_failed_commit_reaches_the_caller(app: World) -> None:
    """The call raises what the end of its lease raised."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"]) -> str:
        return "done"

    app.db.commit_fails = RuntimeError("serialisation failure")
    async with app.manager.scope(tenant="acme", execution="e1"):
        with pytest.raises(RuntimeError, match="serialisation failure"):
            await work()


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancelled_action_rolls_back_once(app: World, cancels: int) -> None:
    """However often it is cancelled."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"], repo: Repo = Provide["repo"]) -> None:
        await asyncio.sleep(3600)

    async with app.manager.scope(tenant="acme", execution="e1"):
        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert app.log == ["rollback CancelledError"]


async def test_a_sibling_injection_that_fails_gives_everything_back(app: World) -> None:
    """What was leased for the others is told the error; the function is not called."""

    @app.live
    @action
    async def work(
        db: Instance = Provide["db"], cache: Instance = Provide["cache"], missing: Any = Provide["missing"]
    ) -> None:
        raise AssertionError("never called")

    @app.live
    @action
    async def mixed(repo: Repo = Provide["repo"], missing: Any = Provide["missing"]) -> None:
        raise AssertionError("never called")

    async with app.manager.scope(tenant="acme", execution="e1"):
        for fn in (work, mixed):
            with pytest.raises(ResourceNotFound):
                await fn()
    assert set(app.log) <= {"rollback ResourceNotFound"}


async def test_a_lease_that_cannot_be_had_lets_go_of_what_is_being_made(app: World) -> None:
    """Nobody waits for that any more, and the loop has nothing to report of it."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reported.append(report))

    @app.live
    @action
    async def charge(db: Instance = Provide["db"], repo: Repo = Provide["repo"]) -> None: ...

    app.db.fails = RuntimeError()
    async with app.manager.scope(tenant="acme", execution="e1"):
        with pytest.raises(CreateFailed):
            await charge()
    for _ in range(10):  # turns of the loop: what was being made has failed by then
        await asyncio.sleep(0)
    gc.collect()
    assert reported == []


async def test_one_that_fails_at_once_lets_go_of_what_is_being_made(app: World) -> None:
    """What came before it is not begun: its coroutine is closed, and nobody is warned of that."""

    def fails() -> None:
        raise LookupError

    async def made() -> int:
        raise AssertionError("nobody waits for it")

    @app.live
    @action
    async def charge(repo: Any = Provide["repo"], answer: Any = Provide["answer"]) -> None: ...

    slow, failing = providers.Coroutine(made), providers.Callable(fails)
    with app.container.repo.override(slow), app.container.answer.override(failing):
        async with app.manager.scope(tenant="acme", execution="e1"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(LookupError):
                    await charge()
                gc.collect()
        assert all(not task.get_name().startswith("made") for task in asyncio.all_tasks())


async def test_leases_are_waited_for_together(app: World) -> None:
    """Two busy resources cost the longer wait, not the sum."""
    busy = [await app.manager.acquire("cache") for _ in range(5)]
    loop = asyncio.get_running_loop()
    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        held = [await app.manager.acquire("db") for _ in range(5)]

        @app.live
        @action
        async def work(db: Instance = Provide["db"], cache: Instance = Provide["cache"]) -> float:
            return loop.time()

        loop.call_later(5, app.later, busy[0].release())
        loop.call_later(6, app.later, held[0].release())
        assert await work() == 6
        for handle in [*busy[1:], *held[1:]]:
            await handle.release()
        assert scope.scope.tenant_id == "acme"


async def test_concurrent_actions_have_their_own_leases(app: World) -> None:
    """The trap of a wrapper that wire() patches again: three at once would share one."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"]) -> int:
        await asyncio.sleep(1)
        return db.number

    async with app.manager.scope(tenant="acme", execution="e1"):
        assert len(set(await asyncio.gather(work(), work(), work()))) == 3


async def test_a_nested_action_is_a_sibling(app: World) -> None:
    """Inside an action another is opened under the EXECUTION, with a lease of its own; ``hold=`` is shared."""

    @app.live
    @action
    async def inner(db: Instance = Provide["db"], tx: Instance = Provide["tx"]) -> Any:
        scope = current_scope()
        assert scope is not None
        return db, tx, scope

    @app.live
    @action
    async def outer(db: Instance = Provide["db"], tx: Instance = Provide["tx"]) -> Any:
        theirs, shared, scope = await inner()
        assert theirs is not db
        assert shared is tx
        return scope.parent

    async with app.manager.scope(tenant="acme", execution="e1") as execution:
        assert await outer() is execution


# ── what it refuses ──


async def test_an_action_that_leaves_a_sibling_open_is_over_all_the_same(app: World) -> None:
    """When that ends, later, the caller is in its own scope, not in the action's that ended before."""
    async with AsyncExitStack() as stack:

        @action
        async def leaves_one_open() -> None:
            here = current_scope()
            assert here is not None
            await stack.enter_async_context(here.detach())

        async with app.manager.scope(tenant="acme", execution="e1") as scope:
            await leaves_one_open()
            await stack.aclose()
            assert current_scope() is scope


async def test_outside_a_scope_it_says_which_call_to_wrap() -> None:
    """Nothing is open: the error names the call."""

    @action
    async def charge() -> None: ...

    with pytest.raises(NoOpenScope, match=r"await .*charge\(\.\.\.\)"):
        await charge()


async def test_a_stray_task_is_told_to_take_a_scope_of_its_own(app: World) -> None:
    """Nothing waits for what outlives the block: its actions would go on as the tenant of a request that is over."""

    @app.live
    @action
    async def charge(db: Instance = Provide["db"]) -> str | None:
        scope = current_scope()
        assert scope is not None
        return scope.scope.tenant_id

    over = asyncio.Event()

    async def stray() -> None:
        await over.wait()
        await charge()

    async def detached(block: Block) -> str | None:
        async with block:
            await over.wait()
            return await charge()

    async with app.manager.scope(tenant="acme", execution="e1") as scope:
        tasks = asyncio.create_task(stray()), asyncio.create_task(detached(scope.detach()))
        async with app.manager.scope(action="a1") as inner:
            within = asyncio.create_task(detached(inner.detach()))
        await asyncio.sleep(0)  # they are in their scopes
    over.set()
    with pytest.raises(
        NoOpenScope, match=r"charge\(\) is an action .* has ended .* scope\.detach\(\): await"
    ):
        await tasks[0]
    assert (await tasks[1], await within) == ("acme", "acme")
    assert app.log == ["commit", "commit"]


async def test_an_unresolved_marker_is_refused(app: World) -> None:
    """Never wired, or a name that the container lacks: the function never sees a marker."""

    async def unwired(db: Any = Provide["db"]) -> Any:
        return db

    unwired.__module__ = "another_module"
    elsewhere = action(unwired)

    @app.live
    @action
    async def typo(bd: Any = Provide["bd"]) -> Any:
        return bd

    async with app.manager.scope(tenant="acme", execution="e1"):
        for fn, name in ((elsewhere, "db"), (typo, "bd")):
            with pytest.raises(
                ConfigurationError, match=rf"Provide\['{name}'\] of '{name}' in .* is not resolved"
            ):
                await fn()


def test_what_cannot_be_an_action_is_refused_when_it_is_decorated() -> None:
    """Plain functions, generators, classes, static methods above it: each with a hint."""

    def plain(db: Any = Provide["db"]) -> None: ...

    async def generator() -> AsyncGenerator[int]:
        yield 1

    async def closing(db: Any = Closing[Provide["db"]]) -> None: ...

    async def positional(db: Any = Provide["db"], /) -> None: ...

    async def more(db: Any = Provide["db"], *rest: Any) -> None: ...

    async def unreadable(db: Annotated[int, Provide["db"] + 1]) -> None: ...

    class Callable:
        async def __call__(self) -> None: ...

    for fn, hint in (
        (plain, "async def"),
        (generator, "async generator"),
        (Callable(), "no async function"),
        (staticmethod(unreadable), "below @staticmethod"),
        (closing, "Closing"),
        (positional, "injected by name"),
        (more, "injected by name"),
        (unreadable, "cannot be read"),
    ):
        with pytest.raises(ConfigurationError, match=hint):
            action(fn)  # type: ignore[arg-type]  # the point of the test


def test_keyword_only_markers_may_stand_behind_varargs() -> None:
    """What is injected by name is out of the way of what is given by position."""

    @action
    async def work(*rest: int, db: Any = Provide["db"]) -> None: ...

    assert str(inspect.signature(work)) == "(*rest: 'int') -> 'None'"


def test_its_signature_shows_no_markers() -> None:
    """What is injected is left out, so that wire(), FastAPI and readers see what a caller gives."""

    @action
    async def charge(order: str, db: Any = Provide["db"], *, times: int = 1) -> int:
        """Take money."""
        return times

    assert list(inspect.signature(charge).parameters) == ["order", "times"]
    assert charge.__doc__ == "Take money."
    assert inspect.iscoroutinefunction(charge)


async def test_action_over_inject_is_one_injection(app: World) -> None:
    """``@action`` above dependency-injector's own ``@inject`` does not inject twice."""

    @app.live
    @action
    @inject
    async def work(db: Instance = Provide["db"]) -> Any:
        return db

    async with app.manager.scope(tenant="acme", execution="e1"):
        assert isinstance(await work(), Instance)
    assert app.log == ["commit"]
