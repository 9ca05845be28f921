"""validate(container=...): what is wrong with providers and injected functions, before the first request."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

import pytest
from dependency_injector import providers
from dependency_injector.resources import AsyncResource, Resource
from dependency_injector.wiring import (
    Closing,
    Provide,
    Provider,
    as_int,
    inject,
    invariant,
    provided,
    required,
)

from nebula_resource import Manager, ResourceKey, ValidationFailed
from nebula_resource.checks import validate
from nebula_resource.di import Leased, ManagerProvider, ResourceContainer, ScopedSingleton, action, wire
from tests.unit.manager.things import Instance, Thing


class Database:
    """What "db" leases."""


class Special(Database):
    """A kind of it."""


class Closable(Protocol):
    """What type checkers compare."""

    def close(self) -> None: ...


DB = ResourceKey("db", Database)
HERE = sys.modules[__name__]


class Chosen:
    """Names an option by what it is, and has no text of its own."""


class App(ResourceContainer):
    """A container without mistakes."""

    manager = ManagerProvider()
    db = Leased(DB)
    other = Leased("other")
    repo = providers.Factory(dict[str, Any], db=db)
    unit = ScopedSingleton("execution", dict[str, Any], db=db)
    answer = providers.Object(42)
    settings = providers.Configuration(default={"port": "80"})
    which = providers.Factory(Chosen)


CHOSEN = invariant("which")


@action
async def standing(answer: int = Provide["answer"]) -> int:
    """An action that stands in the module."""
    return answer


async def _check(container: Any, *keys: str, **more: Any) -> dict[str, str]:
    """What is wrong, by place; the manager knows these keys."""
    async with Manager() as manager:
        for key in keys or ("db", "other"):
            await manager.register(Thing(key), {})
        try:
            validate(container=container, manager=manager, **more)
        except ValidationFailed as error:
            return {
                violation.field.rpartition("<locals>.")[2]: str(violation) for violation in error.violations
            }
    return {}


@pytest.fixture
def container() -> Any:
    """A container that is wired to this module while the test runs, and functions that are forgotten after it."""
    from dependency_injector import wiring

    made = App()
    before = dict(wiring._patched_registry._callables)
    yield made
    made.unwire()
    wiring._patched_registry._callables.clear()
    wiring._patched_registry._callables.update(before)


def _wire(container: Any) -> Any:
    container.wire(modules=[HERE])
    return container


async def test_nothing_wrong_is_silence(container: Any) -> None:
    """A good container, wired or not; one without a manager to ask; nothing at all."""

    @action
    async def work(
        db: Database = Provide["db"], wide: object = Provide["db"], answer: int = Provide["answer"]
    ) -> None: ...

    @inject
    async def native(repo: Any = Provide["repo"], factory: Callable[[], Any] = Provider["repo"]) -> None: ...

    @inject
    def plain(
        answer: int = Provide["answer"], factory: Any = Provider["db"], me: Any = Provide["<container>"]
    ) -> None: ...

    @inject
    def modified(
        port: int = Provide["settings.port", as_int()],
        must: int = Provide["settings.port", required().as_int()],
        chosen: Any = Provide["settings.by", CHOSEN],
        real: int = Provide["answer", provided().real],
    ) -> None: ...

    assert await _check(App()) == {}
    assert await _check(_wire(container)) == {}
    wire(container, __name__)  # again: all of that is this container's own
    validate()


async def test_an_unknown_key_is_told_with_those_that_look_like_it(container: Any) -> None:
    """In the container, and in each function that injects it; one that is only expected is not unknown."""

    @action
    async def work(db: Any = Provide["db"]) -> None: ...

    told = await _check(_wire(container), "bd", "other")
    assert set(told) == {"container.db", "work(db)"}
    assert "did you mean 'bd'?" in told["container.db"]
    assert await _check(container, "other", expected=["db"]) == {}
    assert "did you mean" not in (await _check(App(), "zzzzzz"))["container.db"]


async def test_an_annotation_is_compared_with_the_keys_type(container: Any) -> None:
    """The type itself, a base of it, a union, anything and a protocol fit; another type does not."""

    @action
    async def good(
        a: Database = Provide["db"],
        b: object = Provide["db"],
        c: Database | None = Provide["db"],
        d: Any = Provide["db"],
        e: Closable = Provide["db"],
        f: OnlyForCheckers = Provide["db"],  # type: ignore[name-defined]  # noqa: F821  # what cannot be known fits
        *,
        g: Annotated[Database, Provide["db"]],
    ) -> None: ...

    assert await _check(_wire(container)) == {}

    @action
    async def bad(
        a: Special = Provide["db"],
        b: int | str = Provide["db"],
        c: list[Database] = Provide["db"],
        d: None = Provide["db"],
    ) -> None: ...

    told = await _check(_wire(container))
    assert set(told) == {"bad(a)", "bad(b)", "bad(c)", "bad(d)"}
    assert told["bad(a)"].endswith("must be annotated Database, which is what 'db' leases (got Special)")


async def test_a_key_of_two_types_is_told() -> None:
    """Two declarations of one id that disagree."""

    class Confused(App):
        wrong = Leased(ResourceKey("db", int))

    told = await _check(Confused())
    assert list(told) == ["key 'db'"]
    assert "Database in container.db, int in container.wrong" in told["key 'db'"]


async def test_sync_functions_that_inject_what_is_awaited(container: Any) -> None:
    """Directly or in a graph; and an async generator, to which @inject passes no error on."""

    @inject
    def plain(db: Any = Provide["db"], repo: Any = Provide["repo"]) -> None: ...

    @inject
    async def generator(db: Any = Provide["db"]) -> AsyncGenerator[int]:
        yield 1

    told = await _check(_wire(container))
    assert set(told) == {"plain(db)", "plain(repo)", "generator(db)"}
    assert "async function" in told["plain(db)"]
    assert "passes no error on" in told["generator(db)"]


async def coroutine() -> int:
    """Has to be awaited."""
    return 1


async def generator() -> AsyncGenerator[int]:
    """Has to be entered with an await."""
    yield 1


class Entered:
    """Has to be entered with an await, too."""

    async def __aenter__(self) -> int:
        return 1

    async def __aexit__(self, *_: object) -> None: ...


class Initialised(AsyncResource[int]):
    """dependency-injector awaits its ``init``."""

    async def init(self, *args: Any, **kwargs: Any) -> int:
        return 1


class Started(Resource[int]):
    """It calls this one's; a class like any other is only made."""

    def init(self, *args: Any, **kwargs: Any) -> int:
        return 1


