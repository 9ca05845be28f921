"""Traps of dependency-injector: each shown on the plain library, and that it does not reach whoever uses ours."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest
from dependency_injector import containers, providers
from dependency_injector.wiring import Closing, Provide, inject

from nebula_resource import NoOpenScope, current_scope
from nebula_resource.di import action
from tests.unit.di.world import Repo, World, world
from tests.unit.manager.things import Instance

LOG: list[str] = []


async def _session() -> AsyncGenerator[list[str]]:
    """What users write for one session per call."""
    session = [f"session {len(LOG)}"]
    LOG.append("begin")
    try:
        yield session
    except BaseException as error:
        LOG.append(f"rollback {type(error).__name__}")
        raise
    LOG.append("commit")
    session.append("closed")


async def _fails() -> None:
    await asyncio.sleep(1)
    raise ValueError("sibling")


class Naive(containers.DeclarativeContainer):
    """The plain library's ways."""

    failing = providers.Factory(_fails)

    session = providers.Resource(_session)
    local = providers.ContextLocalResource(_session)


@pytest.fixture
def naive() -> Any:
    """A container of the plain library, wired to this module."""
    LOG.clear()
    container = Naive()
    container.wire(modules=[sys.modules[__name__]])
    yield container
    container.unwire()


@pytest.fixture
async def app() -> AsyncGenerator[World]:
    """Ours, wired to this module."""
    async with world(__name__) as here:
        yield here


# ── Closing hides the exception ──


async def test_naive_closing_commits_what_failed(naive: Any) -> None:
    """The resource never hears of the error: it commits."""

    @inject
    async def work(session: Any = Closing[Provide[Naive.local]]) -> None:
        raise ValueError

    naive.wire(modules=[sys.modules[__name__]])
    with pytest.raises(ValueError):  # noqa: PT011  # the one raised above
        await work()
    assert LOG == ["begin", "commit"]


async def test_ours_rolls_back(app: World) -> None:
    """The lease hears of it."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"]) -> None:
        raise ValueError

    async with app.manager.scope(tenant="acme", execution="e"):
        with pytest.raises(ValueError):  # noqa: PT011  # the one raised above
            await work()
    assert app.log == ["rollback ValueError"]


# ── an inner call closes the outer handle ──


async def test_naive_context_local_closes_the_outer_handle(naive: Any) -> None:
    """The outer function goes on with a session that is closed."""

    @inject
    async def inner(session: Any = Closing[Provide[Naive.local]]) -> None: ...

    @inject
    async def outer(session: Any = Closing[Provide[Naive.local]]) -> list[str]:
        await inner()
        return list(session)

    naive.wire(modules=[sys.modules[__name__]])
    try:
        assert "closed" in await outer()
    except TypeError:
        pass  # 3.11 stumbles over its own second shutdown, which is the next trap


async def test_ours_keeps_the_outer_lease(app: World) -> None:
    """The inner action has a lease of its own; the outer's lives until the outer returns."""

    @app.live
    @action
    async def inner(db: Instance = Provide["db"]) -> Instance:
        return db

    @app.live
    @action
    async def outer(db: Instance = Provide["db"]) -> None:
        assert await inner() is not db
        assert app.log == ["commit"]

    async with app.manager.scope(tenant="acme", execution="e"):
        await outer()
    assert app.log == ["commit", "commit"]


# ── concurrent calls share one resource ──


async def test_naive_resource_is_closed_under_others(naive: Any) -> None:
    """The first to finish closes what the second still uses."""

    @inject
    async def work(wait: bool, session: Any = Closing[Provide[Naive.session]]) -> list[str]:
        if wait:
            await asyncio.sleep(1)
        return list(session)

    naive.wire(modules=[sys.modules[__name__]])
    results = await asyncio.gather(work(False), work(True), return_exceptions=True)
    assert isinstance(results[1], TypeError) or "closed" in results[1]  # type: ignore[operator]  # the TypeError is 3.11's


# ── who ends a resource second gets a TypeError, on 3.11 ──


async def test_naive_second_shutdown_is_an_error_on_3_11(naive: Any) -> None:
    """Out of a call that went well: what both used is ended by both."""

    @inject
    async def work(session: Any = Closing[Provide[Naive.session]]) -> None:
        await asyncio.sleep(1)

    naive.wire(modules=[sys.modules[__name__]])
    results = await asyncio.gather(work(), work(), return_exceptions=True)
    assert any(isinstance(result, TypeError) for result in results) is (sys.version_info < (3, 12))


