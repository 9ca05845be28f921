"""Leases, providers, scoped objects and actions infer their types: mypy --strict and pyright read this file, pytest runs it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, assert_type

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide

from nebula_resource import ConfigurationError, Manager, ResourceKey, ScopeLevel, current_scope
from nebula_resource.checks import validate
from nebula_resource.di import Leased, ManagerProvider, ResourceContainer, ScopedSingleton, action, running
from nebula_resource.manager import ManagedAcquisition, OpenScope
from nebula_resource.workflow import (
    ActionContext,
    Resources,
    Step,
    WorkflowDefinition,
    WorkflowExecutor,
    WorkflowResult,
)


class Session:
    """A lease."""


class Unit:
    """An object of a scope."""

    def __init__(self, db: Session | None = None) -> None:
        self.db = db


def _sync() -> Iterator[Unit]:
    yield Unit()


async def _async() -> AsyncIterator[Unit]:
    yield Unit()


async def _made() -> Unit:
    return Unit()


@asynccontextmanager
async def _managed() -> AsyncGenerator[Unit]:
    yield Unit()


DB = ResourceKey("db", Session)


class App(ResourceContainer):
    """Every provider of ours."""

    manager = ManagerProvider()
    db = Leased(DB)
    tx = Leased(DB, hold=ScopeLevel.EXECUTION)
    plain = Leased("db")
    unit = ScopedSingleton("execution", Unit, db=db)
    by_generator = ScopedSingleton("execution", _sync)
    by_async_generator = ScopedSingleton("execution", _async)
    by_coroutine = ScopedSingleton("execution", _made)
    by_manager = ScopedSingleton("execution", _managed)
    factory = providers.Factory(Unit, db)


@action
async def charge(order_id: str, db: Session = Provide["db"]) -> int:
    """An action as SPEC §1 writes it."""
    return len(order_id)


def test_providers_know_what_they_give() -> None:
    """A key's type goes through `Leased`; a class, a function or a generator's goes through `ScopedSingleton`."""

    def of(container: App) -> None:
        assert_type(container.manager(), Manager)
        assert_type(container.db, Leased[Session])
        assert_type(container.tx, Leased[Session])
        assert_type(container.plain, Leased[Any])
        assert_type(container.unit, ScopedSingleton[Unit])
        assert_type(container.by_generator, ScopedSingleton[Unit])
        assert_type(container.by_async_generator, ScopedSingleton[Unit])
        assert_type(container.by_coroutine, ScopedSingleton[Unit])
        assert_type(container.by_manager, ScopedSingleton[Unit])

    async def awaited(container: App) -> None:
        assert_type(await container.db.async_(), Session)
        assert_type(await container.unit.async_(), Unit)
        assert_type(await container.factory.async_(), Unit)
        async with running(container) as started:
            assert_type(started, App)

    assert callable(of)
    assert callable(awaited)


def test_an_action_keeps_its_signature() -> None:
    """What is injected may be left out, what is not may not."""
    _: Callable[[str], Coroutine[Any, Any, int]] = charge

    async def of() -> None:
        assert_type(await charge("o1"), int)
        assert_type(await charge("o1", Session()), int)
        await charge()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # the point

    assert callable(of)


def test_sync_functions_are_no_actions() -> None:
    """Refused by both checkers, and when it is decorated."""

    def plain(db: Session = Provide["db"]) -> None: ...

    with pytest.raises(ConfigurationError):
        action(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the point


def test_open_scopes_know_what_they_lease() -> None:
    """``scope.get(KEY)``, ``manager.acquire(KEY)``, ``ctx.resource(KEY)`` and the bridge."""

    async def of(manager: Manager, context: ActionContext, resources: Resources) -> None:
        async with manager.scope(tenant="acme", execution="e1") as scope:
            assert_type(scope, OpenScope)
            assert_type(await scope.get(DB), Session)
            assert_type(await scope.get("db"), Any)
            assert_type(current_scope(), OpenScope | None)
        acquisition = manager.acquire(DB)
        _ = assert_type(acquisition, ManagedAcquisition[Session])
        async with manager.acquire(DB) as db:
            assert_type(db, Session)
        assert_type(await context.resource(DB), Session)
        assert_type(await context.resource("db"), Any)
        assert_type(await resources.acquire(DB), Session)
        async with scope.detach() as sibling:
            assert_type(sibling, OpenScope)

    assert callable(of)


def test_workflows_give_results() -> None:
    """Definitions take actions and plain async functions."""

    async def plain(ctx: ActionContext) -> None: ...

    definition = WorkflowDefinition("w", [Step(charge, ("o1",)), Step(plain)])

    def of(executor: WorkflowExecutor) -> Awaitable[WorkflowResult]:
        return executor.run(definition, tenant="acme", execution_id="e1")

    assert callable(of)


def test_validate_takes_what_it_is_given() -> None:
    """Everything is optional."""
    validate()
    validate(container=App(), expected=["db"])
