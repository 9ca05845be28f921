"""A released resource gets its callers back step by step, and the first failure ends that."""

from __future__ import annotations

import asyncio

import pytest

from nebula_resource.errors import (
    AcquireCancelled,
    AcquireTimeout,
    BackendUnavailable,
    CircuitOpen,
    CreateFailed,
    HookCancelled,
    PoolExhausted,
    QuotaExceeded,
    Unavailable,
)
from nebula_resource.quarantine import Admission, AdmissionState, HalfOpenGate, Outcome, Permit


class Record:
    """What the admission tells."""

    def __init__(self, *, leads_back: bool = True) -> None:
        self.steps: list[int] = []
        self.failures = 0
        self.leads_back = leads_back

    def failed(self) -> bool:
        self.failures += 1
        return self.leads_back


def admit(max_size: int, record: Record | None = None) -> Admission:
    """An admission that tells this record."""
    record = record or Record()
    return Admission(max_size, stepped=record.steps.append, failed=record.failed)


def use(admission: Admission, outcome: Outcome = Outcome.OK, now: float = 0.0) -> None:
    """Take a permit and give it back."""
    permit = admission.enter(now)
    assert permit is not None
    permit.leave(outcome)


@pytest.mark.parametrize(
    ("max_size", "steps"),
    [(1, [1, 1, 1, 1]), (2, [1, 1, 1, 2]), (4, [1, 1, 2, 4]), (10, [1, 3, 5, 10]), (100, [1, 25, 50, 100])],
)
def test_steps_follow_the_size(max_size: int, steps: list[int]) -> None:
    """One permit, a quarter, a half, all, rounded up; each step takes as many successes as it has permits."""
    record = Record()
    admission = admit(max_size, record)
    uses = 0
    assert admission.permits == steps[0]
    while not admission.is_open:
        use(admission)
        uses += 1
    assert record.steps == steps[1:]
    assert uses == sum(steps[:3])
    assert admission.enter(0.0) is None


def test_no_more_permits_than_the_step_has() -> None:
    """A full step refuses, and a permit given back is free again."""
    admission = admit(10)
    first = admission.enter(0.0)
    assert first is not None
    assert admission.enter(0.0) is None
    first.leave(Outcome.OK)
    permits = [admission.enter(0.0) for _ in range(4)]
    assert [permit is not None for permit in permits] == [True, True, True, False]
    assert repr(admission) == "<Admission half_open: 3 of 3 permits out, 0 successes>"


def test_a_neutral_end_counts_neither_way() -> None:
    """Cancelled and timed-out uses free the permit and nothing else."""
    record = Record()
    admission = admit(10, record)
    for _ in range(20):
        use(admission, Outcome.NEUTRAL)
    assert (admission.permits, admission.successes, record.failures, admission.out) == (1, 0, 0, 0)


def test_one_failure_ends_it() -> None:
    """The first failure is told once; what comes after counts no more, and nobody gets in."""
    record = Record()
    admission = admit(10, record)
    use(admission)
    permits = [admission.enter(0.0) for _ in range(3)]
    for permit in permits:
        assert permit is not None
        permit.leave(Outcome.FAILED)
    admission.fail()
    assert (record.failures, admission.state) == (1, AdmissionState.FAILED)
    assert admission.enter(0.0) is None
    assert admission.retry_after(0.0) == 0.0


def test_a_failure_that_leads_nowhere_starts_again() -> None:
    """Where evidence does not count it begins anew with one permit; permits from before count no more."""
    record = Record(leads_back=False)
    admission = admit(10, record)
    use(admission)
    old = admission.enter(0.0)
    assert old is not None
    use(admission, Outcome.FAILED)
    assert (admission.state, admission.permits, record.steps) == (AdmissionState.HALF_OPEN, 1, [3, 1])
    old.leave(Outcome.OK)
    assert admission.permits == 1


def test_a_permit_is_left_once() -> None:
    """Giving one back twice does nothing the second time."""
    record = Record()
    admission = admit(10, record)
    permit = admission.enter(0.0)
    assert permit is not None
    permit.leave(Outcome.OK)
    permit.leave(Outcome.FAILED)
    assert (record.failures, admission.permits) == (0, 3)


def test_a_caller_that_never_ends_does_not_hold_it_up() -> None:
    """A permit held for 30 s goes to the next; its late end counts neither way."""
    record = Record()
    admission = admit(10, record)
    eternal = admission.enter(100.0)
    assert eternal is not None
    assert admission.enter(129.9) is None
    assert admission.retry_after(129.0) == 1.0
    use(admission, now=130.0)
    assert admission.permits == 3
    eternal.leave(Outcome.FAILED)
    assert record.failures == 0


@pytest.mark.parametrize("takes", [40.0, 100.0, 3600.0])
def test_uses_that_all_take_long_open_it_in_the_end(takes: float) -> None:
    """Who gets the permit of one that took too long may keep it twice as long, so that one comes to its good end."""
    admission = admit(2)
    held: list[tuple[float, Permit]] = []
    for second in range(20_000):
        for since, permit in tuple(held):
            if second - since >= takes:
                permit.leave(Outcome.OK)
                held.remove((since, permit))
        entered = admission.enter(float(second))
        if entered is not None:
            held.append((float(second), entered))
    assert admission.is_open


def test_permits_that_run_out_together_double_the_time_once() -> None:
    """Ten that are given away at one moment are one lesson, not ten; what was once granted is not shortened."""
    admission = admit(40)
    use(admission)
    for _ in range(10):
        assert admission.enter(0.0) is not None
    for _ in range(10):
        assert admission.enter(30.0) is not None
    assert admission.enter(89.0) is None
    assert admission.retry_after(89.0) == 1.0
    assert admission.enter(90.0) is not None
    assert admission.enter(90.0) is not None