async def test_ours_ends_every_lease_once(app: World) -> None:
    """Two calls at once, and every one ends what is its own."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"]) -> None:
        await asyncio.sleep(1)

    async with app.manager.scope(tenant="acme", execution="e"):
        await asyncio.gather(work(), work())
    assert app.log == ["commit", "commit"]


# ── a wrapper with functools.wraps is wired once more, outside the scope ──


def _naive_action(fn: Callable[..., Coroutine[Any, Any, Any]], manager: Callable[[], Any]) -> Any:
    """What anybody would write first."""
    injected = inject(fn)

    @functools.wraps(injected)
    async def run(*args: Any, **kwargs: Any) -> Any:
        async with manager().scope(action="naive"):
            return await injected(*args, **kwargs)

    return run


async def test_naive_wrapper_injects_outside_its_scope(app: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """wire() finds the markers through ``__wrapped__`` and patches the wrapper: all calls share the outer lease."""

    async def work(db: Any = Provide["db"]) -> Any:
        await asyncio.sleep(1)
        return db

    monkeypatch.setattr(app.module, "work", _naive_action(work, lambda: app.manager), raising=False)
    app.live(work)
    wired: Any = vars(app.module)["work"]
    async with app.manager.scope(tenant="acme", execution="e"):
        assert len({id(db) for db in await asyncio.gather(wired(), wired(), wired())}) == 1


async def test_ours_injects_inside(app: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with ``@action``, which stands in the module too: three calls, three leases."""

    @action
    async def work(db: Any = Provide["db"]) -> Any:
        await asyncio.sleep(1)
        return db

    monkeypatch.setattr(app.module, "work", work, raising=False)
    app.live(work)
    wired: Any = vars(app.module)["work"]
    assert wired is work
    async with app.manager.scope(tenant="acme", execution="e"):
        assert len({id(db) for db in await asyncio.gather(wired(), wired(), wired())}) == 3


# ── injections run in child tasks ──


async def test_naive_injections_run_in_other_tasks(app: World) -> None:
    """What is injected is made in a task of its own: what it sets for its caller is lost."""
    tasks: list[Any] = []

    async def made() -> int:
        tasks.append(asyncio.current_task())
        return 1

    @app.live
    @inject
    async def work(answer: Any = Provide["answer"]) -> Any:
        return answer

    with app.container.answer.override(providers.Factory(made)):
        assert await work() == 1
    assert tasks != [asyncio.current_task()]


async def test_ours_decides_in_the_callers_task(app: World) -> None:
    """Which scope a lease belongs to is decided in the caller, whatever task then waits for it."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"], repo: Repo = Provide["repo"]) -> bool:
        scope = current_scope()
        assert scope is not None
        return repo.db is db and await scope.get("db") is db

    async with app.manager.scope(tenant="acme", execution="e"):
        assert all(await asyncio.gather(*(work() for _ in range(5))))


# ── a failing sibling leaves what was opened before it open ──


async def test_naive_sibling_failure_leaks(naive: Any) -> None:
    """The session was begun and nobody ends it."""

    @inject
    async def work(
        session: Any = Closing[Provide[Naive.local]], sibling: Any = Provide[Naive.failing]
    ) -> None: ...

    naive.wire(modules=[sys.modules[__name__]])
    with pytest.raises(ValueError, match="sibling"):
        await work()
    assert LOG == ["begin"]


async def test_ours_gives_back_what_was_leased_beside_it(app: World) -> None:
    """The lease hears of the sibling's error."""

    @app.live
    @action
    async def work(db: Instance = Provide["db"], answer: int = Provide["answer"]) -> None: ...

    async with app.manager.scope(tenant="acme", execution="e"):
        with (
            app.container.answer.override(providers.Factory(_fails)),
            pytest.raises(ValueError, match="sibling"),
        ):
            await work()
    assert app.log == ["rollback ValueError"]


async def test_ours_says_so_outside_a_scope(app: World) -> None:
    """Nothing is leased where nobody could end it."""

    @app.live
    @inject
    async def work(db: Any = Provide["db"]) -> None: ...

    with pytest.raises(NoOpenScope):
        await work()
    assert app.db.log == []
