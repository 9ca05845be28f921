"""The checker keeps its intervals, shares a check between callers, and outlives checks that never end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from nebula_resource.errors import NotRegistered
from nebula_resource.health import HealthChecker, Schedule
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import (
    HealthCheckable,
    HealthPolicy,
    HealthStatus,
    Healthy,
    Postponed,
    Unhealthy,
    Unknown,
)
from nebula_resource.testing.clock import VirtualTimeLoop

EXACT = HealthPolicy(jitter=0)


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


class Diary:
    """Writes down results with the time."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, HealthStatus]] = []
        self.put_off: list[tuple[float, str]] = []

    def checked(self, id: str, status: HealthStatus, *, is_counted: bool = False) -> None:
        self.lines.append((now(), id, status))

    def postponed(self, id: str, status: HealthStatus) -> None:
        self.put_off.append((now(), id))

    def times(self, id: str = "db") -> list[float]:
        return [at for at, checked, _ in self.lines if checked == id]


class Probe:
    """A check from a script."""

    def __init__(self, answer: Any = None, *, takes: float = 0.0) -> None:
        self.answer = HealthStatus(Healthy()) if answer is None else answer
        self.takes = takes
        self.began: list[float] = []
        self.running = 0

    async def __call__(self) -> HealthStatus:
        self.began.append(now())
        self.running += 1
        assert self.running == 1, "two checks of one resource at a time"
        try:
            if self.takes:
                await asyncio.sleep(self.takes)
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer
        finally:
            self.running -= 1


@pytest.fixture
def diary() -> Diary:
    """Of this test."""
    return Diary()


@pytest.fixture
async def checker(diary: Diary) -> AsyncIterator[HealthChecker]:
    """A checker that leaves no task behind."""
    errors: list[BaseException] = []
    checker = HealthChecker(diary, rng=random.Random(1), on_error=lambda error, _: errors.append(error))
    yield checker
    await checker.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert errors == []


async def test_checks_come_in_the_interval_after_it(checker: HealthChecker, diary: Diary) -> None:
    """The first check is one interval away, and a check's own length does not shift the next."""
    probe = Probe(takes=2)
    checker.watch("db", probe, EXACT)
    await asyncio.sleep(100)
    assert probe.began == [30.0, 60.0, 90.0]
    assert diary.times() == [32.0, 62.0, 92.0]
    assert diary.lines[0][2].latency_s == 2.0


async def test_intervals_are_spread_within_their_bounds(checker: HealthChecker) -> None:
    """Each interval lies within ± 10 %, and they differ from resource to resource."""
    probes = {name: Probe() for name in "abc"}
    for name, probe in probes.items():
        checker.watch(name, probe, HealthPolicy())
    await asyncio.sleep(1000)
    seen: set[float] = set()
    for probe in probes.values():
        times = [0.0, *probe.began]
        waits = [later - sooner for sooner, later in pairwise(times)]
        assert all(27 <= wait <= 33 for wait in waits)
        seen.update(waits)
    assert len(seen) > 80
    assert min(seen) < 29, "sooner"
    assert max(seen) > 31, "and later"


async def test_a_resource_s_own_times_win(checker: HealthChecker) -> None:
    """Interval and timeout that a HealthCheckable sets are used; those it leaves are the policy's."""

    class Own(HealthCheckable):
        health_check_interval = 7.0

        async def health_check(self, instance: Any, context: ResourceContext) -> HealthStatus:
            return HealthStatus.healthy()

    probe = Probe()
    checker.watch("db", probe, EXACT, resource=Own())
    await asyncio.sleep(22)
    assert probe.began == [7.0, 14.0, 21.0]
    schedule = Schedule.of(HealthPolicy(timeout=3), Own())
    assert (schedule.interval, schedule.timeout) == (7.0, 3)


async def test_failures_stretch_the_interval_where_quarantine_is_off(checker: HealthChecker) -> None:
    """× 1.5 for each failure in a row, up to 150 s, and back to normal with the first pass."""
    probe = Probe(Unhealthy("down"))
    checker.watch("db", probe, EXACT, backs_off=True)
    await asyncio.sleep(30 + 45 + 67.5 + 101.25 + 150 + 150 + 1)
    assert probe.began == [30, 75, 142.5, 243.75, 393.75, 543.75]
    probe.answer = HealthStatus(Healthy())
    await asyncio.sleep(150 + 30)
    assert probe.began[6:] == [693.75, 723.75]
    probe.answer = Unhealthy("down")


