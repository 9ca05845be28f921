"""Cancelled at every turn of the loop, whoever waits for a check or an attempt leaves everything sound."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from nebula_resource.errors import NotRegistered, ProbeFailed
from nebula_resource.health import HealthChecker
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy, HealthStatus
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import (
    ConsecutiveFailures,
    QuarantineManager,
    QuarantinePolicy,
    RecoveryBackoff,
)

TURNS = range(14)  # more than any of the two takes


async def turns(count: int) -> None:
    """Let the loop run so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


class Counted:
    """A check of a few turns that knows how many run."""

    def __init__(self) -> None:
        self.running = 0
        self.began = 0

    async def __call__(self, *_: Any) -> HealthStatus:
        self.began += 1
        self.running += 1
        assert self.running == 1, "two at a time"
        try:
            await turns(5)
            return HealthStatus.healthy()
        finally:
            self.running -= 1


class Told:
    """Counts what lands."""

    def __init__(self) -> None:
        self.landed = 0

    def checked(self, id: str, status: HealthStatus, *, is_counted: bool = False) -> None:
        self.landed += 1

    def postponed(self, id: str, status: HealthStatus) -> None:
        raise AssertionError("there is always something to check with")


@pytest.mark.parametrize("step", TURNS)
@pytest.mark.parametrize("second_step", [0, 3, 6])
async def test_a_caller_of_check_may_leave_at_any_turn(step: int, second_step: int) -> None:
    """One caller is cancelled after so many turns, another asks after so many: one check, one landing, no task left."""
    probe, told = Counted(), Told()
    checker = HealthChecker(told)
    checker.watch("db", probe, HealthPolicy())
    first = asyncio.create_task(checker.check("db"))
    await turns(second_step)
    second = asyncio.create_task(checker.check("db"))
    await turns(step)
    first.cancel()
    assert (await second).is_usable()
    await asyncio.gather(first, return_exceptions=True)
    assert told.landed == probe.began
    assert probe.running == 0
    await checker.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("step", TURNS)
@pytest.mark.parametrize("what", ["unwatch", "close", "rewatch"])
async def test_a_watch_may_end_at_any_turn_of_a_check(step: int, what: str) -> None:
    """Its callers get an answer, nothing lands afterwards, no task is left."""
    probe, told = Counted(), Told()
    checker = HealthChecker(told)
    checker.watch("db", probe, HealthPolicy())
    caller = asyncio.create_task(checker.check("db"))
    await turns(step)
    landed = told.landed
    if what == "close":
        await checker.close()
    elif caller.done() or "db" in checker:
        checker.unwatch("db")
        if what == "rewatch":
            checker.watch("db", probe, HealthPolicy())
    if step == 0 and what != "rewatch":
        # The caller had not begun: it is told that nothing of that id is watched.
        with pytest.raises(NotRegistered):
            await caller
    else:
        await caller
        assert told.landed - landed <= (what == "rewatch")
    await checker.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class OneWard:
    """A ward whose resource is well, or not."""

    def __init__(self, probe: Counted, *, well: bool) -> None:
        self._probe = probe
        self._well = well

    async def probe(self, id: str, /) -> HealthStatus:
        await self._probe()
        return HealthStatus.healthy() if self._well else HealthStatus.unhealthy("down")

    def secrets(self, id: str, /) -> object:
        return None

    def success_threshold(self, id: str, /) -> int:
        return 1

    def max_size(self, id: str, /) -> int:
        return 10

    def context(self, id: str, /) -> ResourceContext:
        return ResourceContext(Scope.GLOBAL)


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("step", TURNS)
@pytest.mark.parametrize("what", ["leave", "release", "forget", "close", "ask again"])
async def test_anything_may_happen_at_any_turn_of_an_attempt(well: bool, step: int, what: str) -> None:
    """A person waits for a probe beside recovery, and at this turn something happens: it all ends, once."""
    probe = Counted()
    errors: list[BaseException] = []
    manager = QuarantineManager(
        OneWard(probe, well=well),
        policy=QuarantinePolicy(backoff=RecoveryBackoff(jitter=0)),
        rng=random.Random(1),
        on_error=lambda error, _: errors.append(error),
    )
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(1.0)  # recovery begins in this very instant
    person = asyncio.create_task(manager.release_if_well("db", "anna"))
    await turns(step)
    was_done = person.done()
    if what == "leave":
        person.cancel()
    elif what == "release" and "db" in manager:
        manager.release("db", "ben")
    elif what == "forget":
        manager.forget("db")
    elif what == "close":
        await manager.close()
    elif what == "ask again":
        again = asyncio.create_task(manager.release_if_well("db", "ben"))
        await asyncio.gather(again, return_exceptions=True)
    [outcome] = await asyncio.gather(person, return_exceptions=True)
    assert was_done or not isinstance(outcome, ProbeFailed) or "db" in manager
    await asyncio.sleep(100)
    assert probe.running == 0
    assert ("db" in manager) == (not well and what not in ("release", "forget")) or what == "close"
    await manager.close()
    assert errors == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
