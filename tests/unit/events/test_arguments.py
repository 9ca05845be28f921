"""Wrong arguments: refused where they are given, never found out inside whoever publishes."""

from __future__ import annotations

from typing import Any

import pytest

from nebula_resource import OFF, Manager
from nebula_resource.errors import ConfigurationError
from nebula_resource.events import Acquired, Event, EventBus, Overflow, PoolDraining, RejectReason
from nebula_resource.model.scope import Scope
from tests.unit.manager.things import Thing, assert_manager_sound


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scope": "tenant:acme"}, "Scope.tenant"),
        ({"resource": 5}, "resource id"),
        ({"resource": Thing}, "resource id"),
        ({"buffer": "10"}, "at least 1"),
        ({"buffer": 1.5}, "whole number"),
        ({"overflow": "block"}, "'drop_oldest', 'drop_newest', 'close'"),
        ({"overflow": None}, "Overflow member"),
        ({"types": 5}, "event classes"),
        ({"types": "pool.draining"}, "event classes"),
        ({"types": ()}, "event classes"),
        ({"types": RejectReason}, "event classes"),
        ({"types": [Acquired, None]}, "event classes"),
    ],
    ids=str,
)
async def test_a_wrong_subscription_is_refused_and_harms_no_use(wrong: dict[str, Any], words: str) -> None:
    """With what it should be; the resource serves on, and nobody is subscribed."""
    async with Manager(health=OFF) as manager:
        await manager.register(Thing())
        with pytest.raises(ConfigurationError, match=words):
            manager.subscribe(**wrong)
        assert manager.events.stats().subscribers == 0
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


async def test_a_subscription_says_what_it_wants_in_the_order_of_the_specification() -> None:
    """Types, resource, scope, buffer, overflow; the last also by its name."""
    bus = EventBus()
    acme = Scope.tenant("acme")
    subscription = bus.subscribe(PoolDraining, "db", acme, 2, "drop_newest")  # type: ignore[arg-type]  # as settings say it
    for resource, scope in (("db", acme), ("cache", acme), ("db", Scope.GLOBAL), ("db", acme), ("db", acme)):
        bus.publish(PoolDraining, resource, scope)
    bus.publish(Acquired, "db", acme, waited_s=0.0)
    assert (subscription.pending, subscription.dropped) == (2, 1)
    first = await anext(subscription)
    assert isinstance(first, Event)
    assert first.seq == 1, "the newest was lost"
    assert Overflow.parse("close") is Overflow.CLOSE


@pytest.mark.parametrize("scope", ["tenant:acme", None])
def test_an_event_of_no_scope_is_its_publisher_s_fault(scope: Any) -> None:
    """Not even a subscription that looks at scopes can make publish raise."""
    bus = EventBus()
    subscription = bus.subscribe(scope=Scope.tenant("acme"))
    bus.publish(PoolDraining, "db", scope)
    assert (bus.seq, bus.stats().malformed, subscription.pending) == (0, 1, 0)


@pytest.mark.parametrize("what", ["pool.draining", int, None, []], ids=repr)
def test_what_is_no_event_type_is_its_publisher_s_fault(what: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Logged and counted, heard by nobody, and not remembered."""
    bus = EventBus()
    heard: list[Event] = []
    bus.add_listener(heard.append)
    bus.publish(what, "db", reason="x")
    assert heard == []
    assert bus.stats().malformed == 1
    assert dict(bus.stats().published) == {}
    assert caplog.messages == ["an event could not be built: its publisher gave fields that do not fit"]
