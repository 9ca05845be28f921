"""MockResource: every step as scripted, and nothing overridden that is not."""

import asyncio

import pytest

from nebula_resource.model.resource import overrides
from nebula_resource.testing.mock import MockError, MockResource, Outcome

HOOKS = ("is_valid", "recycle", "lease", "is_broken")


def test_what_has_no_script_is_left_at_its_default() -> None:
    """So a pool's shortcuts are tested as well."""
    assert not any(overrides(MockResource(), hook) for hook in HOOKS)
    scripted = MockResource(is_valid=Outcome.OK, recycle=Outcome.OK, lease_exit=Outcome.OK, looks_broken=True)
    assert all(overrides(scripted, hook) for hook in HOOKS)


async def test_a_script_is_played_in_order_and_its_last_turn_stays() -> None:
    """Outcomes, exceptions and callables, each for one call."""
    resource = MockResource(recycle=Outcome.OK, slow=5.0)
    instance = await resource.create(None, None)  # type: ignore[arg-type]  # it only notes the context
    resource.script("recycle", [Outcome.OK, ValueError("mine"), Outcome.SLOW, Outcome.ERROR])
    loop = asyncio.get_running_loop()
    await resource._recycle(instance)
    with pytest.raises(ValueError, match="mine"):
        await resource._recycle(instance)
    await resource._recycle(instance)
    assert loop.time() == 5.0
    for _ in range(2):
        with pytest.raises(MockError):
            await resource._recycle(instance)
    assert resource.calls["recycle"] == 5


def test_a_plain_recycle_may_be_a_callable() -> None:
    """Called for what it does; what it returns does not matter."""
    called: list[int] = []
    resource = MockResource(recycle=lambda: called.append(1), sync_recycle=True)
    assert resource._recycle_now(None) is None  # type: ignore[arg-type]  # it does not look at it
    assert called == [1]


async def test_the_server_forgets_an_instance_when_its_cleanup_begins() -> None:
    """alive is what a server would show."""
    resource = MockResource(cleanup=Outcome.NEVER)
    instance = await resource.create(None, None)  # type: ignore[arg-type]  # it only notes the context
    assert resource.alive == {instance}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await resource.cleanup(instance)
    assert not resource.alive
    assert repr(instance) == "<MockInstance #1 closed>"