class Awaited(App):
    """Providers that give something to await, each for a reason of its own."""

    of_generator = ScopedSingleton("execution", generator)
    of_manager = ScopedSingleton("execution", asynccontextmanager(generator))
    of_coroutine = ScopedSingleton("execution", coroutine)
    of_lease = ScopedSingleton("execution", dict[str, Any], db=App.db)
    called = providers.Coroutine(coroutine)
    factory = providers.Factory(coroutine)
    singleton = providers.Singleton(coroutine)
    nested = providers.Factory(dict[str, Any], n=providers.Factory(coroutine))
    resource = providers.Resource(generator)
    entered = providers.Resource(Entered)
    initialised = providers.Resource(Initialised)


class Ready(App):
    """Providers that give something ready: what they make may call a provider later."""

    of_scope = ScopedSingleton("execution", dict[str, Any])
    listed = providers.List(providers.Object(1))
    resource: providers.Resource[dict[str, Any]] = providers.Resource(dict)
    started = providers.Resource(Started)
    later = providers.Factory(dict[str, Any], make=App.repo.provider)
    delegated = providers.Factory(dict[str, Any], make=providers.DelegatedFactory(coroutine))
    kept = providers.Singleton(dict[str, Any], make=App.repo.provider)


@pytest.mark.parametrize("declared", [Awaited, Ready])
async def test_a_sync_function_is_given_nothing_to_await(
    container: Any, declared: type[ResourceContainer]
) -> None:
    """Leases or not: where dependency-injector would hand out a coroutine or a task, that is told; elsewhere not."""

    def plain(**given: Any) -> dict[str, Any]:
        return given

    names = sorted(set(declared.providers) - set(App.providers))
    vars(plain)["__signature__"] = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=Provide[name]) for name in names]
    )  # where @inject looks
    injected = inject(plain)
    made = declared()
    _wire(made)
    told = await _check(made)
    async with Manager() as manager:
        await manager.register(Thing("db"), {})
        async with manager.scope(execution="e"):
            given = injected()
            awaited = {name for name in names if inspect.isawaitable(given[name])}
            await asyncio.gather(*(given[name] for name in awaited))
    made.unwire()
    assert set(told) == {f"plain({name})" for name in awaited}
    assert awaited == (set(names) if declared is Awaited else set())


async def test_the_trap_of_a_sync_function_itself(container: Any) -> None:
    """dependency-injector gives it something to await, silently."""

    @inject
    def plain(db: Any = Provide["db"]) -> Any:
        return db

    async with Manager() as manager:
        await manager.register(Thing("db"), {})
        _wire(container)
        async with manager.scope(execution="e"):
            got = plain()
            assert not isinstance(got, Instance)
            assert isinstance(await got, Instance)


