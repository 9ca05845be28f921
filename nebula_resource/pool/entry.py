"""Entry: one instance's place in the pool: the instance, its state, and what is known of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle

if TYPE_CHECKING:
    from nebula_resource.model.reasons import CleanupReason
    from nebula_resource.pool.leaks import Positions

__all__ = ["FRESH", "SPENT", "Entry", "Use", "marker"]


SLACK = 1e-6
"""Seconds by which a timer may seem to ring early: a sum of intervals, in floats, is not the interval's multiple."""


class Use:
    """What is remembered of one use that takes the long way: timed by sample, leased or traced."""

    __slots__ = ("cm", "frames", "is_counted", "is_kept", "reported", "started", "waited")

    def __init__(self) -> None:
        self.cm: AbstractAsyncContextManager[Any] | None = None
        self.frames: Positions | None = None
        self.is_counted = False
        """Its lease is entered, and it counts as one more caller served."""
        self.is_kept = False
        """An instance of another resource keeps it as long as it lives."""
        self.reported = False
        """Its being held too long was told (shared pools; else `Entry.leak_reported`)."""
        self.started: float | None = None
        self.waited: float | None = None
        """Seconds that its caller waited for it; None: something was idle."""


class Entry:
    """One instance in the pool.

    ``attention`` is the one flag the hot path looks at when the instance comes back: set, the return takes the long
    way. It is derived, never set for its own sake: by ``doom`` (why the instance must go), by ``use`` (something is
    remembered of this use), or by the pool as a whole (`Ledger.careful`).
    """

    __slots__ = (
        "attention", "birth", "checked_at", "created_at", "dependencies", "doom", "expires_at",
        "frames", "holders", "instance", "leak_reported", "lent_at", "probed", "sampled_at", "seen_at", "seen_uses", "state",
        "timed_next", "use", "uses", "was_out",
    )  # fmt: skip  # one list of names

    def __init__(self, instance: Any, *, now: float, expires_at: float | None, birth: int) -> None:
        self.instance = instance
        self.state = Lifecycle.CREATED
        self.attention = False
        self.doom: CleanupReason | None = None
        self.use: Use | None = None
        self.uses = 0
        self.timed_next = 0
        """The number of the use that is to be timed next; one that went by untimed is made up for by the next."""
        self.holders = 0
        """How many have it at once; above one only when it is shared."""
        self.birth = birth
        self.created_at = now
        self.expires_at = expires_at
        self.checked_at = now
        self.seen_at = now
        self.seen_uses = 0
        self.was_out = False
        """It was in use at the last tick, so it has been used since, whatever the number of uses says."""
        self.dependencies: Any = None
        self.frames: Positions | None = None
        """Where the present use began, when the pool looks for leaks."""
        self.leak_reported = 0
        """The number of the use that was reported as a leak."""
        self.lent_at: float | None = None
        """When the present use began, in a pool that times every use of the short way."""
        self.sampled_at: float | None = None
        """When the present use began, if it is one of those of the short way that are picked to be timed."""
        self.probed = False
        """It is being checked where it is, shared and in use."""

    def __repr__(self) -> str:
        doomed = f" to be retired: {self.doom.name}" if self.doom is not None else ""
        return f"<Entry #{self.birth} {self.state.name} used {self.uses}×{doomed}>"

    @property
    def value(self) -> Any:
        """What a caller without a lease gets; a scope asks whatever it holds for this."""
        return self.instance

    def move(self, state: Lifecycle) -> None:
        """Enter the next state; the table of the life cycle decides whether that may be."""
        self.state = self.state.advance(state)

    def look(self, now: float) -> None:
        """Note, at a tick, whether it was used since the last one.

        The hit path reads no clock, so the moment of the last use is known to one tick, never earlier than it was.
        """
        is_out = self.state is Lifecycle.IN_USE
        if self.uses != self.seen_uses or (self.was_out and not is_out):
            self.seen_uses = self.uses
            self.seen_at = now
        self.was_out = is_out

    def idle_since(self, now: float) -> float:
        """When it was last used, at the latest (seconds of the loop's clock)."""
        return now if self.was_out or self.uses != self.seen_uses else self.seen_at

    def held_since(self, now: float) -> float:
        """When the present use began: exact where it is timed, else the first tick that saw it."""
        use = self.use
        if use is not None and use.started is not None:
            return use.started
        if self.sampled_at is not None:
            return self.sampled_at
        if self.lent_at is not None:
            return self.lent_at
        return now if self.uses != self.seen_uses else self.seen_at

    def is_expired(self, now: float) -> bool:
        """Whether its life time is over."""
        return self.expires_at is not None and now >= self.expires_at - SLACK

    def has_idled(self, now: float, seconds: float | None) -> bool:
        """Whether nobody used it for so long."""
        return seconds is not None and now - self.idle_since(now) >= seconds - SLACK

    def is_due(self, now: float, interval: float | None) -> bool:
        """Whether it must be validated before it is lent: neither used nor checked within ``interval`` seconds."""
        if interval is None:
            return False
        return now - max(self.checked_at, self.idle_since(now)) >= interval - SLACK


def marker() -> Entry:
    """An entry of no pool, to stand where there is none; it wants attention, so no short way takes it for one."""
    entry = Entry(None, now=0.0, expires_at=None, birth=0)
    entry.attention = True
    entry.lent_at = 0.0  # whatever a timed pool subtracts it from
    return entry


FRESH = marker()
"""In place of an entry: nothing was taken yet."""
SPENT = marker()
"""In place of an entry: it was given back."""
