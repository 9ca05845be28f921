"""The registry's memory never changes an answer: what is remembered is what a search would find."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource import AmbiguousScope, PoolConfig, ResourceNotFound, Scope, Strategy
from nebula_resource.errors import AlreadyRegistered
from nebula_resource.manager.registration import Registration
from nebula_resource.manager.registry import Registry
from tests.unit.manager.things import Thing, ThingConfig

few = st.sampled_from([None, "a", "b"])


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    """Scopes of few ids, so that they meet."""
    scope = Scope.of(tenant=draw(few), user=draw(few), workflow=draw(few), execution=draw(few))
    return Scope.custom("region", "eu", parent=scope) if draw(st.integers(0, 9)) == 0 else scope


def answer(find: Any, *question: Any) -> object:
    """What is found, or the kind of refusal."""
    try:
        return find(*question)
    except (ResourceNotFound, AmbiguousScope) as error:
        return type(error)


@settings(max_examples=1000)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "remove", "ask", "ask", "ask"]), scopes(), st.booleans()),
        max_size=15,
    )
)
def test_what_is_remembered_is_what_a_search_finds(steps: list[tuple[str, Scope, bool]]) -> None:
    """After any registrations and removals, asked once or often, by any caller."""
    registry = Registry()
    registered: list[Registration] = []
    callers: list[Scope] = []
    for what, scope, crosses in steps:
        if what == "add":
            registration = Registration(Thing(), ThingConfig(), PoolConfig(), scope, cross_tenant=crosses)
            with contextlib.suppress(AlreadyRegistered):
                registry.add(registration)
                registered.append(registration)
        elif what == "remove" and registered:
            registry.remove(registered.pop())
        else:
            callers.append(scope)
        for caller in callers:
            remembered = answer(registry.find, "thing", caller)
            assert remembered is answer(registry.search, "thing", caller, Strategy.HIERARCHICAL)
