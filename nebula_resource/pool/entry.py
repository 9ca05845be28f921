"""Entry: one instance's place in the pool: the instance, its state, and what is known of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle

if TYPE_CHECKING:
    from nebula_resource.model.reasons import CleanupReason
    from nebula_resource.pool.leaks import Positions

__all__ = ["Entry", "Use"]


class Use:
    """What is remembered of one use that takes the long way: timed by sample, leased, tainted or traced."""

    __slots__ = ("cm", "frames", "reported", "started", "taint", "waited")

    def __init__(self) -> None:
        self.cm: AbstractAsyncContextManager[Any] | None = None
        self.frames: Positions | None = None
        self.reported = False
        self.started: float | None = None
        self.taint = False
        self.waited = 0.0


class Entry:
    """One instance in the pool.

    ``attention`` is the one flag the hot path looks at when the instance comes back: set, the return takes the long
    way. It is derived, never set for its own sake: by ``doom`` (why the instance must go), by ``use`` (something is
    remembered of this use), or by the pool as a whole (`Ledger.careful`).
    """

    __slots__ = (
        "__weakref__", "attention", "birth", "checked_at", "created_at", "dependencies", "doom", "expires_at",
        "frames", "generation", "holders", "instance", "leak_reported", "seen_at", "seen_uses", "state", "use", "uses", "value",
    )  # fmt: skip  # one list of names

    def __init__(
        self, instance: Any, *, now: float, expires_at: float | None, birth: int, generation: int
    ) -> None:
        self.instance = instance
        self.value = instance
        """What the caller gets: the instance, or what its lease made of it."""
        self.state = Lifecycle.READY
        self.attention = False
        self.doom: CleanupReason | None = None
        self.use: Use | None = None
        self.uses = 0
        self.holders = 0
        self.birth = birth
        self.generation = generation
        self.created_at = now
        self.expires_at = expires_at
        self.checked_at = now
        self.seen_at = now
        self.seen_uses = 0
        self.dependencies: Any = None
        self.frames: Positions | None = None
        """Where the present use began, when the pool looks for leaks."""
        self.leak_reported = 0
        """The number of the use that was reported as a leak."""

    def __repr__(self) -> str:
        doomed = f" to be retired: {self.doom.name}" if self.doom is not None else ""
        return f"<Entry #{self.birth} {self.state.name} used {self.uses}×{doomed}>"

    def move(self, state: Lifecycle) -> None:
        """Enter the next state; the table of the life cycle decides whether that may be."""
        self.state = self.state.advance(state)

    def look(self, now: float) -> bool:
        """Note, at a tick, whether it was used since the last one; True when it was.

        The hit path reads no clock, so the moment of the last use is known to one tick, never earlier than it was.
        """
        if self.uses == self.seen_uses:
            return False
        self.seen_uses = self.uses
        self.seen_at = now
        return True

    def idle_since(self, now: float) -> float:
        """When it was last used, at the latest (seconds of the loop's clock)."""
        return now if self.uses != self.seen_uses else self.seen_at

    def is_expired(self, now: float) -> bool:
        """Whether its life time is over."""
        return self.expires_at is not None and now >= self.expires_at

    def is_due(self, now: float, interval: float | None) -> bool:
        """Whether it must be validated before it is lent: neither used nor checked within ``interval`` seconds."""
        if interval is None:
            return False
        return now - max(self.checked_at, self.idle_since(now)) >= interval