def test_the_pool_may_be_resized_meanwhile() -> None:
    """The step stays and its permits follow; too many out after a shrink are waited for."""
    admission = admit(100)
    use(admission)
    held = [admission.enter(0.0) for _ in range(25)]
    admission.resize(8)
    assert (admission.permits, admission.out) == (2, 25)
    assert admission.enter(0.0) is None
    assert admission.enter(50.0) is None  # one overdue permit is taken back, and 24 are still too many
    for permit in held[1:]:
        assert permit is not None
        permit.leave(Outcome.NEUTRAL)
    assert admission.enter(50.0) is not None
    assert admission.retry_after(50.0) == 0.0


# ── as a gate ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Fault(Exception):
    """An error that speaks against the server."""


def gate(admission: Admission) -> HalfOpenGate:
    """A gate whose resource confirms `Fault`, and breaks over KeyError."""

    def is_fault(error: BaseException) -> bool:
        if isinstance(error, KeyError):
            raise RuntimeError("is_fault is broken")
        each = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        return any(isinstance(one, Fault) for one in each)

    return HalfOpenGate(admission, resource_id="db", is_fault=is_fault)


@pytest.mark.parametrize(
    ("error", "state", "permits"),
    [
        (None, AdmissionState.HALF_OPEN, 3),
        (ValueError("the body's own"), AdmissionState.HALF_OPEN, 1),
        (KeyError("is_fault cannot tell"), AdmissionState.HALF_OPEN, 1),
        (asyncio.CancelledError(), AdmissionState.HALF_OPEN, 1),
        (TimeoutError(), AdmissionState.HALF_OPEN, 1),
        (Fault(), AdmissionState.FAILED, 1),
        (CreateFailed(OSError()), AdmissionState.FAILED, 1),
        (ExceptionGroup("both", [AcquireTimeout("acquire", 1.0), Fault()]), AdmissionState.FAILED, 1),
    ],
)
async def test_which_ends_count(error: BaseException | None, state: AdmissionState, permits: int) -> None:
    """A good end lifts, a confirmed fault or a failed create ends it, anything else counts neither way."""
    admission = admit(10)
    ticket = gate(admission).enter()
    assert ticket is not None
    ticket.leave(error)
    assert (admission.state, admission.permits) == (state, permits)


@pytest.mark.parametrize(
    "error",
    [
        AcquireTimeout("acquire", 1.0, resource_id="db"),
        AcquireTimeout("acquire", 1.0, resource_id="another, which the body wanted too"),
        AcquireCancelled(resource_id="db"),
        PoolExhausted(1, 0, resource_id="db"),
        QuotaExceeded("rate_limit", 1, 1),
        HookCancelled("hours", "closed"),
        Unavailable("draining", resource_id="db"),
        CircuitOpen("create", retry_after=1.0, resource_id="db"),
        CreateFailed(OSError(), resource_id="another, which the body wanted too"),
        ExceptionGroup(
            "both", [AcquireTimeout("acquire", 1.0), Unavailable("closed", resource_id="another")]
        ),
        BaseExceptionGroup("all", [asyncio.CancelledError(), AcquireTimeout("acquire", 1.0)]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_caller_who_was_refused_or_gave_up_shows_nothing(error: BaseException) -> None:
    """Even where `is_fault` takes everything for a fault, or OSErrors, of which an AcquireTimeout is one."""
    admission = admit(10)
    ticket = HalfOpenGate(admission, resource_id="db", is_fault=lambda _: True).enter()
    assert ticket is not None
    ticket.leave(error)
    assert (admission.state, admission.out, admission.successes) == (AdmissionState.HALF_OPEN, 0, 0)


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (Unavailable("quarantined", resource_id="db"), AdmissionState.HALF_OPEN),
        (AcquireTimeout("acquire", 1.0, resource_id="db"), AdmissionState.HALF_OPEN),
        (Unavailable("quarantined", resource_id="orders"), AdmissionState.FAILED),
        (AcquireTimeout("create", 1.0, resource_id="orders"), AdmissionState.FAILED),
        (BackendUnavailable("no store"), AdmissionState.FAILED),
        (CreateFailed(OSError(), resource_id="db"), AdmissionState.FAILED),
        (OSError(), AdmissionState.FAILED),
    ],
)
async def test_a_create_that_another_resource_refused_shows_nothing(
    cause: Exception, state: AdmissionState
) -> None:
    """A refusal of what it needs is no answer of its own server; one that was really tried and failed is evidence."""
    admission = admit(10)
    ticket = HalfOpenGate(admission, resource_id="orders", is_fault=lambda _: True).enter()
    assert ticket is not None
    ticket.leave(CreateFailed(cause, resource_id="orders"))
    assert admission.state is state


async def test_a_full_gate_refuses() -> None:
    """Unavailable(quarantined), retryable, saying when a permit is free at the latest."""
    admission = admit(10)
    door = gate(admission)
    assert door.enter() is not None
    await asyncio.sleep(10)
    with pytest.raises(Unavailable) as caught:
        door.enter()
    error = caught.value
    assert (error.why, error.retryable, error.retry_after, error.resource_id) == (
        "quarantined",
        True,
        20.0,
        "db",
    )


async def test_an_open_gate_needs_no_ticket_and_a_failed_one_lets_nobody_in() -> None:
    """Once open it is as if there were no gate."""
    admission = admit(1)
    for _ in range(3):
        use(admission)
    assert gate(admission).enter() is None
    failed = admit(1)
    failed.close()
    with pytest.raises(Unavailable):
        gate(failed).enter()
