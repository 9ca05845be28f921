"""Wired: every marker of a module is in the container, or nothing is wired."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide, inject

from nebula_resource import ConfigurationError, ValidationFailed
from nebula_resource.di import ResourceContainer, wire, wired
from nebula_resource.di.injection import Injection, configuration_of
from nebula_resource.di.wired import modules_of
from tests.unit.di.world import App


@inject
async def _good(answer: int = Provide["answer"]) -> int:
    return answer


async def test_wired_inside_the_block_and_not_after() -> None:
    """A module is given by name or as itself."""
    for module in (__name__, sys.modules[__name__]):
        with wired(App(things=None), module):
            assert await _good() == 42
        assert not isinstance(await _good(), int)


async def test_a_module_is_wired_to_one_container_at_a_time() -> None:
    """Whoever wired it first, and in whatever way, keeps it; wiring the same container again is no second one."""
    first, second = App(things=None, answer=1), App(things=None, answer=2)
    first.wire(modules=[__name__])
    try:
        with pytest.raises(ValidationFailed) as caught:
            wire(second, __name__)
        assert [each.field for each in caught.value.violations] == [f"{__name__}._good(answer)"]
        assert "unwire() the other" in str(caught.value)
        assert await _good() == 1
        wire(first, __name__)
    finally:
        first.unwire()
    with wired(second, __name__):
        assert await _good() == 2


async def test_every_unresolved_marker_is_told_and_nothing_stays_wired() -> None:
    """dependency-injector hands markers to the function silently."""

    @inject
    async def one(typo: Any = Provide["typo"], other: Any = Provide["other.thing"]) -> Any:
        return typo

    container = App(things=None)
    try:
        with pytest.raises(ValidationFailed) as caught:
            wire(container, __name__)
        told = {violation.field.rpartition(".")[2]: violation.actual for violation in caught.value.violations}
        assert told == {"one(typo)": "Provide['typo']", "one(other)": "Provide['other.thing']"}
        assert not isinstance(await _good(), int)
        assert type(await one()).__name__ == "Provide"
    finally:
        one.__module__ = "gone"  # the registry of dependency-injector never forgets a function


@pytest.mark.parametrize(
    ("given", "told"), [((), "nothing"), ((_good,), "_good"), (([__name__],), "list"), ((__name__, 5), "int")]
)
def test_modules_are_named(given: tuple[Any, ...], told: str) -> None:
    """dependency-injector wires nothing and says nothing."""
    with pytest.raises(ConfigurationError, match=rf"modules or their names, not {told}: wire\(container, "):
        wire(App(things=None), *given)


async def test_a_plain_function_is_given_nothing_to_await() -> None:
    """dependency-injector would give it a task, silently: nothing is wired; what it may call later is no such thing."""

    @inject
    def plain(
        db: Any = Provide["db"], repo: Any = Provide["repo"], later: Any = Provide["db.provider"]
    ) -> None: ...

    @inject
    async def waits(repo: Any = Provide["repo"]) -> None: ...

    container = App(things=None)
    try:
        with pytest.raises(ValidationFailed) as caught:
            wire(container, __name__)
        told = {each.field.rpartition(".")[2]: each.constraint for each in caught.value.violations}
        assert list(told) == ["plain(db)", "plain(repo)"]
        assert told["plain(db)"] == "must be injected into an async function: it has to be awaited"
        assert not isinstance(await _good(), int)
    finally:
        plain.__module__ = waits.__module__ = (
            "gone"  # the registry of dependency-injector never forgets a function
        )


def test_a_slip_is_told_with_the_names_that_look_like_it() -> None:
    """Of the container and of the containers in it; a marker that holds a provider has no name to compare."""

    class Outer(App):
        inner = providers.Container(App, things=None)

    class Foreign(ResourceContainer):
        answer = providers.Object(1)

    @inject
    def slips(
        near: Any = Provide["answr"],
        deep: Any = Provide["inner.anser"],
        far: Any = Provide["zzz"],
        foreign: Any = Provide[Foreign.answer],
    ) -> None: ...

    try:
        with pytest.raises(ValidationFailed) as caught:
            wire(Outer(things=None), __name__)
        told = {each.field.rpartition("(")[2][:-1]: each.constraint for each in caught.value.violations}
        assert "the module; did you mean 'answer' or 'inner.answer'" in told["near"]
        assert "did you mean 'inner.answer'" in told["deep"]
        assert told["far"].endswith("the module")
        assert told["foreign"].endswith("the module")
    finally:
        slips.__module__ = "gone"  # the registry of dependency-injector never forgets a function


def test_a_package_is_all_that_is_in_it() -> None:
    """The modules of a package are imported and wired; what is named twice is wired once."""
    found = [module.__name__ for module in modules_of(["nebula_resource.di", "nebula_resource.di.action"])]
    assert found.count("nebula_resource.di.action") == 1
    assert "nebula_resource.di.leased" in found
    assert found[0] == "nebula_resource.di"


def test_the_canary_of_the_private_names() -> None:
    """What we read of dependency-injector's registry is there, and means what it meant."""
    injection = Injection.of(_good)
    assert injection is not None
    assert injection.wrapper is _good
    assert injection.original.__name__ == "_good"
    assert injection.original is not _good
    assert list(injection.markers) == ["answer"]
    assert injection.closing == {}
    container = App(things=None)
    with wired(container, __name__):
        assert injection.providers == {"answer": container.answer}
        assert injection.unresolved == []
    assert injection.unresolved == ["answer"]
    settings = providers.Configuration()
    assert configuration_of(settings.a.b.required()) is settings
    assert Injection.of(test_the_canary_of_the_private_names) is None