async def test_what_is_not_watched_is_never_due(checker: HealthChecker) -> None:
    """Nobody can say when a check of it will be; of what is watched the first is due after one interval."""
    assert checker.retry_after("db") is None
    checker.watch("db", Probe(), EXACT)
    assert checker.retry_after("db") == 30
    checker.unwatch("db")
    assert checker.retry_after("db") is None


async def test_with_quarantine_on_the_interval_stays(checker: HealthChecker) -> None:
    """Recovery has its own waits; checks keep theirs."""
    probe = Probe(Unhealthy("down"))
    checker.watch("db", probe, EXACT)
    await asyncio.sleep(121)
    assert probe.began == [30, 60, 90, 120]


def test_a_long_outage_overflows_nothing() -> None:
    """The stretched interval is bounded however long it goes on, and an interval above the bound stays."""
    schedule = Schedule.of(HealthPolicy(backoff=1000, jitter=0), backs_off=True)
    assert schedule.delay(10**9, random.Random()) == 150
    slow = Schedule.of(HealthPolicy(interval=600, jitter=0), backs_off=True)
    assert slow.delay(5, random.Random()) == 600


async def test_callers_share_one_check(checker: HealthChecker, diary: Diary) -> None:
    """Whoever asks while a check runs gets its result, the scheduled one included."""
    probe = Probe(takes=3)
    checker.watch("db", probe, EXACT)
    await asyncio.sleep(29)
    callers = [asyncio.create_task(checker.check("db")) for _ in range(50)]
    await asyncio.sleep(2)
    callers.append(asyncio.create_task(checker.check("db")))
    results = await asyncio.gather(*callers)
    assert len({id(result) for result in results}) == 1
    assert probe.began == [29.0]
    assert diary.times() == [32.0]


async def test_a_caller_that_leaves_does_not_end_the_check(checker: HealthChecker) -> None:
    """Cancelling one caller, or all, leaves the check to the rest."""
    probe = Probe(takes=3)
    checker.watch("db", probe, EXACT)
    first = asyncio.create_task(checker.check("db"))
    second = asyncio.create_task(checker.check("db"))
    await asyncio.sleep(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await second).state == Healthy()
    assert probe.began == [0.0]


async def test_a_check_that_takes_too_long_failed(checker: HealthChecker, diary: Diary) -> None:
    """At the timeout it is cancelled and counts as a failure, at that moment."""
    probe = Probe(takes=60)
    checker.watch("db", probe, EXACT)
    status = await checker.check("db")
    assert (now(), status.state) == (5.0, Unhealthy("the check took longer than 5 s"))
    assert diary.times() == [5.0]
    await asyncio.sleep(0)
    assert probe.running == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("password=s3cret"), "the check raised OSError"),
        (asyncio.CancelledError(), "the check was cancelled"),
        (7, "the check returned int, not a HealthStatus"),
    ],
)
async def test_a_check_that_breaks_failed(checker: HealthChecker, answer: object, reason: str) -> None:
    """Errors and nonsense are failures, without the wording of the error."""
    checker.watch("db", Probe(answer), EXACT)
    assert (await checker.check("db")).state == Unhealthy(reason)


async def test_a_check_may_return_a_bare_state(checker: HealthChecker) -> None:
    """A HealthState does; and what a status says of its latency is kept."""
    checker.watch("db", Probe(Unhealthy("down"), takes=2), EXACT)
    assert (await checker.check("db")).latency_s == 2.0
    checker.watch("db", Probe(HealthStatus(Healthy(), 0.25), takes=2), EXACT)
    assert (await checker.check("db")).latency_s == 0.25


async def test_a_postponed_check_says_nothing(checker: HealthChecker, diary: Diary) -> None:
    """With nothing to check with no result reaches the board, and the caller is told Unknown."""
    checker.watch("db", Probe(Postponed("all in use")), EXACT)
    status = await checker.check("db")
    assert (status.state, status.metadata) == (Unknown(), {"postponed": "all in use"})
    await asyncio.sleep(31)
    assert diary.lines == []
    assert diary.put_off == [(0.0, "db"), (30.0, "db")]


