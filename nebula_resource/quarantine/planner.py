"""Planner: sets the one timer that each case has, and carries out the attempts it leads to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import ConfigurationError
from nebula_resource.quarantine.case import Case, Finding, as_wait, later
from nebula_resource.quarantine.entry import QuarantineEntry
from nebula_resource.quarantine.examination import examine
from nebula_resource.quarantine.ward import AttemptOutcome, QuarantineListener, Ward

__all__ = ["EXPIRY", "RECOVERY", "Planner"]

RECOVERY = "recovery"
EXPIRY = "expiry"


class Planner:
    """Recovery of all cases; it reads which are in, and never changes that but by ``release``.

    Args:
        ward: probes.
        listener: is told of attempts.
        tasks: own what runs.
        cases: those in quarantine, by public id.
        rng: where jitter comes from.
        utc: the clock for people.
        release: lets a case out: by recovery, or because it expired.
    """

    def __init__(
        self,
        ward: Ward,
        listener: QuarantineListener,
        tasks: OwnedTasks,
        cases: Mapping[str, Case],
        *,
        rng: random.Random,
        utc: Callable[[], datetime],
        release: Callable[[Case, str], QuarantineEntry],
    ) -> None:
        self._ward = ward
        self._listener = listener
        self._tasks = tasks
        self._cases = cases
        self._rng = rng
        self._utc = utc
        self._release = release

    # ── planning ──────────────────────────────────────────────────────────────────────────────────────────────────

    def plan(self, case: Case) -> None:
        """Decide what happens next, without anything happening now."""
        if case.is_manual:
            case.phase = "stopped" if case.expires is None else "waiting"
            if case.expires is not None:
                case.timer = asyncio.get_running_loop().call_at(case.expires, self._release, case, EXPIRY)
        elif self._waits_for_root(case):
            self._hold(case)
        elif not case.is_exhausted:
            self._wait(case, self._delay(case))
        elif case.policy.on_exhausted == "park":
            jitter = case.policy.backoff.jitter
            self._wait(case, case.policy.park_interval * (1 + jitter * self._rng.uniform(-1, 1)))
        else:
            case.stop_timer()
            case.phase = "stopped"

    def settle(self) -> None:
        """Who is in, or with whom, has changed: whose root is in now waits for it, whose root is not is tried soon.

        Invariant, from here to the next change: ``is_held`` says exactly whether a case waits for its root.
        """
        for case in self._cases.values():
            waits = self._waits_for_root(case)
            if waits and not case.is_held:
                self._hold(case)
            elif case.is_held and not waits:
                # Spread, so that not all members ask the root at once.
                case.is_held = False
                self._wait(case, self._rng.uniform(0, case.policy.backoff.base))

    def _waits_for_root(self, case: Case) -> bool:
        """Whether another case comes first: that of its root, unless the root waits in the end for this very case.

        Dependencies form no circle, but reasons may: they stay as they were found when a reload turns an edge
        around. Then each on the circle is tried for itself, whatever the order in which they came; one that
        merely leads into it waits.
        """
        above = self._cases.get(case.root or "")
        if above is None:
            return False
        passed: set[str] = set()
        while above is not None and above is not case and above.id not in passed:
            passed.add(above.id)
            above = self._cases.get(above.root or "")
        return above is not case

    def _hold(self, case: Case) -> None:
        """The root of its cascade is in: nothing is tried, it could only fail."""
        case.stop_timer()
        if case.examination is not None:
            case.examination.cancel()
        case.is_held = True
        case.phase = "waiting"

    def _wait(self, case: Case, seconds: float) -> None:
        case.stop_timer()
        loop = asyncio.get_running_loop()
        case.phase = "parked" if case.is_exhausted else "waiting"
        case.next_at = loop.time() + seconds
        case.next_utc = later(self._utc(), seconds)
        case.timer = loop.call_at(case.next_at, self._attempt, case)

    def _delay(self, case: Case) -> float:
        """Seconds until the next attempt: the strategy's word, or the policy's."""
        strategy = case.policy.strategy
        if strategy is not None:
            try:
                answer = strategy.backoff(case.number, case.last_error)
            except Exception as error:
                self._listener.faulted(case.id, error)
            else:
                wait = as_wait(answer)
                if wait is not None:
                    return wait
                if answer is not None:
                    what = f"backoff() of {type(strategy).__name__} must return seconds or None"
                    self._listener.faulted(case.id, ConfigurationError(what, resource_id=case.resource_id))
        return case.policy.backoff.delay(case.number, self._rng)

    # ── attempting ────────────────────────────────────────────────────────────────────────────────────────────────

    def examine(self, case: Case) -> asyncio.Task[Finding]:
        """Return the examination that runs, else a new one: never two of one resource."""
        if case.examination is None or case.examination.done():
            work = examine(case, self._ward, self._tasks, self._listener)
            case.examination = self._tasks.spawn(work, name=f"examine {case.id}", awaited=True)
        return case.examination

    def _attempt(self, case: Case) -> None:
        """The timer fired."""
        case.stop_timer()
        case.phase = "probing"
        case.recovery = self._tasks.spawn(self._recover(case), name=f"recover {case.id}")

    async def _recover(self, case: Case) -> None:
        examination = self.examine(case)
        await asyncio.wait((examination,))
        if not self._is_in(case) or case.is_held or case.is_manual or examination.cancelled():
            return  # over, overtaken by the fall of its root, or taken over by a person
        finding = examination.result()
        if finding.passed:
            case.attempts += 1
            self._tell(case, "recovered")
            if self._is_in(case):
                self._release(case, RECOVERY)
        elif finding.postponed:
            self.plan(case)
            self._tell(case, "postponed")
        else:
            self._count_failure(case, finding)

    def _count_failure(self, case: Case, finding: Finding) -> None:
        case.attempts += 1
        case.last_error = finding.error
        exhausts = not case.is_exhausted and case.attempts >= case.policy.max_attempts
        case.is_exhausted = case.is_exhausted or exhausts
        self.plan(case)
        self._tell(case, "failed")
        if exhausts and self._is_in(case):
            self._listener.exhausted(case.id, case.entry())

    def _is_in(self, case: Case) -> bool:
        return self._cases.get(case.id) is case

    def _tell(self, case: Case, outcome: AttemptOutcome) -> None:
        self._listener.attempted(case.id, case.entry(), outcome)
