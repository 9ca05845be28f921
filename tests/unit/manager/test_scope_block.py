"""ScopeBlock: which levels one block opens, and that it closes each of them."""

from __future__ import annotations

import pytest

from nebula_resource import ConfigurationError, InvalidScope, Manager, ResourceContext, Scope, ScopeLevel
from nebula_resource.manager import OpenScope, current_scope


def _chain(scope: OpenScope) -> list[str]:
    """The open scopes from the outermost to this one."""
    found = [str(scope.scope)]
    while scope.parent is not None:
        scope = scope.parent
        found.insert(0, str(scope.scope))
    return found


async def test_one_block_opens_every_level_it_names() -> None:
    """Outermost first, each inside the one before."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme", workflow="w1", execution="e1") as scope:
            assert _chain(scope) == [
                "tenant:acme",
                "tenant:acme/workflow:w1",
                "tenant:acme/workflow:w1/execution:e1",
            ]
            assert manager.open_scopes[ScopeLevel.WORKFLOW] == 1
        assert not any(manager.open_scopes.values())


async def test_levels_that_are_open_are_not_opened_again() -> None:
    """A block inside another opens what is deeper; by keyword, by scope, or by context."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme") as tenant:
            full = Scope.execution("e1", tenant="acme", workflow="w1")
            for block in (
                manager.scope(workflow="w1", execution="e1"),
                manager.scope(full),
                manager.scope(ResourceContext(full, metadata={"a": 1})),
            ):
                async with block as scope:
                    assert scope.scope == full
                    assert scope.parent is not None
                    assert scope.parent.parent is tenant
            assert scope.context.metadata == {"a": 1}


async def test_the_context_goes_down() -> None:
    """What the outer block's context carries, the inner one carries, in its own scope."""
    async with Manager() as manager:
        context = ResourceContext(Scope.tenant("acme"), metadata={"trace": "t1"})
        async with manager.scope(context), manager.scope(execution="e1") as scope:
            assert scope.context == ResourceContext(
                Scope.execution("e1", tenant="acme"), metadata={"trace": "t1"}
            )


async def test_blocks_that_contradict_are_refused() -> None:
    """Another tenant, or a level above, cannot be opened inside."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme", execution="e1"):
            with pytest.raises(InvalidScope):
                manager.scope(tenant="globex", execution="e1")
            with pytest.raises(InvalidScope):
                manager.scope(workflow="w1")


async def test_the_same_scope_again_is_a_block_of_its_own() -> None:
    """GLOBAL, or one that is open already, gets a block with its own leases."""
    async with Manager() as manager:
        async with manager.scope() as outer, manager.scope(Scope.GLOBAL) as inner:
            assert inner is not outer
            assert inner.scope is Scope.GLOBAL
        async with manager.scope(tenant="a") as outer, manager.scope(tenant="a") as inner:
            assert inner.parent is outer


async def test_another_managers_scope_is_no_outer_one() -> None:
    """Open scopes of one manager do not limit another."""
    async with Manager() as one, Manager() as two:
        async with one.scope(tenant="acme"), two.scope(tenant="globex") as scope:
            assert scope.parent is None


async def test_a_block_is_entered_once() -> None:
    """Entering one again is refused, and harms nothing."""
    async with Manager() as manager:
        block = manager.scope(tenant="acme")
        async with block as scope:
            with pytest.raises(ConfigurationError, match="entered before"):
                await block.__aenter__()
            assert current_scope() is scope
        assert current_scope() is None


async def test_listeners_are_told_of_each_level() -> None:
    """TTL and usage hear of every scope that opens and closes, the last opened closing first."""
    seen: list[str] = []

    class Listener:
        def opened(self, scope: Scope) -> None:
            seen.append(f"+{scope}")

        def closed(self, scope: Scope) -> None:
            seen.append(f"-{scope}")

    async with Manager() as manager:
        manager.scope_listeners = (Listener(),)
        with pytest.raises(ValueError, match="body"):
            async with manager.scope(tenant="a", execution="e"):
                raise ValueError("body")
        assert seen == ["+tenant:a", "+tenant:a/execution:e", "-tenant:a/execution:e", "-tenant:a"]
