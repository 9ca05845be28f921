"""Fields: what real managers tell, field by field; none of them stays at a default that means "nobody knows"."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest

from nebula_resource import OFF, HealthPolicy, Manager, QuarantinePolicy
from nebula_resource.errors import (
    AcquireTimeout,
    CircuitOpen,
    CreateFailed,
    PoolExhausted,
    QuotaExceeded,
    ValidationFailed,
)
from nebula_resource.events import (
    EVENTS,
    AcquireRejected,
    AutoScaleBlocked,
    AutoScaled,
    BackendDown,
    BackendUp,
    CheckerSuspected,
    CleanedUp,
    CleanupReason,
    CredentialRevoked,
    CredentialRotated,
    ErrorOccurred,
    Event,
    LeaseLost,
    Quarantined,
    QuotaChanged,
    RecoveryAttempted,
    RejectReason,
    ScopeCleanedUp,
    ScopeCreated,
    ShutdownFinished,
    ShutdownStarted,
    WorkflowProgress,
)
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.quarantine import RecoveryBackoff
from nebula_resource.workflow import Retry, Step, WorkflowDefinition, WorkflowExecutor
from tests.unit.manager.things import Instance, Thing, ThingConfig

WITHOUT_SOURCE: dict[type[Event], str] = {
    AutoScaled: "§13",
    AutoScaleBlocked: "§13",
    ScopeCreated: "§16",
    ScopeCleanedUp: "§16",
    QuotaChanged: "§16",
    CredentialRotated: "§15",
    CredentialRevoked: "§15",
    LeaseLost: "§21",
    BackendDown: "§21",
    BackendUp: "§21",
}
"""What they tell of does not exist yet: by the section of the specification that will bring it."""

OF_THE_PROCESS = {CheckerSuspected, ShutdownStarted, ShutdownFinished, WorkflowProgress}
"""About no registration, so that they name none."""

LAST = 2
"""The attempt at a recovery after which no other comes."""

NONE_WHEN: dict[tuple[type[Event], str], Callable[[Any], bool]] = {
    (AcquireRejected, "waited_s"): lambda event: event.reason is RejectReason.QUOTA,
    (AcquireRejected, "quota"): lambda event: event.reason is not RejectReason.QUOTA,
    (CleanedUp, "duration_s"): lambda event: event.reason is CleanupReason.DETACHED,
    (CleanedUp, "error"): lambda event: True,
    (Quarantined, "by"): lambda event: event.reason != "manual",
    (RecoveryAttempted, "next_in_s"): lambda event: event.outcome == "recovered" or event.attempt == LAST,
    (WorkflowProgress, "step"): lambda event: not event.status.startswith("step_"),
}
"""Where None is an answer and not a gap, as the fields' docs say."""

Told = dict[type[Event], list[Any]]


@pytest.fixture
def told() -> Told:
    """Everything that was told, by type."""
    return {event_type: [] for event_type in EVENTS}


def listen(manager: Manager, told: Told) -> Manager:
    """Write down what this manager tells."""
    manager.events.add_listener(lambda event: told[type(event)].append(event))
    return manager


class Frail(Thing):
    """Its creates hold the loop; its cleanups fail, or do not end as long as ``stuck`` is set to what is not."""

    stuck: asyncio.Event | None = None

    async def cleanup(self, instance: Instance) -> None:
        while self.stuck is not None and not self.stuck.is_set():
            try:
                await self.stuck.wait()
            except asyncio.CancelledError:
                continue  # does not listen
        raise OSError("stuck")

    async def create(self, config: ThingConfig, context: Any) -> Instance:
        time.sleep(0.11)  # noqa: ASYNC251  # holds the loop: that is told, too
        await asyncio.sleep(1)
        return await super().create(config, context)


class FullGate:
    """A quota that is used up."""

    def enter(self) -> Any:
        raise QuotaExceeded("max_connections", 1, 1)

    def leave(self, error: BaseException | None) -> None:
        raise AssertionError("nobody came in")


class Rude(ResourceHook):
    """Fails."""

    name = "rude"
    events = frozenset({HookEvent.RELEASE})

    async def before(self, event: HookPayload) -> None:
        raise RuntimeError("no")


async def tell_of_a_pool(told: Told) -> None:
    """From its registration to its end, with everything an operator does to it in between."""
    async with listen(Manager(health=OFF, quarantine=OFF), told) as manager:
        thing = Frail()
        pool = {
            "min_size": 0,
            "max_size": 1,
            "leak_threshold": 60,
            "max_lifetime": None,
            "circuit_threshold": 1,
            "circuit_open_for": 5,
        }
        registration = await manager.register(thing, pool=pool)
        manager.hooks.add(Rude())
        async with manager.acquire("thing"):
            with pytest.raises(AcquireTimeout):
                await manager.acquire("thing", timeout=1)
            await asyncio.sleep(200)
        await (await manager.acquire("thing")).release()
        with pytest.raises(ValidationFailed):
            await manager.reload("thing", {"size": "no number"})
        await manager.reload("thing", {"name": "other"}, pool={**pool, "backpressure": "fail_fast"})
        async with manager.acquire("thing"):
            with pytest.raises(PoolExhausted):
                await manager.acquire("thing")
        manager.resize("thing", min_size=0, max_size=2)
        registration.pool.suspend()
        registration.pool.resume()
        await manager.drain("thing")
        manager.resume("thing")
        thing.fails = OSError("down")
        for refusal in (CreateFailed, CircuitOpen):
            with pytest.raises(refusal):
                await manager.acquire("thing")
        thing.fails = None
        await asyncio.sleep(10)
        (await manager.acquire("thing")).detach()
        registration.gates = (FullGate(),)
        with pytest.raises(QuotaExceeded):
            await manager.acquire("thing")
        await manager.deregister("thing")


