"""Quarantine against independent models: admission's permits, and cases over days of virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nebula_resource.errors import AlreadyQuarantined, NotQuarantined, ProbeFailed
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthStatus, Postponed
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import (
    Admission,
    AdmissionState,
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    Outcome,
    Permit,
    QuarantineEntry,
    QuarantineListener,
    QuarantineManager,
    QuarantinePolicy,
    RecoveryBackoff,
)
from nebula_resource.testing.clock import run_virtual

laws = settings(max_examples=1000)

# ── admission ─────────────────────────────────────────────────────────────────────────────────────────────────────


class AdmissionMachine(RuleBasedStateMachine):
    """Permits are taken, given back, forgotten; the model keeps a list of what is out and counts on its fingers."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.told: list[int] = []
        self.failed = 0
        self.leads_back = True
        self.size = 10
        self.admission = Admission(self.size, stepped=self.told.append, failed=self.has_failed)
        self.out: list[tuple[Permit, float, float]] = []  # since when, and for how long
        self.patience = 30.0
        self.gone: list[Permit] = []
        self.step = 0
        self.successes = 0
        self.state = "half open"
        self.expected_told: list[int] = []
        self.expected_failed = 0

    def has_failed(self) -> bool:
        self.failed += 1
        return self.leads_back

    def allowed(self) -> int:
        return [1, math.ceil(self.size / 4), math.ceil(self.size / 2), self.size][self.step]

    def fails(self) -> None:
        self.gone += [permit for permit, _, _ in self.out]
        self.out = []
        self.expected_failed += 1
        if self.leads_back:
            self.state = "failed"
        else:
            self.step = self.successes = 0
            self.expected_told.append(1)

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 29.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(size=st.integers(1, 40))
    def resize(self, size: int) -> None:
        self.size = size
        self.admission.resize(size)

    @initialize(leads_back=st.booleans())
    def suspicion(self, leads_back: bool) -> None:
        self.leads_back = leads_back

    @rule()
    def enter(self) -> None:
        permit = self.admission.enter(self.now)
        if self.state != "half open":
            assert permit is None
            return
        if len(self.out) >= self.allowed():
            late, since, seconds = self.out[0]
            if self.now >= since + seconds:
                self.gone.append(late)
                del self.out[0]
                self.patience = max(self.patience, 2 * seconds)
        if len(self.out) >= self.allowed():
            assert permit is None
        else:
            assert permit is not None
            self.out.append((permit, self.now, self.patience))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, *Outcome]))
    def leave(self, data: st.DataObject, outcome: Outcome) -> None:
        permit, _, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.gone.append(permit)
        if outcome is Outcome.FAILED:
            self.fails()
        elif outcome is Outcome.OK:
            self.successes += 1
            if self.successes >= self.allowed():
                self.step, self.successes = self.step + 1, 0
                self.expected_told.append(self.allowed())
                if self.step == 3:
                    self.state = "open"
                    self.gone += [other for other, _, _ in self.out]
                    self.out = []
        permit.leave(outcome)

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def leave_what_is_gone(self, data: st.DataObject, outcome: Outcome) -> None:
        data.draw(st.sampled_from(self.gone)).leave(outcome)

    @precondition(lambda self: self.successes or self.step == 3)
    @rule()
    def something_else_fails(self) -> None:
        if self.state == "half open":
            self.fails()
        self.admission.fail()

    @invariant()
    def agrees(self) -> None:
        assert self.admission.out == len(self.out)
        assert self.admission.permits == self.allowed()
        assert self.admission.successes == self.successes
        assert self.admission.state is AdmissionState(self.state.replace(" ", "_"))
        assert (self.told, self.failed) == (self.expected_told, self.expected_failed)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=400, stateful_step_count=30)

# ── cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────

IDS = ("db", "db-replica", "api")
MAX_ATTEMPTS = 4
PARK = 300.0


