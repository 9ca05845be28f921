"""Recovery runs by itself, on an exact schedule, and never lets out what a person isolated."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest

from nebula_resource.errors import AlreadyQuarantined, ConfigurationError, NotQuarantined, ProbeFailed
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthStatus, Postponed
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import (
    AdmissionState,
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    Outcome,
    QuarantineEntry,
    QuarantineListener,
    QuarantineManager,
    QuarantinePolicy,
    RecoveryBackoff,
    RecoveryStrategy,
    RecoveryTarget,
)
from tests.unit.events.wording import assert_located_without_words, quoting

EXACT = RecoveryBackoff(jitter=0)
WELL = HealthStatus.healthy()
ILL = HealthStatus.unhealthy("still down")


@pytest.fixture(autouse=True)
async def no_task_fails() -> AsyncIterator[None]:
    """Whatever a task of the manager raises reaches the loop's handler, and fails the test."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield
    assert told == []


class FakeWard:
    """Answers probes from a script, and notes when they were asked for."""

    def __init__(self, answer: Callable[[str], Any] = lambda _: ILL, *, threshold: int = 1) -> None:
        self.answer = answer
        self.threshold = threshold
        self.probes: list[tuple[float, str]] = []
        self.running = 0
        self.most_running = 0

    async def probe(self, id: str, /) -> HealthStatus:
        self.probes.append((now(), id))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            found = self.answer(id)
            if isinstance(found, BaseException):
                raise found
            if asyncio.iscoroutine(found):
                found = await found
            assert isinstance(found, HealthStatus)
            return found
        finally:
            self.running -= 1

    def secrets(self, id: str, /) -> object:
        return None

    def success_threshold(self, id: str, /) -> int:
        return self.threshold

    def max_size(self, id: str, /) -> int:
        return 10

    def context(self, id: str, /) -> ResourceContext:
        return ResourceContext(Scope.GLOBAL)

    def times(self, id: str = "db") -> list[float]:
        return [at for at, asked in self.probes if asked == id]


