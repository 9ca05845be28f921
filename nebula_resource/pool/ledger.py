"""Ledger: the truth about a pool's instances: who is where, how many may be, and what happened so far."""

from __future__ import annotations

from nebula_resource.errors import CreateFailed, InternalError
from nebula_resource.model.histogram import Histogram
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.entry import Entry, Use
from nebula_resource.pool.state import PoolState

__all__ = ["Ledger", "PoolState"]


class Ledger:
    """Entries and counters of one pool. Synchronous; between reading and changing it nothing may await.

    How many instances are where is read off the entries' own states, never counted beside them, so the two cannot
    disagree.
    """

    __slots__ = (
        "births", "cancelled", "careful", "cleanup_times", "create_failures", "create_times", "created", "creating", "destroyed",
        "entries", "exhausted", "generation", "last_create_error", "leaks", "lent", "max_size", "min_size",
        "shared_uses", "shrunk_from", "timeouts", "use_times", "uses_past", "wait_refused", "wait_timeout", "wait_times",
    )  # fmt: skip  # one list of names

    def __init__(self, min_size: int, max_size: int, *, leases: bool = False) -> None:
        self.min_size = min_size
        self.max_size = max_size
        self.shrunk_from = 0
        """How many instances there were when the bound last shrank below them."""
        self.entries: dict[Entry, None] = {}
        """All instances that exist, in order of birth."""
        self.creating = 0
        self.careful = True
        """Every return takes the long way (see `Entry.attention`)."""
        self.generation = 0
        """How often everything was replaced."""
        self.births = 0
        self.shared_uses: dict[Use, Entry] = {}
        # counters: they only grow
        self.created = 0
        self.destroyed: dict[CleanupReason, int] = {}
        self.uses_past = 0
        """Acquisitions of entries that are gone."""
        self.lent: int | None = 0 if leases else None
        """Where a use begins with a lease: how many have begun. An instance that was taken for one that then could not
        be entered served nobody. None: every use of an instance is an acquisition."""
        self.cancelled = 0
        self.create_failures = 0
        self.exhausted = 0
        self.leaks = 0
        self.timeouts = 0
        self.last_create_error: tuple[float, CreateFailed] | None = None
        self.wait_times = Histogram()
        self.use_times = Histogram()
        self.create_times = Histogram()
        # What an idle pool may never need is made when it does: each takes a third of a KiB.
        self.cleanup_times: Histogram | None = None
        self.wait_timeout: Histogram | None = None
        self.wait_refused: Histogram | None = None

    # ── how long it took ──

    def add_cleanup(self, seconds: float) -> None:
        """An instance was cleaned up, well or not."""
        self.cleanup_times = _added(self.cleanup_times, seconds)

    def add_timeout(self, waited: float) -> None:
        """A caller's time was over."""
        self.timeouts += 1
        self.wait_timeout = _added(self.wait_timeout, waited)

    def add_refused(self, waited: float) -> None:
        """A caller was refused after a wait; who refused it counts it."""
        self.wait_refused = _added(self.wait_refused, waited)

    def forget_refused(self, waited: float) -> None:
        """Who was refused after such a wait goes on waiting elsewhere; nothing ran since `add_refused`."""
        assert self.wait_refused is not None, "it was added"
        self.wait_refused.take_back(waited)

    def unserve(self, waited: float) -> None:
        """A caller who had been served after a wait is refused after all."""
        self.wait_times.take_back(waited)
        self.add_refused(waited)

    def begin_lease(self, use: Use) -> None:
        """Its lease is entered: only now the caller is served."""
        assert self.lent is not None, "a ledger of leases"
        self.lent += 1
        use.is_counted = True
        if use.waited is not None:
            self.wait_times.add(use.waited)

    def forget_lease(self, use: Use) -> None:
        """Its caller is refused after all; nothing ran since `begin_lease`."""
        assert self.lent is not None, "a ledger of leases"
        self.lent -= 1
        use.is_counted = False

    # ── how many ──

    @property
    def size(self) -> int:
        """Instances that exist or are being made."""
        return len(self.entries) + self.creating

    @property
    def has_room(self) -> bool:
        """Whether one more may be made."""
        return len(self.entries) + self.creating < self.max_size

    @property
    def living(self) -> int:
        """Instances that are there to stay: all but those being cleaned up."""
        return self.size - self.count(Lifecycle.CLEANUP)

    @property
    def is_over(self) -> bool:
        """Whether more are there to stay than the bound allows (it shrank under load)."""
        return self.size > self.max_size and self.living > self.max_size

    def count(self, *states: Lifecycle) -> int:
        """How many entries are in one of these states."""
        return sum(entry.state in states for entry in self.entries)

    @property
    def in_use(self) -> int:
        """Lent out, or coming back."""
        return self.count(Lifecycle.IN_USE)

    @property
    def acquisitions(self) -> int:
        """Callers served so far."""
        if self.lent is not None:
            return self.lent
        return self.uses_past + sum(entry.uses for entry in self.entries)

    def is_kept(self, entry: Entry) -> bool:
        """Whether nobody has it but instances of other resources, as long as they live."""
        uses = [use for use, of in self.shared_uses.items() if of is entry] if entry.holders else [entry.use]
        return all(use is not None and use.is_kept for use in uses)

    # ── comings and goings ──

    def enter(self, entry: Entry) -> None:
        """A new instance exists."""
        entry.attention = self.careful
        self.entries[entry] = None
        self.created += 1

    def leave(self, entry: Entry, reason: CleanupReason) -> None:
        """An instance is gone."""
        del self.entries[entry]
        self.uses_past += entry.uses
        self.destroyed[reason] = self.destroyed.get(reason, 0) + 1
        if self.shrunk_from and self.size <= self.max_size:
            self.shrunk_from = 0

    def doom(self, entry: Entry, reason: CleanupReason) -> None:
        """This instance must go: now if it is idle, when it comes back if not. The first reason stands."""
        if entry.doom is None:
            entry.doom = reason
            entry.attention = True

    def be_careful(self, careful: bool) -> None:
        """Send every return the long way, or let plain ones be short again."""
        if careful == self.careful:
            return
        self.careful = careful
        for entry in self.entries:
            self.look_again(entry)

    def look_again(self, entry: Entry) -> None:
        """Derive an entry's attention anew."""
        entry.attention = (
            self.careful or entry.doom is not None or entry.use is not None or entry.sampled_at is not None
        )

    # ── invariants ──

    def check(self) -> None:
        """Raise `InternalError` where the books do not add up (SPEC §5, invariants)."""
        counted = sum(
            self.count(state)
            for state in (Lifecycle.IDLE, Lifecycle.IN_USE, Lifecycle.MAINTENANCE, Lifecycle.CLEANUP)
        )
        problems = []
        if counted != len(self.entries):
            odd = [repr(entry) for entry in self.entries]
            problems.append(f"{len(self.entries)} instances, {counted} in a state of a pool: {odd}")
        if self.size > max(self.max_size, self.shrunk_from):
            problems.append(f"size {self.size} is above {max(self.max_size, self.shrunk_from)}")
        gone = sum(self.destroyed.values())
        if self.created - gone != len(self.entries):
            problems.append(f"created {self.created} − destroyed {gone} ≠ {len(self.entries)} instances")
        if self.creating < 0:
            problems.append(f"creating {self.creating}")
        if problems:
            raise InternalError("the pool's books do not add up: " + "; ".join(problems))


def _added(held: Histogram | None, seconds: float) -> Histogram:
    """The histogram with one more duration; made for the first."""
    if held is None:
        held = Histogram()
    held.add(seconds)
    return held
