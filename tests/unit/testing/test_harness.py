"""ResourceTestHarness: an action runs against a test's resources, in scopes like those of production."""

from typing import Any

import pytest

from nebula_resource import current_scope
from nebula_resource.errors import ResourceNotFound
from nebula_resource.testing.harness import ResourceTestHarness
from nebula_resource.testing.mock import MockResource, Outcome
from nebula_resource.workflow.context import ActionContext


async def charge(context: ActionContext) -> Any:
    """An action of some user's."""
    db = await context.resource("db")
    assert await context.resource("db") is db  # one for the action
    return db


async def test_an_action_gets_the_announced_resources() -> None:
    """In ACTION, EXECUTION, WORKFLOW and TENANT, with the ids of the context; given back at the end."""
    db, cache = MockResource("db", lease_entry=Outcome.OK), MockResource("cache")
    async with ResourceTestHarness().with_resource(db, pool={"min_size": 0}).with_resource(cache) as harness:
        async with harness.action_context(tenant="acme", action="charge") as context:
            lease = await charge(context)
            assert lease.context.tenant_id == context.tenant_id == "acme"
            scope = current_scope()
            assert scope is not None
            assert str(scope.scope).endswith("action:charge")
            assert harness.manager.stats()["db"].in_use == 1
        assert harness.manager.stats()["db"].in_use == 0
        async with harness.action_context(execution="another") as context:
            await context.resource("cache")
    assert db.outcomes == [None]
    assert not db.alive
    assert not cache.alive


async def test_an_action_that_raises_rolls_back() -> None:
    """The lease learns the outcome, and the test the error."""
    db = MockResource("db", lease_entry=Outcome.OK)
    harness = ResourceTestHarness().with_resource(db)

    async def run() -> None:
        async with harness, harness.action_context() as context:
            await charge(context)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert [type(outcome) for outcome in db.outcomes] == [ZeroDivisionError]


async def test_what_was_not_announced_is_not_there() -> None:
    """As in production: the error names the key alone."""
    async with ResourceTestHarness() as harness, harness.action_context() as context:
        with pytest.raises(ResourceNotFound):
            await context.resource("db")