class Middle(random.Random):
    """Jitter that is always in the middle: none, and half a base for members of a cascade."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@dataclass
class ModelCase:
    """One quarantine in the model."""

    reason: Any
    level: int
    stops: bool
    attempts: int = 0
    next: float | None = None
    expires: float | None = None
    held: bool = False
    exhausted: bool = False


class Places:
    """Where the lines about each case stand in a log that only grows; each line is read once."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self._read = 0
        self._places: dict[str, list[int]] = {}

    def of(self, id: str) -> list[int]:
        for place in range(self._read, len(self._log)):
            self._places.setdefault(self._log[place].split()[0], []).append(place)
        self._read = len(self._log)
        return self._places.get(id, [])


@dataclass
class Model:
    """A discrete simulation: cases with a due time each, worked off in order."""

    stops: bool
    real_log: list[str]
    now: float = 0.0
    frozen: bool = False
    health: dict[str, str] = field(default_factory=lambda: dict.fromkeys(IDS, "ill"))
    cases: dict[str, ModelCase] = field(default_factory=dict)
    half_open: dict[str, bool] = field(default_factory=dict)
    memory: dict[str, tuple[int, float]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.real_places = Places(self.real_log)
        self.places = Places(self.log)

    def wait(self, case: ModelCase) -> float:
        return float(min(60, 2 ** (case.level + case.attempts)))

    def root(self, id: str) -> str | None:
        reason = self.cases[id].reason
        return reason.root if isinstance(reason, CascadeFailure) and reason.root != id else None

    def waits(self, id: str) -> bool:
        """Its root is in, and is not, over others perhaps, one that came with it."""
        below: list[str] = []
        at = self.root(id)
        while at is not None and at in self.cases and at not in below:
            below.append(at)
            at = self.root(at)
        return below != [] and id not in below

    def rearrange(self) -> None:
        for key, case in self.cases.items():
            if self.waits(key):
                case.held, case.next = True, None
            elif case.held:
                case.held, case.next = False, self.now + 0.5

    def enter(self, id: str, reason: Any, expires_in: float | None = None) -> None:
        level, since = self.memory.get(id, (0, 0.0))
        level = max(0, level - math.floor((self.now - since) / 60))
        case = self.cases[id] = ModelCase(reason, level, self.stops)
        self.half_open.pop(id, None)
        self.log.append(f"{id} in")
        if not isinstance(reason, Manual):
            case.next = self.now + self.wait(case)
        elif expires_in is not None:
            case.expires = self.now + expires_in
        self.rearrange()

    def adopt(self, id: str, reason: CascadeFailure) -> None:
        self.cases[id].reason = reason
        self.rearrange()

    def take_over(self, id: str, expires_in: float | None) -> None:
        case = self.cases[id]
        case.reason, case.next, case.held, case.exhausted = Manual("x"), None, False, False
        case.expires = None if expires_in is None else self.now + expires_in
        self.log.append(f"{id} in")
        self.rearrange()

    def leave(self, id: str, by: str) -> None:
        case = self.cases.pop(id)
        if not isinstance(case.reason, Manual):
            self.memory[id] = (case.level + case.attempts + (by != "recovery"), self.now)
        self.half_open[id] = True
        self.log.append(f"{id} out by {by} after {case.attempts}")
        self.rearrange()

    def forget(self, id: str) -> None:
        self.memory.pop(id, None)
        self.half_open.pop(id, None)
        if self.cases.pop(id, None) is not None:
            self.rearrange()

    def next_told(self, id: str) -> float:
        """Where in the real log the next line about ``id`` stands."""
        places = self.real_places.of(id)
        told = len(self.places.of(id))
        return places[told] if told < len(places) else math.inf

    def until(self, end: float) -> None:
        """Let everything happen that is due; who comes first in one instant is nobody's promise, so the real one says."""
        while True:
            due = [
                (at, key)
                for key, case in self.cases.items()
                for at in (case.next, case.expires)
                if at is not None and at <= end
            ]
            if not due:
                break
            first = min(at for at, _ in due)
            self.now, key = min(
                (item for item in due if item[0] - first < 1e-9), key=lambda item: self.next_told(item[1])
            )
            self.happens(key, self.cases[key])
        self.now = end

    def happens(self, id: str, case: ModelCase) -> None:
        if case.expires is not None:
            self.leave(id, "expiry")
            return
        health = self.health[id]
        if health == "postponed":
            self.log.append(f"{id} postponed")
            self.plan(case)
            return
        case.attempts += 1
        self.log.append(f"{id} {'recovered' if health == 'well' else 'failed'}")
        if health == "well":
            self.leave(id, "recovery")
            return
        exhausts = not case.exhausted and case.attempts >= MAX_ATTEMPTS
        case.exhausted = case.exhausted or exhausts
        self.plan(case)
        if exhausts:
            self.log.append(f"{id} exhausted")

    def plan(self, case: ModelCase) -> None:
        if not case.exhausted:
            case.next = self.now + self.wait(case)
        else:
            case.next = None if case.stops else self.now + PARK


class Real(QuarantineListener):
    """The ward and the listener of the real thing."""

    def __init__(self) -> None:
        self.health: dict[str, str] = dict.fromkeys(IDS, "ill")
        self.log: list[str] = []
        self.running: set[str] = set()

    async def probe(self, id: str, /) -> HealthStatus:
        assert id not in self.running, "two attempts of one resource at a time"
        self.running.add(id)
        await asyncio.sleep(0)
        self.running.discard(id)
        if self.health[id] == "postponed":
            raise Postponed
        return HealthStatus.healthy() if self.health[id] == "well" else HealthStatus.unhealthy("down")

    def secrets(self, id: str, /) -> object:
        return None

    def success_threshold(self, id: str, /) -> int:
        return 2

    def max_size(self, id: str, /) -> int:
        return 10

    def context(self, id: str, /) -> ResourceContext:
        return ResourceContext(Scope.GLOBAL)

    def entered(self, id: str, entry: QuarantineEntry) -> None:
        self.log.append(f"{id} in")

    def attempted(self, id: str, entry: QuarantineEntry, outcome: str) -> None:
        self.log.append(f"{id} {outcome}")

    def exhausted(self, id: str, entry: QuarantineEntry) -> None:
        self.log.append(f"{id} exhausted")

    def released(self, id: str, entry: QuarantineEntry, by: str, attempts: int) -> None:
        self.log.append(f"{id} out by {by} after {attempts}")

    def faulted(self, id: str, error: BaseException) -> None:
        raise AssertionError("no strategy is at work here") from error


ids = st.sampled_from(IDS)
commands = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.3, 1.1, 2.0, 7.3, 61.7, 333.3, 5000.0])),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 1.1, 2.0, 7.3])),
        st.tuples(st.just("enter"), ids),
        st.tuples(st.just("enter"), ids),
        st.tuples(st.just("cascade"), ids, ids),
        st.tuples(st.just("manual"), ids, st.sampled_from([None, 5.0, 100.0])),
        st.tuples(st.just("release"), ids),
        st.tuples(st.just("release_if_well"), ids),
        st.tuples(st.just("health"), ids, st.sampled_from(["well", "ill", "postponed"])),
        st.tuples(st.just("failed"), ids),
        st.tuples(st.just("frozen"), st.booleans()),
        st.tuples(st.just("forget"), ids),
    ),
    max_size=25,
)


