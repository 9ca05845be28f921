"""validate(app): what is wrong with the dependencies of a FastAPI application, before the first request."""

# No postponed annotations here: FastAPI could not see the local names in them.

from collections.abc import AsyncGenerator, Generator
from functools import partial
from types import ModuleType
from typing import Annotated, Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide, inject
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from nebula_resource import ConfigurationError, Manager, ResourceKey, ValidationFailed
from nebula_resource.checks import validate
from nebula_resource.di import ResourceContainer, wired
from nebula_resource.fastapi import install, resource
from tests.unit.manager.things import Thing


class Database:
    """What "db" leases: it has to be awaited."""

    async def execute(self) -> None: ...


class Cache:
    """What "cache" leases: a thread may use it."""

    def get(self) -> None: ...

    async def aclose(self) -> None: ...


DB = ResourceKey("db", Database)
CACHE = ResourceKey("cache", Cache)
Db = Annotated[Database, Depends(resource(DB))]


async def _check(app: FastAPI, *keys: str) -> dict[str, str]:
    """What is wrong, by place."""
    async with Manager() as manager:
        for key in keys or ("db", "cache"):
            await manager.register(Thing(key), {})
        install(app, manager)
        try:
            validate(app)
        except ValidationFailed as error:
            return {
                violation.field.rpartition("<locals>.")[2]: str(violation) for violation in error.violations
            }
    return {}


async def test_nothing_wrong_is_silence() -> None:
    """Handlers, sub-dependencies, websockets, dependencies that nobody gets the value of."""
    app = FastAPI(dependencies=[Depends(resource("cache"))])

    async def unit(db: Db) -> Any:
        return db

    @app.get("/", dependencies=[Depends(resource("db"))])
    async def handler(
        db: Db, unit: Annotated[Any, Depends(unit)], cache: Any = Depends(resource(CACHE))
    ) -> None: ...

    @app.get("/sync")
    def sync(cache: Annotated[Cache, Depends(resource(CACHE))]) -> None: ...

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, db: Db) -> None: ...

    assert await _check(app) == {}


async def test_a_typo_is_told_wherever_it_is() -> None:
    """In a handler, a router included in a router, a mounted application, a dependency, a dependency of a route."""
    app, mounted = FastAPI(), FastAPI()
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")
    typo = Depends(resource("dbb"))

    @app.get("/handler")
    async def handler(db: Any = typo) -> None: ...

    @inner.get("/deep")
    async def deep(db: Any = typo) -> None: ...

    async def below(db: Any = typo) -> None: ...

    @mounted.websocket("/ws")
    async def socket(unit: Annotated[Any, Depends(below)]) -> None: ...

    @app.get("/route", dependencies=[typo])
    async def route() -> None: ...

    class Callable:
        async def __call__(self, db: Annotated[Any, typo]) -> None: ...

    @app.get("/callable")
    async def callable_dependency(unit: Annotated[Any, Depends(Callable())]) -> None: ...

    outer.include_router(inner)
    app.include_router(outer, dependencies=[Depends(resource("cachee"))])
    app.mount("/mounted", mounted)
    told = await _check(app)
    assert all("did you mean 'db'?" in text or "did you mean 'cache'?" in text for text in told.values())
    assert {name.rpartition(".")[2] for name in told} >= {"handler(db)", "deep(db)", "below(db)"}
    assert len(told) >= 5


async def test_what_two_routes_have_in_common_is_told_once() -> None:
    """A slip in a shared dependency is one slip."""
    app = FastAPI()

    async def shared(db: Any = resource(DB)) -> None: ...

    for path in ("/a", "/b"):

        @app.get(path)
        async def handler(unit: Annotated[Any, Depends(shared)]) -> None: ...

    async with Manager() as manager:
        install(app, manager)
        with pytest.raises(ValidationFailed) as caught:
            validate(app)
    assert len(caught.value.violations) == 1


async def test_annotations_are_compared_with_the_key() -> None:
    """Of the handler and of dependencies, the one key known by its other uses, too."""
    app = FastAPI()

    @app.get("/a")
    async def good(db: Db) -> None: ...

    @app.get("/b")
    async def bad(db: Annotated[Cache, Depends(resource("db"))]) -> None: ...

    class Repo:
        def __init__(self, db: Annotated[Cache, Depends(resource("db"))]) -> None: ...

    async def part(db: Annotated[Cache, Depends(resource("db"))], number: int) -> None: ...

    @app.get("/c")
    async def deeper(
        repo: Annotated[Repo, Depends()], part: Annotated[None, Depends(partial(part, number=1))]
    ) -> None: ...

    told = await _check(app)
    assert set(told) == {"bad(db)", "Repo(db)", "part(db)"}
    assert "must be annotated Database" in told["bad(db)"]
    assert told["bad(db)"].endswith("(got Cache)")


async def test_a_sync_handler_that_would_have_to_await() -> None:
    """A thread can do nothing with an async session; a dependency that hands it on has to do nothing with it."""
    app = FastAPI()

    class Repo:
        def __init__(self, db: Db) -> None: ...

    def repo(db: Db) -> Any:
        return db

    class Handlers:
        async def method(self, db: Db) -> None: ...

        async def __call__(self, db: Db) -> None: ...

    @app.get("/a")
    def handler(db: Db) -> None: ...

    @app.get("/b")
    async def hands_on(a: Annotated[Repo, Depends()], b: Annotated[Any, Depends(repo)]) -> None: ...

    handlers: list[Any] = [Handlers().method, partial(Handlers().method), Handlers()]
    for number, fine in enumerate(handlers):
        app.add_api_route(f"/{number}", fine)
    app.add_api_route("/c", partial(handler))
    told = await _check(app)
    assert list(told) == ["handler(db)"]
    assert "Database has to be awaited" in told["handler(db)"]


