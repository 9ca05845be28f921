"""The hook registry: names, order, filters, change."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.hooks import (
    All,
    AuditHook,
    ById,
    ByIds,
    ByPrefix,
    HookEvent,
    HookFilter,
    HookRegistry,
    ResourceHook,
)
from nebula_resource.hooks.registry import _REMEMBERED
from tests.unit.events.wording import assert_located_without_words, quoting


def hook(name: str, **attributes: Any) -> ResourceHook:
    """A hook with these attributes."""
    made = ResourceHook()
    made.name = name
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def names(registry: HookRegistry, resource: str = "db", event: HookEvent = HookEvent.ACQUIRE) -> list[str]:
    """Which hooks an operation meets."""
    return [hook.name for hook in registry.for_resource(resource, event)]


def test_lower_priority_goes_first_and_equal_ones_keep_their_order() -> None:
    """The order is stable whatever the order of adding was."""
    registry = HookRegistry()
    for name, priority in (("b", 100), ("z", 10), ("a", 100), ("y", 10), ("m", 50)):
        registry.add(hook(name, priority=priority))
    assert names(registry) == ["z", "y", "m", "b", "a"]
    assert [one.name for one in registry] == ["z", "y", "m", "b", "a"]
    assert len(registry) == 5


def test_a_name_is_unique() -> None:
    """The second hook of a name is refused and the first stays."""
    registry = HookRegistry()
    first = hook("a")
    registry.add(first)
    with pytest.raises(ConfigurationError, match="'a'"):
        registry.add(hook("a"))
    assert list(registry) == [first]


def test_removing_gives_the_hook_back() -> None:
    """Afterwards the name is free, and a name nobody has is an error."""
    registry = HookRegistry()
    assert registry  # an empty registry is one all the same
    one = hook("a")
    registry.add(hook("other", events=[HookEvent.CREATE]))
    registry.add(one)
    assert registry.remove("a") is one
    assert names(registry) == []
    with pytest.raises(ConfigurationError, match="no hook named 'a'"):
        registry.remove("a")
    registry.add(hook("a"))


def test_events_choose() -> None:
    """A hook is met by the operations it names only."""
    registry = HookRegistry()
    registry.add(hook("acquire", events=[HookEvent.ACQUIRE]))
    registry.add(hook("all"))
    assert names(registry) == ["acquire", "all"]
    assert names(registry, event=HookEvent.CLEANUP) == ["all"]


@pytest.mark.parametrize(
    ("chosen", "matching"),
    [
        (All(), {"db", "db-2", "cache"}),
        (ById("db"), {"db"}),
        (ByIds("db", "cache"), {"db", "cache"}),
        (ByIds(["db", "cache"]), {"db", "cache"}),
        (ByIds(), set()),
        (ByPrefix("db"), {"db", "db-2"}),
        (ByPrefix(""), {"db", "db-2", "cache"}),
    ],
    ids=["all", "one id", "two ids", "a list of ids", "no id", "a prefix", "any prefix"],
)
def test_filters(chosen: HookFilter, matching: set[str]) -> None:
    """Each filter matches what its name says."""
    registry = HookRegistry()
    registry.add(hook("a", filter=chosen))
    assert {resource for resource in ("db", "db-2", "cache") if names(registry, resource)} == matching


def test_filters_are_values() -> None:
    """Equal ones are equal, so that a test can compare them."""
    assert ByIds("a", "b") == ByIds(["b", "a"])
    assert ByIds("a") != ByIds("b")
    assert {ById("a"), ById("a")} == {ById("a")}


async def test_a_filter_cannot_cancel_who_asks_it() -> None:
    """It is asked in the middle of a create, say; nothing was waited for, so its CancelledError is its own."""

    class Broken:
        def matches(self, resource_id: str, /) -> bool:
            raise asyncio.CancelledError

    registry = HookRegistry()
    registry.add(hook("guard", filter=Broken()))
    assert names(registry) == ["guard"]


def test_a_filter_that_raises_counts_as_a_match(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that guards something is not lost by its filter's bug."""

    class Broken:
        def matches(self, resource_id: str, /) -> bool:
            raise quoting()

    registry = HookRegistry()
    registry.add(hook("guard", filter=Broken()))
    assert names(registry) == ["guard"]
    assert caplog.messages == ["a hook's filter failed; the hook is called"]
    assert_located_without_words(caplog, caplog.messages[0], "matches")
    fields = vars(caplog.records[0])
    assert (fields["hook"], fields["resource.id"]) == ("guard", "db")


def test_answers_are_computed_once_until_hooks_change() -> None:
    """The same tuple comes back, until something is added or removed."""
    registry = HookRegistry()
    registry.add(hook("a"))
    first = registry.for_resource("db", HookEvent.ACQUIRE)
    assert registry.for_resource("cache", HookEvent.ACQUIRE) == first
    assert registry.for_resource("db", HookEvent.ACQUIRE) is first
    registry.add(hook("b"))
    assert names(registry) == ["a", "b"]