async def test_singletons_that_capture_a_lease() -> None:
    """Directly, through a factory, as a resource; a scope's object of an outer level given a deeper one."""

    class Captive(App):
        db = Leased(DB)
        unit = ScopedSingleton("execution", dict[str, Any])
        direct = providers.Singleton(dict[str, Any], db=db)
        through = providers.ThreadSafeSingleton(dict[str, Any], repo=providers.Factory(dict[str, Any], db=db))
        diamond = providers.Singleton(
            dict[str, Any],
            one=providers.Factory(dict[str, Any], db=db),
            two=providers.Factory(dict[str, Any], db=db),
        )
        resource = providers.Resource(dict[str, Any], db=db)
        unitary = providers.Singleton(dict[str, Any], unit=unit)
        outer = ScopedSingleton("tenant", dict[str, Any], unit=unit)
        holding = ScopedSingleton("tenant", dict[str, Any], db=Leased(DB, hold="execution"))
        fine = ScopedSingleton("action", dict[str, Any], unit=unit, db=db, n=providers.Object(1))
        again = providers.Factory(dict[str, Any], one=providers.Factory(dict[str, Any], db), two=unit)
        inner = providers.Container(App)

    told = await _check(Captive())
    assert set(told) == {
        f"container.{name}"
        for name in ("direct", "through", "diamond", "resource", "unitary", "outer", "holding")
    }
    assert "beyond its scope" in told["container.direct"]
    assert "no EXECUTION is open" in told["container.outer"]


async def test_unresolved_markers(container: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the container lacks, and an Annotated marker that @inject does not see."""

    @action
    async def work(typo: Any = Provide["typo"]) -> None: ...

    async def unseen(db: Annotated[Database, Provide["db"]]) -> None: ...

    class Service:
        @staticmethod
        async def method(db: Annotated[Database, Provide["db"]]) -> None: ...

        async def unreadable(self, db: Annotated[Database, Provide["db"] + 1]) -> None: ...

    # As if they stood in the module.
    monkeypatch.setattr(HERE, "unseen", unseen, raising=False)
    monkeypatch.setattr(HERE, "Service", Service, raising=False)
    told = await _check(_wire(container))
    assert set(told) == {"work(typo)", "unseen(db)", "Service.method(db)", "Service.unreadable"}
    assert "does not see a marker in Annotated" in told["unseen(db)"]


async def test_closing_around_a_lease(container: Any) -> None:
    """It has no business there."""

    @inject
    async def work(repo: Any = Closing[Provide["repo"]]) -> None: ...

    assert set(await _check(_wire(container))) == {"work(repo)"}


async def test_two_containers_wired_to_one_module(container: Any) -> None:
    """The last wins for every function: which is told of the one that lost."""

    @action
    async def work(db: Any = Provide["db"], answer: int = Provide["answer"]) -> None: ...

    other = App()
    _wire(container)
    _wire(other)
    told = await _check(container)
    assert set(told) == {"work(db)", "work(answer)", f"{__name__}.standing(answer)"}
    assert "one container" in told["work(db)"]
    assert await _check(other) == {}
    other.unwire()


async def test_a_package_that_was_wired_is_looked_through(container: Any) -> None:
    """By dependency-injector's own call, which takes packages apart from modules."""

    @action
    async def work(typo: Any = Provide["typo"]) -> None: ...

    container.wire(packages=["tests.unit.checks"])
    assert "work(typo)" in await _check(container)


async def test_everything_is_told_at_once(container: Any) -> None:
    """One error with all of it, each thing once."""

    class Bad(App):
        single = providers.Singleton(dict[str, Any], db=Leased("unknown"))
        unknown = Leased("unknown")

    @action
    async def work(typo: Any = Provide["typo"]) -> None: ...

    bad = Bad()
    _wire(bad)
    assert set(await _check(bad)) == {"container.single", "container.unknown", "work(typo)"}
    bad.unwire()


async def test_what_sources_can_serve_is_known() -> None:
    """A source of registrations that says which keys it has makes them known."""

    class Templates:
        keys = ("db", "other")

        def claim(self, key: str, scope: Any) -> None: ...

    async with Manager() as manager:
        manager.registry.sources = (Templates(),)
        validate(container=App(), manager=manager)


def test_a_container_without_a_manager_is_asked_no_keys() -> None:
    """What is registered is not known, so nothing is unknown; an overridden manager that is none counts as none."""

    class Plain(ResourceContainer):
        db = Leased("db")

    validate(container=Plain())
    container = App()
    with container.manager.override("no manager"):
        validate(container=container)


async def test_the_containers_own_manager_is_asked() -> None:
    """Without a manager given, registrations are those of the container's."""
    container = App()
    await container.manager().register(Thing("db"), {})
    with pytest.raises(ValidationFailed, match=r"container\.other"):
        validate(container=container)
    await container.manager.shutdown()
