"""HalfOpenGate: the admission of a half-open resource as a gate on the way of an acquire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nebula_resource.errors import (
    AcquireCancelled,
    AcquireTimeout,
    CircuitOpen,
    CreateFailed,
    HookCancelled,
    InitializationError,
    PoolExhausted,
    QuotaExceeded,
    ResourceError,
    Unavailable,
)
from nebula_resource.quarantine.admission import Admission, AdmissionState, Outcome, Permit

__all__ = ["HalfOpenGate", "HalfOpenTicket"]

_NO_ANSWER = (
    AcquireCancelled,
    AcquireTimeout,
    CircuitOpen,
    HookCancelled,
    PoolExhausted,
    QuotaExceeded,
    Unavailable,
)
"""What we say ourselves to a caller who was refused or gave up, here or at another resource: no server has spoken.
``is_fault`` is not asked: an AcquireTimeout is an OSError, and OSErrors are what many a resource confirms."""


class HalfOpenTicket:
    """One caller's permit. An error speaks against the resource when a create failed or ``is_fault`` confirms it.

    An error of ours that names another resource never does: the body wanted that one too, or a create needed it.
    """

    __slots__ = ("_is_fault", "_permit", "_resource_id")

    def __init__(self, permit: Permit, is_fault: Callable[[BaseException], bool], resource_id: str) -> None:
        self._permit = permit
        self._is_fault = is_fault
        self._resource_id = resource_id

    def leave(self, error: BaseException | None) -> None:
        """The use ended with this error, or well."""
        self._permit.leave(self._outcome(error))

    def _outcome(self, error: BaseException | None) -> Outcome:
        if error is None:
            return Outcome.OK
        if self._shows_nothing(error):
            return Outcome.NEUTRAL
        if isinstance(error, CreateFailed):
            return Outcome.NEUTRAL if self._was_refused(error.cause) else Outcome.FAILED
        try:
            return Outcome.FAILED if self._is_fault(error) else Outcome.NEUTRAL
        except Exception:
            # is_fault is a user's; one that cannot tell confirms nothing, and the caller's own error must get through.
            return Outcome.NEUTRAL

    def _shows_nothing(self, error: BaseException) -> bool:
        """Whether it is a refusal, a time-out or a cancellation, or about another resource; or a group of such."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._shows_nothing, error.exceptions))
        return isinstance(error, _NO_ANSWER) or not isinstance(error, Exception) or self._is_of_another(error)

    def _was_refused(self, cause: BaseException) -> bool:
        """Whether a create met a refusal of what it needs: nobody was really asked."""
        return self._is_of_another(cause) and not isinstance(cause, InitializationError)

    def _is_of_another(self, error: BaseException) -> bool:
        return isinstance(error, ResourceError) and error.is_of_another(self._resource_id)


class HalfOpenGate:
    """Takes a permit for every caller; a full gate refuses with ``Unavailable(quarantined)``.

    Args:
        admission: whose permits.
        resource_id: as the caller named it, for the error.
        is_fault: the resource's: does an error of a body speak against the server?
    """

    __slots__ = ("_admission", "_is_fault", "_resource_id")

    def __init__(
        self, admission: Admission, *, resource_id: str, is_fault: Callable[[BaseException], bool]
    ) -> None:
        self._admission = admission
        self._resource_id = resource_id
        self._is_fault = is_fault

    def enter(self) -> HalfOpenTicket | None:
        """Let a caller in; None needs no ticket: it is open.

        Raises:
            Unavailable: all permits of this step are out, or it is back in quarantine.
        """
        admission = self._admission
        if admission.is_open:
            return None
        now = asyncio.get_running_loop().time()
        permit = admission.enter(now)
        if permit is None:
            wait = admission.retry_after(now) if admission.state is AdmissionState.HALF_OPEN else None
            raise Unavailable("quarantined", resource_id=self._resource_id, retryable=True, retry_after=wait)
        return HalfOpenTicket(permit, self._is_fault, self._resource_id)