class Both:
    """Does the same to the real thing and to the model."""

    def __init__(self, manager: QuarantineManager, real: Real, model: Model) -> None:
        self.manager = manager
        self.real = real
        self.model = model

    async def wait(self, seconds: float) -> None:
        # A little more, so that no timer is due in the very instant in which we look.
        await asyncio.sleep(seconds + 1e-4)
        self.model.until(asyncio.get_running_loop().time())

    async def enter(self, key: str) -> None:
        entered = self.manager.enter_automatically(key, ConsecutiveFailures(3))
        assert (entered is not None) == (not self.model.frozen and key not in self.model.cases)
        if entered is not None:
            self.model.enter(key, ConsecutiveFailures(3))

    async def cascade(self, key: str, root: str) -> None:
        reason = CascadeFailure(root)
        entered = self.manager.enter_automatically(key, reason)
        case = self.model.cases.get(key)
        if not self.model.frozen and case is None:
            self.model.enter(key, reason)
        elif self.model.frozen or case is None or isinstance(case.reason, Manual) or case.reason == reason:
            assert entered is None
        else:
            self.model.adopt(key, reason)

    async def manual(self, key: str, expires_in: float | None) -> None:
        try:
            self.manager.enter(key, Manual("x"), expires_in=expires_in)
        except AlreadyQuarantined:
            assert isinstance(self.model.cases[key].reason, Manual)
            return
        if key in self.model.cases:
            self.model.take_over(key, expires_in)
        else:
            self.model.enter(key, Manual("x"), expires_in)

    async def release(self, key: str) -> None:
        try:
            self.manager.release(key, "anna")
        except NotQuarantined:
            assert key not in self.model.cases
        else:
            self.model.leave(key, "anna")

    async def release_if_well(self, key: str) -> None:
        try:
            await self.manager.release_if_well(key, "anna")
        except NotQuarantined:
            assert key not in self.model.cases
        except ProbeFailed:
            assert self.real.health[key] != "well"
        else:
            assert self.real.health[key] == "well"
            self.model.leave(key, "anna")

    async def health(self, key: str, how: str) -> None:
        self.real.health[key] = self.model.health[key] = how

    async def failed(self, key: str) -> None:
        self.manager.failed(key)
        if key in self.model.half_open and not self.model.frozen:
            self.model.enter(key, ConsecutiveFailures(1))

    async def frozen(self, frozen: bool) -> None:
        self.model.frozen = frozen
        if frozen:
            self.manager.freeze()
        else:
            self.manager.thaw()

    async def forget(self, key: str) -> None:
        self.manager.forget(key)
        self.model.forget(key)