def test_ids_that_come_and_go_do_not_fill_the_memory() -> None:
    """The remembered answers are bounded."""
    registry = HookRegistry()
    registry.add(hook("a"))
    for number in range(_REMEMBERED + 10):
        assert names(registry, f"db-{number}") == ["a"]
        assert len(registry._found) <= _REMEMBERED


def test_a_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The version grows and each callback runs once a change; one that fails harms nobody."""
    registry = HookRegistry()
    told: list[int] = []

    def fail() -> None:
        raise quoting()

    take_off = registry.on_change(fail)
    stop = registry.on_change(lambda: told.append(registry.version))
    registry.add(hook("a"))
    assert_located_without_words(caplog, "a callback for changed hooks failed", "fail")
    take_off()
    registry.remove("a")
    assert told == [1, 2]
    stop()
    registry.add(hook("a"))
    assert (told, registry.version) == ([1, 2], 3)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("priority", "high"),
        ("events", ()),
        ("events", ["acquire"]),
        ("events", 3),
        ("filter", "db"),
        ("filter", All),
        ("on_failure", "raise"),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", "5"),
        ("timeout", float("nan")),
    ],
)
def test_a_wrong_attribute_is_refused(attribute: str, value: Any) -> None:
    """With its name as the path, and the registry unchanged."""
    registry = HookRegistry()
    with pytest.raises(ValidationFailed) as caught:
        registry.add(hook("a", **{attribute: value}) if attribute != "name" else hook(value))
    assert [violation.field for violation in caught.value.violations] == [attribute]
    assert registry.version == 0


def test_all_violations_are_told_at_once() -> None:
    """Nobody has to try again for each."""
    with pytest.raises(ValidationFailed) as caught:
        HookRegistry().add(hook("", events=(), timeout=0, priority=None, on_failure=None, filter=None))
    assert {violation.field for violation in caught.value.violations} == {
        "name",
        "events",
        "timeout",
        "priority",
        "on_failure",
        "filter",
    }


def test_a_hook_without_a_name_is_refused() -> None:
    """The base class gives none."""
    with pytest.raises(ValidationFailed, match="name"):
        HookRegistry().add(ResourceHook())


class Duck:
    """Has all that a hook has, and is none."""

    name = "duck"
    priority = 100
    events = (HookEvent.ACQUIRE,)
    filter = All()
    on_failure = "ignore"
    timeout = 5.0


@pytest.mark.parametrize(
    ("what", "told"), [(Duck(), "Duck"), (AuditHook, "the class AuditHook"), (None, "NoneType")]
)
def test_what_is_no_hook_is_refused(what: Any, told: str) -> None:
    """Also a class in place of its object: it would be called, and fail, at every operation."""
    registry = HookRegistry()
    with pytest.raises(ValidationFailed, match=f"such as AuditHook.*{told}"):
        registry.add(what)
    assert list(registry) == []


@pytest.mark.parametrize("method", ["before", "after"])
def test_a_hook_that_yields_is_refused(method: str) -> None:
    """Calling it runs none of its code: a guard that never guards."""

    async def later(self: ResourceHook, *_: object) -> Any:
        yield

    def sooner(self: ResourceHook, *_: object) -> Any:
        yield

    for function in (later, sooner):
        made = type("Yielding", (ResourceHook,), {"name": "yielding", method: function})()
        with pytest.raises(ValidationFailed, match=f"{method}: must be a function without yield"):
            HookRegistry().add(made)


def test_repr_names_the_hooks() -> None:
    """In the order in which they run."""
    registry = HookRegistry()
    assert repr(registry) == "<HookRegistry empty>"
    registry.add(hook("a"))
    registry.add(hook("b", priority=1))
    assert repr(registry) == "<HookRegistry b, a>"
    assert repr(hook("b", priority=1)) == "<ResourceHook 'b' priority 1>"


class Ending(ResourceHook):
    """Ends well, or as ``how`` says."""

    def __init__(self, name: str, how: str = "") -> None:
        self.name = name
        self.how = how
        self.ended = False

    async def close(self) -> None:
        if self.how == "raises":
            raise quoting()
        if self.how == "hangs":
            await asyncio.Event().wait()
        self.ended = True


async def test_each_hook_is_closed_whatever_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    """One that raises is logged, one that hangs is left after the time given, and no task stays."""
    registry = HookRegistry()
    made = [Ending("a", "raises"), Ending("b", "hangs"), Ending("c")]
    for each in made:
        registry.add(each)
    with caplog.at_level(logging.WARNING):
        await registry.close(1.0)
    assert asyncio.get_running_loop().time() == 1.0
    assert [each.ended for each in made] == [False, False, True]
    assert caplog.messages == ["a hook could not be closed"]
    assert_located_without_words(caplog, caplog.messages[0], "close")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