async def test_an_annotation_that_fastapi_cannot_read() -> None:
    """A local alias under postponed annotations: FastAPI would ask the client for ``db``, and nobody is told."""
    app = FastAPI()

    async def unit(db: "LocalDb") -> None: ...  # type: ignore[name-defined]  # noqa: F821  # as postponed

    @app.get("/a")
    async def handler(
        db: "LocalDb",  # type: ignore[name-defined]  # noqa: F821  # as postponed
        unit: Annotated[None, Depends(unit)],
        fine: "Db",
        text: str = "a default",
        typed: "OnlyForCheckers" = Depends(resource(DB)),  # type: ignore[name-defined]  # noqa: F821  # as FastAPI is written
    ) -> None: ...

    told = await _check(app)
    assert set(told) == {"handler(db)", "unit(db)"}
    assert "FastAPI cannot read it" in told["handler(db)"]
    assert told["handler(db)"].endswith("(got LocalDb)")


async def test_a_resource_without_depends() -> None:
    """FastAPI would ask the client for it, or give the handler the dependency itself."""
    app = FastAPI()

    @app.get("/default")
    async def default(db: Any = resource(DB)) -> None: ...

    told = await _check(app, "db")
    assert list(told) == ["default(db)"]
    assert told["default(db)"].endswith(": must be in Depends: Depends(resource('db')) (got resource('db'))")


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[Database, resource(DB)],
        Annotated[dict[str, int], resource(DB)],
        Annotated[int, resource(DB)],
    ],
)
def test_a_resource_without_depends_in_an_annotation(annotation: Any) -> None:
    """It is told where the handler is declared, whether FastAPI could ask the client for such a thing or not."""
    app = FastAPI()

    async def handler(db: Any) -> None: ...

    handler.__annotations__["db"] = annotation
    for path in ("/", "/{db}"):
        with pytest.raises(
            ConfigurationError, match=r"write Annotated\[\.\.\., Depends\(resource\('db'\)\)\]"
        ):
            app.get(path)(handler)


async def test_an_application_that_was_never_installed() -> None:
    """One that uses leases and has no manager; one that uses none is fine."""
    app = FastAPI()
    validate(app)

    @app.get("/")
    async def handler(db: Db) -> None: ...

    with pytest.raises(ValidationFailed, match=r"install\(app, manager\)"):
        validate(app)


async def test_a_yield_dependency_that_outlives_the_lease() -> None:
    """Torn down after the response, it would use what was given back with the handler."""
    app = FastAPI()

    async def unit(db: Db) -> AsyncGenerator[Any]:
        yield db

    def plain(db: Annotated[Cache, Depends(resource(CACHE))]) -> Generator[Any]:
        yield db

    class Callable:
        async def __call__(self, db: Annotated[Database, Depends(resource(DB))]) -> AsyncGenerator[Any]:
            yield db

    async def streams(
        db: Annotated[Database, Depends(resource(DB, until="response"))],
    ) -> AsyncGenerator[Any]:
        yield db

    @app.get("/bad")
    async def bad(a: Annotated[Any, Depends(unit)], b: Annotated[Any, Depends(plain)]) -> None: ...

    @app.get("/worse")
    async def worse(a: Annotated[Any, Depends(Callable())]) -> None: ...

    @app.get("/good")
    async def good(
        a: Annotated[Any, Depends(unit, scope="function")], b: Annotated[Any, Depends(streams)]
    ) -> None: ...

    told = await _check(app)
    assert {name.rpartition(".")[2] for name in told} == {"unit", "plain", "Callable"}
    assert 'scope="function"' in told["unit"]


async def test_a_handler_that_yields_what_its_lease_gives() -> None:
    """FastAPI streams it after the handler's leases have ended; what a dependency read before is no such thing."""
    app = FastAPI()

    async def read(db: Db) -> int:
        return 1

    @app.get("/bad")
    async def bad(db: Db) -> AsyncGenerator[int]:
        yield 1

    @app.get("/worse")
    def worse(cache: Annotated[Cache, Depends(resource(CACHE))]) -> Generator[int]:
        yield 1

    @app.get("/good", dependencies=[Depends(resource(DB))])
    async def good(
        db: Annotated[Database, Depends(resource(DB, until="response"))], one: Annotated[int, Depends(read)]
    ) -> AsyncGenerator[int]:
        yield 1

    told = await _check(app)
    assert set(told) == {"bad(db)", "worse(cache)"}
    assert """resource('db', until="response")""" in told["bad(db)"]


async def test_depends_on_a_marker_that_nothing_resolves() -> None:
    """``Depends(Provide[...])`` without ``@inject`` gives the handler the marker."""
    app = FastAPI()

    @app.get("/a")
    async def naive(answer: Annotated[Any, Depends(Provide["answer"])]) -> None: ...

    @app.get("/b")
    @inject
    async def unwired(answer: Any = Depends(Provide["answer"])) -> None: ...  # as FastAPI is written

    class Answers(ResourceContainer):
        answer = providers.Object(42)

    @app.get("/c", dependencies=[Depends(Provide["answer"])])
    @inject
    async def good(answer: Any = Depends(Provide["answer"])) -> None: ...  # as FastAPI is written

    good.__module__ = "a_module_of_its_own"
    module = ModuleType("a_module_of_its_own")
    with wired(Answers(), module):
        told = await _check(app)
    assert set(told) == {"naive(answer)", "unwired(answer)"}
    assert "Depends(Provide['answer'])" in told["naive(answer)"]