def lines_of(log: list[str], key: str) -> list[str]:
    """What was told of one; at one instant the order between two is nobody's promise."""
    return [line for line in log if line.split()[0] == key]


def compare(manager: QuarantineManager, real: Real, model: Model) -> None:
    """Everything that can be seen is the same."""
    for key in IDS:
        assert lines_of(real.log, key) == lines_of(model.log, key)
    entries = manager.entries()
    assert set(entries) == set(model.cases)
    assert {key for key in IDS if manager.admission(key) is not None} == set(model.half_open)
    for key, entry in entries.items():
        case = model.cases[key]
        assert (entry.reason, entry.attempts) == (case.reason, case.attempts)
        due = case.next if case.expires is None else case.expires
        assert (entry.next_attempt_at is None) == (case.next is None)
        if case.held:
            assert entry.phase == "waiting"
        elif due is None:
            assert (entry.phase, manager.retry_after(key)) == ("stopped", None)
        else:
            assert entry.phase == ("parked" if case.exhausted else "waiting")
            wait = manager.retry_after(key)
            assert wait is not None
            assert math.isclose(wait, due - model.now, abs_tol=1e-6)


@laws
@given(commands=commands, stops=st.booleans())
def test_cases_agree_with_their_model(commands: list[tuple[Any, ...]], stops: bool) -> None:
    """Whatever people, evidence and time do, each case is where a simulation says, and nothing is left at the end."""
    hypothesis.note(str(commands))

    async def main() -> None:
        real = Real()
        model = Model(stops, real.log)
        errors: list[BaseException] = []
        policy = QuarantinePolicy(
            backoff=RecoveryBackoff(),
            max_attempts=MAX_ATTEMPTS,
            on_exhausted="stop" if stops else "park",
            park_interval=PARK,
        )
        manager = QuarantineManager(
            real, real, policy=policy, rng=Middle(), on_error=lambda error, _: errors.append(error)
        )
        both = Both(manager, real, model)
        for command in commands:
            await getattr(both, command[0])(*command[1:])
            compare(manager, real, model)
        await manager.close()
        assert errors == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())