class Diary(QuarantineListener):
    """Writes down what it is told, with the time."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []
        self.faults: list[BaseException] = []

    def entered(self, id: str, entry: QuarantineEntry) -> None:
        self.lines.append((now(), f"{id} entered: {entry.reason}"))

    def attempted(self, id: str, entry: QuarantineEntry, outcome: str) -> None:
        self.lines.append((now(), f"{id} {outcome}"))

    def exhausted(self, id: str, entry: QuarantineEntry) -> None:
        self.lines.append((now(), f"{id} exhausted"))

    def released(self, id: str, entry: QuarantineEntry, by: str, attempts: int) -> None:
        self.lines.append((now(), f"{id} released by {by} after {attempts}"))

    def stepped(self, id: str, permits: int) -> None:
        self.lines.append((now(), f"{id} {permits} permits"))

    def faulted(self, id: str, error: BaseException) -> None:
        self.faults.append(error)

    def said(self, text: str) -> list[float]:
        return [at for at, line in self.lines if text in line]


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def fail_on_error(error: BaseException, name: str) -> None:
    """No task of the manager may fail."""
    raise AssertionError(f"{name} failed") from error


def quarantine(
    ward: FakeWard, policy: QuarantinePolicy | None = None, diary: Diary | None = None
) -> QuarantineManager:
    """A manager without jitter and with a fixed seed."""
    return QuarantineManager(
        ward,
        diary,
        policy=policy or QuarantinePolicy(backoff=EXACT),
        rng=random.Random(7),
        on_error=fail_on_error,
    )


async def test_the_waits_double_from_one_second_to_a_minute() -> None:
    """Attempts come 1, 2, 4 … 60, 60 seconds after the one before, to the exact second without jitter."""
    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(304)
    expected = [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0, 303.0]
    assert ward.times() == expected
    assert diary.said("exhausted") == [303.0]
    await manager.close()


async def test_a_long_outage_ends_in_rare_probes_and_heals_without_a_person() -> None:
    """Parked after ten attempts it is probed every five minutes, and released by the first that passes."""
    healthy_from = 1500.0
    ward, diary = FakeWard(lambda _: WELL if now() >= healthy_from else ILL), Diary()
    policy = QuarantinePolicy(backoff=EXACT)
    manager = quarantine(ward, policy, diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(304)
    entry = manager.get("db")
    assert entry is not None
    assert (entry.phase, entry.attempts, entry.max_attempts) == ("parked", 10, 10)
    await asyncio.sleep(2000)
    assert ward.times()[9:] == [303.0, 603.0, 903.0, 1203.0, 1503.0]
    assert diary.said("released by recovery after 14") == [1503.0]
    assert len(diary.said("exhausted")) == 1
    await manager.close()


async def test_stop_waits_for_a_person() -> None:
    """With on_exhausted="stop" nothing is tried any more, until somebody releases it."""
    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, QuarantinePolicy(backoff=EXACT, max_attempts=2, on_exhausted="stop"), diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(100_000)
    entry = manager.get("db")
    assert entry is not None
    assert (entry.phase, entry.attempts, entry.next_attempt_at) == ("stopped", 2, None)
    assert manager.retry_after("db") is None
    assert ward.times() == [1.0, 3.0]
    assert manager.release("db", "anna").attempts == 2
    assert "db" not in manager
    await manager.close()


async def test_every_wait_is_spread_within_its_bounds() -> None:
    """With jitter each wait, those of a parked one too, lies within ± 20 % of its nominal length, and they differ."""
    ward = FakeWard()
    manager = quarantine(ward, QuarantinePolicy())
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(5000)
    times = [0.0, *ward.times()]
    waits = [after - before for before, after in pairwise(times)]
    nominal = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, *[300] * 10]
    assert len(waits) > len(nominal)
    assert len({round(wait, 6) for wait in waits[10:]}) > 5
    assert all(0.8 * length <= wait <= 1.2 * length for wait, length in zip(waits, nominal, strict=False))
    assert len({round(wait / length, 6) for wait, length in zip(waits, nominal, strict=False)}) > 5
    await manager.close()


async def test_a_release_needs_so_many_passes_in_a_row() -> None:
    """success_threshold probes of one attempt must pass; one that fails ends the attempt."""
    answers = iter([ILL, WELL, ILL, WELL, WELL])
    ward, diary = FakeWard(lambda _: next(answers), threshold=2), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(10)
    assert ward.times() == [1.0, 3.0, 3.0, 7.0, 7.0]
    assert diary.said("released by recovery after 3") == [7.0]
    await manager.close()


async def test_an_unknown_state_is_no_pass() -> None:
    """A probe that finds nothing out releases nothing, although an unknown resource is usable."""
    ward = FakeWard(lambda _: HealthStatus.unknown())
    manager = quarantine(ward)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(1.5)
    entry = manager.get("db")
    assert entry is not None
    assert entry.attempts == 1
    await manager.close()


async def test_a_manual_quarantine_is_left_to_the_person() -> None:
    """Recovery neither probes nor releases what a person isolated."""
    ward = FakeWard(lambda _: WELL)
    manager = quarantine(ward)
    entry = manager.enter("db", Manual("maintenance"), by="anna")
    assert (entry.phase, entry.next_attempt_at, entry.by) == ("stopped", None, "anna")
    await asyncio.sleep(10_000)
    assert "db" in manager
    assert ward.probes == []
    await manager.close()


async def test_a_manual_quarantine_expires_to_the_second() -> None:
    """With expires_in it ends by itself at that moment, half open like any other."""
    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, diary=diary)
    entry = manager.enter("db", Manual("maintenance"), expires_in=90)
    assert entry.expires_at is not None
    assert (entry.expires_at - entry.quarantined_at).total_seconds() == 90
    assert entry.phase == "waiting"
    await asyncio.sleep(30)
    assert manager.retry_after("db") == 60.0
    await asyncio.sleep(100)
    assert diary.said("released by expiry") == [90.0]
    admission = manager.admission("db")
    assert admission is not None
    assert admission.permits == 1
    await manager.close()


async def test_entering_and_leaving_twice_are_errors() -> None:
    """A second enter is AlreadyQuarantined, a release of what is not in NotQuarantined."""
    manager = quarantine(FakeWard())
    manager.enter("db", Manual("x"))
    with pytest.raises(AlreadyQuarantined):
        manager.enter("db", ConsecutiveFailures(3))
    assert manager.enter_automatically("db", ConsecutiveFailures(3)) is None
    manager.release("db", "anna")
    with pytest.raises(NotQuarantined):
        manager.release("db", "anna")
    with pytest.raises(NotQuarantined):
        await manager.release_if_well("db", "anna")
    with pytest.raises(ConfigurationError):
        manager.enter("db", ConsecutiveFailures(3), expires_in=5)
    with pytest.raises(ConfigurationError):
        manager.enter("db", Manual("x"), expires_in=-5)
    assert "db" not in manager
    await manager.close()


async def test_a_person_takes_over_what_is_in_on_evidence() -> None:
    """Nothing is tried any more, it is in since when it was, members go on waiting, and only a person lets it out."""
    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, diary=diary)
    fell = manager.enter("db", CascadeFailure("db"))
    manager.enter("orders", CascadeFailure("db"))
    await asyncio.sleep(3.5)
    assert [asked for _, asked in ward.probes] == ["db", "db"]
    ward.answer = lambda _: WELL
    entry = manager.enter("db", Manual("disk is being replaced"), by="anna", expires_in=3600)
    assert (entry.reason, entry.by) == (Manual("disk is being replaced"), "anna")
    assert (entry.attempts, entry.phase, entry.next_attempt_at) == (2, "waiting", None)
    assert entry.quarantined_at == fell.quarantined_at
    assert entry.expires_at is not None
    assert diary.said("db entered: manual: disk is being replaced") == [3.5]
    with pytest.raises(AlreadyQuarantined):
        manager.enter("db", Manual("mine"), by="ben")
    await asyncio.sleep(3599)
    assert [asked for _, asked in ward.probes] == ["db", "db"], "neither it nor its member is tried"
    await asyncio.sleep(10)
    assert diary.said("db released by expiry") == [3603.5]
    assert len(diary.said("orders released by recovery")) == 1
    await manager.close()


async def test_a_member_that_a_person_takes_over_waits_for_that_person_alone() -> None:
    """Its root coming back wakes it no more."""
    ward = FakeWard(lambda id: WELL if id == "db" else ILL)
    manager = quarantine(ward)
    manager.enter("db", CascadeFailure("db"))
    manager.enter("orders", CascadeFailure("db"))
    assert manager.enter("orders", Manual("x")).phase == "stopped"
    await asyncio.sleep(1000)
    assert ("db" in manager, "orders" in manager) == (False, True)
    assert {asked for _, asked in ward.probes} == {"db"}
    manager.release("orders", "anna")
    await manager.close()


@pytest.mark.parametrize("turns", [None, *range(10)])
@pytest.mark.parametrize("by", ["recovery", "ben"])
async def test_what_a_person_takes_over_is_let_out_by_no_attempt_that_runs(
    by: str, turns: int | None
) -> None:
    """Not even by one that has passed: whoever lets it out did so before the person came, or not at all."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(1)
        return WELL

    def take_over(turns: int) -> None:
        if turns:
            loop.call_soon(take_over, turns - 1)
        else:
            manager.enter("db", Manual("wait"), by="anna")

    loop = asyncio.get_running_loop()
    ward, diary = FakeWard(lambda _: slowly()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(1.0 if by == "recovery" else 0.5)  # an attempt begins, and ends a second later
    release = asyncio.ensure_future(manager.release_if_well("db", "ben")) if by == "ben" else None
    loop.call_later(0.5 if turns is None else 1.0, take_over, turns or 0)
    await asyncio.sleep(100)
    lines = [line for _, line in diary.lines if "entered" in line or "released" in line]
    assert lines in (
        ["db entered: health check failed (3 in a row)", "db entered: manual: wait"],
        [
            "db entered: health check failed (3 in a row)",
            f"db released by {by} after {int(by == 'recovery')}",
            "db entered: manual: wait",
        ],
    )
    if turns is None:
        assert len(lines) == 2
    if release is not None:
        assert (release.exception() is None) == (len(lines) == 3)
    assert (await manager.release_if_well("db", "anna")).by == "anna", "a later release is one"
    await manager.close()


@pytest.mark.parametrize("turns", range(10))
async def test_a_member_whose_root_falls_is_let_out_by_no_attempt_that_has_passed(turns: int) -> None:
    """It is out before the root is in, or waits for it, in whatever turn of the loop that happens."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(1)
        return WELL

    def fall(turns: int) -> None:
        if turns:
            loop.call_soon(fall, turns - 1)
        else:
            manager.enter("net", ConsecutiveFailures(3))

    loop = asyncio.get_running_loop()
    ward, diary = FakeWard(lambda id: slowly() if id == "db" else ILL), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", CascadeFailure("net"))
    await asyncio.sleep(1.0)  # an attempt begins, and ends a second later
    loop.call_later(1.0, fall, turns)
    await asyncio.sleep(100)
    order = [
        line.replace(":", "").split()[:2]
        for _, line in diary.lines
        if "entered" in line or "released" in line
    ]
    assert order in (
        [["db", "entered"], ["net", "entered"]],
        [["db", "entered"], ["db", "released"], ["net", "entered"]],
    )
    assert ("db" in manager) == (len(order) == 2)
    await manager.close()


async def test_a_probe_by_a_person_releases_only_what_is_well() -> None:
    """release_if_well raises ProbeFailed with what it found, and counts as no attempt."""
    answers = iter([ILL, WELL])
    ward = FakeWard(lambda _: next(answers))
    manager = quarantine(ward)
    manager.enter("db", Manual("x"))
    with pytest.raises(ProbeFailed) as caught:
        await manager.release_if_well("db", "anna")
    assert caught.value.health == ILL
    entry = await manager.release_if_well("db", "anna")
    assert entry.attempts == 0
    assert "db" not in manager
    await manager.close()


async def test_a_person_and_recovery_share_one_probe() -> None:
    """Asked while an attempt runs, a person waits for it; two at a time are never made."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return WELL

    ward, diary = FakeWard(lambda _: slowly()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(2)
    entry = manager.get("db")
    assert entry is not None
    assert entry.phase == "probing"
    first, second = await asyncio.gather(
        manager.release_if_well("db", "anna"), manager.release_if_well("db", "ben")
    )
    assert first == second
    assert ward.most_running == 1
    assert len(ward.probes) == 1
    assert len(diary.said("released")) == 1
    await manager.close()


async def test_a_person_who_leaves_does_not_stop_the_attempt() -> None:
    """Cancelling release_if_well leaves the attempt to recovery."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return WELL

    ward, diary = FakeWard(lambda _: slowly()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(2)
    person = asyncio.create_task(manager.release_if_well("db", "anna"))
    await asyncio.sleep(1)
    person.cancel()
    with pytest.raises(asyncio.CancelledError):
        await person
    await asyncio.sleep(10)
    assert diary.said("released by recovery") == [6.0]
    await manager.close()


async def test_an_attempt_without_room_is_postponed_not_failed() -> None:
    """Postponed attempts count as none, and come again after the same wait."""
    answers = iter([Postponed("full"), Postponed("full"), WELL])
    ward, diary = FakeWard(lambda _: next(answers)), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(10)
    assert ward.times() == [1.0, 2.0, 3.0]
    assert diary.said("postponed") == [1.0, 2.0]
    assert diary.said("released by recovery after 1") == [3.0]
    await manager.close()


async def test_a_release_during_an_attempt_ends_the_attempt() -> None:
    """An operator's release does not wait, and the attempt leaves no trace."""
    ended: list[str] = []

    async def forever() -> HealthStatus:
        try:
            await asyncio.sleep(50)
        finally:
            ended.append("cancelled")
        return WELL

    ward, diary = FakeWard(lambda _: forever()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(2)
    manager.release("db", "anna")
    await asyncio.sleep(0.1)
    assert ended == ["cancelled"]
    assert diary.said("released by anna") == [2.0]
    assert diary.said("db failed") == []
    assert len(manager._tasks) == 0
    await manager.close()


async def test_a_flapper_goes_on_where_it_left_off_and_is_forgiven_slowly() -> None:
    """Back at once, the next wait is the next of the row; one step is forgiven for each minute of health."""
    ward = FakeWard(lambda _: WELL)
    manager = quarantine(ward)

    async def wait_of_next() -> float:
        manager.enter("db", ConsecutiveFailures(1))
        wait = manager.retry_after("db")
        assert wait is not None
        await asyncio.sleep(wait + 0.5)
        assert "db" not in manager
        return wait

    assert [await wait_of_next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    await asyncio.sleep(60 * 5)
    assert await wait_of_next() == 8  # level 8, five forgiven: the fourth wait
    await asyncio.sleep(60 * 60)
    assert await wait_of_next() == 1
    await manager.close()


async def test_suspicion_keeps_evidence_out_but_not_people() -> None:
    """Frozen, nobody enters on evidence; persons may, and recovery goes on."""
    ward = FakeWard(lambda _: WELL)
    manager = quarantine(ward)
    manager.enter_automatically("a", ConsecutiveFailures(3))
    manager.freeze()
    assert manager.enter_automatically("db", ConsecutiveFailures(3)) is None
    manager.enter("c", Manual("x"))
    await asyncio.sleep(2)
    assert list(manager.entries()) == ["c"]
    manager.thaw()
    assert manager.enter_automatically("db", ConsecutiveFailures(3)) is not None
    await manager.close()


async def test_one_failure_while_half_open_leads_back() -> None:
    """A permit that fails, or a failure in the background, quarantines the resource again."""
    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", Manual("x"))
    manager.release("db", "anna")
    manager.failed("db")
    entry = manager.get("db")
    assert entry is not None
    assert entry.reason == ConsecutiveFailures(1)
    assert manager.admission("db") is None
    await manager.close()


async def test_while_frozen_a_failed_admission_starts_again() -> None:
    """The checker is suspected: the resource stays out, with one permit."""
    diary = Diary()
    manager = quarantine(FakeWard(), diary=diary)
    manager.enter("db", Manual("x"))
    manager.release("db", "anna")
    admission = manager.admission("db")
    assert admission is not None
    manager.freeze()
    manager.failed("db")
    assert manager.admission("db") is admission
    assert (admission.state, admission.permits) == (AdmissionState.HALF_OPEN, 1)
    assert "db" not in manager
    assert diary.said("db 1 permits") == [0.0]
    await manager.close()


async def test_members_of_a_cascade_wait_for_its_root() -> None:
    """They are not probed while the root is in; after its release each is, within a second, spread."""
    ward, diary = FakeWard(lambda id: WELL if now() >= 20 else ILL), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter_automatically("api", ConsecutiveFailures(3))
    manager.enter_automatically("root", CascadeFailure("root"))
    manager.enter_automatically("web", CascadeFailure("root"))
    assert manager.enter_automatically("api", CascadeFailure("root")) is not None
    held = manager.get("api")
    assert held is not None
    assert (held.reason, held.next_attempt_at, held.phase) == (CascadeFailure("root"), None, "waiting")
    assert manager.retry_after("api") == manager.retry_after("root")
    await asyncio.sleep(60)
    assert ward.times("root") == [1.0, 3.0, 7.0, 15.0, 31.0]
    [api], [web] = ward.times("api"), ward.times("web")
    assert api != web
    assert 31 <= api <= 32
    assert 31 <= web <= 32
    assert len(manager) == 0
    await manager.close()


async def test_joining_a_cascade_ends_the_attempt_that_runs() -> None:
    """A member that is being probed when its root falls is not released by that probe, but after the root."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return WELL

    ward, diary = FakeWard(lambda id: slowly() if id == "api" else ILL), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter_automatically("api", ConsecutiveFailures(3))
    await asyncio.sleep(2)
    person = asyncio.create_task(manager.release_if_well("api", "anna"))
    await asyncio.sleep(0)
    manager.enter_automatically("root", CascadeFailure("root"))
    manager.enter_automatically("api", CascadeFailure("root"))
    with pytest.raises(ProbeFailed):
        await person
    await asyncio.sleep(20)
    assert "api" in manager
    assert ward.times("api") == [1.0]
    manager.release("root", "anna")
    await asyncio.sleep(7)
    assert "api" not in manager
    await manager.close()


async def test_a_probe_that_cancels_itself_fails_the_attempt() -> None:
    """A CancelledError that nobody asked for is a failed attempt."""
    answers = iter([asyncio.CancelledError(), WELL])
    ward, diary = FakeWard(lambda _: next(answers)), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(5)
    assert diary.said("released by recovery after 2") == [3.0]
    await manager.close()


async def test_a_strategy_whose_wait_cannot_be_had_waits_as_the_policy_says() -> None:
    """An error of backoff() is reported, and the policy's own wait is used."""

    class Broken(RecoveryStrategy):
        def backoff(self, attempt: int, last_error: BaseException | None) -> float | None:
            raise ZeroDivisionError

    ward, diary = FakeWard(lambda _: WELL), Diary()
    manager = quarantine(ward, QuarantinePolicy(backoff=EXACT, strategy=Broken()), diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(2)
    assert [type(fault) for fault in diary.faults] == [ZeroDivisionError]
    assert diary.said("released") == [1.0]
    await manager.close()


async def test_what_can_be_asked() -> None:
    """Ids, entries and waits, also of what is not in or is just being probed."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return WELL

    manager = quarantine(FakeWard(lambda _: slowly()))
    assert manager.get("db") is None
    assert manager.retry_after("db") is None
    assert not manager.is_frozen
    manager.enter("db", ConsecutiveFailures(3), by="anna", resource_id="database", scope=Scope.tenant("acme"))
    assert manager.retry_after("db") == 1.0
    await asyncio.sleep(2)
    assert manager.retry_after("db") == 1.0
    entry = manager.entries()["db"]
    assert (entry.resource_id, entry.scope, entry.by) == ("database", Scope.tenant("acme"), "anna")
    assert len(manager) == 1
    await manager.close()
    assert manager.release("db", "anna").phase == "stopped"
    assert manager.admission("db") is None


async def test_a_member_may_change_its_cascade() -> None:
    """A member that waits for one root and joins another waits for that, or is tried soon when that one is not in."""
    ward = FakeWard(lambda id: WELL if id == "api" else ILL)
    manager = quarantine(ward)
    for root in ("x", "y"):
        manager.enter(root, Manual("x"))
    manager.enter_automatically("api", CascadeFailure("x"))
    manager.enter_automatically("api", CascadeFailure("y"))
    manager.release("x", "anna")
    await asyncio.sleep(10)
    assert ward.times("api") == []
    manager.enter_automatically("api", CascadeFailure("z"))
    await asyncio.sleep(1)
    assert len(ward.times("api")) == 1
    assert "api" not in manager
    await manager.close()


async def test_a_free_case_that_joins_a_cascade_without_a_root_keeps_its_plan() -> None:
    """The root is not in quarantine: there is nothing to wait for."""
    manager = quarantine(FakeWard())
    manager.enter_automatically("api", ConsecutiveFailures(3))
    manager.enter_automatically("api", CascadeFailure("z"))
    manager.enter_automatically("api", CascadeFailure("api"))
    entry = manager.get("api")
    assert entry is not None
    assert entry.reason == CascadeFailure("api")
    assert manager.retry_after("api") == 1.0
    await manager.close()


async def test_each_of_a_circle_of_cascades_is_tried_for_itself() -> None:
    """Named as each other's roots, nobody waits for ever, whoever came first; what leads into the circle waits."""
    ward = FakeWard(lambda id: WELL if now() >= 20 else ILL)
    manager = quarantine(ward)
    manager.enter_automatically("above", CascadeFailure("b"))
    manager.enter_automatically("a", CascadeFailure("b"))
    manager.enter_automatically("b", CascadeFailure("c"))
    manager.enter_automatically("c", CascadeFailure("a"))
    assert all(manager.retry_after(key) is not None for key in ("a", "b", "c"))
    await asyncio.sleep(15)
    assert all(len(ward.times(key)) >= 3 for key in ("a", "b", "c"))
    assert ward.times("above") == []
    await asyncio.sleep(120)
    assert len(manager) == 0
    await manager.close()


async def test_a_broken_circle_of_cascades_leaves_its_members_waiting_for_their_root() -> None:
    """One of a circle turns out to be a root of its own: the other waits for it from then on, before any attempt."""
    ward = FakeWard(lambda id: ILL)
    manager = quarantine(ward)
    manager.enter_automatically("replica", CascadeFailure("db"))
    manager.enter_automatically("db", CascadeFailure("replica"))
    manager.enter_automatically("db", CascadeFailure("db"))
    held, root = manager.get("replica"), manager.get("db")
    assert held is not None
    assert root is not None
    assert (held.next_attempt_at, held.phase) == (None, "waiting")
    assert root.next_attempt_at is not None
    assert manager.retry_after("replica") == manager.retry_after("db")
    await asyncio.sleep(10)
    assert ward.times("replica") == []
    assert len(ward.times("db")) >= 3
    await manager.close()


async def test_a_circle_that_closes_over_those_who_wait_sets_them_free() -> None:
    """Held members come onto a circle by a new reason of their root: they are tried soon, not never."""
    ward = FakeWard(lambda id: ILL)
    manager = quarantine(ward)
    manager.enter_automatically("z", ConsecutiveFailures(3))
    manager.enter_automatically("y", CascadeFailure("z"))
    manager.enter_automatically("x", CascadeFailure("y"))
    assert manager.enter_automatically("z", CascadeFailure("x")) is not None
    await asyncio.sleep(5)
    assert all(len(ward.times(key)) >= 1 for key in ("x", "y", "z"))
    await manager.close()


async def test_a_release_by_a_listener_while_it_is_told_is_one_release() -> None:
    """Whoever releases on hearing of the attempt does not make the attempt release a second time."""

    class Hasty(Diary):
        def attempted(self, id: str, entry: QuarantineEntry, outcome: str) -> None:
            super().attempted(id, entry, outcome)
            if outcome == "recovered" or entry.attempts == 2:
                manager.release(id, "the listener")

    answers = iter([WELL, ILL, ILL])
    ward, diary = FakeWard(lambda _: next(answers)), Hasty()
    manager = quarantine(ward, QuarantinePolicy(backoff=EXACT, max_attempts=2), diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(5)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(20)
    assert [line for _, line in diary.lines] == [
        "db entered: health check failed (3 in a row)",
        "db recovered",
        "db released by the listener after 1",
        "db entered: health check failed (3 in a row)",
        "db failed",
        "db failed",
        "db released by the listener after 2",
    ]
    await manager.close()


async def test_a_ward_that_breaks_fails_the_attempt() -> None:
    """An error of the manager's side while an attempt is prepared is a failed attempt, and the next one comes."""

    class Broken(FakeWard):
        def success_threshold(self, id: str, /) -> int:
            if now() < 2:
                raise KeyError(id)
            return 1

    ward, diary = Broken(lambda _: WELL), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(5)
    assert diary.said("released by recovery after 2") == [3.0]
    await manager.close()


async def test_close_is_the_end_of_entering() -> None:
    """After close nobody enters: on evidence nothing happens, a person is told."""
    manager = quarantine(FakeWard())
    manager.enter("a", Manual("x"))
    manager.release("a", "anna")
    await manager.close()
    assert manager.admission("a") is None
    manager.failed("a")
    assert manager.enter_automatically("db", ConsecutiveFailures(3)) is None
    with pytest.raises(ConfigurationError):
        manager.enter("db", Manual("x"))
    assert repr(manager) == "<QuarantineManager 0 quarantined, 0 half open>"


async def test_a_resized_pool_moves_the_steps() -> None:
    """The permits of a half-open admission follow the pool's bound."""
    manager = quarantine(FakeWard())
    manager.enter("a", Manual("x"))
    manager.release("a", "anna")
    manager.resized("a", 100)
    manager.resized("b", 100)
    admission = manager.admission("a")
    assert admission is not None
    permit = admission.enter(0.0)
    assert permit is not None
    permit.leave(Outcome.OK)
    assert admission.permits == 25
    await manager.close()


async def test_an_admission_that_opens_is_told_and_gone() -> None:
    """Each step is told with its permits; open, there is no admission any more."""
    diary = Diary()
    manager = quarantine(FakeWard(), diary=diary)
    manager.enter("db", Manual("x"))
    manager.release("db", "anna")
    admission = manager.admission("db")
    assert admission is not None
    for _ in range(1 + 3 + 5):
        permit = admission.enter(0.0)
        assert permit is not None
        permit.leave(Outcome.OK)
    assert [line for _, line in diary.lines[2:]] == ["db 3 permits", "db 5 permits", "db 10 permits"]
    assert manager.admission("db") is None
    await manager.close()


async def test_a_strategy_that_raises_or_lies_fails_the_attempt_and_is_reported() -> None:
    """Errors and nonsense from a strategy count as failed attempts and bad waits fall back to the policy's."""

    class Liar(RecoveryStrategy):
        calls = 0

        async def attempt_recovery(
            self, registration: RecoveryTarget, context: ResourceContext
        ) -> HealthStatus:
            self.calls += 1
            if self.calls == 1:
                raise ValueError("boom")
            if self.calls == 2:
                return True  # type: ignore[return-value]  # it lies
            if self.calls == 3:
                return HealthStatus("well")  # type: ignore[arg-type]  # so does this
            return WELL

        def backoff(self, attempt: int, last_error: BaseException | None) -> float | None:
            if attempt == 1:
                return float("nan")
            if attempt == 2:
                assert isinstance(last_error, ValueError)
                return "soon"  # type: ignore[return-value]  # it lies
            return 0.25

    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, QuarantinePolicy(backoff=EXACT, strategy=Liar()), diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(10)
    assert diary.said("db failed") == [1.0, 3.0, 3.25]
    assert diary.said("released by recovery after 4") == [3.5]
    assert [type(fault).__name__ for fault in diary.faults] == [
        "ConfigurationError",
        "ValueError",
        "ConfigurationError",
        "ConfigurationError",
        "ConfigurationError",
    ]
    assert "a HealthStatus whose state is str" in str(diary.faults[-1])
    await manager.close()


async def test_a_strategy_that_never_ends_is_given_up_and_never_doubled() -> None:
    """After its time it counts as failed; while it ignores its cancellation no second one starts."""
    started: list[float] = []
    let_go = asyncio.Event()

    class Stubborn(RecoveryStrategy):
        async def attempt_recovery(
            self, registration: RecoveryTarget, context: ResourceContext
        ) -> HealthStatus:
            started.append(now())
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return WELL

    ward, diary = FakeWard(), Diary()
    manager = quarantine(ward, QuarantinePolicy(backoff=EXACT, strategy=Stubborn()), diary)
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(126)
    let_go.set()  # before any assertion: nothing but this ends it
    assert started == [1.0]
    assert diary.said("db failed") == [121.0, 123.0]
    await asyncio.sleep(2)
    assert diary.said("released by recovery after 3") == [127.0]
    await manager.close()


async def test_an_attempt_that_was_given_up_and_fails_later_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It counted as failed at its time; what it raises when it ends at last is told by type and place alone."""

    class Late(RecoveryStrategy):
        async def attempt_recovery(
            self, registration: RecoveryTarget, context: ResourceContext
        ) -> HealthStatus:
            try:
                await asyncio.sleep(1000)
            finally:
                raise quoting()

    ward, diary = FakeWard(), Diary()
    manager = QuarantineManager(ward, diary, policy=QuarantinePolicy(backoff=EXACT, strategy=Late()))
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(122)
    await manager.close()
    assert diary.said("db failed") == [121.0]
    assert_located_without_words(caplog, "a task of quarantine failed", "attempt_recovery")


async def test_an_attempt_that_fails_in_the_turn_of_a_release_leaves_no_complaint() -> None:
    """The release cancels its examination when it has failed already: its error is no news, and not left behind."""
    over = asyncio.get_running_loop().create_future()

    async def fail() -> HealthStatus:
        await over
        raise ConnectionError("down")

    manager = quarantine(FakeWard(lambda _: fail()))
    manager.enter("db", ConsecutiveFailures(3))
    await asyncio.sleep(1.5)
    over.set_result(None)
    manager.release("db", "anna")
    await asyncio.sleep(1)
    await manager.close()
    gc.collect()  # a task whose error nobody took complains when it goes; the fixture hears it


async def test_close_ends_everything() -> None:
    """No timer and no task is left, and nothing happens to the entries any more."""

    async def forever() -> HealthStatus:
        await asyncio.sleep(1e6)
        return WELL

    ward, diary = FakeWard(lambda _: forever()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("a", ConsecutiveFailures(3))
    manager.enter("b", Manual("x"), expires_in=10)
    await asyncio.sleep(1.5)
    await manager.close()
    before = list(diary.lines)
    await asyncio.sleep(1000)
    assert diary.lines == before
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert {entry.phase for entry in manager.entries().values()} == {"stopped"}


async def test_a_forgotten_resource_leaves_nothing() -> None:
    """Deregistering ends the case, the admission and the memory of its level, and wakes those that waited for it."""
    ward, diary = FakeWard(lambda _: WELL), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("root", Manual("x"))
    manager.enter("web", CascadeFailure("root"))
    assert manager.forget("root") is not None
    assert manager.forget("root") is None
    await asyncio.sleep(2)
    assert len(manager) == 0
    assert manager.forget("web") is None
    assert manager.admission("web") is None
    assert len(manager._levels) == 0
    await manager.close()


async def test_what_is_gone_is_not_tried_any_more() -> None:
    """Forgotten while an attempt is planned, and while one runs: neither comes to anything."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return WELL

    ward, diary = FakeWard(lambda _: slowly()), Diary()
    manager = quarantine(ward, diary=diary)
    manager.enter("planned", ConsecutiveFailures(3))
    manager.forget("planned")
    manager.enter("running", ConsecutiveFailures(3))
    await asyncio.sleep(1.5)
    assert ward.running == 1
    manager.forget("running")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ward.running == 0
    await asyncio.sleep(100)
    assert [asked for _, asked in ward.probes] == ["running"]
    assert diary.said("released") == []
    await manager.close()


async def test_who_waits_for_a_release_gets_the_entry_when_another_was_quicker() -> None:
    """It is out, which is what was asked for."""

    async def slowly() -> HealthStatus:
        await asyncio.sleep(5)
        return ILL

    manager = quarantine(FakeWard(lambda _: slowly()))
    entered = manager.enter("db", Manual("x"))
    asked = asyncio.create_task(manager.release_if_well("db", "anna"))
    await asyncio.sleep(1)
    manager.release("db", "ben")
    assert await asked == entered
    await manager.close()


async def test_less_than_a_second_is_a_time_too() -> None:
    """An expiry may be as short as it likes, and what is due now is due in 0 s."""
    manager = quarantine(FakeWard())
    manager.enter("db", Manual("x"), expires_in=0.5, resource_id="database")
    with pytest.raises(AlreadyQuarantined) as caught:
        manager.enter("db", Manual("y"), resource_id="database")
    assert caught.value.resource_id == "database"
    due = asyncio.get_running_loop().time() + 0.5
    assert manager.retry_after("db") == 0.5
    waits: list[float] = []
    asyncio.get_running_loop().call_at(due - 0.01, lambda: waits.append(manager.retry_after("db") or 0))
    await asyncio.sleep(1)
    assert waits == [pytest.approx(0.01)]
    assert "db" not in manager
    await manager.close()


async def test_the_wait_that_a_person_cut_short_counts_as_one() -> None:
    """Let out before the first attempt and back at once, it waits as after one."""
    manager = quarantine(FakeWard())
    manager.enter("db", ConsecutiveFailures(3))
    manager.release("db", "anna")
    manager.enter("db", ConsecutiveFailures(1))
    assert manager.retry_after("db") == 2
    await manager.close()
