"""Properties of the registry: its answers are those of the law of scopes, whatever came, went and was asked before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource import AlreadyRegistered, AmbiguousScope, ResourceNotFound, Scope, Strategy
from nebula_resource.manager import Registration
from nebula_resource.manager.registry import REMEMBERED, Registry
from nebula_resource.pool import PoolConfig
from tests.unit.manager.things import Thing

IDS = st.sampled_from(["a", "b"])
NAMED = ("tenant", "user", "workflow", "execution", "action")


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    """Few ids, so that scopes meet: every subset of levels, and custom ones."""
    scope = Scope.of(**{level: draw(IDS) for level in NAMED if draw(st.booleans())})
    if draw(st.integers(0, 5)) == 0:
        return Scope.custom("region", draw(IDS), parent=scope)
    return scope


def expected(
    registered: dict[Scope, Registration], caller: Scope, strategy: Strategy
) -> tuple[str, Registration | None]:
    """Brute force: SPEC §3 said in one breath."""
    if strategy is Strategy.STRICT:
        serving = [each for each in registered.values() if each.scope == caller]
    else:
        serving = [
            each
            for each in registered.values()
            if each.scope.contains(caller)
            and not (
                caller.tenant_id is not None
                and each.scope != Scope.GLOBAL
                and each.scope.tenant_id is None
                and not each.cross_tenant
            )
        ]
    if not serving:
        return "nobody", None

    def depth(each: Registration) -> tuple[int, int]:
        return int(each.scope.level), len(each.scope.fields)

    deepest = [each for each in serving if depth(each) == max(map(depth, serving))]
    return ("one", deepest[0]) if len(deepest) == 1 else ("several", None)


def found(ask: Any) -> tuple[str, Registration | None]:
    """What the registry answers, in the same words."""
    try:
        return "one", ask()
    except AmbiguousScope:
        return "several", None
    except ResourceNotFound:
        return "nobody", None


@settings(max_examples=1000)
@given(
    changes=st.lists(st.tuples(scopes(), st.booleans(), st.booleans()), max_size=8),
    callers=st.lists(scopes(), min_size=1, max_size=6),
)
def test_answers_are_those_of_brute_force_and_never_stale(
    changes: list[tuple[Scope, bool, bool]], callers: list[Scope]
) -> None:
    """After every add, remove and change, every caller is told what the law of scopes says, however often it asked."""
    registry = Registry()
    registered: dict[Scope, Registration] = {}
    for scope, cross_tenant, turns in changes:
        standing = registered.get(scope)
        if standing is None:
            registration = Registration(Thing(), None, PoolConfig(), scope, cross_tenant=cross_tenant)
            registry.add(registration)
            registered[scope] = registration
        elif turns:
            with registry.changing(standing):
                standing.cross_tenant = not standing.cross_tenant
        else:
            registry.remove(standing)
            del registered[scope]
        for caller in (*callers, *callers, Scope.GLOBAL, Scope.GLOBAL):
            for strategy in Strategy:
                want = expected(registered, caller, strategy)
                assert found(lambda c=caller, s=strategy: registry.search("thing", c, s)) == want
            want = expected(registered, caller, Strategy.HIERARCHICAL)
            serves_all = registry.for_all.get("thing")
            assert serves_all is None or want == ("one", serves_all)
            assert found(lambda c=caller: registry.find("thing", c)) == want
    assert {each.scope for each in registry} == set(registered)


def test_a_caller_of_the_deepest_level_is_not_answered_as_those_below_it() -> None:
    """workflow w of tenant t serves an execution of user u in it, and not the workflow of user u itself."""
    registry = Registry()
    serving = Registration(Thing(), None, PoolConfig(), Scope.workflow("w", tenant="t"))
    registry.add(serving)
    beside = Scope.workflow("w", tenant="t", user="u")
    inside = Scope.execution("e", workflow="w", tenant="t", user="u")
    for _ in range(2):
        assert registry.find("thing", inside) is serving
        assert found(lambda: registry.find("thing", beside)) == ("nobody", None)


def test_what_is_remembered_is_bounded_and_the_same_for_all_executions() -> None:
    """Executions come and go: they share their tenant's one answer; strangers push each other out."""
    registry = Registry()
    registry.add(Registration(Thing(), None, PoolConfig(), Scope.GLOBAL))
    registry.add(Registration(Thing(), None, PoolConfig(), Scope.tenant("acme")))
    shelf = registry._shelves["thing"]
    for number in range(1000):
        registry.find("thing", Scope.execution(f"e{number}", tenant="acme"))
    assert len(shelf.found) == 1
    for number in range(REMEMBERED + 100):
        registry.find("thing", Scope.tenant(f"t{number}"))
    assert len(shelf.found) <= REMEMBERED
    registry.add(Registration(Thing(), None, PoolConfig(), Scope.workflow("w", tenant="acme")))
    for number in range(REMEMBERED + 100):
        registry.find("thing", Scope.workflow(f"w{number}", tenant="acme"))
        registry.find("thing", Scope.execution("e", workflow=f"w{number}", tenant="acme"))
    assert len(shelf.found) <= REMEMBERED
    assert len(shelf.found_below) <= REMEMBERED


def test_an_id_is_added_once_per_scope() -> None:
    """The registry refuses the second by itself."""
    registry = Registry()
    registry.add(Registration(Thing(), None, PoolConfig(), Scope.GLOBAL))
    with pytest.raises(AlreadyRegistered):
        registry.add(Registration(Thing(), None, PoolConfig(), Scope.GLOBAL))


class Template:
    """Claims every key for every caller with a registration that is in no book."""

    def __init__(self) -> None:
        self.claimed = 0

    def claim(self, key: str, scope: Scope) -> Registration | None:
        """One of its own; ``other`` is nothing of its."""
        self.claimed += 1
        return None if key == "other" else Registration(Thing(key), None, PoolConfig(), scope)


def test_what_a_source_claims_is_not_remembered() -> None:
    """A template's registration may end at any time, so its source is asked each time; None asks on."""
    registry = Registry()
    template = Template()
    registry.sources = (template,)
    for scope in (Scope.GLOBAL, Scope.tenant("acme")):
        first, second = registry.find("thing", scope), registry.find("thing", scope)
        assert first is not second
    assert template.claimed == 4
    assert found(lambda: registry.find("other", Scope.GLOBAL)) == ("nobody", None)
    assert registry.known == {}


def test_ten_thousand_registrations_cost_the_same_each() -> None:
    """Adding and removing looks at nothing but the one; the count of lookups, not the clock, is measured."""
    registry = Registry()
    all_of_them = [
        Registration(Thing("db", dependencies=["net"]), None, PoolConfig(), Scope.tenant(f"t{number}"))
        for number in range(10_000)
    ]
    for each in all_of_them:
        registry.add(each)
    assert len(registry) == 10_000
    assert len(registry.named("db")) == len(registry.needing("net")) == 10_000
    assert registry.at("db", Scope.tenant("t77")) is all_of_them[77]
    for each in all_of_them:
        registry.remove(each)
    assert len(registry) == 0
    assert registry.needing("net") == registry.named("db") == ()
    assert not registry._shelves
    assert not registry._needing
