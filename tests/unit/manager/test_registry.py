"""Registry: who serves a caller, by scope first; who an operator means."""

from collections.abc import Awaitable, Callable

import pytest

from nebula_resource import (
    AlreadyRegistered,
    AmbiguousScope,
    Manager,
    NotRegistered,
    ResourceContext,
    ResourceNotFound,
    Scope,
    Strategy,
)
from nebula_resource.manager.registration import public_id
from tests.unit.manager.things import Instance, Thing, assert_manager_sound

Ask = Callable[[Manager, Scope], Awaitable[Scope]]
ACME, GLOBEX = Scope.tenant("acme"), Scope.tenant("globex")


async def who_serves(manager: Manager, scope: Scope, strategy: str | None = None) -> Scope:
    """The scope of the registration that serves a caller in ``scope``."""
    async with manager.acquire("thing", ResourceContext(scope), strategy=strategy) as instance:
        assert isinstance(instance, Instance)
        return instance.context.scope


async def test_the_deepest_registration_that_contains_the_caller_serves() -> None:
    """HIERARCHICAL and FALLBACK choose the deepest containing scope; STRICT only the equal one."""
    async with Manager() as manager:
        for scope in (Scope.GLOBAL, ACME, Scope.workflow("w1", tenant="acme")):
            await manager.register(Thing(), scope=scope)
        deep = Scope.execution("e1", workflow="w1", tenant="acme")
        for strategy in (None, "hierarchical", "fallback"):
            assert await who_serves(manager, deep, strategy) == Scope.workflow("w1", tenant="acme")
            assert await who_serves(manager, Scope.execution("e1", tenant="acme"), strategy) == ACME
            assert await who_serves(manager, GLOBEX, strategy) == Scope.GLOBAL
            assert await who_serves(manager, Scope.GLOBAL, strategy) == Scope.GLOBAL
        assert await who_serves(manager, ACME, "strict") == ACME
        with pytest.raises(ResourceNotFound):
            await who_serves(manager, GLOBEX, "strict")
        assert_manager_sound(manager)


async def test_a_strict_manager_serves_nobody_but_the_equal_scope() -> None:
    """Whichever way it is asked, and whatever another strategy has found before."""
    async with Manager(strategy="strict") as manager:
        await manager.register(Thing(), scope=Scope.GLOBAL)
        assert await who_serves(manager, ACME, "hierarchical") == Scope.GLOBAL
        for _ in range(2):
            with pytest.raises(ResourceNotFound):
                await who_serves(manager, ACME)
            async with manager.scope(ACME) as scope:
                for ask in (scope.get("thing"), manager.acquire("thing")):
                    with pytest.raises(ResourceNotFound):
                        await ask
            assert await who_serves(manager, Scope.GLOBAL) == Scope.GLOBAL


async def test_who_asks_outside_every_scope_is_told_how_to_open_one() -> None:
    """Of what is foreign and of what is unknown alike; who is in a scope, or brings one, knows how."""
    async with Manager() as manager:
        await manager.register(Thing("secret"), scope=ACME)
        texts = []
        for key in ("secret", "missing"):
            with pytest.raises(ResourceNotFound, match="wrap the call") as caught:
                await manager.acquire(key)
            texts.append(str(caught.value).replace(key, "…"))
            with pytest.raises(ResourceNotFound) as brought:
                await manager.acquire(key, ResourceContext(Scope.GLOBAL))
            async with manager.scope(GLOBEX):
                with pytest.raises(ResourceNotFound) as inside:
                    await manager.acquire(key)
            assert "wrap the call" not in f"{brought.value} {inside.value}"
        assert texts[0] == texts[1]


async def test_unknown_and_foreign_look_the_same() -> None:
    """A tenant learns nothing of another's resources: one class, one text, also when the other's is quarantined."""
    async with Manager() as manager:
        await manager.register(Thing("secret"), scope=ACME)
        manager.quarantine("secret", "ill")
        texts = []
        for key in ("secret", "missing"):
            with pytest.raises(ResourceNotFound) as caught:
                async with manager.acquire(key, ResourceContext(GLOBEX)):
                    pass
            assert type(caught.value) is ResourceNotFound
            texts.append(str(caught.value).replace(key, "…"))
        assert texts[0] == texts[1]
        assert "acme" not in texts[0]


async def test_two_of_the_same_depth_fail_closed() -> None:
    """Where two registrations fit equally, the caller gets AmbiguousScope and neither of them."""
    async with Manager() as manager:
        await manager.register(Thing(), scope=Scope.workflow("w", tenant="acme"))
        await manager.register(Thing(), scope=Scope.workflow("w", user="u"), cross_tenant=True)
        with pytest.raises(AmbiguousScope) as caught:
            await who_serves(manager, Scope.execution("e", workflow="w", user="u", tenant="acme"))
        assert len(caught.value.candidates) == 2


async def test_a_registration_without_a_tenant_serves_no_tenant_unless_it_says_so() -> None:
    """A workflow registered without a tenant is not visible to every tenant with a workflow of that id."""
    async with Manager() as manager:
        await manager.register(Thing(), scope=Scope.workflow("w"))
        caller = Scope.execution("e", workflow="w", tenant="acme")
        with pytest.raises(ResourceNotFound):
            await who_serves(manager, caller)
        assert await who_serves(manager, Scope.execution("e", workflow="w")) == Scope.workflow("w")
        await manager.deregister("thing")
        await manager.register(Thing(), scope=Scope.workflow("w"), cross_tenant=True)
        assert await who_serves(manager, caller) == Scope.workflow("w")


