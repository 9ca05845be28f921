"""QuarantineManager: keeps what fails away from callers, tries to bring it back, and lets it in step by step."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import AlreadyQuarantined, ConfigurationError, NotQuarantined, ProbeFailed
from nebula_resource.events.frames import frames
from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import Rules
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine.admission import Admission
from nebula_resource.quarantine.case import Case, Finding, later
from nebula_resource.quarantine.entry import (
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    QuarantineEntry,
    QuarantineReason,
)
from nebula_resource.quarantine.half_open import HalfOpen
from nebula_resource.quarantine.levels import Levels
from nebula_resource.quarantine.planner import RECOVERY, Planner
from nebula_resource.quarantine.policy import QuarantinePolicy
from nebula_resource.quarantine.ward import QuarantineListener, Ward

__all__ = ["QuarantineManager"]

_log = logging.getLogger("nebula_resource.quarantine")

AUTOMATIC = "automatic"
CLOSE_GRACE = 5.0
"""Seconds that `close` waits for attempts to heed their cancellation."""


class QuarantineManager:
    """One case per quarantined public id, each with one timer or one attempt at a time.

    Entering, releasing and asking are synchronous. Attempts run in owned tasks. A release of any kind starts a half
    open admission; a failure during it brings the resource back here.

    Args:
        ward: probes resources and knows their sizes; the manager of resources.
        listener: is told what happens.
        policy: for those that bring none.
        rng: where jitter comes from.
        utc: the clock for people; scheduling goes by the loop's.
        on_error: told when a task of this manager fails: an attempt that was given up, or a fault of ours; by default
            the log, without the error's words.
    """

    def __init__(
        self,
        ward: Ward,
        listener: QuarantineListener | None = None,
        *,
        policy: QuarantinePolicy | None = None,
        rng: random.Random | None = None,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_error: Callable[[BaseException, str], object] | None = None,
    ) -> None:
        self._listener = listener or QuarantineListener()
        self._policy = policy or QuarantinePolicy()
        self._utc = utc
        self._tasks = OwnedTasks("nebula quarantine", on_error=on_error or _note_failure)
        self._cases: dict[str, Case] = {}
        self._half_open = HalfOpen(ward, self._listener, back=self._back)
        self._planner = Planner(
            ward,
            self._listener,
            self._tasks,
            self._cases,
            rng=rng or random.Random(),
            utc=utc,
            release=self._release,
        )
        self._levels = Levels()
        self._frozen = False
        self._closed = False

    def __repr__(self) -> str:
        frozen = ", frozen" if self._frozen else ""
        return f"<QuarantineManager {len(self._cases)} quarantined, {len(self._half_open)} half open{frozen}>"

    # ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def enter(
        self,
        id: str,
        reason: QuarantineReason,
        *,
        by: str = AUTOMATIC,
        resource_id: str | None = None,
        scope: Scope = Scope.GLOBAL,
        policy: QuarantinePolicy | None = None,
        expires_in: float | None = None,
    ) -> QuarantineEntry:
        """Quarantine a resource; a person may take over what is in on evidence: recovery leaves it alone from then on.

        Args:
            id: its public id.
            reason: ``Manual`` is never released by recovery, any other is tried again and again.
            by: who says so.
            resource_id: as registered; by default ``id``.
            scope: as registered.
            policy: the registration's; by default the manager's.
            expires_in: seconds after which a manual quarantine ends by itself.

        Raises:
            AlreadyQuarantined: it is in already, by a person, or on evidence that is not news.
            ValidationFailed: ``expires_in`` is no time.
            ConfigurationError: ``expires_in`` without a manual reason, or the manager is closed.
        """
        case = self._cases.get(id)
        if case is not None and (case.is_manual or not isinstance(reason, Manual)):
            raise AlreadyQuarantined(resource_id or id, scope=scope)
        if self._closed:
            raise ConfigurationError(
                "quarantine is closed: the manager was shut down", resource_id=resource_id
            )
        if expires_in is not None:
            rules = Rules()
            rules.number("expires_in", expires_in, above=0)
            rules.raise_if_broken()
            if not isinstance(reason, Manual):
                raise ConfigurationError("only a manual quarantine can expire", resource_id=resource_id)
        now, utc = asyncio.get_running_loop().time(), self._utc()
        if case is None:
            case = self._cases[id] = Case(
                id,
                resource_id=resource_id or id,
                scope=scope,
                reason=reason,
                policy=policy or self._policy,
                by=by,
                level=self._levels.at(id, now),
                quarantined_at=utc,
            )
            self._half_open.drop(id)
        else:
            case.take_over(reason, by)
        if expires_in is not None:
            case.expires = now + expires_in
            case.expires_at = later(utc, expires_in)
        self._planner.plan(case)
        self._planner.settle()
        entry = case.entry()
        self._listener.entered(id, entry)
        return entry

    def enter_automatically(
        self,
        id: str,
        reason: ConsecutiveFailures | CascadeFailure,
        *,
        resource_id: str | None = None,
        scope: Scope = Scope.GLOBAL,
        policy: QuarantinePolicy | None = None,
    ) -> QuarantineEntry | None:
        """Quarantine on evidence; None when nothing was done: frozen, closed, or in already.

        A resource that is in on evidence of its own joins a cascade: its entry gets the reason, and it waits for the
        root. One that a person isolated stays as it is.
        """
        case = self._cases.get(id)
        if self._frozen or self._closed:
            return None
        if case is None:
            return self.enter(id, reason, resource_id=resource_id, scope=scope, policy=policy)
        if not isinstance(reason, CascadeFailure) or case.is_manual or case.reason == reason:
            return None
        case.reason = reason
        self._planner.settle()
        return case.entry()

    def freeze(self) -> None:
        """The checker suspects itself: nobody enters on evidence until `thaw`. Persons may, and recovery goes on."""
        self._frozen = True

    def thaw(self) -> None:
        """Evidence counts again. Whoever is still failing must be entered again by the one who knows."""
        self._frozen = False

    @property
    def is_frozen(self) -> bool:
        """Whether nobody enters on evidence."""
        return self._frozen

    # ── what is known ─────────────────────────────────────────────────────────────────────────────────────────────

    def __contains__(self, id: object) -> bool:
        return id in self._cases

    def __len__(self) -> int:
        return len(self._cases)

    def get(self, id: str) -> QuarantineEntry | None:
        """The entry of ``id``; None when it is not quarantined."""
        case = self._cases.get(id)
        return None if case is None else case.entry()

    def entries(self) -> dict[str, QuarantineEntry]:
        """All entries by public id, oldest first."""
        return {key: case.entry() for key, case in self._cases.items()}

    def admission(self, id: str) -> Admission | None:
        """The admission of ``id`` while it is half open; None when it is open, or quarantined."""
        return self._half_open.get(id)

    def retry_after(self, id: str) -> float | None:
        """Seconds until it may be worth asking again; None when it is not quarantined, or only a person knows."""
        case = self._cases.get(id)
        if case is None:
            return None
        if case.is_held and case.root is not None:
            return self.retry_after(case.root)
        now = asyncio.get_running_loop().time()
        due = case.next_at if case.expires is None else case.expires
        if due is not None:
            return max(0.0, due - now)
        # An attempt runs: as long as the shortest wait is a fair guess of when it has ended.
        return case.policy.backoff.base if case.phase == "probing" else None

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def release(self, id: str, by: str) -> QuarantineEntry:
        """Let a resource out, whatever its state; its admission is half open. Returns the entry as it was.

        Raises:
            NotQuarantined: it is not in.
        """
        case = self._cases.get(id)
        if case is None:
            raise NotQuarantined(id)
        return self._release(case, by)

    async def release_if_well(self, id: str, by: str) -> QuarantineEntry:
        """Examine a resource now, or wait for the attempt that runs, and let it out when it is well.

        A failed examination asked for by a person is no recovery attempt: the plan stays as it is.

        Raises:
            NotQuarantined: it is not in.
            ProbeFailed: it is not well; ``health`` says why.
        """
        case = self._cases.get(id)
        if case is None:
            raise NotQuarantined(id)
        entry, was_manual = case.entry(), case.is_manual
        examination = self._planner.examine(case)
        await asyncio.wait((examination,))
        if self._cases.get(id) is not case:
            return entry  # out by another way meanwhile, which is what was asked for
        taken_over = case.is_manual and not was_manual
        finding = _given_up() if taken_over or examination.cancelled() else examination.result()
        if not finding.passed:
            raise ProbeFailed(finding.status, resource_id=case.resource_id)
        return self._release(case, by)

    def forget(self, id: str) -> QuarantineEntry | None:
        """The resource is gone: end its case, its admission and all memory of it. Nobody is told."""
        self._levels.forget(id)
        self._half_open.drop(id)
        case = self._cases.pop(id, None)
        if case is None:
            return None
        entry = case.entry()
        case.drop()
        self._planner.settle()
        return entry

    def failed(self, id: str) -> None:
        """A create or validation in the background failed: a half-open resource goes back to quarantine."""
        admission = self._half_open.get(id)
        if admission is not None:
            admission.fail()

    def resized(self, id: str, max_size: int) -> None:
        """The pool's bound moved: the steps of a half-open admission follow."""
        admission = self._half_open.get(id)
        if admission is not None:
            admission.resize(max_size)

    def _release(self, case: Case, by: str) -> QuarantineEntry:
        entry = case.entry()
        del self._cases[case.id]
        case.drop()
        now = asyncio.get_running_loop().time()
        if not case.is_manual:
            # The waits it has been through: one before each attempt, and the one that a person cut short.
            level = case.level + case.attempts + (0 if by == RECOVERY else 1)
            self._levels.released(case.id, level=level, now=now, step=case.policy.backoff.max)
        self._half_open.admit(case)
        self._planner.settle()
        self._listener.released(case.id, entry, by, case.attempts)
        return entry

    # ── half open ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _back(self, case: Case) -> bool:
        """A failure while half open: return to quarantine; False when evidence does not count now."""
        entry = self.enter_automatically(
            case.id,
            ConsecutiveFailures(1),
            resource_id=case.resource_id,
            scope=case.scope,
            policy=case.policy,
        )
        return entry is not None

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """End every timer and admission, and ask every attempt to end.

        Entries stay readable; nothing happens to them any more.
        """
        self._closed = True
        for case in self._cases.values():
            case.drop()
            case.phase = "stopped"
        self._half_open.close()
        self._tasks.cancel()

    async def close(self) -> None:
        """Stop, and wait for the end of every attempt; one that ignores its cancellation is left after 5 s."""
        self.stop()
        current = asyncio.current_task()
        left = [task for task in self._tasks if task is not current]
        if left:
            await asyncio.wait(left, timeout=CLOSE_GRACE)


def _note_failure(error: BaseException, task: str) -> None:
    _log.error(
        "a task of quarantine failed",
        extra={"task": task, "error": type(error).__name__, "where": frames(error)},
    )


def _given_up() -> Finding:
    """Overtaken: the root of its cascade fell, a person isolated it, or all ends."""
    return Finding(False, HealthStatus.unknown(metadata={"given_up": "the examination was cancelled"}))
