"""QuarantineManager: keeps what fails away from callers, tries to bring it back, and lets it in step by step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import AlreadyQuarantined, ConfigurationError, NotQuarantined, ProbeFailed
from nebula_resource.model.policy import Rules
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine.admission import Admission
from nebula_resource.quarantine.case import Case, Finding, is_wait, later
from nebula_resource.quarantine.entry import (
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    QuarantineEntry,
    QuarantineReason,
)
from nebula_resource.quarantine.examination import examine
from nebula_resource.quarantine.levels import Levels
from nebula_resource.quarantine.policy import QuarantinePolicy
from nebula_resource.quarantine.ward import AttemptOutcome, QuarantineListener, Ward

__all__ = ["QuarantineManager"]

AUTOMATIC = "automatic"
RECOVERY = "recovery"
EXPIRY = "expiry"
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
        on_error: told when a task of this manager fails, which none should.
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
        self._ward = ward
        self._listener = listener or QuarantineListener()
        self._policy = policy or QuarantinePolicy()
        self._rng = rng or random.Random()
        self._utc = utc
        self._tasks = OwnedTasks("nebula quarantine", on_error=on_error)
        self._cases: dict[str, Case] = {}
        self._admissions: dict[str, Admission] = {}
        self._released: dict[str, Case] = {}  # whose admission is half open, for a way back
        self._levels = Levels()
        self._frozen = False
        self._closed = False

    def __repr__(self) -> str:
        frozen = ", frozen" if self._frozen else ""
        return (
            f"<QuarantineManager {len(self._cases)} quarantined, {len(self._admissions)} half open{frozen}>"
        )

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
        """Quarantine a resource.

        Args:
            id: its public id.
            reason: ``Manual`` is never released by recovery, any other is tried again and again.
            by: who says so.
            resource_id: as registered; by default ``id``.
            scope: as registered.
            policy: the registration's; by default the manager's.
            expires_in: seconds after which a manual quarantine ends by itself.

        Raises:
            AlreadyQuarantined: it is in already.
            ValidationFailed: ``expires_in`` is no time.
            ConfigurationError: ``expires_in`` without a manual reason, or the manager is closed.
        """
        if id in self._cases:
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
        loop = asyncio.get_running_loop()
        case = Case(
            id,
            resource_id=resource_id or id,
            scope=scope,
            reason=reason,
            policy=policy or self._policy,
            by=by,
            level=self._levels.at(id, loop.time()),
            quarantined_at=self._utc(),
        )
        self._drop_admission(id)
        self._cases[id] = case
        if expires_in is not None:
            case.expires = loop.time() + expires_in
            case.expires_at = later(case.quarantined_at, expires_in)
        self._plan(case)
        self._hold_members(id)
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
        if not isinstance(reason, CascadeFailure) or isinstance(case.reason, Manual) or case.reason == reason:
            return None
        case.reason = reason
        if case.root in self._cases:
            self._hold(case)
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
        return self._admissions.get(id)

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
        entry = case.entry()
        examination = self._examine(case)
        await asyncio.wait((examination,))
        if self._cases.get(id) is not case:
            return entry  # out by another way meanwhile, which is what was asked for
        finding = examination.result()
        if not finding.passed:
            raise ProbeFailed(finding.status, resource_id=case.resource_id)
        return self._release(case, by)

    def forget(self, id: str) -> QuarantineEntry | None:
        """The resource is gone: end its case, its admission and all memory of it. Nobody is told."""
        self._levels.forget(id)
        self._drop_admission(id)
        case = self._cases.pop(id, None)
        if case is None:
            return None
        entry = case.entry()
        case.drop()
        self._wake_members(id)
        return entry

    def failed(self, id: str) -> None:
        """A create or validation in the background failed: a half-open resource goes back to quarantine."""
        admission = self._admissions.get(id)
        if admission is not None:
            admission.fail()

    def _release(self, case: Case, by: str) -> QuarantineEntry:
        entry = case.entry()
        del self._cases[case.id]
        case.drop()
        now = asyncio.get_running_loop().time()
        if not isinstance(case.reason, Manual):
            # The waits it has been through: one before each attempt, and the one that a person cut short.
            level = case.level + case.attempts + (0 if by == RECOVERY else 1)
            self._levels.released(case.id, level=level, now=now, step=case.policy.backoff.max)
        self._admit(case)
        self._wake_members(case.id)
        self._listener.released(case.id, entry, by, case.attempts)
        return entry

    # ── half open ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _admit(self, case: Case) -> None:
        self._released[case.id] = case
        self._admissions[case.id] = Admission(
            self._ward.max_size(case.id),
            stepped=lambda permits: self._stepped(case.id, permits),
            failed=lambda: self._admission_failed(case),
        )

    def _stepped(self, id: str, permits: int) -> None:
        if self._admissions[id].is_open:
            self._drop_admission(id)
        self._listener.stepped(id, permits)

    def _admission_failed(self, case: Case) -> None:
        self._drop_admission(case.id)
        back = self.enter_automatically(
            case.id,
            ConsecutiveFailures(1),
            resource_id=case.resource_id,
            scope=case.scope,
            policy=case.policy,
        )
        if back is None and not self._closed:
            self._admit(case)  # frozen: it starts again with one permit
            self._listener.stepped(case.id, self._admissions[case.id].permits)

    def _drop_admission(self, id: str) -> None:
        self._released.pop(id, None)
        admission = self._admissions.pop(id, None)
        if admission is not None:
            admission.close()

    # ── cascades ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _members(self, root: str) -> list[Case]:
        return [case for case in self._cases.values() if case.root == root]

    def _hold_members(self, root: str) -> None:
        for case in self._members(root):
            self._hold(case)

    def _hold(self, case: Case) -> None:
        """Nothing is tried while the root is in: it could only fail."""
        case.stop_timer()
        if case.examination is not None:
            case.examination.cancel()
        case.is_held = True
        case.phase = "waiting"

    def _wake_members(self, root: str) -> None:
        """The root is out: each member is tried soon, spread so that they do not all ask the root at once."""
        for case in self._members(root):
            if case.is_held:
                case.is_held = False
                self._wait(case, self._rng.uniform(0, case.policy.backoff.base))

    # ── recovery ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self, case: Case) -> None:
        """Decide what happens next, without anything happening now."""
        if isinstance(case.reason, Manual):
            case.phase = "stopped" if case.expires is None else "waiting"
            if case.expires is not None:
                case.timer = asyncio.get_running_loop().call_at(case.expires, self._release, case, EXPIRY)
        elif case.root in self._cases:
            self._hold(case)
        elif not case.is_exhausted:
            self._wait(case, self._delay(case))
        elif case.policy.on_exhausted == "park":
            jitter = case.policy.backoff.jitter
            self._wait(case, case.policy.park_interval * (1 + jitter * self._rng.uniform(-1, 1)), parked=True)
        else:
            case.stop_timer()
            case.phase = "stopped"

    def _wait(self, case: Case, seconds: float, *, parked: bool = False) -> None:
        case.stop_timer()
        loop = asyncio.get_running_loop()
        case.phase = "parked" if parked or case.is_exhausted else "waiting"
        case.next_at = loop.time() + seconds
        case.next_utc = later(self._utc(), seconds)
        case.timer = loop.call_at(case.next_at, self._attempt, case)

    def _delay(self, case: Case) -> float:
        """Seconds until the next attempt: the strategy's word, or the policy's."""
        strategy = case.policy.strategy
        if strategy is not None:
            try:
                answer: object = strategy.backoff(case.number, case.last_error)
            except Exception as error:
                self._listener.faulted(case.id, error)
            else:
                if is_wait(answer):
                    return float(answer)  # type: ignore[arg-type]  # is_wait: a number
                if answer is not None:
                    what = (
                        f"backoff() of {type(strategy).__name__} must return seconds or None, not {answer!r}"
                    )
                    self._listener.faulted(case.id, ConfigurationError(what, resource_id=case.resource_id))
        return case.policy.backoff.delay(case.number, self._rng)

    def _attempt(self, case: Case) -> None:
        """The timer of an attempt fired."""
        case.stop_timer()
        case.phase = "probing"
        case.recovery = self._tasks.spawn(self._recover(case), name=f"recover {case.id}")

    async def _recover(self, case: Case) -> None:
        examination = self._examine(case)
        await asyncio.wait((examination,))
        if self._cases.get(case.id) is not case or examination.cancelled():
            return
        finding = examination.result()
        if finding.passed:
            case.attempts += 1
            self._tell(case, "recovered")
            if self._cases.get(case.id) is case:
                self._release(case, RECOVERY)
        elif finding.postponed:
            self._plan(case)
            self._tell(case, "postponed")
        else:
            self._count_failure(case, finding)

    def _count_failure(self, case: Case, finding: Finding) -> None:
        case.attempts += 1
        case.last_error = finding.error
        exhausts = not case.is_exhausted and case.attempts >= case.policy.max_attempts
        case.is_exhausted = case.is_exhausted or exhausts
        self._plan(case)
        self._tell(case, "failed")
        if exhausts and self._cases.get(case.id) is case:
            self._listener.exhausted(case.id, case.entry())

    def _tell(self, case: Case, outcome: AttemptOutcome) -> None:
        self._listener.attempted(case.id, case.entry(), outcome)

    def _examine(self, case: Case) -> asyncio.Task[Finding]:
        """The examination that runs, else a new one: never two of one resource."""
        if case.examination is None or case.examination.done():
            work = examine(case, self._ward, self._tasks, self._listener)
            case.examination = self._tasks.spawn(work, name=f"examine {case.id}", awaited=True)
        return case.examination

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """End every timer, attempt and admission; an attempt that ignores its cancellation is left after 5 s.

        Entries stay readable; nothing happens to them any more.
        """
        self._closed = True
        for case in self._cases.values():
            case.drop()
            if case.phase != "stopped":
                case.phase = "stopped"
        for id_ in tuple(self._admissions):
            self._drop_admission(id_)
        self._tasks.cancel()
        current = asyncio.current_task()
        left = [task for task in self._tasks if task is not current]
        if left:
            await asyncio.wait(left, timeout=CLOSE_GRACE)