async def test_look_alike_ids_are_different_scopes() -> None:
    """`a` and `ab`, `a` and `A`, and a tenant that is spelt like a path are all different."""
    async with Manager() as manager:
        await manager.register(Thing(), scope=Scope.tenant("a"))
        for other in ("ab", "A", "a/workflow:w", "tenant:a"):
            with pytest.raises(ResourceNotFound):
                await who_serves(manager, Scope.tenant(other))


async def test_an_id_is_registered_once_per_scope() -> None:
    """The same (id, scope) again is AlreadyRegistered; the same id elsewhere is another registration."""
    async with Manager() as manager:
        await manager.register(Thing(), scope=ACME)
        await manager.register(Thing(), scope=GLOBEX)
        with pytest.raises(AlreadyRegistered):
            await manager.register(Thing(), scope=ACME)
        assert len(manager.pools()) == 2


async def test_public_ids_tell_nothing_of_the_scope() -> None:
    """GLOBAL has the bare id; any other scope ten base32 characters that do not contain it."""
    assert public_id("db", Scope.GLOBAL) == "db"
    one, other = public_id("db", ACME), public_id("db", GLOBEX)
    assert one != other
    assert one.startswith("db~")
    assert len(one) == len("db~") + 10
    assert "acme" not in one


async def test_an_operator_names_a_public_id_or_the_only_one() -> None:
    """An exact public id wins; a bare id means the only one; several are AmbiguousScope with their public ids."""
    async with Manager() as manager:
        with pytest.raises(NotRegistered):
            manager.registry.resolve("thing")
        only = await manager.register(Thing(), scope=ACME)
        assert manager.registry.resolve("thing") is only
        assert manager.registry.resolve(only.public_id) is only
        other = await manager.register(Thing(), scope=GLOBEX)
        with pytest.raises(AmbiguousScope) as caught:
            manager.registry.resolve("thing")
        assert set(caught.value.candidates) == {only.public_id, other.public_id}
        assert manager.registry.resolve("thing", GLOBEX) is other
        with pytest.raises(NotRegistered):
            manager.registry.resolve("thing", Scope.tenant("initech"))


async def test_answers_are_not_remembered_beyond_a_change() -> None:
    """A caller served from further out is served by a nearer registration from the moment there is one."""
    async with Manager(strategy=Strategy.HIERARCHICAL) as manager:
        await manager.register(Thing())
        assert await who_serves(manager, ACME) == Scope.GLOBAL
        await manager.register(Thing(), scope=ACME)
        assert await who_serves(manager, ACME) == ACME
        await manager.deregister("thing", scope=ACME)
        assert await who_serves(manager, ACME) == Scope.GLOBAL


async def who_is_lent(manager: Manager, scope: Scope) -> Scope:
    """The same for an open scope, which asks by a shorter road."""
    async with manager.scope(scope) as opened:
        instance = await opened.get("thing")
        assert isinstance(instance, Instance)
        return instance.context.scope


@pytest.mark.parametrize("ask", [who_serves, who_is_lent])
async def test_what_was_found_for_one_is_another_s_only_where_it_serves_both(ask: Ask) -> None:
    """Callers take turns, while registrations come and go: each time it is the deepest one that contains the caller."""
    async with Manager() as manager:
        await manager.register(Thing())
        for scope in (ACME, GLOBEX, Scope.GLOBAL, ACME):
            assert await ask(manager, scope) == Scope.GLOBAL
        await manager.register(Thing(), scope=ACME)
        for _ in range(2):
            for scope in (ACME, GLOBEX, Scope.GLOBAL):
                assert await ask(manager, scope) == (ACME if scope == ACME else Scope.GLOBAL)
        await manager.deregister("thing", scope=Scope.GLOBAL)
        for _ in range(2):
            assert await ask(manager, ACME) == ACME
            for scope in (GLOBEX, Scope.GLOBAL):
                with pytest.raises(ResourceNotFound):
                    await ask(manager, scope)
        await manager.deregister("thing", scope=ACME)
        with pytest.raises(ResourceNotFound):
            await ask(manager, ACME)
        await manager.register(Thing(), scope=GLOBEX)
        assert await ask(manager, GLOBEX) == GLOBEX
        with pytest.raises(ResourceNotFound):
            await ask(manager, ACME)


@pytest.mark.parametrize("ask", [who_serves, who_is_lent])
@pytest.mark.parametrize("deeper_first", [True, False])
async def test_an_equal_level_is_not_served_by_what_is_remembered_for_a_deeper_one(
    ask: Ask, deeper_first: bool
) -> None:
    """Of its own level a scope serves only its equal; the ids down to that level are the same for both callers."""
    workflow = Scope.workflow("w1", tenant="acme")
    beside = Scope.workflow("w1", tenant="acme", user="u")
    below = Scope.execution("e1", workflow="w1", tenant="acme", user="u")
    async with Manager() as manager:
        await manager.register(Thing())
        await manager.register(Thing(), scope=workflow)
        callers = [(below, workflow), (beside, Scope.GLOBAL), (workflow, workflow), (ACME, Scope.GLOBAL)]
        for _ in range(2):
            for caller, served_by in callers if deeper_first else reversed(callers):
                assert await ask(manager, caller) == served_by
