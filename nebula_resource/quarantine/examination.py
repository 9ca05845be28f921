"""Examination: carries out one attempt of a strategy, and reads whatever it answers."""

from __future__ import annotations

import asyncio
from typing import Any

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import ConfigurationError, CreateFailed, HealthCheckFailed
from nebula_resource.model.censor import censored
from nebula_resource.model.health import HealthState, HealthStatus, Postponed
from nebula_resource.model.why import why
from nebula_resource.quarantine.case import Case, Finding
from nebula_resource.quarantine.recovery import RecoveryStrategy, RecoveryTarget, is_pass
from nebula_resource.quarantine.ward import QuarantineListener, Ward

__all__ = ["ATTEMPT_SECONDS", "examine"]

ATTEMPT_SECONDS = 120.0
"""The longest an attempt may take: room for several passes of create (30 s) and check, and an end for any strategy."""


async def examine(case: Case, ward: Ward, tasks: OwnedTasks, listener: QuarantineListener) -> Finding:
    """Let the case's strategy try once; every outcome but a cancellation is a finding.

    An attempt that goes on after its time is cancelled and counts as failed at once. One that ignores that blocks the
    next attempts (each fails) until it has ended: two at a time would be worse.
    """
    if case.stubborn is not None:
        if not case.stubborn.done():
            return _failed(case, TimeoutError("the attempt before has not ended"))
        case.stubborn = None
    strategy = case.policy.strategy
    attempt = tasks.spawn(
        _call(strategy or RecoveryStrategy(), case, ward),
        name=f"attempt {case.id}",
        awaited=True,
    )
    try:
        await asyncio.wait((attempt,), timeout=ATTEMPT_SECONDS)
    finally:
        if not attempt.done():
            attempt.cancel()
            tasks.unwatch(attempt)
            case.stubborn = attempt
        elif not attempt.cancelled():
            attempt.exception()  # taken note of: cancelled in the turn in which it ended, nobody else would
    if not attempt.done():
        return _failed(case, TimeoutError(f"the attempt took longer than {ATTEMPT_SECONDS:g} s"))
    return _read(case, attempt, ward, listener, told=strategy is not None)


def _target(case: Case, ward: Ward) -> RecoveryTarget:
    async def probe() -> HealthStatus:
        return await ward.probe(case.id)

    return RecoveryTarget(
        public_id=case.id,
        resource_id=case.resource_id,
        scope=case.scope,
        attempt=case.attempts + 1,
        success_threshold=ward.success_threshold(case.id),
        probe=probe,
    )


async def _call(strategy: RecoveryStrategy, case: Case, ward: Ward) -> HealthStatus:
    return await strategy.attempt_recovery(_target(case, ward), ward.context(case.id))


def _read(
    case: Case, attempt: asyncio.Task[HealthStatus], ward: Ward, listener: QuarantineListener, *, told: bool
) -> Finding:
    """Turn the end of an attempt into a finding; ``told``: faults of a user's strategy are reported."""
    if attempt.cancelled():
        return _failed(case, TimeoutError("the attempt was cancelled"))
    error = attempt.exception()
    if isinstance(error, Postponed):
        status = HealthStatus.unknown(metadata={"postponed": str(error) or "nothing to probe with"})
        return Finding(False, status, postponed=True)
    if error is not None:
        if told:
            listener.faulted(case.id, error)
        return _failed(case, error)
    status_: Any = attempt.result()
    wrong = _what_is_wrong(status_)
    if wrong is not None:
        what = f"attempt_recovery() returned {wrong}"
        fault = ConfigurationError(what, resource_id=case.resource_id)
        listener.faulted(case.id, fault)
        return _failed(case, fault)
    if told:
        # a user's own words; what a probe found was censored there
        status_ = censored(status_, ward.secrets(case.id))
    if is_pass(status_):
        return Finding(True, status_)
    return Finding(
        False,
        status_,
        HealthCheckFailed(status_.state.because or status_.state.kind, resource_id=case.resource_id),
    )


def _what_is_wrong(answer: object) -> str | None:
    """What a user's strategy answered instead of a status that can be read; None: it is one."""
    if not isinstance(answer, HealthStatus):
        return f"{type(answer).__name__}, not a HealthStatus"
    state: object = answer.state
    if not isinstance(state, HealthState):
        return f"a HealthStatus whose state is {type(state).__name__}, not a HealthState"
    return None


def _failed(case: Case, error: BaseException) -> Finding:
    # What a create met says more than that it failed.
    shown = error.cause if isinstance(error, CreateFailed) else error
    return Finding(False, HealthStatus.unhealthy(f"the attempt failed: {why(shown)}"), error)