async def tell_of_an_end(told: Told) -> None:
    """A shutdown in which nothing goes well."""
    manager = listen(Manager(health=OFF, quarantine=OFF), told)
    await manager.register(Thing("idle"))
    stubborn = Frail("stubborn")
    for thing in (Frail("failing"), Frail("kept"), stubborn):
        await manager.register(thing, pool={"cleanup_timeout": None})
    stubborn.stuck = asyncio.Event()
    _held = await manager.acquire("kept")
    await manager.shutdown(drain=1, cleanup=1, terminate=1)
    stubborn.stuck.set()
    await asyncio.sleep(1)


async def tell_of_an_illness(told: Told) -> None:
    """Fails, is cut off, tried in vain, released by hand, admitted step by step; then cut off by hand."""
    policy = QuarantinePolicy(
        max_attempts=LAST, on_exhausted="stop", backoff=RecoveryBackoff(base=1, jitter=0)
    )
    health = HealthPolicy(interval=10, jitter=0, failure_threshold=1)
    async with listen(Manager(health=health, quarantine=policy), told) as manager:
        thing = Thing()
        await manager.register(thing, pool={"max_size": 4})
        thing.valid, thing.fails = False, OSError("down")
        await asyncio.sleep(60)
        thing.valid, thing.fails = True, None
        await manager.release("thing", by="alice")
        for _ in range(8):
            async with manager.acquire("thing"):
                pass
        manager.quarantine("thing", "looks odd", by="alice")
        await manager.release("thing", by="alice")


async def tell_of_a_cascade(told: Told) -> None:
    """A root takes its dependents along and comes back."""
    health = HealthPolicy(interval=10, jitter=0, failure_threshold=1)
    async with listen(Manager(health=health), told) as manager:
        things = [
            Thing("db"),
            *(Thing(member, dependencies=["db"]) for member in ("users", "orders", "mails")),
        ]
        for thing in things:
            await manager.register(thing)
        for thing in things:
            thing.valid, thing.fails = False, OSError("down")
        await asyncio.sleep(30)
        for thing in things:
            thing.valid, thing.fails = True, None
        await asyncio.sleep(300)


async def tell_of_doubt(told: Told) -> None:
    """Everything that is checked fails at once."""
    health = HealthPolicy(interval=10, jitter=0, failure_threshold=2)
    async with listen(Manager(health=health), told) as manager:
        things = [Thing(f"t{number}") for number in range(6)]
        for thing in things:
            await manager.register(thing)
        for thing in things:
            thing.valid = False
        await asyncio.sleep(45)


async def tell_of_a_workflow(told: Told) -> None:
    """Two steps, one of them tried again."""
    failures = [PoolExhausted(1, 1)]

    async def work() -> None:
        if failures:
            raise failures.pop()

    async with listen(Manager(health=OFF), told) as manager, WorkflowExecutor(manager) as executor:
        steps = [Step(work, name="work", retry=Retry(attempts=2, base=0.01)), Step(work, name="again")]
        await executor.run(WorkflowDefinition("charge", steps), tenant="acme", execution_id="e1")


def test_the_docs_name_what_is_not_told_yet() -> None:
    """All of them, and nothing that is told."""
    page = (Path(__file__).parents[3] / "docs" / "concepts" / "events.md").read_text()
    _, _, section = page.partition("## Not told yet")
    section = section.partition("\n## ")[0]
    named = {event_type for event_type in EVENTS if f"`{event_type.__name__}`" in section}
    assert named == set(WITHOUT_SOURCE)


async def test_every_type_with_a_source_is_told_and_no_field_is_left_open(told: Told) -> None:
    """Each type comes; each field with a default has another value once; None comes only where the docs give it a sense."""
    for scene in (
        tell_of_a_pool,
        tell_of_an_end,
        tell_of_an_illness,
        tell_of_a_cascade,
        tell_of_doubt,
        tell_of_a_workflow,
    ):
        await scene(told)
    assert {event_type for event_type, events in told.items() if not events} == set(WITHOUT_SOURCE)
    open_fields: list[str] = []
    for event_type in EVENTS:
        if event_type in WITHOUT_SOURCE:
            continue
        events = told[event_type]
        if event_type not in OF_THE_PROCESS | {ErrorOccurred}:
            assert all(event.resource_id and event.public_id for event in events), event_type
        hints = get_type_hints(event_type)
        for field in dataclasses.fields(event_type)[len(dataclasses.fields(Event)) :]:
            values = [getattr(event, field.name) for event in events]
            name = f"{event_type.__name__}.{field.name}"
            if field.default is not dataclasses.MISSING and all(value == field.default for value in values):
                open_fields.append(f"{name} is never anything but {field.default!r}")
            if NoneType in get_args(hints[field.name]):
                may_be = NONE_WHEN.get((event_type, field.name), lambda _: False)
                wrong = [
                    event for event in events if getattr(event, field.name) is None and not may_be(event)
                ]
                open_fields += [f"{name} is None in {event}" for event in wrong[:1]]
    assert not open_fields, "\n".join(open_fields)