async def test_a_check_that_never_returns_is_unknown_after_three_intervals(
    checker: HealthChecker, diary: Diary
) -> None:
    """It fails once at its timeout, is never started twice, is Unknown at 3 × interval, and checks go on after it."""
    let_go = asyncio.Event()
    began: list[float] = []

    async def stubborn() -> HealthStatus:
        began.append(now())
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return HealthStatus(Healthy())

    checker.watch("db", stubborn, EXACT)
    await asyncio.sleep(130)
    stuck = await checker.check("db")
    let_go.set()  # before any assertion: nothing but this ends it
    assert began == [30.0]
    assert [(at, status.state.kind) for at, _, status in diary.lines] == [
        (35.0, "unhealthy"),
        (120.0, "unknown"),
    ]
    assert stuck.state.kind == "unhealthy"
    await asyncio.sleep(25)
    assert began == [30.0, 150.0]
    assert diary.lines[-1][2].state == Healthy()


async def test_a_check_that_heeds_its_cancellation_late_is_not_unknown(
    checker: HealthChecker, diary: Diary
) -> None:
    """One that ends some time after its timeout just failed."""

    async def late() -> HealthStatus:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            raise
        raise AssertionError("it is cancelled before")

    checker.watch("db", late, EXACT)
    await asyncio.sleep(125)
    assert [status.state.kind for _, _, status in diary.lines] == ["unhealthy"] * 3


async def test_unwatching_ends_it_at_once(checker: HealthChecker, diary: Diary) -> None:
    """Nothing is checked any more, the running check is cancelled, and who waits is told Unknown."""
    probe = Probe(takes=4)
    checker.watch("db", probe, EXACT)
    caller = asyncio.create_task(checker.check("db"))
    await asyncio.sleep(1)
    checker.unwatch("db")
    checker.unwatch("db")
    assert (await caller).state == Unknown()
    await asyncio.sleep(100)
    assert (probe.running, probe.began, diary.lines) == (0, [0.0], [])
    assert "db" not in checker
    with pytest.raises(NotRegistered):
        await checker.check("db")


async def test_watching_again_changes_probe_and_times(checker: HealthChecker) -> None:
    """After a reload the new probe is used, in the new interval, without a second task."""
    old, new = Probe(), Probe()
    checker.watch("db", old, EXACT)
    await asyncio.sleep(35)
    checker.watch("db", new, HealthPolicy(interval=10, jitter=0))
    await asyncio.sleep(21)
    assert old.began == [30.0]
    assert new.began == [45.0, 55.0]
    assert checker.longest_interval == 10, "the old one is forgotten"


async def test_tasks_are_named_and_one_per_resource(checker: HealthChecker) -> None:
    """An operator who lists tasks sees what each is for."""
    checker.watch("db", Probe(), EXACT)
    checker.watch("cache", Probe(), EXACT)
    checker.watch("db", Probe(), EXACT)
    await asyncio.sleep(1)
    names = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
    assert names == ["nebula health: watch cache", "nebula health: watch db"]
    assert repr(checker) == "<HealthChecker 2 watched, 0 being checked>"


async def test_after_close_nothing_starts(diary: Diary) -> None:
    """A closed checker has no task, and watches nothing new; a stubborn check does not hold it up for ever."""
    checker = HealthChecker(diary)
    let_go = asyncio.Event()

    async def stubborn() -> HealthStatus:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return HealthStatus(Healthy())

    checker.watch("db", stubborn, EXACT)
    caller = asyncio.create_task(checker.check("db"))
    await asyncio.sleep(1)
    started = now()
    await checker.close()
    took = now() - started
    let_go.set()
    checker.watch("db", Probe(), EXACT)
    assert took == 5.0
    assert (await caller).state == Unknown()
    await asyncio.sleep(100)
    assert diary.lines == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ── a loop that stands still ──────────────────────────────────────────────────────────────────────────────────────


def stand_still(seconds: float) -> None:
    """Hold the loop: time passes, and nobody else gets a turn."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop._now += seconds


@pytest.mark.parametrize("who_times_out", ["the checker", "the check"])
async def test_a_loop_that_stands_still_fails_nobody(
    checker: HealthChecker, diary: Diary, who_times_out: str
) -> None:
    """All checks are late at once because somebody held the loop: they are put off, and who asked learns why."""

    async def probe() -> HealthStatus:
        limit = None if who_times_out == "the checker" else 4.9
        try:
            async with asyncio.timeout(limit):
                await asyncio.sleep(5.1)  # the answer is there, and nobody had the time to read it
        except TimeoutError:
            return HealthStatus.unhealthy("no answer")
        return HealthStatus.healthy()

    for name in "abc":
        checker.watch(name, probe, EXACT)
    asyncio.get_running_loop().call_at(30.1, stand_still, 6.0)
    await asyncio.sleep(30.05)
    asked = await checker.check("a")
    assert diary.lines == []
    assert sorted(diary.put_off) == [(36.1, "a"), (36.1, "b"), (36.1, "c")]
    assert asked.state == Unknown()
    assert asked.metadata == {"postponed": "the loop stood still for 5.6 s"}


@pytest.mark.parametrize(("seconds", "counts"), [(2.4, True), (3.1, False)])
async def test_a_loop_that_stood_still_for_a_part_of_a_check_left_it_the_rest(
    checker: HealthChecker, diary: Diary, seconds: float, counts: bool
) -> None:
    """Less than half of its time taken away: a check that did not end in the rest has failed."""
    checker.watch("db", Probe(takes=100), EXACT)
    asyncio.get_running_loop().call_at(31.0, stand_still, seconds)
    await asyncio.sleep(40)
    assert len(diary.times()) == counts
    assert len(diary.put_off) == (not counts)


async def test_several_short_stops_add_up(checker: HealthChecker, diary: Diary) -> None:
    """Each takes a fifth of the check's time."""
    checker.watch("db", Probe(takes=100), EXACT)
    for at in (30.2, 31.7, 33.2):
        asyncio.get_running_loop().call_at(at, stand_still, 1.4)
    await asyncio.sleep(40)
    assert (diary.times(), len(diary.put_off)) == ([], 1)


async def test_of_two_failures_in_a_row_one_counts_whatever_stood_still(
    checker: HealthChecker, diary: Diary
) -> None:
    """A loop that is held again and again does not hide a server that is away: each second failure counts."""
    checker.watch("db", Probe(takes=100), EXACT)
    for number in range(1, 7):
        asyncio.get_running_loop().call_at(30.0 * number + 1, stand_still, 4.5)
    await asyncio.sleep(200)
    assert [at for at, _ in diary.put_off] == [35.5, 95.5, 155.5]
    assert diary.times() == [65.5, 125.5, 185.5]


async def test_what_a_check_found_while_the_loop_stood_still_counts_when_it_is_good(
    checker: HealthChecker, diary: Diary
) -> None:
    """Only a failure is in doubt; and after a good one the next failure may be put off again."""
    probe = Probe(takes=4)
    checker.watch("db", probe, EXACT)
    for number in range(1, 4):
        asyncio.get_running_loop().call_at(30.0 * number + 1, stand_still, 3.0)
    await asyncio.sleep(59)
    assert [status.state for _, _, status in diary.lines] == [Healthy()]
    probe.takes = 100
    await asyncio.sleep(30)
    probe.takes = 4
    await asyncio.sleep(30)
    assert len(diary.put_off) == 1
    assert [status.state for _, _, status in diary.lines] == [Healthy(), Healthy()]


async def test_a_check_that_holds_the_loop_itself_is_not_excused(
    checker: HealthChecker, diary: Diary
) -> None:
    """Its server is away, and it waits for it without letting others run: that is a failure of its own."""

    async def blocking() -> HealthStatus:
        stand_still(0.2)
        time.sleep(0.2)  # noqa: ASYNC251  # the library measures steps by the wall clock
        await asyncio.sleep(0.01)
        raise ConnectionError

    checker.watch("db", blocking, HealthPolicy(jitter=0, timeout=0.2))
    await asyncio.sleep(31)
    assert [status.state.because for _, _, status in diary.lines] == ["the check took longer than 0.2 s"]
    assert diary.put_off == []


async def test_a_check_that_never_returns_is_found_out_although_the_loop_stood_still(
    checker: HealthChecker, diary: Diary
) -> None:
    """It was put off, and is Unknown after three intervals like any other."""
    forever = asyncio.Event()

    async def deaf() -> HealthStatus:
        while not forever.is_set():
            try:
                await forever.wait()
            except asyncio.CancelledError:
                pass
        return HealthStatus.healthy()

    checker.watch("db", deaf, EXACT)
    asyncio.get_running_loop().call_at(31.0, stand_still, 5.0)
    await asyncio.sleep(130)
    assert [(at, status.state) for at, _, status in diary.lines] == [(120.0, Unknown())]
    forever.set()
